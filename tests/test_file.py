"""A file's volume, in parts: any box has the bits of the whole, and costs no bytes and no work beyond it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

import inrcodec
from inrcodec.errors import CorruptFile, InputError, UsageError
from inrcodec.file import InrvFile, decoder
from inrcodec.format import container
from inrcodec.format.header import Header
from inrcodec.layers.base.siren import siren
from inrcodec.layers.decode_options import DecodeOptions
from inrcodec.layers.superres import registry, upsampler
from inrcodec.volume.box import Box, bounds, ranges_of

VECTORS = sorted((Path(__file__).parent.parent / "spec" / "vectors").glob("*/input.inrv"))
NAMES = [path.parent.name for path in VECTORS]
ALL = slice(None)
BOXES = {
    "all": None,
    "a slice": slice(1, 2),
    "a corner": (slice(0, 3), slice(0, 4), slice(0, 5)),
    "an inner box": (slice(1, 3), slice(3, 7), slice(2, 9)),
    "the other corner": (slice(-2, None), slice(-3, None), slice(-1, None)),
    "a column": (ALL, slice(4, 5), slice(5, 6)),
    "steps": (slice(0, None, 2), slice(1, None, 3), slice(2, None, 4)),
    "backwards": (slice(None, None, -1), slice(6, 1, -2), ALL),
    "nothing": (ALL, slice(3, 3)),
    "beyond the edge": (slice(0, 10**6), slice(10**6, None)),
}
THREADS = DecodeOptions(threads=2)


def vector(name: str) -> bytes:
    return (VECTORS[0].parent.parent / name / "input.inrv").read_bytes()


def naming_a_model(shape: tuple[int, int, int]) -> tuple[Header, container.Sections]:
    """A file of several tiles whose header names a super-resolution model."""
    z, y, x = np.ogrid[tuple(slice(-1, 1, complex(0, n)) for n in shape)]
    array = (1000 * np.exp(-2 * (z**2 + y**2 + x**2)) - 500).astype(np.int16)
    knobs = {"factor": 4, "tiles": (1, 2, 2), "width": 6, "steps": 5, "threads": 1, "sr": "lanczos"}
    header, sections = container.read(inrcodec.encode(array, **knobs))
    model = registry.manifest("ct-3d-x4")
    fields = {"sr": model.id, "sr_sha256": bytes.fromhex(model.sha256), "sr_window": model.window}
    return replace(header, **fields), sections


@pytest.fixture(scope="module")
def with_model() -> InrvFile:
    """Of several layers of blocks."""
    return InrvFile.from_sections(*naming_a_model((70, 136, 140)))


# --- boxes


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("name", NAMES)
def test_any_box_has_the_bits_of_the_whole(small_model: None, name: str, box: str) -> None:
    opened = inrcodec.open(vector(name))
    options = replace(THREADS, sr="lanczos")
    index = BOXES[box] if isinstance(BOXES[box], tuple) else (BOXES[box] or ALL,)
    whole = opened.volume(options=options).array
    part = opened.read(BOXES[box], options=options)
    assert part.dtype == whole.dtype and np.array_equal(part, whole[index], equal_nan=True)
    before = InrvFile.from_sections(replace(opened.header, refine_filter=()), opened.sections).read()
    for number, level in enumerate(opened.levels):
        z, y, x = level.factor
        coarse = opened.lowres_volume().array if level.kind == "lowres" else before[::z, ::y, ::x]
        if number:
            assert level.shape == coarse.shape
            assert np.array_equal(opened.read(BOXES[box], number), coarse[index], equal_nan=True)
    if opened.decoder.base is not None:
        assert np.array_equal(opened.lowres(BOXES[box]), opened.lowres()[index])


@pytest.mark.parametrize("model", [None, "lanczos"])
@pytest.mark.parametrize(
    "box",
    [
        slice(33, 34),
        (slice(3, 66, 7), slice(60, 70), slice(64, 65)),
        (ALL, slice(127, 136), slice(0, 3)),
        (slice(63, 65), slice(100, 101)),
    ],
)
def test_boxes_of_a_file_with_a_model(with_model: InrvFile, box: slice, model: str | None) -> None:
    options = replace(THREADS, sr=model)
    index = box if isinstance(box, tuple) else (box,)
    assert np.array_equal(with_model.read(box, options=options), with_model.read(options=options)[index])


def test_a_box_costs_the_tiles_and_blocks_that_it_needs(
    with_model: InrvFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"tiles": 0, "blocks": 0}
    decode, block = siren.decode, upsampler.Upsampler._block

    def counted(kind: str) -> None:
        counts[kind] += 1

    monkeypatch.setattr(siren, "decode", lambda *args: counted("tiles") or decode(*args))
    monkeypatch.setattr(
        upsampler.Upsampler, "_block", lambda up, place: counted("blocks") or block(up, place)
    )
    corner = (slice(0, 8), slice(0, 8), slice(0, 8))
    for box, options, tiles, blocks in (
        (slice(0, 8), THREADS, 4, 4),
        (corner, THREADS, 4, 1),  # the block's halo reaches into the other tiles
        (corner, replace(THREADS, sr="lanczos"), 1, 0),
    ):
        counts |= {"tiles": 0, "blocks": 0}
        fresh = InrvFile.from_sections(with_model.header, with_model.sections)
        fresh.read(box, options=options)
        assert counts == {"tiles": tiles, "blocks": blocks}
        fresh.read(box, options=options)
        assert counts["blocks"] == blocks  # remembered


@pytest.mark.parametrize("name", ["several-tiles", "lossless"])
def test_what_was_read_before_and_beside_changes_nothing(name: str) -> None:
    fresh, used = inrcodec.open(vector(name)), inrcodec.open(vector(name))
    boxes = [slice(k, k + 1) for k in range(fresh.shape[0])]
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda box: used.read(box, options=THREADS), boxes))
    assert np.array_equal(np.concatenate(parts), fresh.read())


def test_slabs_of_a_box_are_its_slices_in_order() -> None:
    opened = inrcodec.open(vector("several-tiles"))
    box = Box((1, 2, 3), (opened.shape[0], 9, 8))
    slabs = list(opened.slabs(options=THREADS, box=box))
    assert slabs[0].start == 1 and slabs[-1].stop == opened.shape[0]
    assert np.array_equal(np.concatenate([slab.stored for slab in slabs]), opened.read(box))
    with pytest.raises(UsageError, match="steps"):
        list(opened.slabs(box=slice(0, 4, 2)))


@pytest.mark.parametrize(
    ("box", "words"),
    [
        (Box((0, 0, 0), (1, 1, 10**6)), "beyond"),
        (Box((-1, 0, 0), (1, 1, 1)), "beyond"),
        (3, "slices"),
        ((3,), "slices"),
        ((ALL,) * 4, "slices"),
        ("z", "slices"),
    ],
)
def test_what_is_not_a_box_of_the_volume_is_refused(box: object, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        inrcodec.open(vector("one-tile")).read(box)  # type: ignore[arg-type]


def test_bounds_of_ranges_are_the_smallest_box_around_them() -> None:
    assert bounds(ranges_of((slice(8, 1, -3), slice(1, 6, 2)), (9, 9, 9))) == Box((2, 1, 0), (9, 6, 9))
    assert bounds(ranges_of(slice(0), (9, 9, 9))) is None


# --- levels and options


def test_low_res_options_are_honoured() -> None:
    opened = inrcodec.open(vector("several-tiles"))
    low = DecodeOptions(lowres=True)
    volume = opened.volume(options=low)
    assert volume.shape == opened.lowres_shape and volume.spacing != opened.spacing
    assert np.array_equal(volume.array, opened.lowres_volume().array)
    assert np.array_equal(opened.read(options=low), volume.array)
    assert np.array_equal(np.concatenate([slab.stored for slab in opened.slabs(options=low)]), volume.array)


def test_a_file_without_networks_has_no_low_res_volume() -> None:
    opened = inrcodec.open(vector("lossless"))
    low = DecodeOptions(lowres=True)
    for ask in (
        opened.lowres,
        opened.lowres_volume,
        lambda: opened.read(lowres=True),
        lambda: opened.volume(options=low),
    ):
        with pytest.raises(UsageError, match="no low-res volume: use quality 'full' or 'preview'"):
            ask()
    with pytest.raises(UsageError, match="no low-res volume"):
        opened.decoder.check_options(DecodeOptions(quality="base"))


@pytest.mark.parametrize("number", [2, -1, True, 1.0, "lowres"])
def test_a_level_that_is_not_there_is_refused(number: object) -> None:
    with pytest.raises(
        UsageError, match=f"{number!r} is not a level: this file has levels 0 to 1, 0 is full"
    ):
        inrcodec.open(vector("one-tile")).read(level=number)  # type: ignore[arg-type]


def test_what_the_header_says_is_there_at_once() -> None:
    opened = inrcodec.open(vector("anisotropic"))
    volume = opened.volume()
    assert (opened.shape, opened.spacing, opened.dtype, opened.modality) == (
        volume.shape, volume.spacing, volume.array.dtype, volume.modality,
    )  # fmt: skip
    assert np.array_equal(opened.affine, volume.affine)
    assert opened.file_bytes == len(vector("anisotropic"))


# --- bytes


class Counted(io.BytesIO):
    """A file object that knows which bytes were requested."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.seen: set[int] = set()

    def read(self, size: int | None = -1) -> bytes:
        start = self.tell()
        found = super().read(size)
        self.seen |= set(range(start, start + len(found)))
        return found


def places(data: bytes) -> dict[str, range]:
    """Where each section lies; "table" is what precedes them."""
    bodies = container.unpack(data)
    start = container.table_size(len(bodies))
    found = {"table": range(start)}
    for name, body in bodies.items():
        found[name] = range(start, start + len(body))
        start += len(body)
    return found


def touched(data: bytes, seen: set[int]) -> set[str]:
    return {name for name, place in places(data).items() if seen & set(place)}


@pytest.mark.parametrize("name", NAMES)
def test_opening_and_info_read_the_table_and_the_header(name: str) -> None:
    data = vector(name)
    for ask in (inrcodec.open, inrcodec.info):
        stream = Counted(data)
        ask(stream)
        place = places(data)
        assert stream.seen == set(place["table"]) | set(place["HEAD"])


READS = {
    # a file, what is read of it, and sections that this does not need
    "low-res": ("padding-mask", lambda f: f.lowres(), {"PADM"}),
    "lossless": ("bounded-behind-networks", lambda f: f.read(), {"MASK", "INDX", "WGHT"}),
    "networks in front": (
        "bounded-behind-networks",
        lambda f: f.read(options=DecodeOptions(quality="base")),
        {"LIDX", "LATT"},
    ),
    "preview": ("bounded-behind-networks", lambda f: f.preview(), {"LIDX", "LATT"}),
}


@pytest.mark.parametrize("case", READS)
def test_sections_are_read_when_they_are_needed(case: str) -> None:
    name, read, spared = READS[case]
    data = vector(name)
    stream = Counted(data)
    read(inrcodec.open(stream))
    assert spared & set(places(data)) and not touched(data, stream.seen) & spared


def test_a_preview_of_a_lossless_file_reads_its_first_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "PREVIEW_VOXELS", 200)
    data = vector("lossless")
    stream = Counted(data)
    inrcodec.open(stream).preview()
    latt = set(places(data)["LATT"])
    assert 0 < len(stream.seen & latt) < 0.7 * len(latt)


@pytest.mark.parametrize("voxels", [100, 200, 400, 800, 1600])
@pytest.mark.parametrize("shape", [(12, 30, 30), (12, 30, 60), (1, 33, 33)])
def test_a_preview_of_a_lossless_file_has_the_proportions_of_a_slice(
    shape: tuple[int, int, int], voxels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder, "PREVIEW_VOXELS", voxels)
    volume = np.random.default_rng(0).integers(0, 100, shape).astype(np.int16)
    height, width = inrcodec.open(inrcodec.encode(volume, lossless=True)).preview().shape
    assert abs(width - height * shape[2] / shape[1]) <= 1  # pixel


def test_a_box_reads_the_streams_of_its_bricks_and_no_others() -> None:
    data = vector("bricks")
    header, sections = container.read(data)
    bricks, streams = header.bricks, sections.chunks("LATT")
    start, padding = places(data)["LATT"].start, set(places(data)["PIDX"]) | set(places(data)["PADM"])
    for index, box in enumerate(bricks):
        stream = Counted(data)
        opened = inrcodec.open(stream)
        before = set(stream.seen)
        opened.read(box)
        mine = {start + s.start + k for s in streams[index :: len(bricks)] for k in range(s.length)}
        assert stream.seen - before - padding == mine | set(places(data)["LIDX"])


def test_damage_is_seen_where_it_is_read_and_nowhere_else() -> None:
    data = vector("bounded-behind-networks")
    damaged = bytearray(data)
    damaged[places(data)["WGHT"].start] ^= 1
    opened = inrcodec.open(bytes(damaged))
    assert np.array_equal(opened.read(), inrcodec.open(data).read())
    for ask in (opened.lowres, opened.preview, opened.verify):
        with pytest.raises(CorruptFile, match="WGHT"):
            ask()


# --- sources


def test_a_path_is_not_held_open(tmp_path: Path) -> None:
    path = tmp_path / "a.inrv"
    path.write_bytes(vector("one-tile"))
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else None
    with inrcodec.open(path) as opened:
        opened.lowres()
        if before is not None:
            assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(UsageError, match="closed"):
        opened.sections["WGHT"]


def test_a_file_that_changes_while_it_is_open_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.inrv"
    path.write_bytes(vector("one-tile"))
    opened = inrcodec.open(path)
    path.write_bytes(vector("several-tiles"))
    with pytest.raises(InputError, match=r"a\.inrv has changed since it was opened, open it again"):
        opened.lowres()
    path.unlink()
    with pytest.raises(InputError, match="cannot read"):
        opened.lowres()


def test_a_stream_is_read_from_its_position(tmp_path: Path) -> None:
    stream = io.BytesIO(b"before" + vector("one-tile"))
    stream.seek(6)
    assert np.array_equal(inrcodec.open(stream).read(), inrcodec.decode(vector("one-tile")))
    closed = io.BytesIO(vector("one-tile"))
    opened = inrcodec.open(closed)
    closed.close()
    with pytest.raises(InputError, match="closed"):
        opened.read()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("tail", [b"", b"0"])
def test_a_named_pipe_is_read_whole(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = Thread(target=lambda: path.write_bytes(vector("lossless") + tail))
    writer.start()
    if tail:
        with pytest.raises(CorruptFile, match="goes on"):
            inrcodec.open(path)
    else:
        assert np.array_equal(inrcodec.open(path).read(), inrcodec.decode(vector("lossless")))
    writer.join()


def test_files_decode_where_torch_is_not_installed(small_model: None) -> None:
    """All vectors, by Lanczos alone; also, the decoder imports nothing that fits or trains."""
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "import inrcodec\n"
        "from inrcodec.layers.decode_options import DecodeOptions\n"
        "for path in sys.argv[1:]:\n"
        "    opened = inrcodec.open(path)\n"
        "    opened.volume(options=DecodeOptions(sr='lanczos')), opened.preview()\n"
        "print('done')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, VECTORS)], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "done", done.stderr
