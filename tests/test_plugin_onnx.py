"""Models as ONNX: any architecture computes what torch computes, under the hash of its weights."""

from __future__ import annotations

import json
from hashlib import sha256

import numpy as np
import pytest
import torch
from safetensors.torch import save

from inrcodec.errors import ModelNotFound
from inrcodec.layers.superres import registry
from inrcodec.layers.superres.architectures import Architecture
from inrcodec.layers.superres.network import SRDenseNet
from inrcodec.layers.superres.upsampler import halo_of, residual_of

onnx = pytest.importorskip("onnx", reason="models are exported by onnx (extra onnx)")
from onnx.reference import ReferenceEvaluator  # noqa: E402

from inrcodec.plugins.onnx import export, exported  # noqa: E402

ARCHITECTURES = [
    Architecture(**{"features": 6, "blocks": 2, "layers": 2, "growth": 3, "bottleneck": 5, **changes})
    for changes in (
        {"dims": 3, "factor": (2, 4, 3), "noise_map": True},
        {"dims": 2, "factor": (1, 2, 4), "noise_map": True, "variant": "HL"},
        {"dims": 2, "factor": (1, 4, 2), "head": "deconvolution", "variant": "H"},
        {"dims": 3, "factor": (1, 4, 2), "head": "deconvolution"},
    )
]


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A folder of user models, into which one is put."""
    monkeypatch.setenv(registry.OWN, str(tmp_path))
    card = json.loads((registry.FOLDER / "ct-3d-x4.json").read_text())

    def put(arch, name="mine"):
        torch.manual_seed(0)
        weights = save({key: value.half() for key, value in SRDenseNet(arch).state_dict().items()})
        (tmp_path / f"{name}.safetensors").write_bytes(weights)
        made = card | {"id": name, "architecture": vars(arch), "sha256": sha256(weights).hexdigest()}
        (tmp_path / f"{name}.json").write_text(json.dumps(made))
        return registry.manifest(name)

    return put


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda a: f"{a.dims}-{a.head}-{a.variant}")
def test_a_model_computes_what_torch_computes(models, arch):
    known = models(arch)
    network = registry.load("mine", bytes.fromhex(known.sha256))
    model = ReferenceEvaluator(onnx.load_from_string(exported("mine")))
    block = np.random.default_rng(1).uniform(-1, 1, (7, 6, 8)).astype(np.float32)
    feeds = {"lowres": block} | ({"noise": np.float32(0.02)} if arch.noise_map else {})
    assert set(model.input_names) == set(feeds)
    residual, halo, factor, digest, work = model.run(None, feeds)
    with torch.no_grad():
        expected = residual_of(network, torch.from_numpy(block), 0.02).numpy()
    np.testing.assert_allclose(residual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert tuple(halo) == halo_of(network) and tuple(factor) == arch.factor
    assert bytes(digest).hex() == known.sha256 and work == arch.multiply_adds


def test_every_model_has_a_file_that_its_hash_names(tmp_path):
    paths = export(tmp_path / "models")
    assert {path.stem for path in paths} == {known.sha256 for known in registry.manifests().values()}


def test_weights_that_are_not_those_of_the_card_are_not_exported(models, tmp_path):
    known = models(ARCHITECTURES[0])
    (tmp_path / "mine.safetensors").write_bytes(known.weights.read_bytes()[:-1] + b"\1")
    with pytest.raises(ModelNotFound, match="not those of its card"):
        exported("mine")
