"""Fits of a smooth signal in two tiles."""

import numpy as np

from inrcodec.encoder.fit import loop
from inrcodec.encoder.fit.loss import Distortion
from inrcodec.encoder.fit.trainer import Trainer
from inrcodec.layers.base.siren import siren, tiles
from inrcodec.layers.base.siren.siren import Layout
from inrcodec.layers.base.siren.weights import dequantize, write_tile

SHAPE = (8, 16, 16)
Z, Y, X = (np.linspace(-1, 1, n) for n in SHAPE)
SMOOTH = (
    0.4 * np.sin(3 * Z)[:, None, None] + 0.5 * np.cos(5 * Y)[None, :, None] * np.exp(-(X**2))[None, None, :]
)
LAYOUT = Layout(2, 16)


def cut(parts=(1, 2, 1)):
    active = np.ones(SHAPE, bool)
    found = [tiles.tile(active, b) for b in tiles.boxes(SHAPE, parts, tiles.cut(active, parts))]
    return found, [SMOOTH[tuple(t.index.T)] for t in found]


def settings(**changes):
    return loop.FitSettings(**{"steps": 300, "batch": 256, "lmbda": 1e-7, "seed": 3, "threads": 1} | changes)


def trainer_with(pool, device="cpu", learning_rate=None, layout=LAYOUT):
    found, values = cut()
    distortion = Distortion(layout, found, values, batch=256, seed=3, device=device, pool=pool, workers=1)
    return Trainer(distortion, found, values, learning_rate=learning_rate, coded=True, seed=3)


def errors_of(fitted, found, values):
    """Mean squared error of each tile, from the integers that are stored."""
    for t, v, q, c in zip(found, values, fitted.integers, fitted.codes, strict=True):
        yield np.square(siren.decode(fitted.layout, dequantize(fitted.layout, q, c), t) - v).mean()


def stored(codes, integers):
    return sum(len(write_tile(c, q)) for c, q in zip(codes, integers, strict=True))
