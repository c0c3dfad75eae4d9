"""Checkpoints: a fit that was interrupted ends as if it had not been, and nothing false is gone on from."""

import itertools
import os

import hypothesis
import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from small_fits import LAYOUT, cut, settings

from inrcodec.encoder.fit import checkpoint, loop
from inrcodec.encoder.fit.checkpoint import Checkpoint
from inrcodec.encoder.fit.divergence import Monitor
from inrcodec.errors import CorruptFile, UsageError, WriteError
from inrcodec.layers.base.siren.siren import Layout

PLAIN = {"steps": 260}  # past the first check of the tiles
WAYS = {
    "soap": PLAIN,
    "soap with budget": {**PLAIN, "budget": 500},
    "adam without rate": {**PLAIN, "lmbda": 0.0, "learning_rate": 0.0015},
}


class Interrupted(BaseException):
    """Nothing that the package knows."""


@pytest.fixture(autouse=True)
def every_step(monkeypatch):
    monkeypatch.setattr(checkpoint, "NOTED_EVERY", 0.0)


def interrupted_at(share, path, **changes):
    def progress(stage, fraction):
        if fraction >= share:
            raise Interrupted

    with pytest.raises(Interrupted):
        fitted(path, progress, **changes)


def fitted(path=None, progress=None, start=None, keeper=None, **changes):
    keeper = keeper or (Checkpoint(path) if path else None)
    return loop.fit(LAYOUT, *cut(), settings(**changes, checkpoint=keeper), progress, start)


def same(a, b):
    pairs = [(p, q) for s, t in zip(a.integers, b.integers, strict=True) for p, q in zip(s, t, strict=True)]
    return a.codes == b.codes and a.steps == b.steps and all(np.array_equal(p, q) for p, q in pairs)


@pytest.fixture(scope="module")
def whole():
    return {way: fitted(**knobs) for way, knobs in WAYS.items()}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("share", [0.01, 0.4, 0.9, 1.0], ids=["first steps", "noise", "rounded", "last step"])
def test_a_fit_that_was_interrupted_ends_as_if_it_had_not_been(way, share, whole, tmp_path):
    path = tmp_path / "kept"
    interrupted_at(share, path, **WAYS[way])
    steps = []
    assert same(fitted(path, lambda _, fraction: steps.append(fraction), **WAYS[way]), whole[way])
    assert min(steps) >= share


def test_a_fit_may_be_interrupted_often(whole, tmp_path):
    for share in (0.2, 0.21, 0.6, 0.95):
        interrupted_at(share, tmp_path / "kept", **PLAIN)
    assert same(fitted(tmp_path / "kept", **PLAIN), whole["soap"])


def test_an_interrupt_while_the_budget_is_filled_goes_back_to_the_last_step(whole, tmp_path, monkeypatch):
    knobs = WAYS["soap with budget"]

    def interrupt(run):
        raise Interrupted

    with monkeypatch.context() as during:
        during.setattr(loop._Run, "fill_budget", interrupt)
        with pytest.raises(Interrupted):
            fitted(tmp_path / "kept", **knobs)
    assert same(fitted(tmp_path / "kept", **knobs), whole["soap with budget"])


def test_an_interrupt_in_the_middle_of_a_step_goes_back_to_the_step_before(whole, tmp_path, monkeypatch):
    plain, calls = loop.Trainer.step, []

    def half_a_step(trainer, share, lmbda):
        calls.append(share)
        if len(calls) == 130:
            trainer.flat += 1
            raise Interrupted
        plain(trainer, share, lmbda)

    with monkeypatch.context() as during:
        during.setattr(loop.Trainer, "step", half_a_step)
        with pytest.raises(Interrupted):
            fitted(tmp_path / "kept", **PLAIN)
    assert same(fitted(tmp_path / "kept", **PLAIN), whole["soap"])


def test_other_threads_may_go_on(whole, tmp_path):
    interrupted_at(0.5, tmp_path / "kept", threads=1, **PLAIN)
    assert same(fitted(tmp_path / "kept", threads=2, **PLAIN), whole["soap"])


def test_restarts_of_a_lost_tile_are_remembered(tmp_path, monkeypatch):
    """A tile is lost in two steps; noise and new weights come from one generator, and its rate is halved."""
    step = loop.Trainer.step

    def sabotage(trainer, share, lmbda):
        step(trainer, share, lmbda)
        if trainer.steps in (210, 390):
            trainer.flat[-1] += torch.nan

    monkeypatch.setattr(loop.Trainer, "step", sabotage)
    monkeypatch.setattr(Monitor, "stuck", lambda *_: [])  # how well it ends is not the question
    plain = fitted(steps=450)
    assert plain.restarts >= 2
    interrupted_at(0.5, tmp_path / "kept", steps=450)
    again = fitted(tmp_path / "kept", steps=450)
    assert same(again, plain) and again.restarts == plain.restarts


@pytest.fixture
def clock(monkeypatch):
    """A fit's clock that goes on by 10 ms whenever somebody looks."""
    ticks = itertools.count()
    monkeypatch.setattr(loop, "monotonic", lambda: 0.01 * next(ticks))


def test_time_that_was_spent_counts(clock, tmp_path):
    knobs = {"steps": 10**9, "time_budget": 6.0}
    plain = fitted(tmp_path / "plain", **knobs)
    interrupted_at(0.5, tmp_path / "kept", **knobs)
    assert abs(fitted(tmp_path / "kept", **knobs).steps - plain.steps) < 5


def test_more_time_is_used_and_does_not_take_the_schedule_back(clock, tmp_path):
    shares = []
    plain = fitted(tmp_path / "plain", steps=10**9, time_budget=6.0)
    interrupted_at(0.5, tmp_path / "kept", steps=10**9, time_budget=6.0)
    longer = fitted(tmp_path / "kept", lambda _, share: shares.append(share), steps=10**9, time_budget=12.0)
    assert longer.steps > 1.5 * plain.steps
    assert shares == sorted(shares) and shares[0] >= 0.5


@pytest.fixture
def kept(tmp_path):
    """The file of a fit that was interrupted in the middle."""
    interrupted_at(0.5, tmp_path / "kept", **PLAIN)
    return tmp_path / "kept"


OTHER = {
    "seed": {"seed": 4},
    "steps": {"steps": 261},
    "room": {"budget": 500},
    "batch": {"batch": 255},
    "lambda": {"lmbda": 2e-7},
    "optimizer": {"learning_rate": 0.0015},
}


@pytest.mark.parametrize("changes", OTHER.values(), ids=OTHER)
def test_a_checkpoint_of_other_options_is_refused(changes, kept):
    before = kept.read_bytes()
    with pytest.raises(UsageError, match=r"another input or other options.*delete it"):
        fitted(kept, **{**PLAIN, **changes})
    assert kept.read_bytes() == before


def test_a_checkpoint_of_another_input_is_refused(kept):
    found, values = cut()
    values[0][0] += 1e-12
    with pytest.raises(UsageError, match="another input"):
        loop.fit(LAYOUT, found, values, settings(**PLAIN, checkpoint=Checkpoint(kept)))


def test_a_checkpoint_of_another_layout_is_refused(kept):
    with pytest.raises(UsageError, match="another input"):
        loop.fit(Layout(2, 16, omega=16.0), *cut(), settings(**PLAIN, checkpoint=Checkpoint(kept)))


def test_a_checkpoint_of_another_start_is_refused(kept, whole):
    with pytest.raises(UsageError, match="another input"):
        fitted(kept, start=whole["soap"], **PLAIN)


def test_a_checkpoint_of_another_version_is_refused(kept, monkeypatch):
    monkeypatch.setattr(checkpoint, "__version__", "9.9")
    with pytest.raises(UsageError, match=r"written by version '.*', this is '9.9'"):
        fitted(kept, **PLAIN)


def rewritten(path, change):
    """Change the tensors and the metadata, and make the file sound again but for that."""
    with safetensors.safe_open(path, "pt") as file:
        about = file.metadata()
    tensors = safetensors.torch.load_file(path)
    change(tensors, about)
    del about["head"]
    about["head"] = checkpoint.digest_of({name: about[name] for name in checkpoint.FIELDS if name in about})
    safetensors.torch.save_file(tensors, path, about)


def lie(name, value):
    """A change of one tensor, with the checksum that belongs to it."""

    def change(tensors, about):
        tensors[name] = value(tensors[name])
        about["sum"] = checkpoint._sum(tensors)

    return change


def truth(tensors, about):
    tensors["more"] = torch.zeros(3)


def less(tensors, about):
    del tensors["run"]


HOSTILE = {
    "one tensor more": truth,
    "one tensor less": less,
    "another shape": lie("trainer.flat", lambda t: t[:1].clone()),
    "another type": lie("trainer.flat", lambda t: t.double()),
    "checksum": lambda tensors, about: tensors["trainer.flat"].add_(1),
    "steps below 0": lie("trainer.steps", lambda t: -t),
    "steps of the optimiser": lie("trainer.optimizer.steps", lambda t: -t),
    "phase": lie("trainer.phase", lambda t: t + 7),
    "lost": lie("trainer.monitor.restarts", lambda t: t - 5),
    "schedule": lie("run", lambda t: t.index_fill(0, torch.tensor(0), 2.0)),
    "time": lie("run", lambda t: t.index_fill(0, torch.tensor(1), torch.nan)),
    "lambda": lie("rate.values", lambda t: t.index_fill(0, torch.tensor(0), torch.nan)),
    "size": lie("rate.values", lambda t: t.index_fill(0, torch.tensor(2), torch.inf)),
    "steered": lie("rate.values", lambda t: t.index_fill(0, torch.tensor(3), -1.0)),
    "generator": lie("trainer.generator", lambda t: torch.full_like(t, 255)),
    "steps of the weights": lie("trainer.quantizer.log_step", lambda t: t * torch.nan),
    "steps that were kept": lie("trainer.best_log_step", lambda t: t * torch.inf),
    "format": lambda tensors, about: about.update(format="another"),
    "a field less": lambda tensors, about: about.pop("fits"),
    "no number": lambda tensors, about: about.update(fits="²"),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_false_checkpoint_is_corrupt_and_named(change, kept):
    rewritten(kept, change)
    before = kept.read_bytes()
    with pytest.raises(CorruptFile, match=f"{kept} is not a checkpoint of a fit.*delete it"):
        fitted(kept, **PLAIN)
    assert kept.read_bytes() == before


def said(content):
    """A file's bytes, but for the kind of the blanks that its header ends with."""
    size = 8 + int.from_bytes(content[:8], "little")
    return content[:size].rstrip(b" \t\r\n") + content[size:]


@given(data=st.data())
@hypothesis.settings(max_examples=60, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_any_damage_is_a_clear_error(data, kept):
    whole_file = kept.read_bytes()
    place = data.draw(st.integers(0, len(whole_file) - 1) | st.integers(0, 3000))
    kind = data.draw(st.sampled_from(["changed", "cut", "longer"]))
    byte = bytes([whole_file[place] ^ data.draw(st.integers(1, 255))])
    damaged = {
        "changed": whole_file[:place] + byte + whole_file[place + 1 :],
        "cut": whole_file[:place],
        "longer": whole_file + whole_file[:place] + byte,
    }[kind]
    assume(kind != "changed" or said(damaged) != said(whole_file))  # blanks at the end of the header
    try:
        kept.write_bytes(damaged)
        with pytest.raises((CorruptFile, UsageError), match=str(kept)):
            fitted(kept, **PLAIN)
    finally:
        kept.write_bytes(whole_file)


NONSENSE = {
    "empty": b"",
    "short": b"abc",
    "a header of 2 GB": (2**31).to_bytes(8, "little") + b"{}",
    "no end": (8).to_bytes(8, "little") + b"{",
    "depth": (100_000).to_bytes(8, "little") + b"[" * 100_000,
    "a long number": (100_000).to_bytes(8, "little") + b"1" * 100_000,
    "no map": (2).to_bytes(8, "little") + b"[]",
    "metadata": (18).to_bytes(8, "little") + b'{"__metadata__":1}',
    "no text": (4).to_bytes(8, "little") + b"\xff\xfe\xfd\xfc",
}


@pytest.mark.parametrize("content", NONSENSE.values(), ids=NONSENSE)
def test_what_is_no_checkpoint_is_refused_before_anything_is_done(content, tmp_path):
    (tmp_path / "kept").write_bytes(content)
    with pytest.raises(CorruptFile, match="not a checkpoint"):
        Checkpoint(tmp_path / "kept").check()
    assert (tmp_path / "kept").read_bytes() == content


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_done(tmp_path):
    for path in (tmp_path, tmp_path / "missing" / "kept"):
        with pytest.raises(WriteError):
            Checkpoint(path).check()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="not a regular file"):
        Checkpoint(tmp_path / "pipe").check()


def test_a_file_that_cannot_be_read_is_named(kept, monkeypatch):
    def forbidden(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(checkpoint.Path, "open", forbidden)
    with pytest.raises(CorruptFile, match=f"{kept}.*permission denied"):
        Checkpoint(kept).check()


def test_it_holds_tensors_and_digests_alone(kept):
    with safetensors.safe_open(kept, "pt") as file:
        about = file.metadata()
    assert set(about) == set(checkpoint.FIELDS)
    assert all(len(about[name]) == 64 for name in ("first", "fit", "sum", "head"))


def two_fits(path, progress=None):
    """An encoding that fits twice, with one checkpoint."""
    keeper = Checkpoint(path) if path else None
    first = fitted(keeper=keeper, progress=progress and (lambda _, f: progress(f)), **PLAIN)
    return fitted(keeper=keeper, start=first, progress=progress and (lambda _, f: progress(1 + f)), steps=130)


@pytest.mark.parametrize("share", [0.5, 1.0, 1.01, 1.5])
def test_an_encoding_of_two_fits_goes_on(share, tmp_path):
    def interrupt(fraction):
        if fraction >= share:
            raise Interrupted

    with pytest.raises(Interrupted):
        two_fits(tmp_path / "kept", interrupt)
    shares = []
    assert same(two_fits(tmp_path / "kept", shares.append), two_fits(None))
    later = [s for s in shares if s > 1] if share > 1 else shares
    assert min(later) >= share


def test_the_file_of_a_later_fit_outlives_the_fits_before_it(tmp_path):
    def interrupt_at(share):
        def interrupt(fraction):
            if fraction >= share:
                raise Interrupted

        with pytest.raises(Interrupted):
            two_fits(tmp_path / "kept", interrupt)

    interrupt_at(1.5)
    before = (tmp_path / "kept").read_bytes()
    interrupt_at(0.5)
    assert (tmp_path / "kept").read_bytes() == before


def test_it_is_written_now_and_then_and_no_copy_is_made_for_nothing(tmp_path, monkeypatch):
    now, copies, writes = [0.0], [], []
    monkeypatch.setattr(checkpoint, "monotonic", lambda: now[0])
    monkeypatch.setattr(checkpoint, "NOTED_EVERY", 1.0)
    monkeypatch.setattr(checkpoint, "atomic_write", lambda *args, **kwargs: writes.append(now[0]))

    class Fit:
        def tensors(self):
            copies.append(now[0])
            return {"a": torch.zeros(2)}

        def restore(self, kept):
            raise AssertionError

    keeper = Checkpoint(tmp_path / "kept")
    keeper.begin("digest", Fit())
    for quarter in range(1, 281):
        now[0] = quarter / 4
        keeper.note(last=quarter == 280)
    assert copies == list(range(1, 71))
    assert writes == [30, 60, 70]
