"""Volumes to train on, and options of a small training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from inrcodec.layers import resample
from inrcodec.layers.superres.architectures import Architecture
from inrcodec.training.dataset import paired
from inrcodec.training.options import TrainOptions

FACTOR = (2, 2, 2)
TINY = Architecture(features=8, blocks=1, layers=2, growth=8, bottleneck=16, factor=FACTOR)
FLAT = replace(TINY, dims=2, factor=(1, 2, 2))
SIZE = (9, 10, 10)


def texture(shape=(24, 32, 36), seed=0):
    """Blobs and edges in HU, int16; air in one corner."""
    rng = np.random.default_rng(seed)
    low = rng.normal(size=[-(-n // 4) for n in shape])
    smooth = resample.up(low, (4, 4, 4), shape)
    found = (np.where(smooth > 0.2, 800, -700) + 60 * smooth).astype(np.int16)
    found[:4, :4, :4] = -1000
    return found


def written_volumes(tmp_path):
    paths = []
    for k in range(2):
        paths.append(tmp_path / f"v{k}.npy")
        np.save(paths[-1], texture(seed=k))
    return paths


def options(volumes, tmp_path, **changes):
    usual = {
        "modality": "CT",
        "factor": FACTOR,
        "out": tmp_path / "out",
        "fits": (),
        "batch": 2,
        "learning_rate": 1e-3,
    }
    return TrainOptions(**{"volumes": volumes, "patch": SIZE} | usual | changes)


def clean_volume(seed=0, error=None):
    full = (texture(seed=seed).astype(np.float32) + 1024) / 2047.5 - 1
    return replace(paired("v", "clean", full, FACTOR), error=error)
