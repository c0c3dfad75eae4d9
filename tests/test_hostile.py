"""Damage and malice: every cut and every flipped byte of a file is seen, and costs next to nothing."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from header_cases import FULL, PLAIN
from hypothesis import given
from hypothesis import strategies as st

import inrcodec
from inrcodec.entropy import laplace, mask, padding
from inrcodec.errors import CorruptFile, InrvError, LimitExceeded, UnsupportedFile
from inrcodec.format import container


def golden() -> bytes:
    """A small file with every section, as an encoder would write it."""
    stream = laplace.encode_weights([np.arange(-9, 9, dtype=np.int32)], [100])
    return container.pack(
        [
            ("HEAD", FULL.to_bytes()),
            ("MASK", mask.encode_mask(np.ones((2, 3, 3), dtype=bool))),
            ("PADM", padding.encode_bits(np.zeros(FULL.shape, dtype=bool))),
            ("INDX", np.full(8, len(stream), dtype="<u4").tobytes()),
            ("WGHT", 8 * stream),
        ]
    )


GOLDEN = golden()
MAJOR, COUNT = range(8, 10), range(12, 16)


def test_golden_file_is_sound() -> None:
    header, sections = container.read(GOLDEN)
    assert header.to_bytes() == FULL.to_bytes() and list(sections) == ["HEAD", "MASK", "PADM", "INDX", "WGHT"]


@pytest.mark.usefixtures("frugal")
def test_every_truncation_is_seen() -> None:
    for length in range(len(GOLDEN)):
        with pytest.raises(CorruptFile):
            container.read(GOLDEN[:length])


@pytest.mark.usefixtures("frugal")
@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_every_flipped_byte_is_seen(flip: int) -> None:
    for offset in range(len(GOLDEN)):
        data = bytearray(GOLDEN)
        data[offset] ^= flip
        expected = (
            UnsupportedFile
            if offset in MAJOR
            else (CorruptFile, LimitExceeded)
            if offset in COUNT
            else CorruptFile
        )
        with pytest.raises(expected):
            container.read(bytes(data))


@pytest.mark.usefixtures("frugal")
@pytest.mark.parametrize("tail", [b"\0", b"\n", b"PK\5\6" + bytes(18), GOLDEN])
def test_every_extension_is_seen(tail: bytes) -> None:
    with pytest.raises(CorruptFile):
        container.read(GOLDEN + tail)


@pytest.mark.usefixtures("frugal")
def test_flipped_bytes_of_the_header_under_right_checksums_are_refused_or_mean_something() -> None:
    """What a checksum cannot see: the header's own rules must hold for whatever a forger writes."""
    rest = [(name, body) for name, body in container.unpack(GOLDEN).items() if name != "HEAD"]
    head = FULL.to_bytes()
    for offset in range(len(head)):
        for flip in (0x01, 0x40, 0xFF):
            data = bytearray(head)
            data[offset] ^= flip
            try:
                header, _ = container.read(container.pack([("HEAD", bytes(data)), *rest]))
            except (CorruptFile, UnsupportedFile, LimitExceeded):
                continue
            assert header.to_bytes() == bytes(data)


@given(st.binary(max_size=300), st.sampled_from(["", "magic", "header"]))
def test_no_bytes_do_anything_but_fail(data: bytes, prefix: str) -> None:
    if prefix == "magic":
        data = container.MAGIC + data
    if prefix == "header":
        data = container.pack([("HEAD", data), ("INDX", bytes(4)), ("WGHT", b"")])
    with pytest.raises(InrvError) as caught:
        container.read(data)
    assert caught.value.exit_code in (4, 5, 6)


@pytest.mark.usefixtures("frugal")
def test_few_bytes_that_claim_millions_of_weights_are_refused() -> None:
    header = replace(PLAIN, shape=(64, 64, 64), factor=(1, 1, 1), layers=16, width=1023)
    tile = bytes([192, 100]) * 34 + bytes([1]) * 100
    index = len(tile).to_bytes(4, "little")
    data = container.pack([("HEAD", header.to_bytes()), ("INDX", index), ("WGHT", tile)])
    with pytest.raises(CorruptFile, match="ends before its last weight"):
        inrcodec.open(data).lowres(threads=1)


@pytest.mark.usefixtures("frugal")
def test_low_res_volume_of_gigabytes_is_refused() -> None:
    header = replace(PLAIN, shape=(1024, 1024, 1024), factor=(1, 1, 1), layers=1, width=1)
    data = container.pack([("HEAD", header.to_bytes()), ("INDX", bytes(4)), ("WGHT", b"")])
    with pytest.raises(LimitExceeded, match="low-res voxels"):
        container.read(data)


def test_nothing_of_a_huge_claim_is_allocated(frugal: None) -> None:
    head = bytearray(container.pack([("HEAD", PLAIN.to_bytes()), ("INDX", bytes(4)), ("WGHT", b"")]))
    head[16:24] = (container.limits.FILE - 1).to_bytes(8, "little")

    class Endless:
        """Ten gigabytes that start like a file."""

        def read(self, size: int) -> bytes:
            taken, self.left = self.left[:size], self.left[size:]
            return bytes(taken)

        left = head

    with pytest.raises(CorruptFile):
        container.load(Endless())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def refined() -> bytes:
    """A small file with a refinement, with networks in front of it."""
    array = np.add.outer(np.arange(6) * 9, np.random.default_rng(0).integers(0, 50, (9, 11))).astype(np.int16)
    return inrcodec.encode(array, max_error=1, base="siren", steps=20, width=4, factor=2, tiles=(1, 1, 1))


@pytest.mark.usefixtures("frugal")
def test_every_cut_and_flipped_byte_of_a_refined_file_is_seen(refined: bytes) -> None:
    for place in range(len(refined)):
        flipped = bytearray(refined)
        flipped[place] ^= 0x41
        for damaged in (refined[:place], bytes(flipped)):
            with pytest.raises(InrvError):
                inrcodec.verify(damaged)


def test_a_damaged_refined_file_is_refused_or_decodes_alike(refined: bytes) -> None:
    """Sections that the refinement does not need are not read, so damage there changes nothing."""
    whole = inrcodec.decode(refined, threads=1)
    for place in range(0, len(refined), 3):
        flipped = bytearray(refined)
        flipped[place] ^= 0x41
        with suppress(InrvError):
            assert np.array_equal(inrcodec.decode(bytes(flipped), threads=1), whole)
        with pytest.raises(InrvError):
            inrcodec.decode(refined[:place], threads=1)


def test_parts_of_damaged_files_are_read_as_far_as_they_are_sound(refined: bytes) -> None:
    """Whatever the cut and the damage: an array of the shape, or an error of this package."""
    for place in range(0, len(refined), 7):
        flipped = bytearray(refined)
        flipped[place] ^= 0x41
        for data, most in ((refined[: place + 1], place + 1), (bytes(flipped), len(refined))):
            with suppress(InrvError):
                assert inrcodec.decode(data, max_bytes=most, threads=1).shape == (6, 9, 11)


def test_a_first_lattice_of_all_voxels_is_beyond_the_limits() -> None:
    header = replace(PLAIN, shape=(1, 100, 100), refine_steps=(1,), factor=(1, 1, 1))
    with pytest.raises(LimitExceeded, match="first lattice"):
        container.limits.check_header(header)
