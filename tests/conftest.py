"""What all tests share: a tiny volume, its file, no wall clock, and one thread a worker of pytest-xdist."""

from __future__ import annotations

import io
import itertools
import os
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch and BLAS are imported, which read it
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import other_seed  # noqa: F401
import pytest
import small_latents
from hypothesis import settings
from planted_trees import planted

import inrcodec
from inrcodec import parallel
from inrcodec.layers.models import OWN

# A busy machine must not fail a test, nor chance fail a change that has nothing to do with it: new examples
# are looked for wherever tests run by hand.
settings.register_profile("no clock", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("no clock")

# The smallest fit that is one: seconds on one core.
TINY = {"factor": 2, "tiles": (1, 1, 1), "width": 10, "steps": 200, "sr": "lanczos", "threads": 1}


SMALL_MODELS = Path(__file__).parents[1] / "spec" / "models"

LARGEST_USE = 64 << 20  # bytes that hostile input may take; what was promised is 256 MiB


@contextmanager
def little_memory() -> Iterator[None]:
    """Fails where more than ``LARGEST_USE`` was used at a time."""
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < LARGEST_USE


@pytest.fixture
def frugal() -> Iterator[None]:
    """Fails where memory was used."""
    with little_memory():
        yield


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of three volumes."""
    return planted(tmp_path / "tree")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where what comes of it is written."""
    return tmp_path / "out"


@pytest.fixture
def trainer() -> Iterator[Any]:
    """Two tiles before their first step."""
    from small_fits import trainer_with  # torch, for tests of fits alone

    with parallel.single_threaded(1) as pool:
        yield trainer_with(pool)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit's clock that goes on by 10 ms whenever it is read."""
    from inrcodec.encoder.fit import loop

    ticks = itertools.count()
    monkeypatch.setattr(loop, "monotonic", lambda: 0.01 * next(ticks))


@pytest.fixture
def small_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model that the specification's files of latents name is one of the user's own."""
    monkeypatch.setenv(OWN, str(SMALL_MODELS))


@pytest.fixture(scope="module")
def few_maps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Latents are those of a model of a few maps, whatever is shipped."""
    folder = tmp_path_factory.mktemp("models")
    small_latents.install(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(OWN, str(folder))
        yield


def interrupted_at(monkeypatch: pytest.MonkeyPatch, trainer: type, step: int) -> None:
    """A training is interrupted before a step, and each of its steps is kept."""
    whole = trainer.step

    def interrupted(self, batch):
        if self.steps == step:
            raise KeyboardInterrupt
        whole(self, batch)

    monkeypatch.setattr(trainer, "step", interrupted)
    monkeypatch.setattr("inrcodec.encoder.fit.checkpoint.NOTED_EVERY", 0.0)


def encoded(source, **options):
    """The `.inrv` bytes of a source, and the report."""
    stream = io.BytesIO()
    report = inrcodec.encode_file(source, stream, **options)
    return stream.getvalue(), report


@pytest.fixture(scope="session")
def tiny_array():
    """A smooth blob, (8, 20, 24) int16."""
    z, y, x = np.ogrid[-1:1:8j, -1:1:20j, -1:1:24j]
    return (1000 * np.exp(-2 * (z**2 + y**2 + x**2))).astype(np.int16)


@pytest.fixture(scope="session")
def tiny_blob(tiny_array):
    """The `.inrv` bytes of `tiny_array`."""
    return inrcodec.encode(tiny_array, spacing=(2.0, 1.0, 1.0), **TINY)


@pytest.fixture
def tiny(tmp_path, tiny_array, tiny_blob):
    """A folder with `in.npy` and `in.inrv`."""
    np.save(tmp_path / "in.npy", tiny_array)
    (tmp_path / "in.inrv").write_bytes(tiny_blob)
    return tmp_path
