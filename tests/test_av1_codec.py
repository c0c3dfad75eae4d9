"""AV1 as the coder of the low-res volume: files of one stream and of several, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import inrcodec
from inrcodec.format import container
from inrcodec.format.header import AV1, Header
from inrcodec.layers.base.av1 import codec
from inrcodec.layers.base.siren import companding

pytest.importorskip("av")

SHAPE = (9, 24, 40)  # low-res
CURVE = companding.curve(-0.5, -0.3)


def lowres() -> np.ndarray:
    """An ellipsoid of smooth texture in a flat background."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    inside = z**2 + (2 * y) ** 2 + (1.5 * x) ** 2 < 1
    return np.where(inside, 0.4 * np.sin(3 * x + 2 * z) * np.cos(4 * y), -1.0)


def file_of(slices: int = 0, nodes: companding.Nodes = (), factor: tuple[int, int, int] = (2, 3, 4)) -> bytes:
    """A file whose low-res volume is `lowres`."""
    sections = codec.encode(codec.to_codes(lowres(), nodes), slices, 80, 8)
    header = Header(
        shape=tuple(n * f - f + 1 for n, f in zip(SHAPE, factor, strict=True)),  # type: ignore[arg-type]
        dtype="int16",
        affine=np.eye(4),
        low=-1000.0,
        high=3000.0,
        coder=AV1,
        factor=factor,
        companding=nodes,
        av1_slices=slices,
        av1_flat=codec.flat_codes(-1.0, 0.03, nodes),
    )
    return container.pack([("HEAD", header.to_bytes()), *sections.items()])


@pytest.mark.parametrize("slices", [0, 4])
@pytest.mark.parametrize("nodes", [(), CURVE])
def test_the_low_res_volume_is_what_was_coded(slices: int, nodes: companding.Nodes) -> None:
    file = inrcodec.open(file_of(slices, nodes))
    values = file.lowres()
    assert values.shape == SHAPE and np.abs(values - lowres()).max() < 0.5
    assert set(np.unique(values)) <= set(codec.levels(nodes))
    assert file.read().shape == file.shape
