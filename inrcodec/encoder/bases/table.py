"""The coders of the low-res volume that the encoder knows, by the header's ``coder``."""

from __future__ import annotations

from collections.abc import Mapping

from inrcodec.encoder.bases import (
    av1,
    av1_forecast,
    latent,
    latent_forecast,
    siren,
    siren_forecast,
    streamed_forecast,
)
from inrcodec.encoder.bases.coding import Base
from inrcodec.format.header import AV1, LATENT, SIREN

BASES: Mapping[str, Base] = {
    SIREN: Base(
        siren.smallest,
        siren.coding,
        siren_forecast.of,
        siren_forecast.usual,
        "the smallest networks",
        fixed=500,
        worth=0.8,  # forecasts flatter
        grows=True,
    ),
    AV1: Base(
        av1.smallest,
        av1.coding,
        av1_forecast.of,
        streamed_forecast.usual,
        "a stream of AV1",
        fixed=350,
        worth=1.1,  # forecast at a low effort; a chest at 50 dB took 6 % fewer
        aims=True,
        quick=True,
    ),
    LATENT: Base(
        latent.smallest,
        latent.coding,
        latent_forecast.of,
        streamed_forecast.usual,
        "a stream of latents",
        fixed=430,  # the model's hash among them
        worth=1.1,
        aims=True,
        quick=True,
    ),
}
