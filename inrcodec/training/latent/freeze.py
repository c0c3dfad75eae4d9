"""A trained latent grid as the integers that a model file holds.

In: weights of `network.LatentGrid`, and tables of the range coder.  Out: the tensors of a `Model`.
Invariant: all that is a float in training is rounded here, once; a decoder computes no logarithm and no sine.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from inrcodec.entropy.logistic import Tables
from inrcodec.layers.base.latent.analysis import dct
from inrcodec.layers.base.latent.contexts import HALVES
from inrcodec.layers.base.latent.convolution import FINEST
from inrcodec.layers.base.latent.integers import FINE, LATENT, MAP, SHORT
from inrcodec.layers.base.latent.model import INVERSE, RATES
from inrcodec.layers.base.latent.synthesis import GAIN, SINE, SINES, STEP
from inrcodec.volume.arrays import Float

POINT = 9  # bits behind the point of weights: with 10 files are as small, to 0.3 %, and with 8 larger by 1
COMPANDED = 1 << 17  # latent that is companded as itself, the largest
DCT_POINT = 14
Tensors = dict[str, NDArray[np.generic]]
Weights = Mapping[str, Float]
RATE = (2 * np.arange(RATES) - (RATES - 1)) / (RATES - 1)  # as the networks see it

# Of the constant, linear and square part of `contexts.by_rate`, whose rate is 127 times that of training.
FINE_RATE = np.array([1, 128 / 127, (128 / 127) ** 2]).reshape(3, 1, 1)


def freeze(weights: Weights, steps: tuple[float, float], tables: Tables) -> Tensors:
    """All tensors of a model file.

    Parameters
    ----------
    weights : of a `LatentGrid`, by their names there, float64.
    steps : logarithms of the quantisation step at the rates -1 and 1.
    tables : of the range coder.
    """
    gains = np.exp(weights["gains"][0] + weights["gains"][1] * RATE[:, None])
    hyper = np.exp(weights["hyper_gains"][0, 0] + weights["hyper_gains"][1, 0] * RATE)
    step = np.exp(steps[0] + (RATE + 1) / 2 * (steps[1] - steps[0]))
    found: Tensors = {
        "companding": _thresholds(),
        "sines": np.rint(np.sin(np.arange(SINES) * (2 * np.pi / SINES)) * 2**SINE).astype(np.int16),
        "gains": _whole(gains * 2**GAIN),
        "steps": _whole(step * 2**STEP),
        "inverse": _whole(2**INVERSE / hyper),
        "coder.shift": tables.shift,
        "coder.reach": tables.reach,
        "coder.frequencies": tables.frequencies,
        **_analysis(weights, steps),
    }
    groups = len({name.split(".")[1] for name in weights if name.startswith("contexts.")})
    for here, there in [("level_context", "level"), ("hyper_context", "hyper")] + [
        (f"contexts.{k}", f"contexts.{k}") for k in range(groups)
    ]:
        found |= _context(weights, here, there)
    found |= _layers(weights, {f"hints_{part}": f"hints.{part}" for part in ("in", "up", "out")}, MAP)
    found |= _synthesis(weights)
    return {name: np.array(tensor, order="C") for name, tensor in found.items()}  # as they are written


def _context(weights: Weights, here: str, there: str) -> Tensors:
    summed = ("neighbours", "channels", "features", *(f"bodies.{k}.second" for k in range(HALVES)))
    names = [name for name in summed if f"{here}.{name}.weight" in weights]
    plain = [name for name in ("linear_neighbours", "linear_channels") if f"{here}.{name}.weight" in weights]
    found = _layers(weights, {f"{here}.{name}": f"{there}.{name}" for name in names}, MAP, together=True)
    point = int(found[f"{there}.neighbours.point"][0])
    found |= _layers(weights, {f"{here}.{name}": f"{there}.{name}" for name in plain}, LATENT, together=True)
    apart = ["hidden", "out", *(name.replace("second", "first") for name in names if "second" in name)]
    found |= _layers(weights, {f"{here}.{name}": f"{there}.{name}" for name in apart}, MAP)
    phase, rate = weights[f"{here}.phase"], weights[f"{here}.rate"]
    parts = np.stack([phase, *(np.broadcast_to(row, phase.shape) for row in rate)])
    found[f"{there}.offsets"] = _polynomial(parts, MAP + point)
    return found


def _synthesis(weights: Weights) -> Tensors:
    plain = ("overlap", "enter", "narrow", "beside", "out")
    found = _layers(weights, {f"synthesis.{name}": f"synthesis.{name}" for name in plain}, MAP)
    octants = np.arange(64).reshape([2] * 6).transpose(1, 3, 5, 0, 2, 4).ravel()  # then the voxels of each
    basis = dct().T[octants]
    found |= _layer(basis.reshape(64, 64, 1, 1, 1), np.zeros(64), "synthesis.transform", FINE, DCT_POINT)
    for name in sorted(
        {n.rsplit(".", 2)[0] for n in weights if n.startswith(("synthesis.coarse", "synthesis.fine"))}
    ):
        if name.endswith(".modulation"):
            continue
        found |= _layers(weights, {f"{name}.first": f"{name}.first"}, MAP)
        found |= _layers(weights, {f"{name}.second": f"{name}.second"}, SINE)
        rows = [weights[f"{name}.modulation.{part}"] for part in ("gain", "offset")]
        parts = np.stack(
            [np.zeros((2, rows[0].shape[1])), *(np.stack([row[k] for row in rows]) for k in (0, 1))]
        )
        found[f"{name}.modulation"] = _polynomial(parts, FINE)
    return found


def _analysis(weights: Weights, steps: tuple[float, float]) -> Tensors:
    names = {"analysis.overlap": "overlap", "hyper_in": "enter", "hyper_down": "narrow", "hyper_out": "out"}
    parts = {
        f"{there}.{part}": weights[f"{here}.{part}"]
        for here, there in names.items()
        for part in ("weight", "bias")
    }
    parts |= {name: weights[name] for name in ("gains", "hyper_gains")}
    modulation = [weights[f"hyper_modulation.{part}"] for part in ("gain", "offset")]
    parts["modulation"] = np.stack(modulation, 1)  # (power, gain or offset, maps)
    half = {f"analysis.{name}": np.asarray(part, np.float16) for name, part in parts.items()}
    return {**half, "analysis.steps": np.array(steps, np.float32)}


def _layers(weights: Weights, names: Mapping[str, str], before: int, *, together: bool = False) -> Tensors:
    """Layers by their names here and there; with one number of bits where their sums are added up."""
    points = {here: _point(weights[f"{here}.weight"]) for here in names}
    found: Tensors = {}
    for here, there in names.items():
        point = min(points.values()) if together else points[here]
        found |= _layer(weights[f"{here}.weight"], weights[f"{here}.bias"], there, before, point)
    return found


def _layer(weight: Float, bias: Float, name: str, before: int, point: int) -> Tensors:
    return {
        f"{name}.weight": np.rint(weight * 2.0**point).clip(-SHORT, SHORT).astype(np.int16),
        f"{name}.bias": _whole(bias * 2.0 ** (before + point)),
        f"{name}.point": np.array([point], np.uint8),
    }


def _point(weight: Float) -> int:
    """Bits behind the point with which the largest weight is below 2^15."""
    largest = float(np.abs(weight).max())
    return int(np.clip(np.floor(15 - np.log2(max(largest, 1e-9)) - 1e-6), FINEST[0], POINT))


def _polynomial(parts: Float, point: int) -> NDArray[np.generic]:
    """Constant, linear and square parts for `contexts.by_rate`."""
    return _whole(parts * FINE_RATE * 2.0**point)


def _thresholds() -> NDArray[np.generic]:
    """The smallest latent of each companded value from 1 on."""
    largest = round(float(np.arcsinh(COMPANDED / 2**LATENT)) * 2**MAP)
    edges = np.sinh((np.arange(1, largest + 1) - 0.5) / 2**MAP) * 2**LATENT
    found: NDArray[np.generic] = np.ceil(edges).astype(np.int32)
    return found


def _whole(x: Float) -> NDArray[np.generic]:
    found: NDArray[np.generic] = np.rint(x).astype(np.int32)
    return found
