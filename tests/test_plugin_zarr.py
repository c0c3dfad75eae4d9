"""zarr and numcodecs: chunks are files, parts of them are read alone, and what is lost was named."""

from __future__ import annotations

import json
import pickle
from importlib import import_module

import numpy as np
import pytest
from test_plugins import installed

import inrcodec
from inrcodec.errors import CorruptFile, InputError, InrvError, UsageError
from inrcodec.plugins.chunk import Chunks

zarr = pytest.importorskip("zarr", minversion="3")
SHAPE = (12, 20, 22)
ARRAY = np.random.default_rng(1).integers(-1000, -900, SHAPE).astype(np.int16)
EDGES = (8, 16, 16)


@pytest.fixture(autouse=True)
def _installed():
    installed("zarr.codecs")


def created(store, options=None, **how):
    codec = {"name": "inrv", "configuration": {"lossless": True} if options is None else options}
    how = {"shape": SHAPE, "dtype": "int16", "chunks": EDGES, "fill_value": -1000} | how
    return zarr.create_array(store, serializer=codec, compressors=None, filters=None, **how)


@pytest.fixture(params=["memory", "folder"])
def store(request, tmp_path):
    return zarr.storage.MemoryStore() if request.param == "memory" else str(tmp_path / "a.zarr")


@pytest.mark.parametrize("shards", [None, (16, 32, 32)], ids=["plain", "sharded"])
def test_an_array_comes_back_by_any_index(store, shards):
    created(store, shards=shards)[:] = ARRAY
    array = zarr.open_array(store, mode="r")
    for index in (
        np.s_[:],
        np.s_[3:5, 2:4, 14:18],
        np.s_[3],
        np.s_[3, 4],
        np.s_[::3, ::7, 5],
        np.s_[-1, -1, -1],
    ):
        np.testing.assert_array_equal(array[index], ARRAY[index])
    lists = [1, 5, 11], slice(None), [2, 9]
    np.testing.assert_array_equal(array.oindex[lists], ARRAY[[1, 5, 11]][:, :, [2, 9]])
    points = [1, 5, 11], [2, 3, 19], [2, 9, 21]
    np.testing.assert_array_equal(array.vindex[points], ARRAY[points])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(array))[2:9], ARRAY[2:9])


def test_a_bound_is_kept_and_in_the_metadata(tmp_path):
    created(str(tmp_path / "a"), {"max_error": 3})[:] = ARRAY
    assert np.abs(zarr.open_array(tmp_path / "a")[:].astype(int) - ARRAY).max() <= 3
    stored = json.loads((tmp_path / "a" / "zarr.json").read_text())
    assert stored["codecs"] == [{"name": "inrv", "configuration": {"max_error": 3}}]
    chunk = inrcodec.open(tmp_path / "a" / "c" / "0" / "0" / "0")
    assert chunk.shape == EDGES


def test_an_array_of_chunks_is_a_source(tmp_path):
    created(str(tmp_path / "a.zarr"))[:] = ARRAY
    again = inrcodec.decode(inrcodec.encode(tmp_path / "a.zarr", lossless=True))
    np.testing.assert_array_equal(again, ARRAY)


def test_axes_of_one_and_images():
    array = created(zarr.storage.MemoryStore(), shape=(2, 1, *SHAPE), chunks=(1, 1, *SHAPE))
    array[:] = np.stack([ARRAY, ARRAY + 1])[:, None]
    np.testing.assert_array_equal(array[1, 0, 4:6], ARRAY[4:6] + 1)
    image = created(zarr.storage.MemoryStore(), shape=SHAPE[1:], chunks=(16, 16))
    image[:] = ARRAY[0]
    np.testing.assert_array_equal(image[3:19, 5], ARRAY[0, 3:19, 5])


def test_a_part_of_a_chunk_reads_a_part_of_its_bytes(monkeypatch):
    plugin = import_module("inrcodec.plugins.zarr")
    monkeypatch.setattr(plugin, "FRONT", 512)
    memory, sizes = zarr.storage.MemoryStore(), []
    noise = np.random.default_rng(2).integers(0, 4000, (16, 64, 64)).astype(np.uint16)
    options, sides = {"lossless": True, "brick": 8}, {"shape": noise.shape, "chunks": noise.shape}
    created(memory, options, dtype="uint16", fill_value=0, **sides)[:] = noise
    original = zarr.storage.MemoryStore.get

    async def counted(self, key, prototype=None, byte_range=None):
        found = await original(self, key, prototype, byte_range)
        sizes.append(len(found) if found is not None and key.startswith("c/") else 0)
        return found

    array = zarr.open_array(memory, mode="r")
    monkeypatch.setattr(zarr.storage.MemoryStore, "get", counted)
    np.testing.assert_array_equal(array[2:6, 9:15, 60], noise[2:6, 9:15, 60])
    part, sizes[:] = sum(sizes), []
    np.testing.assert_array_equal(array[:], noise)
    assert 0 < part < 0.2 * sum(sizes)


def test_a_missing_chunk_is_fill(store):
    created(store)[:8] = ARRAY[:8]
    array = zarr.open_array(store, mode="r")
    assert (array[9:, 3, 3] == -1000).all() and (array[8:] == -1000).all()


@pytest.mark.parametrize(
    ("options", "how", "cause"),
    [
        ({"losless": True}, {}, "did you mean 'lossless'"),
        ({"max_error": 2, "lossless": True}, {}, "only one of them"),
        ({"max_error": -1}, {}, "max_error: -1"),
        ({"threads": 2}, {}, "unknown option 'threads'"),
        ({"level": -1}, {}, "-1 is not a level"),
        ({"lossless": True}, {"dtype": "complex64"}, "complex64 cannot be encoded"),
        ({"lossless": True}, {"shape": (4, 8, 8, 8), "chunks": (2, 8, 8, 8)}, "of 1 along other axes"),
        ({"lossless": True}, {"shape": (4,), "chunks": (4,)}, "no volume"),
    ],
)
def test_what_cannot_be_encoded_is_refused_at_once(options, how, cause):
    with pytest.raises(UsageError, match=cause):
        created(zarr.storage.MemoryStore(), options, **how)


def test_without_options_a_codec_decodes_only():
    array = created(zarr.storage.MemoryStore(), {})
    with pytest.raises(UsageError, match="decodes only"):
        array[:] = ARRAY
    with pytest.raises(UsageError, match="decodes only"):
        Chunks({"lossless": True, "level": 1}).encoded(ARRAY)


@pytest.mark.parametrize(
    ("chunk", "error"),
    [
        (lambda: b"nonsense" * 9, CorruptFile),
        (lambda: inrcodec.encode(ARRAY[:4], lossless=True), InputError),
        (lambda: inrcodec.encode(ARRAY[:8, :16, :16].astype(np.int32), lossless=True), InputError),
        (lambda: inrcodec.encode(ARRAY[:8, :16, :16], lossless=True)[:-3], CorruptFile),
    ],
    ids=["nonsense", "shape", "type", "truncated"],
)
def test_a_foreign_chunk_is_an_error(tmp_path, chunk, error):
    created(str(tmp_path / "a"))[:] = ARRAY
    (tmp_path / "a" / "c" / "0" / "0" / "0").write_bytes(chunk())
    for index in (np.s_[:], np.s_[2, 3]):
        with pytest.raises(error):
            zarr.open_array(tmp_path / "a", mode="r")[index]


def test_numcodecs_makes_chunks_of_version_two():
    installed("numcodecs.codecs")
    numcodecs = pytest.importorskip("numcodecs")
    codec = numcodecs.get_codec({"id": "inrv", "max_error": 2})
    assert codec == numcodecs.get_codec(codec.get_config())
    assert repr(codec) == "Inrv(max_error=2)"
    memory = zarr.storage.MemoryStore()
    array = zarr.create_array(
        memory, shape=SHAPE, chunks=EDGES, dtype="int16", zarr_format=2, compressors=codec, fill_value=-1000
    )
    array[:] = ARRAY
    assert np.abs(zarr.open_array(memory, mode="r")[:].astype(int) - ARRAY).max() <= 2
    out = np.empty(EDGES, np.int16)
    part = np.ascontiguousarray(ARRAY[:8, :16, :16])
    assert codec.decode(codec.encode(part), out) is out
    assert np.abs(out.astype(int) - part).max() <= 2
    with pytest.raises(InrvError):
        codec.decode(b"nonsense")
