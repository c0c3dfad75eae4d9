"""Chunks: a part of a volume needs a part of a file, and damage ends where a chunk ends."""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b

import numpy as np
import pytest
from header_cases import FULL, PLAIN
from hypothesis import given
from hypothesis import strategies as st
from test_file import Counted, places, vector

import inrcodec
from inrcodec.errors import CorruptFile, LimitExceeded
from inrcodec.file import InrvFile
from inrcodec.format import container, limits, sections
from inrcodec.format.digest import Digest, combined, digest_of, of_brick
from inrcodec.format.sections import CHUNKED, WHOLE, Sections, index_of
from inrcodec.format.spool import Spool
from inrcodec.layers import padding
from inrcodec.layers.padding import Padding
from inrcodec.volume import arrays
from inrcodec.volume.bricks import Bricks

SHAPE = (7, 9, 10)
edges = st.tuples(*(st.integers(1, n) for n in SHAPE))
bricks = edges.map(lambda edge: Bricks(SHAPE, edge))
bodies = st.lists(st.binary(max_size=9), min_size=1, max_size=5)


# --- rows of an index


@given(bodies, st.sampled_from(sorted(CHUNKED)))
def test_chunks_come_back(chunks: list[bytes], name: str) -> None:
    made = Sections({name: b"".join(chunks), CHUNKED[name]: index_of(name, chunks)})
    assert made.bodies(name, made.chunks(name)) == chunks


@pytest.mark.parametrize(("size", "row"), [(WHOLE, 4), (WHOLE + 1, 8)])
def test_weights_that_are_read_whole_have_the_checksum_of_their_section(size: int, row: int) -> None:
    assert len(index_of("WGHT", [bytes(size), b""])) == 2 * row


@given(bodies, st.data())
def test_an_index_names_every_byte_once(chunks: list[bytes], data: st.DataObject) -> None:
    index = index_of("LATT", chunks)
    other = data.draw(st.integers(0, 99).filter(lambda n: n != len(chunks[0])))
    wrong = Sections({"LATT": b"".join(chunks), "LIDX": other.to_bytes(4, "little") + index[4:]})
    with pytest.raises(CorruptFile, match="differ in length"):
        wrong.chunks("LATT")
    with pytest.raises(CorruptFile, match="no whole rows"):
        Sections({"LATT": b"".join(chunks), "LIDX": index + b"\0"}).chunks("LATT")


def test_a_damaged_chunk_is_seen_and_the_others_are_served() -> None:
    chunks = [b"one", b"two", b"three"]
    made = Sections({"LATT": b"oneTwothree", "LIDX": index_of("LATT", chunks)})
    first, second, third = made.chunks("LATT")
    assert made.bodies("LATT", [first, third]) == [b"one", b"three"]
    with pytest.raises(CorruptFile, match="chunk of section LATT has a wrong checksum"):
        made.bodies("LATT", [second])


def test_a_chunk_has_a_ceiling_in_both_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SECTION", 4)
    long = Sections({"LATT": b"onethree", "LIDX": index_of("LATT", [b"one", b"three"])})
    with pytest.raises(LimitExceeded, match="length of a chunk is 5"):
        long.chunks("LATT")
    spool = Spool(2)
    spool.add([b"one", b"four"])
    with pytest.raises(LimitExceeded, match="choose smaller bricks"):
        spool.add([b"one", b"three"])


# --- tiles


def test_a_box_reads_the_chunks_of_its_tiles_and_no_others() -> None:
    data = vector("many-weights")
    whole, base = inrcodec.open(data).lowres(threads=1), inrcodec.open(data).decoder.base
    assert isinstance(base, inrcodec.layers.base.siren.codec.SirenTiles)
    start, chunks = places(data)["WGHT"].start, base.chunks
    for tile, box in enumerate(base.boxes):
        stream = Counted(data)
        opened = inrcodec.open(stream)
        assert np.array_equal(opened.lowres(box, threads=1), whole[box.slices])
        mine = set(range(start + chunks[tile].start, start + chunks[tile].start + chunks[tile].length))
        assert stream.seen & set(places(data)["WGHT"]) == mine


def test_damage_of_a_tile_leaves_the_others() -> None:
    data = bytearray(vector("many-weights"))
    base = inrcodec.open(bytes(data)).decoder.base
    assert isinstance(base, inrcodec.layers.base.siren.codec.SirenTiles)
    data[places(bytes(data))["WGHT"].start + base.chunks[-1].start] ^= 1
    damaged = inrcodec.open(bytes(data))
    damaged.lowres(base.boxes[0], threads=1)
    with pytest.raises(CorruptFile, match="WGHT"):
        damaged.lowres(base.boxes[-1], threads=1)


# --- padding


@given(bricks, st.integers(0, 2**32 - 1), st.data())
def test_padding_in_bricks_is_the_padding_of_the_volume(grid: Bricks, seed: int, data: st.DataObject) -> None:
    array = np.random.default_rng(seed).integers(0, 3, SHAPE)
    array[:, : data.draw(st.integers(0, 9))] = 5  # bricks without any
    header = replace(PLAIN, shape=SHAPE, brick=() if len(grid) == 1 else grid.edges, padding=0.0)
    found = Padding.of(header, Sections(padding.encode_all(array, 0.0, grid)))
    if found is None:
        assert (array != 0).all()
        return
    z = data.draw(st.integers(0, SHAPE[0] - 1))
    rows, columns = (slice(*sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2)))) for n in SHAPE[1:])
    for step in (1, 2, 3):
        parts = slice(rows.start, rows.stop, step), slice(columns.start, columns.stop, step)
        assert np.array_equal(found.part(z, *parts), array[z][parts] == 0)


def test_few_decoded_masks_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(padding, "KEPT", 0)
    array, grid = np.zeros(SHAPE, np.int16), Bricks(SHAPE, (2, 4, 4))
    header = replace(PLAIN, shape=SHAPE, brick=grid.edges, padding=0.0)
    found = Padding(header, Sections(padding.encode_all(array, 0.0, grid)))
    for z in range(SHAPE[0]):
        assert found.part(z, slice(0, 9), slice(0, 10)).all()
        assert len(found._kept) <= 9  # the bricks of a slice


def test_the_index_of_masks_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read, seen = Sections.chunks, []
    monkeypatch.setattr(Sections, "chunks", lambda self, name: (seen.append(name), read(self, name))[1])
    array, grid = np.zeros(SHAPE, np.int16), Bricks(SHAPE, (2, 4, 4))
    header = replace(PLAIN, shape=SHAPE, brick=grid.edges, padding=0.0)
    found = Padding(header, Sections(padding.encode_all(array, 0.0, grid)))
    for z in range(SHAPE[0]):
        found.part(z, slice(0, 9), slice(0, 10))
    assert seen == ["PADM"]


def test_a_single_mask_is_not_empty() -> None:
    with pytest.raises(CorruptFile, match="empty"):
        Padding(FULL, Sections({"PADM": b""})).part(0, slice(0, 1), slice(0, 1))


# --- the digest


@given(bricks, st.lists(st.integers(1, 4), min_size=7, max_size=7))
def test_the_digest_is_that_of_the_bricks_whatever_the_slabs(grid: Bricks, depths: list[int]) -> None:
    array = np.arange(np.prod(SHAPE), dtype=">i4").reshape(SHAPE)
    each = [blake2b(array[b.slices].astype("<i4").tobytes(), digest_size=16).digest() for b in grid]
    expected = blake2b(b"".join(each), digest_size=16).digest()
    assert digest_of(array, grid) == expected == combined(of_brick(array[b.slices]) for b in grid)
    digest, start = Digest(grid), 0
    for depth in depths:
        digest.add(array[start : start + depth])
        start += depth
    assert combined(digest.bricks) == combined(digest.bricks) == expected


# --- what it costs


def test_the_cost_is_known_from_the_header() -> None:
    lossless, networks = (inrcodec.info(vector(name))["cost"] for name in ("bricks", "many-weights"))
    assert lossless["volume_bytes"] == 2 * 8 * 24 * 28 and lossless["brick_bytes"] == 4 * 8 * 16 * 8
    assert lossless["multiply_adds"] == lossless["lowres_bytes"] == lossless["superres_multiply_adds"] == 0
    assert networks["multiply_adds"] == 24 * 48 * 56 * limits.network_weights(3, 64)
    assert networks["brick_bytes"] == 0 and networks["lowres_bytes"] == 8 * 24 * 48 * 56
    named = inrcodec.info(vector("model-named"))["cost"]["superres_multiply_adds"]
    assert named is not None and named > 4 * 12 * 14


def test_the_cost_of_a_model_that_is_not_here_is_not_known() -> None:
    header, parts = container.read(vector("model-named"))
    assert (
        InrvFile.from_sections(replace(header, sr="mr-9"), parts).facts["cost"]["superres_multiply_adds"]
        is None
    )


def test_a_volume_that_memory_does_not_hold_is_refused_and_a_box_of_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(LimitExceeded, match="read smaller boxes, or decode to a file"):
        arrays.empty((1 << 20, 1 << 20, 1 << 10), np.int16)
    opened = inrcodec.open(vector("bricks"))
    pages = {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": 4096}
    monkeypatch.setattr(arrays.os, "sysconf", pages.get)
    with pytest.raises(LimitExceeded):
        opened.read()
    assert opened.read(slice(0, 1)).shape == (1, 24, 28)


def test_sections_of_chunks_are_all_that_have_an_index() -> None:
    assert set(CHUNKED) | set(CHUNKED.values()) <= set(container.KNOWN) and sections.ROW.size == 8
