"""Claims: what a file says of its size costs nothing until it is true."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

import inrcodec
from inrcodec.errors import CorruptFile, InrvError
from inrcodec.format import container, digest
from inrcodec.format.digest import digest_of
from inrcodec.format.header import Header
from inrcodec.format.sections import ROW, Chunks
from inrcodec.layers.base.latent.models import manifest
from inrcodec.volume.box import Box
from inrcodec.volume.bricks import Bricks

PLAIN = Header(shape=(8, 8, 8), dtype="int16", affine=np.eye(4), low=0, high=9, layers=1, width=1)


def peak(work: Callable[[], object]) -> int:
    """Bytes that are taken at most."""
    tracemalloc.start()
    work()
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


def test_an_index_of_millions_of_chunks_takes_a_few_times_its_bytes() -> None:
    count = 1 << 20
    index = ROW.pack(5, 0) * count
    assert peak(lambda: Chunks(index, ROW, 5 * count)) < 4 * len(index)
    chunks = Chunks(index, ROW, 5 * count - 1)
    assert len(chunks) == count - 1 and chunks[-1] == (5 * (count - 2), 5, 0)


def test_verifying_holds_no_more_digests_than_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hostile file has a brick for each voxel of a layer."""
    bricks = Bricks((2, 32, 32), (2, 1, 1))
    plane = np.arange(32 * 32, dtype=np.int16).reshape(1, 32, 32)

    def slabs(box: Box) -> Iterator[np.ndarray]:
        for _ in range(2):
            yield plane[:, box.low[1] : box.high[1]]

    whole = digest_of(np.concatenate([plane, plane]), bricks)
    found, values = [], []
    for most in (len(bricks), 64):
        monkeypatch.setattr(digest, "MOST", most)
        found.append(peak(lambda: values.append(digest.digest_of_parts(bricks, slabs))))
    assert found[1] < found[0] / 8 and values == [whole, whole]


def test_networks_of_latents_run_no_further_than_their_stream(small_model: None) -> None:
    """Millions of low-res voxels are claimed, and the stream ends with the first of them."""
    card = manifest("small-latent")
    made = replace(PLAIN, shape=(256, 256, 256), coder="latent", layers=0, width=0)
    made = replace(made, latent_model=card.id, latent_sha256=bytes.fromhex(card.sha256))
    stream = bytes(4) + (1 << 32).to_bytes(6, "little") + bytes(4)
    opened = inrcodec.open(container.pack([("HEAD", made.to_bytes()), ("LATG", stream)]))
    opened.decoder.require_base().model  # noqa: B018, it is read

    def refused() -> None:
        with pytest.raises(CorruptFile, match="ends before"):
            opened.lowres(threads=1)

    assert peak(refused) < made.shape[0] * made.shape[1] * made.shape[2]


def test_voxels_that_are_claimed_are_not_allocated() -> None:
    header = replace(PLAIN, shape=(4096, 4096, 4096), brick=(64, 64, 64), coder="none", layers=0, width=0)
    header = replace(header, refine_axes=(0, 1, 2) * 4, refine_steps=(1,) * 13, bound=0.0)
    count = len(header.bricks) * 13
    data = container.pack([("HEAD", header.to_bytes()), ("LIDX", ROW.pack(0, 0) * count), ("LATT", b"")])
    box = (slice(0, 1), slice(0, 1), slice(0, 1))

    def read() -> None:
        with pytest.raises(CorruptFile):
            inrcodec.open(data).read(box)

    assert peak(read) < 10 * len(data) + (64 << 20)


def calls(work: Callable[[], object]) -> int:
    """Calls of functions of Python and C."""
    count = 0

    def count_one(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(count_one)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("kind", ["tiles", "slices", "facts"])
def test_twice_the_header_is_twice_the_work(kind: str) -> None:
    def opened(size: int) -> None:
        wide = replace(PLAIN, shape=(2 * size, 8, 8))
        if kind == "tiles":
            header = replace(wide, tiles=(size, 1, 1), cuts=tuple(range(1, size)))
        elif kind == "slices":
            scales = tuple((1.0 + k, 0.0) for k in range(2 * size))
            header = replace(wide, slice_rescale=scales, bound=0.0, refine_steps=(1,), coder="none")
            header = replace(header, layers=0, width=0, shape=(2 * size, 1, 1))
        else:
            header = replace(wide, description={f"fact {k}": k for k in range(size // 64)})
        data = container.pack([("HEAD", header.to_bytes())])
        with pytest.raises(InrvError):  # the other sections are not there
            inrcodec.open(data)

    opened(64)  # imports
    assert calls(lambda: opened(4096)) < 2.5 * calls(lambda: opened(2048))
