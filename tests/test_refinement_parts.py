"""Refinements read in part: behind networks, by their first bytes, and brick by brick."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from math import prod
from threading import Lock
from time import sleep

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refined_volumes import part_of_a_head, some

import inrcodec
from inrcodec import api
from inrcodec.errors import CorruptFile, UsageError
from inrcodec.format import container
from inrcodec.layers.lattice import layer
from inrcodec.progress import shares
from inrcodec.volume.bricks import USUAL, Bricks


@pytest.fixture(scope="module")
def head():
    return part_of_a_head()


@pytest.fixture(scope="module")
def bounded():
    """A file whose voxels are off by 6 at most, behind networks; and its source."""
    array = some("int16", (16, 40, 36))
    return array, inrcodec.encode(array, max_error=600, base="siren", steps=200, factor=2, sr="lanczos")


# --- parts


def test_networks_stand_in_front_if_requested(bounded):
    array, blob = bounded
    _, sections = container.read(blob)
    assert list(sections) == ["HEAD", "INDX", "WGHT", "LIDX", "LATT"] and sections["WGHT"]
    full, base, preview = (inrcodec.decode(blob, quality=q) for q in ("full", "base", "preview"))
    errors = [np.abs(a.astype(float) - array).max() for a in (full, base)]
    assert errors[0] <= 600 and np.array_equal(base, preview)
    front = len(blob) - len(sections["LATT"])
    assert np.array_equal(inrcodec.decode(blob[:front], max_bytes=front), base)
    assert inrcodec.open(blob).lowres().shape == (8, 20, 18)


def test_more_bytes_are_nearer_and_all_are_everything(head):
    volume = head
    blob = inrcodec.encode(volume, lossless=True)
    errors = []
    for share in (0.02, 0.1, 0.3, 1.0):
        most = round(len(blob) * share)
        found = inrcodec.decode(blob[:most], max_bytes=most)
        assert np.array_equal(found, inrcodec.decode(blob, max_bytes=most))
        errors.append(float(np.square(found.astype(float) - volume.array).mean()))
    assert errors == sorted(errors, reverse=True) and errors[-1] == 0


def test_a_file_that_ends_early_is_corrupt_unless_only_its_beginning_is_read(tmp_path):
    path = tmp_path / "v.inrv"
    inrcodec.encode_file(some("int16", (12, 30, 30)), path, lossless=True)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptFile, match="ends after"):
        inrcodec.decode(path)
    assert inrcodec.decode(path, max_bytes=len(whole) // 2).shape == (12, 30, 30)
    assert inrcodec.decode(path, max_bytes=10**9).shape == (12, 30, 30)
    for few in (1, 20, 60, 200):
        with pytest.raises(UsageError, match="end within the header"):
            inrcodec.decode(path, max_bytes=few)
    with pytest.raises(UsageError, match="read more bytes"):
        inrcodec.decode(path, max_bytes=len(whole) - len(container.unpack(whole)["LATT"]))
    with pytest.raises(UsageError, match="max_bytes"):
        inrcodec.decode(path, max_bytes=0)
    with pytest.raises(UsageError, match="max_bytes: '64kb'"):
        inrcodec.decode(path, max_bytes="64kb")
    assert inrcodec.decode(path, max_bytes="1MB").shape == (12, 30, 30)


def test_damage_within_the_first_bytes_is_seen():
    blob = bytearray(inrcodec.encode(some("int16", (12, 30, 30)), lossless=True))
    blob[len(blob) // 2] ^= 1
    with pytest.raises(CorruptFile, match="checksum"):
        inrcodec.decode(bytes(blob))
    with pytest.raises(CorruptFile, match="checksum"):
        inrcodec.decode(bytes(blob), max_bytes=len(blob) - 1)


def test_a_file_without_networks_says_so():
    blob = inrcodec.encode(some("int16", (12, 30, 30)), lossless=True)
    with pytest.raises(UsageError, match="'full' or 'preview'"):
        inrcodec.decode(blob, quality="base")
    with pytest.raises(UsageError, match="no low-res volume"):
        inrcodec.decode(blob, lowres=True)
    assert api.open(blob).preview().dtype == np.uint8
    assert inrcodec.decode(blob, quality="preview").shape == (12, 30, 30)


def test_info_of_a_file_without_networks_reports_none(bounded):
    alone = inrcodec.info(inrcodec.encode(some("int16", (12, 30, 30)), lossless=True))
    assert alone["codec"].keys() == {"base", "refinement_steps", "refinement_filter", "brick"}
    assert alone["codec"]["base"] is None and alone["codec"]["brick"] == [12, 30, 30]
    assert alone["quality"]["psnr_lanczos"] is None
    behind = inrcodec.info(bounded[1])["codec"]
    assert behind["base"] == "siren" and behind["factor"] == [2, 2, 2] and behind["refinement_steps"]


def test_sections_and_header_agree_on_the_refinement(bounded):
    _, sections = container.read(bounded[1])
    for left in (("LIDX",), ("LATT",), ("LIDX", "LATT")):
        wrong = container.pack([(k, v) for k, v in sections.items() if k not in left])
        with pytest.raises(CorruptFile, match="refinement"):
            container.read(wrong)
    longer = container.pack(list({**sections, "LIDX": sections["LIDX"] + bytes(8)}.items()))
    with pytest.raises(CorruptFile, match="does not index"):
        container.read(longer)
    behind = container.pack(list({**sections, "LATT": sections["LATT"] + b"\0"}.items()))
    with pytest.raises(CorruptFile, match="differ in length"):
        container.read(behind)


# --- bricks


BRICKED = some("int16", (20, 27, 41))


@pytest.fixture(scope="module")
def bricks():
    """A file of 3 x 2 x 2 bricks."""
    return inrcodec.encode(BRICKED, lossless=True, brick=(8, 16, 32))


def ends_of(length):
    return st.tuples(st.integers(0, length), st.integers(0, length)).map(sorted)


@settings(max_examples=25)
@given(*map(ends_of, BRICKED.shape))
def test_any_box_is_what_the_whole_has_there(bricks, z, y, x):
    index = slice(*z), slice(*y), slice(*x)
    assert np.array_equal(inrcodec.open(bricks).read(index), BRICKED[index])


def test_a_box_is_the_same_whatever_was_read_before(bricks, monkeypatch):
    for kept in (0, 10_000, 1 << 26):
        monkeypatch.setattr(layer, "KEPT", kept)
        file = inrcodec.open(bricks)
        for z in (0, 19, 7, 8, 0, 12):
            assert np.array_equal(file.read((slice(z, z + 1), slice(3, 20, 4))), BRICKED[z : z + 1, 3:20:4])
        held = sum(size for _, size in file.decoder.refinement._decoded._kept.values())
        assert held <= kept and (held > 0) == (kept > 8192)


def test_parts_that_are_done_side_by_side_report_one_at_a_time():
    seen, inside = [], Lock()

    def progress(_, share):
        with_nobody = inside.acquire(blocking=False)
        sleep(0.002)
        seen.append(share if with_nobody else None)
        inside.release()

    report = shares(progress, "refine", [1, 2, 3, 4])
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda part: [report(part)(step / 5) for step in range(6)], range(4)))
    assert None not in seen and seen == sorted(seen) and seen[-1] == 1.0


def test_a_part_that_says_twice_that_it_is_done_counts_once():
    seen = []
    report = shares(lambda _, share: seen.append(share), "fit", [1, 3])
    for part, share in ((1, 1.0), (1, 1.0), (0, 0.5), (0, 1.0), (0, 1.0)):
        report(part)(share)
    assert seen == [0.75, 0.875, 1.0]


@pytest.mark.parametrize("shape", [(9, 16, 16), (9, 9, 9), (17, 10, 33), (8, 8, 12)])
@pytest.mark.parametrize("options", [{"lossless": True}, {"max_error": 5}])
def test_a_brick_at_an_end_may_be_too_thin_for_some_halvings(shape, options):
    array = some("int16", shape)
    back = inrcodec.decode(inrcodec.encode(array, brick=8, **options)).astype(int)
    assert np.abs(back - array).max() <= options.get("max_error", 0)


@pytest.mark.parametrize("options", [{"lossless": True}, {"max_error": 5}])
def test_threads_change_no_byte_of_bricks(options):
    blobs = [inrcodec.encode(BRICKED, brick=8, seed=1, threads=n, **options) for n in (1, 2, 5)]
    assert blobs[0] == blobs[1] == blobs[2]
    assert np.array_equal(*(inrcodec.decode(blobs[0], threads=n) for n in (1, 5)))


def test_a_damaged_brick_fails_alone(bricks):
    header, sections = container.read(bricks)
    streams, count = sections.chunks("LATT"), len(header.bricks)
    wrong = bytearray(bricks)
    wrong[len(bricks) - sum(s.length for s in streams[-count:]) + streams[-count].length // 2] ^= 1
    file = inrcodec.open(bytes(wrong))
    with pytest.raises(CorruptFile, match="checksum"):
        file.read(slice(0, 1))
    assert np.array_equal(file.read(slice(8, 20)), BRICKED[8:])
    with pytest.raises(CorruptFile, match="checksum"):
        file.verify()


def test_the_first_bytes_of_bricks_are_a_coarser_whole(bricks):
    most, errors = len(bricks), []
    for share in (0.3, 0.6, 0.9, 1.0):
        part = round(share * most)
        found = inrcodec.decode(bricks[:part], max_bytes=part)
        errors.append(float(np.square(found.astype(float) - BRICKED).mean()))
    assert errors == sorted(errors, reverse=True) and errors[-1] == 0


@pytest.mark.parametrize("brick", [4, 24, (8, 8), (8, 8, 12), "8", 8.0, 1 << 16])
def test_an_impossible_brick_is_refused(brick):
    with pytest.raises(UsageError, match="brick"):
        inrcodec.encode(BRICKED, lossless=True, brick=brick)


def test_bricks_are_for_promises():
    with pytest.raises(UsageError, match="brick"):
        inrcodec.encode(BRICKED, brick=8)


@given(st.tuples(*[st.integers(1, 700)] * 3))
def test_usual_bricks_are_large_and_cover_the_grid(shape):
    bricks = Bricks.of(shape)
    assert sum(prod(box.shape) for box in bricks) == prod(shape)
    assert prod(bricks.edges) <= 4 * prod(USUAL) and len(bricks) <= 8 * (1 + prod(shape) / prod(USUAL))
    boxes = list(bricks)
    assert all(bricks.meeting(boxes[k]) == [k] for k in (0, len(boxes) // 2, len(boxes) - 1))
