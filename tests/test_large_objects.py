"""Arrays of other packages that are too large for memory: fetched late, once, and refused as they are."""

from __future__ import annotations

import numpy as np
import pytest
from large_volumes import FOUR, SCAN, npy, same, temporaries_of

import inrcodec
from inrcodec import io
from inrcodec.errors import InputError
from inrcodec.io import large
from inrcodec.volume.lazy import RawArray


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    return temporaries_of(tmp_path, monkeypatch)


@pytest.fixture
def late(monkeypatch):
    """Every volume counts as large from the call on."""
    return lambda: monkeypatch.setattr(large, "LARGE", 1)


class Indexed:
    """What has a shape, a dtype and an index, as arrays of h5py have."""

    chunks = None

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __getitem__(self, index):
        return self.array[index]


def of_dask(array):
    return pytest.importorskip("dask.array").from_array(array, chunks=4)


def of_zarr(array):
    zarr = pytest.importorskip("zarr")
    return zarr.array(array, chunks=(4,) * array.ndim)


def of_h5py(array):
    h5py = pytest.importorskip("h5py")
    file = h5py.File("in-memory", "w", driver="core", backing_store=False)
    return file.create_dataset("volume", data=array, chunks=(1, 4, 4, 4)[-array.ndim :])


def of_xarray(array):
    dims = ("t", "z", "y", "x")[-array.ndim :]
    return pytest.importorskip("xarray").DataArray(array, dims=dims, coords={"z": 3.0 * np.arange(9)})


OBJECTS = {"indexed": Indexed, "dask": of_dask, "zarr": of_zarr, "h5py": of_h5py, "xarray": of_xarray}


@pytest.mark.parametrize("make", OBJECTS.values(), ids=OBJECTS)
@pytest.mark.parametrize("chosen", [None, 1])
def test_a_large_object_is_fetched_late_and_is_the_same(make, chosen, late):
    source = make(SCAN if chosen is None else FOUR)
    eager = io.read(source, volume=chosen)
    late()
    assert same(eager, io.read(source, volume=chosen))


@pytest.mark.parametrize("order", "CF")
def test_a_mapped_file_is_read_from_the_file(order, tmp_path, late, folder):
    path, _ = npy(tmp_path / "volume", np.asarray(SCAN.astype(">i2"), order=order))
    mapped = np.load(path, mmap_mode="r")
    eager = io.read(mapped)
    late()
    assert same(eager, io.read(mapped))
    changed = np.load(path, mmap_mode="c")
    changed[2] += 1  # in memory alone
    for other in (changed, mapped[2:]):
        volume = io.read(other)
        assert type(volume.array) is not RawArray
        np.testing.assert_array_equal(volume.array, other)


def test_a_late_array_is_a_source(late):
    late()
    first = io.read(Indexed(SCAN)).array
    assert io.read(first, spacing=(3, 2, 1)).array is first
    assert inrcodec.encode(first, lossless=True) == inrcodec.encode(SCAN, lossless=True)


def test_chunks_are_fetched_once_in_a_pass(late):
    late()
    asked = []

    class Chunked(Indexed):
        chunks = (4, 5, 5)

        def __getitem__(self, index):
            asked.append(index)
            return super().__getitem__(index)

    volume = io.read(Chunked(SCAN))
    asked.clear()
    _ = volume.value_range
    assert [index[:2] for index in asked] == [
        (slice(a, min(a + 4, 9)), slice(b, b + 5)) for a in (0, 4, 8) for b in (0, 5)
    ]


def test_what_an_object_raises_is_told_by_its_type(late):
    class Broken(Indexed):
        def __getitem__(self, index):
            raise OSError("the tape is torn")

    late()
    with pytest.raises(InputError, match="Broken: the tape is torn"):
        io.read(Broken(SCAN))


@pytest.mark.parametrize("change", [lambda part: part[:, :1], lambda part: part + 0.5], ids=["shape", "type"])
def test_an_object_that_gives_something_else_than_it_says_is_refused(change, late):
    class Wrong(Indexed):
        def __getitem__(self, index):
            return change(super().__getitem__(index))

    late()
    with pytest.raises(InputError, match="Wrong says"):
        _ = io.read(Wrong(SCAN)).array[2:4]
