"""What an array that is read when it is needed promises: an ndarray's voxels, and no more of them."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import inrcodec
from inrcodec.errors import InputError
from inrcodec.volume import lazy
from inrcodec.volume.lazy import Changed, LazyArray, RawArray
from inrcodec.volume.padding import confirm_padding, find_padding
from inrcodec.volume.value_range import Range
from inrcodec.volume.volume import Volume

SHAPE = (5, 6, 7)


class Chunked(LazyArray):
    """An array in memory, in chunks of planes, which counts what is read of it."""

    def __init__(self, array, thickness=1):
        super().__init__(array.shape, array.dtype, thickness=thickness)
        self.array, self.boxes = array, []

    def read(self, box):
        self.boxes.append(box)
        return self.array[box.slices].copy()


def raw(path, array, order="C"):
    """A file of voxels behind three other bytes."""
    path.write_bytes(b"abc" + array.tobytes(order))
    strides = np.empty(array.shape, array.dtype, order).strides
    return RawArray(path, 3, array.shape, array.dtype, strides)


def values(dtype="<i2", shape=SHAPE):
    return np.random.default_rng(1).integers(-900, 900, shape).astype(dtype)


@pytest.fixture(params=["<i2 C", ">f4 C", ">u2 F", "<f8 F", "i1 C"])
def pair(request, tmp_path):
    dtype, order = request.param.split()
    array = values(dtype)
    return array, raw(tmp_path / "voxels.raw", array, order)


def test_it_says_what_an_ndarray_says(pair):
    array, lazy = pair
    for name in ("shape", "ndim", "size", "nbytes"):
        assert getattr(lazy, name) == getattr(array, name)
    assert lazy.dtype == array.dtype.newbyteorder("=")
    assert lazy.dtype.isnative
    assert len(lazy) == len(array)


indices = st.one_of(
    st.integers(-5, 4),
    st.builds(
        slice, *[st.one_of(st.none(), st.integers(-9, 9))] * 2, st.sampled_from([None, 1, 2, 3, -1, -2])
    ),
)


@settings(max_examples=60, deadline=None)
@given(index=st.lists(indices, min_size=1, max_size=3).map(tuple), thickness=st.integers(1, 4))
def test_an_index_gives_what_it_gives_of_an_ndarray(index, thickness):
    array = values()
    found = Chunked(array, thickness)[index]
    np.testing.assert_array_equal(found, array[index])


@settings(max_examples=60, deadline=None)
@given(index=st.lists(indices, min_size=1, max_size=3).map(tuple), order=st.sampled_from("CF"))
def test_so_does_an_index_of_a_file(index, order, tmp_path_factory):
    array = values(">i4")
    found = raw(tmp_path_factory.mktemp("raw") / "voxels", array, order)[index]
    np.testing.assert_array_equal(found, array[index])
    assert found.dtype.isnative


def test_planes_rows_of_wide_planes_and_all(tmp_path):
    array = values("u1", (3, 40, 9000))  # a column is too little of its plane to read all of that
    lazy = raw(tmp_path / "voxels", array)
    for z, plane in enumerate(lazy):
        np.testing.assert_array_equal(plane, array[z])
    np.testing.assert_array_equal(lazy[:, :, 8990:], array[:, :, 8990:])
    np.testing.assert_array_equal(np.asarray(lazy), array)
    np.testing.assert_array_equal(np.array(lazy, np.float32), array.astype(np.float32))


def test_an_index_beyond_the_array_is_refused():
    with pytest.raises(IndexError):
        Chunked(values())[5]


def test_planes_in_between_are_not_read():
    lazy = Chunked(values("i2", (40, 4, 4)), thickness=4)
    _ = lazy[::13]
    assert sum(box.shape[0] for box in lazy.boxes) == 4
    lazy.boxes.clear()
    for _ in lazy:
        assert len(lazy.boxes) <= 10
    assert len(lazy.boxes) == 10  # planes that are stored together are read together


def test_chunks_that_are_large_are_read_in_parts(monkeypatch):
    monkeypatch.setattr(lazy, "TOGETHER", 2 * values()[0].nbytes)
    array = Chunked(values(), thickness=5)
    assert np.array_equal(np.stack(list(array)), values())
    assert max(box.shape[0] for box in array.boxes) == 2


def test_what_is_changed_is_passed_over_as_its_source_is():
    class InOrder(Chunked):
        def __iter__(self):
            yield from self.array

    def by_index(planes, first):
        return planes + np.arange(first, first + len(planes), dtype=np.int16)[:, None, None]

    source = InOrder(values())
    planes = list(Changed(source, source.dtype, by_index))
    assert not source.boxes
    assert np.array_equal(np.stack(planes), by_index(values(), 0))


def test_a_part_is_one_too(pair):
    array, lazy = pair
    part = lazy.part(slice(1, -1))
    np.testing.assert_array_equal(part, array[1:-1])
    np.testing.assert_array_equal(part[1:2, 2:], array[2:3, 2:])


def test_it_pickles_without_its_voxels(tmp_path):
    array = values(shape=(20, 30, 40))
    lazy = raw(tmp_path / "voxels", array)
    data = pickle.dumps(lazy.part(slice(2, None)))
    assert len(data) < 1000
    np.testing.assert_array_equal(pickle.loads(data), array[2:])


def test_threads_share_it(tmp_path):
    array = values(shape=(20, 30, 40))
    lazy, wrong = raw(tmp_path / "voxels", array), []

    def look(seed):
        for z in np.random.default_rng(seed).integers(0, 20, 50):
            if not (lazy[z] == array[z]).all():
                wrong.append(z)

    threads = [threading.Thread(target=look, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_file_that_is_cut_or_gone_is_refused(tmp_path):
    path = tmp_path / "voxels"
    lazy = raw(path, values())
    path.write_bytes(path.read_bytes()[:-1])
    assert lazy[0].shape == (6, 7)
    with pytest.raises(InputError, match="ends before its voxels do"):
        lazy[-1]
    path.unlink()
    with pytest.raises(InputError, match="cannot read"):
        lazy[0]


# --- volumes of them


@pytest.mark.parametrize(
    ("array", "cause"),
    [(np.zeros(SHAPE, bool), "bool"), (np.zeros(SHAPE, np.complex64), "complex64")],
)
def test_a_type_is_refused_at_once(array, cause):
    with pytest.raises(InputError, match=cause):
        Volume.from_array(Chunked(array))


@pytest.mark.parametrize(
    "array",
    [
        np.full((3, 2, 2), 2**53 + 2),
        np.array([[[2**60, 5]]], np.uint64),
    ],
)
def test_values_are_refused_in_the_first_pass_in_the_same_words(array):
    with pytest.raises(InputError) as eager:
        Volume.from_array(array)
    volume = Volume.from_array(Chunked(array))
    with pytest.raises(InputError) as lazy:
        _ = volume.value_range
    assert str(lazy.value) == str(eager.value)


def ct(padding=-2000):
    array = values("i2", (6, 20, 20))
    array[:, :3], array[:, -3:] = padding, padding
    return array


def test_range_and_padding_are_those_of_an_ndarray():
    array = ct()
    lazy = Chunked(array)
    assert find_padding(lazy) == find_padding(array) == -2000
    assert confirm_padding(lazy, -2000) == -2000
    eager, late = (Volume(a, np.eye(4), padding=-2000) for a in (array, lazy))
    assert Range.of(late) == Range.of(eager)
    array[0, 10, 10] = -3000  # something lies below
    assert find_padding(lazy) is find_padding(array) is None


def test_slices_with_scales_of_their_own_are_read_late():
    array, scales = values("u2"), np.array([[k + 0.1, k - 7] for k in range(5)])
    eager, late = (Volume(a, np.eye(4), slice_rescale=scales) for a in (array, Chunked(array)))
    uniform = late.uniform()
    assert isinstance(uniform.array, LazyArray)
    np.testing.assert_array_equal(uniform.array, eager.uniform().array)
    np.testing.assert_array_equal(uniform.array[1:3, 2:, ::2], eager.uniform().array[1:3, 2:, ::2])
    np.testing.assert_array_equal(late.physical(), eager.physical())


def test_a_volume_is_taken_into_memory_once():
    lazy = Volume(Chunked(ct()), np.eye(4), padding=-2000)
    held = lazy.in_memory()
    assert type(held.array) is np.ndarray
    assert (held.in_memory(), held.padding) == (held, -2000)
    np.testing.assert_array_equal(held.array, ct())
    with pytest.raises(InputError, match="integers"):
        Volume.from_array(Chunked(np.full((3, 2, 2), 2**60))).in_memory()


def test_a_part_of_a_volume_is_not_read():
    array = Chunked(values())
    part = Volume(array, np.eye(4)).part(slice(1, 4))
    assert not array.boxes
    np.testing.assert_array_equal(part.array, values()[1:4])


@pytest.mark.parametrize("options", [{"lossless": True}, {"max_error": 3}, {"steps": 20}])
def test_a_file_is_the_same(options, tmp_path):
    array = ct()
    blobs = [inrcodec.encode(Volume(a, np.eye(4), padding=-2000), **options) for a in (array, Chunked(array))]
    assert blobs[0] == blobs[1]
