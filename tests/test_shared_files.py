"""Open files that are closed, copied, forked and shared by threads, and what they remember."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import pytest
from bricked_files import ALL, asked, bricked, vector
from hypothesis import given, settings
from hypothesis import strategies as st
from test_file import naming_a_model

import inrcodec
from inrcodec.errors import InputError, UsageError
from inrcodec.file import InrvFile
from inrcodec.format import container
from inrcodec.layers.cache import Cache


@pytest.fixture(scope="module")
def blob() -> bytes:
    return bricked()


@pytest.fixture(scope="module")
def with_model() -> bytes:
    """A file that names a super-resolution model."""
    header, bodies = naming_a_model((40, 72, 80))
    return container.pack(list({**bodies, "HEAD": header.to_bytes()}.items()))


def test_a_closed_file_gives_nothing_that_it_remembers(blob: bytes, with_model: bytes) -> None:
    for data in (blob, with_model):
        file = inrcodec.open(data)
        file.read(slice(0, 1), sr="lanczos")
        file.close()
        for ask in (
            lambda f: f.read(slice(0, 1)),
            lambda f: f[0],
            lambda f: f.bytes_needed(),
            lambda f: f.sample((0, 0, 0), 1),
            lambda f: list(f.slabs()),
            pickle.dumps,
        ):
            with pytest.raises(UsageError, match="closed"):
                ask(file)


def test_a_pickle_holds_the_source_and_no_voxels(blob: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.inrv"
    path.write_bytes(blob)
    file = inrcodec.open(path)
    before = len(pickle.dumps(file))
    whole = file.read()
    data = pickle.dumps(file)
    assert len(data) == before < 4000
    os.chdir("/")
    assert np.array_equal(pickle.loads(data).read(), whole)
    from_bytes = pickle.dumps(inrcodec.open(blob))
    assert len(from_bytes) < len(blob) + 4000 and np.array_equal(pickle.loads(from_bytes).read(), whole)
    with pytest.raises(UsageError, match="is an open file"), TemporaryFile() as stream:
        stream.write(blob)
        stream.seek(0)
        pickle.dumps(inrcodec.open(stream))
    path.write_bytes(blob + b"0")
    with pytest.raises(InputError, match="has changed"):
        pickle.loads(data)
    path.unlink()
    with pytest.raises(InputError, match="cannot read"):
        pickle.loads(data)


def in_a_child(file: InrvFile, box: tuple[slice, ...]) -> bytes:
    """What a forked process reads; it must not hang."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=lambda: sender.send(asked(file, box)))
    child.start()
    assert receiver.poll(60), "the child hangs"
    found = receiver.recv()
    child.join(20)
    return found


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("kind", ["with_model", "blob"])
def test_a_forked_child_reads_what_its_parent_reads(kind: str, request: pytest.FixtureRequest) -> None:
    file = inrcodec.open(request.getfixturevalue(kind))
    box = slice(3, 9), slice(10, 20), slice(4, 20)
    expected = asked(file, box)  # the parent has decoded, with the model, before it forks
    assert in_a_child(file, box) == expected


@pytest.mark.parametrize("kind", ["with_model", "blob"])
def test_many_threads_get_the_same_bits(kind: str, request: pytest.FixtureRequest) -> None:
    data = request.getfixturevalue(kind)
    file, whole = inrcodec.open(data), inrcodec.open(data).read()
    rng = np.random.default_rng(5)
    boxes = []
    for _ in range(12):
        ends = [sorted(rng.choice(n + 1, 2, replace=False).tolist()) for n in file.shape]
        boxes.append(tuple(slice(*pair) for pair in ends))
    with ThreadPoolExecutor(8) as pool:
        for box, found in zip(boxes, pool.map(lambda b: file.read(b, threads=2), boxes), strict=True):
            assert np.array_equal(found, whole[box])


@given(order=st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from([1, 2])), max_size=5))
@settings(max_examples=5, deadline=None)
def test_what_is_remembered_of_networks_is_of_the_same_options(
    with_model: bytes, order: list[tuple[str, int]]
) -> None:
    boxes = {"a": slice(3, 4), "b": (ALL, slice(30, 34), slice(40, 44)), "c": (slice(0, 9), slice(60, 72))}
    file = inrcodec.open(with_model)
    for name, ensemble in [*order, ("a", 1), ("a", 2)]:
        found = file.read(boxes[name], ensemble=ensemble, threads=2)
        index = boxes[name] if isinstance(boxes[name], tuple) else (boxes[name],)
        assert np.array_equal(found, with_ensemble(with_model, ensemble)[index])
    assert not np.array_equal(with_ensemble(with_model, 1), with_ensemble(with_model, 2))


@cache
def with_ensemble(data: bytes, ensemble: int) -> np.ndarray:
    return inrcodec.open(data).read(ensemble=ensemble, threads=2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_lock_that_a_thread_holds_while_it_forks_stops_no_child(blob: bytes) -> None:
    file, box = inrcodec.open(blob), (slice(3, 9), slice(10, 20), slice(4, 20))
    expected = asked(file, box)
    assert file.decoder.refinement is not None and file.decoder.padding is not None
    with file.decoder.refinement._decoded._lock, file.decoder.padding._lock:  # as another thread would
        assert in_a_child(file, box) == expected


def test_a_cache_keeps_what_was_used_last_within_its_bytes() -> None:
    cache = Cache(10)
    for key in "abc":
        cache.put(key, key, 4)
        cache.get("a")
    assert [cache.get(key) for key in "abc"] == ["a", None, "c"]
    cache.put("d", "d", 11)
    assert cache.get("d") is None and cache.get("a") == "a"
    assert pickle.loads(pickle.dumps(cache)).get("a") is None


@st.composite
def requests(draw: st.DrawFn) -> list[tuple[int, tuple[slice, ...]]]:
    ends = st.integers(-45, 45) | st.none()
    steps = st.sampled_from([None, 1, 2, 5, -1, -3])
    part = st.builds(slice, ends, ends, steps)
    return draw(st.lists(st.tuples(st.integers(0, 2), st.tuples(part, part, part)), min_size=1, max_size=6))


@pytest.mark.parametrize("name", ["bricks", "bounded-behind-networks", "padding-mask"])
@given(asked_for=requests())
@settings(max_examples=12, deadline=None)
def test_what_was_asked_before_changes_no_bit(
    name: str, asked_for: list[tuple[int, tuple[slice, ...]]]
) -> None:
    file = inrcodec.open(vector(name))
    for number, box in asked_for:
        level = min(number, len(file.levels) - 1)
        assert np.array_equal(file.read(box, level, sr="lanczos"), whole_of(name, level)[box])


@cache
def whole_of(name: str, level: int) -> np.ndarray:
    return inrcodec.open(vector(name)).read(level=level, sr="lanczos")
