"""A volume, how it is written, and what it is to be the same when it is read late."""

from __future__ import annotations

import tempfile
from dataclasses import fields

import numpy as np

from inrcodec.volume.lazy import LazyArray
from inrcodec.volume.volume import Volume

SCAN = np.random.default_rng(2).integers(-1000, 2000, (9, 10, 11)).astype(np.int16)


def temporaries_of(tmp_path, monkeypatch):
    """A folder for temporary files that holds no others."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


def same(eager, lazy):
    """Whether two volumes are alike in all but how they are held."""
    assert not isinstance(eager.array, LazyArray)
    assert isinstance(lazy.array, LazyArray)
    assert lazy.array.dtype == eager.array.dtype
    np.testing.assert_array_equal(np.asarray(lazy.array), eager.array)
    for field in fields(Volume):
        if field.name != "array":
            np.testing.assert_equal(getattr(lazy, field.name), getattr(eager, field.name))
    assert lazy.value_range == eager.value_range
    return True


def npy(path, array, **options):
    np.save(path.with_suffix(".npy"), array)
    return path.with_suffix(".npy"), options


FOUR = np.stack([SCAN, SCAN + 1])
