"""A file as an array and as a pyramid: indices, millimetres, levels, and the bytes that are read."""

from __future__ import annotations

import pickle
from dataclasses import replace
from io import BytesIO
from itertools import pairwise, product
from math import prod

import numpy as np
import pytest
from bricked_files import ALL, ARRAY, bricked, vector
from hypothesis import given, settings
from hypothesis import strategies as st

import inrcodec
from inrcodec.errors import CorruptFile, UsageError
from inrcodec.file import InrvFile
from inrcodec.format import container, sections
from inrcodec.volume.affine import coarser
from inrcodec.volume.box import Box


@pytest.fixture(scope="module")
def blob() -> bytes:
    return bricked()


# --- as an array


INDICES = [
    3,
    -1,
    np.int64(2),
    (3, 4, 5),
    ...,
    (..., 5),
    (2, ..., slice(1, 20, 7)),
    (slice(None, None, -2), 4),
    (slice(5, 2), ...),
    (),
    (slice(1, 3), slice(2, 4), slice(3, 5), ...),
]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_an_index_gives_what_numpy_gives(blob: bytes, index: object) -> None:
    file = inrcodec.open(blob)
    expected = file.read()[index]
    found = file[index]
    assert found.shape == expected.shape and found.dtype == expected.dtype
    assert np.array_equal(found, expected)


REFUSED = [None, (None, 1), True, [1, 2], np.array([1, 2]), np.ones(12, bool), 1.5, "z", (ALL, ..., ...)]


@pytest.mark.parametrize("index", REFUSED, ids=str)
def test_other_indices_are_refused_by_name(blob: bytes, index: object) -> None:
    with pytest.raises(UsageError, match=r"new axis|type|indices"):
        inrcodec.open(blob)[index]  # type: ignore[index]


@pytest.mark.parametrize("index", [12, -13, (0, 24), (0, 0, 0, 0)])
def test_an_integer_beyond_an_axis_is_an_index_error(blob: bytes, index: object) -> None:
    with pytest.raises(IndexError) as caught:
        inrcodec.open(blob)[index]  # type: ignore[index]
    assert isinstance(caught.value, UsageError)


def test_a_file_is_an_array_for_numpy(blob: bytes) -> None:
    file = inrcodec.open(blob)
    whole = np.asarray(file)
    assert (file.shape, file.dtype, file.ndim) == (whole.shape, whole.dtype, whole.ndim)
    assert (file.size, file.nbytes, len(file)) == (whole.size, whole.nbytes, len(whole))
    assert np.array_equal(whole, file.read()) and np.array_equal(np.stack(list(file)), whole)
    assert np.asarray(file, np.float32).dtype == np.float32
    assert np.array(file, copy=True).flags.owndata and whole.flags.writeable
    with pytest.raises(ValueError, match="makes a copy"):
        np.asarray(file, copy=False) if np.__version__ >= "2" else file.__array__(copy=False)


def test_an_image_has_one_slice() -> None:
    file = inrcodec.open(vector("image-2d"))
    assert file.ndim == 3 and len(file) == 1
    assert np.array_equal(file[0], inrcodec.decode(vector("image-2d")))


def test_dask_takes_a_file_for_an_array(blob: bytes) -> None:
    dask = pytest.importorskip("dask.array")
    file = inrcodec.open(blob)
    lazy = dask.from_array(file, chunks=(8, 16, 16))
    assert np.array_equal(lazy[3:11:3, 20, ::-5].compute(scheduler="threads"), file.read()[3:11:3, 20, ::-5])


# --- in millimetres


def cells_met(affine: np.ndarray, shape: tuple[int, int, int], low: np.ndarray, high: np.ndarray) -> Box:
    """The smallest box around eight corners, by looking at each voxel."""
    inverse = np.linalg.inv(affine)
    corners = np.array([[*c, 1] for c in product(*zip(low, high, strict=True))]) @ inverse.T
    first, last = corners[:, 2::-1].min(0), corners[:, 2::-1].max(0)
    spans = []
    for a, b, n in zip(first, last, shape, strict=True):
        met = [k for k in range(n) if k + 0.5 > a and k - 0.5 < b]
        spans.append((met[0], met[-1] + 1))
    return Box(tuple(s[0] for s in spans), tuple(s[1] for s in spans))  # type: ignore[arg-type]


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_a_box_in_millimetres_holds_its_corners_and_no_more(blob: bytes, data: st.DataObject) -> None:
    file = inrcodec.open(blob)
    inside = [data.draw(st.floats(0.1, n - 1.1)) for n in file.shape[::-1]]
    centre = file.affine[:3, :3] @ inside + file.affine[:3, 3]
    reach = np.array([data.draw(st.floats(0.05, 15)) for _ in range(3)])
    box = file.box_mm(centre - reach, centre + reach)
    assert box == cells_met(file.affine, file.shape, centre - reach, centre + reach)
    assert box == file.box_mm(centre + reach, centre - reach)


def test_a_box_in_millimetres_counts_voxels_of_its_level() -> None:
    volume = inrcodec.Volume.from_array(ARRAY, spacing=(2, 1, 1))
    file = inrcodec.open(inrcodec.encode(volume, lossless=True))
    for number, level in enumerate(file.levels):
        point = level.affine @ [1, 2, 1, 1]
        low, high = point[:3] - 0.1, point[:3] + 0.1
        assert file.box_mm(low, high, number) == Box((1, 2, 1), (2, 3, 2)), level
        if min(level.shape) <= 3:
            break
    assert file.box_mm((0, 0, 0), (0, 0, 0)) == Box((0, 0, 0), (1, 1, 1))


def test_what_lies_outside_or_is_no_cuboid_is_refused(blob: bytes) -> None:
    file = inrcodec.open(blob)
    with pytest.raises(UsageError, match="outside the volume"):
        file.box_mm((900, 900, 900), (901, 901, 901))
    for low in ("here", (1, 2), (1, 2, np.nan), None):
        with pytest.raises(UsageError, match="corners"):
            file.box_mm(low, (0, 0, 0))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="not a level"):
        file.box_mm((0, 0, 0), (1, 1, 1), 77)
    everything = file.box_mm((-1e4, -1e4, -1e4), (1e4, 1e4, 1e4))
    assert everything == Box((0, 0, 0), file.shape)


# --- levels


def test_levels_are_a_pyramid() -> None:
    for name in ("bounded-behind-networks", "lossless", "several-tiles", "bricks", "image-2d"):
        file = inrcodec.open(vector(name))
        sizes = [prod(level.shape) for level in file.levels]
        assert sizes == sorted(sizes, reverse=True) and file.levels[0].kind == "full"
        lattices = [level for level in file.levels if level.kind != "lowres"]
        for fine, coarse in pairwise(lattices):
            ratios = [b // a for a, b in zip(fine.factor, coarse.factor, strict=True)]
            assert set(ratios) <= {1, 2} and ratios != [1, 1, 1]
        assert len(lattices) > 1 or not file.header.refine_axes
        assert sum(level.kind == "lowres" for level in file.levels) == file.header.has_lowres
        assert [repr(level) for level in pickle.loads(pickle.dumps(file)).levels] == list(
            map(repr, file.levels)
        )


@pytest.mark.parametrize("name", ["bounded-behind-networks", "bricks", "several-tiles"])
def test_a_level_lies_where_its_voxels_are(name: str) -> None:
    file = inrcodec.open(vector(name))
    for number, level in enumerate(file.levels):
        volume = file.volume(level=number)
        assert volume.shape == level.shape and np.array_equal(volume.affine, level.affine)
        if level.kind == "lowres":
            assert np.array_equal(level.affine, coarser(file.affine, level.factor))
        else:
            z, y, x = level.factor
            assert np.allclose(level.affine @ [3, 2, 1, 1], file.affine @ [3 * x, 2 * y, z, 1])
            assert np.array_equal(volume.array, file.read()[::z, ::y, ::x])
        assert level.spacing == volume.spacing


def test_lattices_that_bricks_do_not_share_are_no_levels() -> None:
    header, bodies = container.read(inrcodec.encode(ARRAY, lossless=True, brick=(8, 16, 16)))
    whole = InrvFile.from_sections(header, bodies).levels
    assert [level.factor for level in whole][-1] > (1, 1, 1)
    odd = replace(header, brick=(7, 16, 16))
    levels = InrvFile.from_sections(odd, bodies).levels
    assert all(level.factor[0] == 1 for level in levels)


def test_a_coarse_level_decodes_its_steps_alone(blob: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    from inrcodec.layers.lattice import codec

    shapes, decode = [], codec.decode

    def counted(streams, shape, *args, **keywords):
        found = decode(streams, shape, *args, **keywords)
        shapes.append((len(streams), found.shape))
        return found

    monkeypatch.setattr(codec, "decode", counted)
    file = inrcodec.open(blob)
    level = file.levels[-1]
    found = file.read((slice(0, 1), slice(0, 1), slice(0, 1)), len(file.levels) - 1)
    assert shapes == [
        (level.steps, tuple(-(-8 * (1 if k == 0 else 2) // f) for k, f in enumerate(level.factor)))
    ]
    assert found.shape == (1, 1, 1)


def test_levels_of_a_cut_file_keep_their_numbers() -> None:
    data = vector("bounded-behind-networks")
    whole = inrcodec.open(data)
    for share in (0.5, 0.8, 0.95):
        cut = inrcodec.open(data, max_bytes=int(share * len(data)))
        assert [level.shape for level in cut.levels] == [level.shape for level in whole.levels]
        there = len(whole.header.refine_steps) - cut.decoder.missing
        for number, level in enumerate(cut.levels):
            if level.kind == "lattice" and level.steps <= there:
                assert np.array_equal(cut.read(level=number), whole.read(level=number))


# --- parts as volumes


@pytest.mark.parametrize("box", [(slice(3, 11), slice(2, 9)), (slice(10, 1, -3), ALL, slice(20, 0, -7))])
@pytest.mark.parametrize("number", [0, 1])
def test_a_part_lies_where_it_was(blob: bytes, box: tuple[slice, ...], number: int) -> None:
    file = inrcodec.open(blob)
    level = file.levels[number]
    part = file.volume(box, number)
    assert np.array_equal(part.array, file.read(level=number)[box])
    places = [range(n)[s] for n, s in zip(level.shape, [*box, ALL], strict=False)]
    for corner in ((0, 0, 0), tuple(n - 1 for n in part.shape)):
        source = [r[k] for r, k in zip(places, corner, strict=True)]
        assert np.allclose(part.affine @ [*corner[::-1], 1], level.affine @ [*source[::-1], 1])
    assert part.padding == -2000
    if number == 0 and box[0].step is None:
        assert part.description == {"kernel": "a", "kernel@4": "b"}


def test_a_part_without_voxels_is_refused(blob: bytes) -> None:
    with pytest.raises(UsageError, match="holds no voxel"):
        inrcodec.open(blob).volume(slice(3, 3))


def test_scales_of_slices_go_with_their_slices() -> None:
    scales = np.array([[k + 1.0, k] for k in range(len(ARRAY))])
    volume = inrcodec.Volume(ARRAY, np.eye(4), slice_rescale=scales)
    file = inrcodec.open(inrcodec.encode(volume, lossless=True))
    assert np.array_equal(file.volume(slice(10, 1, -4)).physical(), volume.physical()[10:1:-4])
    for number, level in enumerate(file.levels):
        z, y, x = level.factor
        assert np.array_equal(file.volume(level=number).physical(), volume.physical()[::z, ::y, ::x])


# --- bytes


class Counted(BytesIO):
    """A file object that knows which bytes were requested."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.seen: set[int] = set()

    def read(self, size: int | None = -1) -> bytes:
        start = self.tell()
        found = super().read(size)
        self.seen |= set(range(start, start + len(found)))
        return found


READS = [
    ("bricks", (slice(0, 2), slice(0, 3), slice(0, 3)), {}),
    ("bricks", (ALL, ALL, slice(4, 5)), {}),
    ("bricks", (ALL, slice(4, 5)), {"level": 1}),
    ("bricks", None, {"level": 2}),
    ("lossless", slice(3, 4), {}),
    ("bounded-behind-networks", slice(3, 4), {}),
    ("bounded-behind-networks", slice(3, 4), {"quality": "base"}),
    ("bounded-behind-networks", slice(3, 4), {"lowres": True}),
    ("several-tiles", (slice(0, 2), slice(0, 2), slice(0, 2)), {"sr": "lanczos"}),
    ("padding-mask", (slice(0, 2), slice(0, 2), slice(0, 2)), {"sr": "lanczos"}),
    ("padding-mask", None, {"quality": "preview"}),
]


@pytest.mark.parametrize(("name", "box", "how"), READS)
def test_bytes_needed_are_those_that_are_read(name: str, box: object, how: dict[str, object]) -> None:
    asked, read = Counted(vector(name)), Counted(vector(name))
    needed = inrcodec.open(asked).bytes_needed(box, **how)  # type: ignore[arg-type]
    file = inrcodec.open(read)
    header = set(read.seen)
    file.read(box, **how)  # type: ignore[arg-type]
    assert needed == len(read.seen - header)
    assert len(asked.seen) <= len(header | read.seen)


def test_a_tile_is_read_alone_where_tiles_have_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "WHOLE", 10)
    knobs = {"factor": 1, "tiles": (2, 2, 2), "width": 8, "steps": 5, "threads": 1}
    stream = Counted(inrcodec.encode(ARRAY, **knobs))
    file = inrcodec.open(stream)
    before, corner = set(stream.seen), (slice(0, 1), slice(0, 1), slice(0, 1))
    tile = file.sections.chunks("WGHT")[0]
    needed = file.bytes_needed(corner)
    file.read(corner)
    assert needed == len(stream.seen - before)
    assert needed == tile.length + sum(file.sections.lengths.get(name, 0) for name in ("INDX", "MASK"))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slice_in_any_plane_reads_the_bricks_that_it_crosses(blob: bytes, axis: int) -> None:
    header, bodies = container.read(blob)
    chunks, count = bodies.chunks("LATT"), len(header.bricks)
    box = tuple(slice(9, 10) if k == axis else ALL for k in range(3))
    crossed = [k for k, brick in enumerate(header.bricks) if brick.low[axis] <= 9 < brick.high[axis]]
    assert len(crossed) == count / 2
    lattice = sum(chunk.length for k in crossed for chunk in chunks[k::count])
    file = inrcodec.open(blob)
    masks = [file.sections.chunks("PADM")[k].length for k in crossed]
    indexes = len(bodies["LIDX"]) + len(bodies["PIDX"])
    assert file.bytes_needed(box) == lattice + sum(masks) + indexes
    assert np.array_equal(file.read(box), file.read()[box])


# --- damage


def test_a_damaged_chunk_costs_its_box_and_no_other(blob: bytes) -> None:
    header, bodies = container.read(blob)
    lengths = {name: len(body) for name, body in bodies.items()}
    start = container.table_size(len(lengths))
    for name, length in lengths.items():
        if name == "LATT":
            break
        start += length
    chunks = bodies.chunks("LATT")
    broken = bytearray(blob)
    broken[start + chunks[5].start] ^= 1
    file, whole = inrcodec.open(bytes(broken)), inrcodec.open(blob).read()
    for index, brick in enumerate(header.bricks):
        if index == 5:
            with pytest.raises(CorruptFile, match="checksum"):
                file.read(brick)
        else:
            assert np.array_equal(file.read(brick), whole[brick.slices])


CORNER = st.tuples(*[st.integers(0, 4)] * 3)


@given(CORNER, CORNER, CORNER, CORNER)
def test_boxes_meet_where_they_share_a_voxel(a, b, c, d):
    one, other = Box(a, b), Box(c, d)

    def voxels(box):
        return set(product(*(range(*ends) for ends in zip(box.low, box.high, strict=True))))

    assert one.meets(other) == other.meets(one) == bool(voxels(one) & voxels(other))
