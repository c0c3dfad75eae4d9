"""The fit on an accelerator: one step of every phase on torch's ``meta`` device, where nothing has values.

What would mix devices there fails here, without a GPU: each operation must have all its tensors on one.
"""

import pytest
import torch
from small_fits import LAYOUT, cut
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from inrcodec import parallel
from inrcodec.encoder.fit import backprop
from inrcodec.encoder.fit.loss import Distortion
from inrcodec.encoder.fit.trainer import NOISY, PLAIN, ROUNDED, Trainer

MOVES = {"aten::_to_copy", "aten::copy_"}  # what brings values from one device to another


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of two devices; a CPU number without axes goes anywhere."""

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        found = tree_leaves((arguments, keywords))
        devices = {t.device.type for t in found if isinstance(t, torch.Tensor) and t.dim()}
        name = function._schema.name
        assert len(devices) < 2 or name in MOVES, f"{name} mixes {sorted(devices)}"
        return function(*arguments, **(keywords or {}))


@pytest.fixture
def on_meta(monkeypatch):
    """Makes trainers on the device; compiled code would hide its operations from the check."""
    plain = backprop.Kernels(backprop.backward, backprop.backward_portions, backprop.squared_error)
    monkeypatch.setattr(backprop, "kernels", lambda: plain)

    def make(learning_rate=None):
        found, values = cut()
        # Threads know nothing of a dispatch mode: the pool is a plain map.
        distortion = Distortion(
            LAYOUT, found, values, batch=64, seed=0, device="meta", workers=1,
            pool=lambda function, pieces: list(map(function, pieces)),
        )  # fmt: skip
        return Trainer(distortion, found, values, learning_rate=learning_rate, coded=True, seed=0)

    return make


def test_the_check_sees_mixed_devices():
    with OneDevice(), pytest.raises(AssertionError, match="mixes"):
        torch.bmm(torch.ones(1, 2, 2, device="meta"), torch.ones(1, 2, 2))


@pytest.mark.parametrize("phase", [PLAIN, NOISY, ROUNDED])
@pytest.mark.parametrize("learning_rate", [None, 1e-3], ids=["soap", "adam"])
def test_a_step_stays_on_its_device(on_meta, phase, learning_rate):
    with parallel.single_threaded(1), OneDevice():
        trainer = on_meta(learning_rate)
        trainer.phase, trainer.quantizer.frozen = phase, phase == ROUNDED
        for _ in range(10):  # to the first refresh of the bases
            trainer.update(0.5, 1e-7)
    for tensor in (trainer.flat, trainer.monitor.mean, trainer.quantizer.log_scale):
        assert tensor.device.type == "meta"


def test_what_is_measured_and_restored_stays_on_its_device(on_meta):
    with OneDevice():
        trainer = on_meta()
        codes = [[150] * len(LAYOUT.sizes)] * 2
        trainer.start_from(codes, [[torch.zeros(n, m).numpy() for n, m in LAYOUT.shapes]] * 2)
        errors, bits = trainer.rounded()
        trainer.coarsen(0.4)
        trainer.optimizer.step(trainer.optimizer.parameters, trainer.patience)
        trainer.optimizer.reset(1)
        trainer.monitor.update(errors.float())
        fresh = trainer._fresh(slice(1, 2))
    assert {t.device.type for t in (errors, bits, fresh, trainer.quantizer.log_step)} == {"meta"}
