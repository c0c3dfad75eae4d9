"""What NumPy files promise: the array that was saved, and nothing unpickled."""

from __future__ import annotations

import numpy as np
import pytest

from inrcodec.errors import InputError, UsageError
from inrcodec.io.npy import from_array, read, write
from inrcodec.volume.volume import Volume

ARRAY = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


@pytest.mark.parametrize(
    "array", [ARRAY, ARRAY.astype(">f8"), np.asfortranarray(ARRAY)], ids=["plain", "big-endian", "Fortran"]
)
@pytest.mark.parametrize("save", [np.save, np.savez, np.savez_compressed])
def test_saved_arrays_are_read(tmp_path, array, save):
    path = tmp_path / ("a.npy" if save is np.save else "a.npz")
    save(path, array)
    volume = read(path, spacing=(3, 0.5, 0.25))
    np.testing.assert_array_equal(volume.array, array)
    assert volume.array.dtype == array.dtype.newbyteorder("=")
    assert (volume.spacing, volume.source_bytes) == ((3, 0.5, 0.25), path.stat().st_size)


@pytest.mark.parametrize(
    "array", [ARRAY, ARRAY[0], ARRAY.astype(np.float16)], ids=["volume", "image", "half"]
)
def test_written_arrays_are_what_they_were(tmp_path, array):
    write(Volume.from_array(array), tmp_path / "a.npy")
    back = np.load(tmp_path / "a.npy")
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize(
    ("arrays", "cause"), [({"a": ARRAY, "b": ARRAY}, r"2 arrays \(a, b\)"), ({}, "0 arrays")]
)
def test_archives_of_other_than_one_array_are_refused(tmp_path, arrays, cause):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=cause):
        read(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
@pytest.mark.parametrize(
    "content", [b"", b"not numpy", b"\x93NUMPY\x01\x00", b"PK\x03\x04 broken", b"\x80\x04N."], ids=repr
)
def test_broken_files_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="not a valid NumPy file"):
        read(tmp_path / name)


def test_nothing_is_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[[print]]]), allow_pickle=True)
    with pytest.raises(InputError, match="not a valid NumPy file"):
        read(tmp_path / "a.npy")


def test_a_truncated_file_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", ARRAY)
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-1])
    with pytest.raises(InputError, match="not a valid NumPy file"):
        read(tmp_path / "a.npy")


def test_spacing_has_to_fit(tmp_path):
    np.save(tmp_path / "a.npy", ARRAY)
    with pytest.raises(UsageError, match="spacing"):
        read(tmp_path / "a.npy", spacing=(1, 1))


def test_padding_outside_the_scan_circle_is_found():
    array = np.zeros((3, 8, 8), np.float32)
    array[:, :2] = array[:, -2:] = -3024
    assert from_array(array).padding == -3024
    array[1, 4, 4] = -4000  # something else is lower: then the corners are no padding for sure
    assert from_array(array).padding is None
