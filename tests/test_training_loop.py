"""The loop of a training: its loss, its steps, and checkpoints that it goes on from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from training_samples import FACTOR, FLAT, SIZE, TINY, clean_volume, options, texture, written_volumes

from inrcodec.encoder.fit.checkpoint import Checkpoint, keeping
from inrcodec.errors import CorruptFile, FitFailed, UsageError
from inrcodec.layers import resample
from inrcodec.layers.superres.network import SRDenseNet
from inrcodec.training import dataset
from inrcodec.training.evaluate import score
from inrcodec.training.patches import Batch, Patches
from inrcodec.training.trainer import Trainer


@pytest.fixture
def volumes(tmp_path):
    return written_volumes(tmp_path)


@pytest.fixture
def training_options(volumes, tmp_path):
    return options(volumes, tmp_path, steps=6, report=100)


def trained(chosen, steps):
    trainer, patches = Trainer(TINY, chosen), Patches([clean_volume()], TINY, SIZE, chosen.seed)
    for _ in range(steps):
        trainer.step(patches.draw(trainer.steps, 2))
    return trainer, patches


def written(trainer, path):
    """A checkpoint of a training that was stopped here."""
    with keeping(Checkpoint(path), trainer, lambda: "digest") as note:
        note(True)


@pytest.mark.parametrize("loss", ["mse", "l1"])
def test_the_loss_is_the_weighted_error_inside_the_border(training_options, loss):
    trainer = Trainer(TINY, replace(training_options, loss=loss))
    for p in trainer.network.parameters():
        p.data.zero_()  # the residual is 0, so the error is the target
    inside = torch.zeros(2, 1, 18, 20, 20)
    inside[..., 4:-4, 4:-4, 4:-4] = torch.tensor([0.5, 2.0]).reshape(2, 1, 1, 1, 1)
    weight = torch.tensor([4.0, 9.0])
    outside = torch.where(inside == 0, 100.0, inside)
    trainer.step(Batch(torch.zeros(2, 1, *SIZE), outside, weight, torch.zeros(2)))
    expected = (0.25 * 4 + 4 * 9) / 2 if loss == "mse" else (0.5 * 2 + 2 * 3) / 2
    assert trainer.loss == pytest.approx(expected)


def test_a_step_goes_against_the_gradient(training_options):
    """Adam's first step moves every weight by the learning rate, so a small one lowers the loss."""
    trainer = Trainer(TINY, training_options)
    batch = Patches([clean_volume()], TINY, SIZE, 0).draw(0, 2)
    before = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    trainer.step(batch)
    moved = [v - before[k] for k, v in trainer.network.state_dict().items()]
    rate = training_options.learning_rate / 200  # of the warm-up
    assert max(float(m.abs().max()) for m in moved) == pytest.approx(rate, rel=0.01)
    gradients = [p.grad for p in trainer.network.parameters()]
    assert sum(float((m * g).sum()) for m, g in zip(moved, gradients, strict=True)) < 0


def test_a_score_is_that_of_lanczos_and_of_the_residual():
    network = SRDenseNet(TINY)
    for p in network.parameters():
        p.data.zero_()
    flat = score(network, clean_volume(), 1)
    assert flat.model == flat.lanczos and flat.lowres is None and flat.gain == 0
    network.head[-1].bias.data.fill_(0.1)
    up = resample.up(clean_volume().lowres.numpy().astype(float), FACTOR, clean_volume().highres.shape)
    error = (up + np.float32(0.1)).clip(-1, 1) - clean_volume().highres.numpy()
    assert score(network.eval(), clean_volume(), 1).model == pytest.approx(
        -10 * np.log10(np.square(error).mean() / 4), abs=1e-4
    )


def test_two_dimensions_train_slice_by_slice(training_options):
    trainer = Trainer(FLAT, training_options)
    trainer.step(
        Batch(torch.randn(2, 1, 3, 8, 8), torch.randn(2, 1, 3, 16, 16), torch.ones(2), torch.zeros(2))
    )
    assert trainer.steps == 1 and np.isfinite(trainer.loss)


def test_a_resumed_training_is_the_same_training(training_options, tmp_path):
    whole, _ = trained(training_options, 6)
    half, patches = trained(training_options, 3)
    written(half, tmp_path / "c")
    torch.manual_seed(99)
    rest = Trainer(TINY, training_options)
    with keeping(Checkpoint(tmp_path / "c"), rest, lambda: "digest") as note:
        assert rest.steps == 3
        rest.run(patches, note, lambda: None)
    assert rest.steps == 6
    for name, value in whole.average.items():
        torch.testing.assert_close(rest.average[name], value, rtol=0, atol=1e-7)


def test_a_checkpoint_before_the_first_step_is_the_beginning(training_options, tmp_path):
    written(trained(training_options, 0)[0], tmp_path / "c")
    rest = Trainer(TINY, training_options)
    written(rest, tmp_path / "c")
    rest.step(Patches([clean_volume()], TINY, SIZE, 0).draw(0, 2))
    for name, value in trained(training_options, 1)[0].average.items():
        assert torch.equal(rest.average[name], value)


def test_other_checkpoints_are_refused(training_options, tmp_path):
    path = tmp_path / "c"
    written(trained(training_options, 1)[0], path)
    with (
        pytest.raises(UsageError, match="other options"),
        keeping(Checkpoint(path), Trainer(TINY, training_options), lambda: "another"),
    ):
        pass
    with pytest.raises(CorruptFile, match="not a tensor"):
        written(Trainer(replace(TINY, features=12), training_options), path)
    for junk in (b"", b"junk" * 100):
        path.write_bytes(junk)
        with pytest.raises(CorruptFile, match="checkpoint"):
            written(Trainer(TINY, training_options), path)


def test_a_training_that_diverges_is_an_error_and_leaves_no_checkpoint(training_options, tmp_path):
    trainer, patches = trained(training_options, 0)
    for p in trainer.network.parameters():
        p.data.fill_(torch.nan)
    with (
        pytest.raises(FitFailed, match="smaller"),
        keeping(Checkpoint(tmp_path / "c"), trainer, lambda: "digest") as note,
    ):
        trainer.run(patches, note, lambda: None)
    assert not (tmp_path / "c").exists()


def test_volumes_are_float32_whatever_the_source_is(volumes, tmp_path):
    np.save(volumes[0], texture().astype(np.float64))
    chosen = options(volumes, tmp_path)
    part = dataset.to_evaluate_on("v", dataset.load(volumes[0], chosen), chosen).part
    assert {part.highres.dtype, part.lowres.dtype} == {torch.float32}
