"""`resume` of an encoding, in Python and in a command: byte for byte the file of a run without a break."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import TINY

import inrcodec
from inrcodec.cli.enc import main
from inrcodec.encoder import base_file, fitted, measure, planner
from inrcodec.encoder.fit import checkpoint
from inrcodec.errors import CorruptFile, UsageError, WriteError

WORDS = "--factor 2 --tiles 1,1,1 --width 10 --steps 200 --sr lanczos --threads 1 -q".split()


@pytest.fixture(autouse=True)
def every_step(monkeypatch):
    monkeypatch.setattr(checkpoint, "NOTED_EVERY", 0.0)


def encode(array, path, target=None, **knobs):
    if target is None:
        return inrcodec.encode(array, spacing=(2.0, 1.0, 1.0), resume=path, **{**TINY, **knobs})
    return inrcodec.encode_file(array, target, spacing=(2.0, 1.0, 1.0), resume=path, **{**TINY, **knobs})


def interrupt(array, path, at="fit", share=0.5, **knobs):
    def progress(stage, fraction):
        if stage == at and fraction >= share:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode(array, path, progress=progress, **knobs)


@pytest.mark.parametrize("stage", ["fit", "verify"])
def test_the_file_is_that_of_an_uninterrupted_run_and_the_checkpoint_is_gone(
    stage, tiny_array, tiny_blob, tmp_path
):
    interrupt(tiny_array, tmp_path / "kept", stage)
    assert (tmp_path / "kept").exists()
    assert encode(tiny_array, tmp_path / "kept") == tiny_blob
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_is_not_there_begins_anew(tiny_array, tiny_blob, tmp_path):
    assert encode(tiny_array, str(tmp_path / "kept")) == tiny_blob
    assert list(tmp_path.iterdir()) == []


def test_the_checkpoint_outlives_a_target_that_cannot_be_written(tiny_array, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise WriteError("the disk is full")

    monkeypatch.setattr(inrcodec.api.io, "atomic_write", full)
    with pytest.raises(WriteError):
        encode(tiny_array, tmp_path / "kept", tmp_path / "out.inrv")
    assert (tmp_path / "kept").exists()


def fitted_twice(facts, options, progress):
    """An encoding whose second fit starts from its first, as those for a PSNR do."""
    here = planner.make(facts, options, progress)
    first = fitted.fit(here, progress)
    progress("between", 1.0)
    return measure.base(fitted.fit(here, progress, first), progress)


def test_an_encoding_of_several_fits_goes_on_with_the_one_that_was_interrupted(
    tiny_array, tmp_path, monkeypatch
):
    monkeypatch.setattr(base_file, "encoded", fitted_twice)
    whole = encode(tiny_array, None)
    stages = []

    def progress(stage, fraction):
        stages.append((stage, fraction))
        if interrupts and ("between", 1.0) in stages and stage == "fit" and fraction > 0.7:
            raise KeyboardInterrupt

    interrupts = True
    with pytest.raises(KeyboardInterrupt):
        encode(tiny_array, tmp_path / "kept", progress=progress)
    interrupts = False
    stages.clear()
    assert encode(tiny_array, tmp_path / "kept", progress=progress) == whole
    second = stages[stages.index(("between", 1.0)) :]
    assert min(fraction for stage, fraction in second if stage == "fit") > 0.7
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("changes", [{"seed": 1}, {"steps": 201}, {"width": 12}, {"factor": 1}], ids=str)
def test_a_checkpoint_of_other_options_is_refused(changes, tiny_array, tmp_path):
    interrupt(tiny_array, tmp_path / "kept")
    with pytest.raises(UsageError, match="another input or other options"):
        encode(tiny_array, tmp_path / "kept", **changes)
    assert (tmp_path / "kept").exists()


def test_a_checkpoint_of_another_volume_is_refused(tiny_array, tmp_path):
    interrupt(tiny_array, tmp_path / "kept")
    other = tiny_array.copy()
    other[4, 10, 12] -= 1
    with pytest.raises(UsageError, match="another input"):
        encode(other, tmp_path / "kept")
    with pytest.raises(UsageError, match="nothing to fit"):
        encode(np.zeros_like(tiny_array), tmp_path / "kept")
    assert (tmp_path / "kept").exists()


def test_a_file_that_is_no_checkpoint_is_refused_before_the_volume_is_read(tiny_array, tmp_path):
    (tmp_path / "kept").write_bytes(b"my only copy")
    with pytest.raises(CorruptFile, match="not a checkpoint"):
        inrcodec.encode(tmp_path / "missing.npy", resume=tmp_path / "kept")
    assert (tmp_path / "kept").read_bytes() == b"my only copy"


def test_the_output_cannot_be_the_checkpoint(tiny_array, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="both the output and the checkpoint"):
        encode(tiny_array, tmp_path / "folder" / ".." / "out.inrv", tmp_path / "out.inrv")


# The fit stops where it is told to, and waits there for its signal.
WAITING = """
import sys
from threading import Event
import other_seed
from inrcodec.encoder.fit import checkpoint
from inrcodec.cli.enc import main

note, steps = checkpoint.Checkpoint.note, []

def waiting(self, last=False):
    note(self, last)
    steps.append(1)
    if len(steps) == 120:
        print("waiting", file=sys.stderr, flush=True)
        Event().wait()

checkpoint.NOTED_EVERY = 0.0
checkpoint.Checkpoint.note = waiting
sys.exit(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_command_that_was_interrupted_goes_on(number, tiny, capfd):
    words = [str(tiny / "in.npy"), str(tiny / "out.inrv"), "--spacing", "2,1,1", *WORDS[:-1]]
    words += ["--resume", str(tiny / "kept")]
    started = [sys.executable, "-c", WAITING, *words]
    paths = os.pathsep.join([os.path.dirname(__file__), *filter(None, [os.environ.get("PYTHONPATH")])])
    # Under nohup the tests' own process ignores SIGINT, and its children would.
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    with subprocess.Popen(
        started, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": paths}, preexec_fn=heed
    ) as process:
        try:
            assert process.stderr.readline() == "waiting\n"
            process.send_signal(number)
            _, err = process.communicate(timeout=120)  # no measure of speed: it ends, or never does
        finally:
            process.kill()
    assert process.returncode == 130
    assert f"the fit is kept in {tiny / 'kept'}" in err
    assert sorted(os.listdir(tiny)) == ["in.inrv", "in.npy", "kept"]
    assert main([*words, "-q"]) == 0, capfd.readouterr().err
    assert (tiny / "out.inrv").read_bytes() == (tiny / "in.inrv").read_bytes()
    assert sorted(os.listdir(tiny)) == ["in.inrv", "in.npy", "out.inrv"]


@pytest.mark.parametrize(
    ("resume", "code", "words"),
    [
        ("-", 2, "'-' is not possible"),
        ("{}/in.npy", 4, "not a checkpoint"),
        ("{}/out.inrv", 2, "both the output and the checkpoint"),
        ("{}/missing/kept", 7, "does not exist"),
        ("{}", 7, "is a folder"),
    ],
)
def test_the_command_refuses_what_cannot_be_a_checkpoint(resume, code, words, tiny, capfd):
    before = (tiny / "in.npy").read_bytes()
    given = [str(tiny / "in.npy"), str(tiny / "out.inrv"), *WORDS, "--resume", resume.format(tiny)]
    assert main(given) == code
    assert words in capfd.readouterr().err
    assert (tiny / "in.npy").read_bytes() == before
