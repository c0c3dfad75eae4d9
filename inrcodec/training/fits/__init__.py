"""Low-res volumes as real files decode them, from every base coder.

In: a clean volume.  Out: its low-res volume after encoding and decoding; what was encoded is kept on disk.
Invariant: what a network is trained on here is what the decoder feeds it.
"""

from typing import Any

from inrcodec.layers.base.latent import models
from inrcodec.training.fits.av1_streams import av1 as av1
from inrcodec.training.fits.latent_streams import latent as latent
from inrcodec.training.fits.network_files import lowres as lowres
from inrcodec.training.options import AV1_PRESET, TrainOptions


def settings(options: TrainOptions) -> dict[str, Any]:
    """How volumes were coded, for the model card."""
    latent = {"rates": list(options.latent_rates), "model": models.usual().id}
    return {
        "fits": {"widths": list(options.fits), "steps": options.fit_steps},
        "av1": {"qualities": list(options.av1_qualities), "preset": AV1_PRESET},
        **({"latent": latent} if options.latent_rates else {}),
    }
