"""Super-resolution: the published architecture, blocks without seams, and only the models that are meant."""

import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from itertools import combinations
from math import prod

import numpy as np
import pytest
import torch

import inrcodec
from inrcodec.errors import ModelNotFound
from inrcodec.format import container
from inrcodec.layers.superres import blocks, registry, upsampler
from inrcodec.layers.superres import network as network_module
from inrcodec.layers.superres.architectures import Architecture
from inrcodec.layers.superres.network import SRDenseNet
from inrcodec.layers.superres.upsampler import Upsampler

PAPER = {
    "dims": 2, "factor": (1, 4, 4), "features": 128, "blocks": 8, "layers": 8, "growth": 16,
    "bottleneck": 256, "head": "deconvolution",
}  # fmt: skip
TINY = Architecture(features=8, blocks=1, layers=2, growth=4, bottleneck=8, factor=(2, 4, 4))


def count(network):
    return sum(p.numel() for p in network.parameters())


def test_the_papers_network_has_its_weights_and_layers():
    network = SRDenseNet(Architecture(**PAPER))
    assert count(network) == 2_659_585
    assert sum(isinstance(m, torch.nn.Conv2d | torch.nn.ConvTranspose2d) for m in network.modules()) == 69


def test_h_and_hl_feed_less_to_the_bottleneck():
    counts = [count(SRDenseNet(Architecture(**PAPER, variant=v))) for v in ("H", "HL", "All")]
    assert counts == [2_659_585 - 1024 * 256, 2_659_585 - 896 * 256, 2_659_585]


@pytest.mark.parametrize("head", ["subpixel", "deconvolution"])
@pytest.mark.parametrize(("dims", "factor"), [(3, (4, 4, 4)), (3, (1, 2, 4)), (2, (1, 4, 4)), (2, (1, 2, 2))])
def test_every_factor_comes_out_in_its_shape(dims, factor, head):
    network = SRDenseNet(
        Architecture(
            dims=dims, factor=factor, features=4, blocks=1, layers=2, growth=4, bottleneck=4, head=head
        )
    )
    low = (3, 5, 4)[3 - dims :]
    high = tuple(n * f for n, f in zip(low, factor[3 - dims :], strict=True))
    assert network(torch.zeros(2, 1, *low)).shape == (2, 1, *high)


def counted(arch, low):
    """Multiply-adds for a low-res block, counted on the real layers."""
    total = 0

    def count_one(layer, inputs, output):
        nonlocal total
        is_deconvolution = isinstance(layer, torch.nn.ConvTranspose2d | torch.nn.ConvTranspose3d)
        multiplied = inputs[0] if is_deconvolution else output
        total += layer.weight.numel() * multiplied[0, 0].numel()

    with torch.device("meta"):
        network = SRDenseNet(arch)
        for layer in network.modules():
            if isinstance(layer, torch.nn.modules.conv._ConvNd):
                layer.register_forward_hook(count_one)
        # The hooks of a layer run when it is called, which the network does not do on its fast path.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(network_module, "_convolve", lambda layer, x, **_: layer(x))
            network(torch.zeros(1, 1, *low))
    return total


@pytest.mark.parametrize("variant", ["All", "HL", "H"])
@pytest.mark.parametrize("head", ["subpixel", "deconvolution"])
@pytest.mark.parametrize(
    ("dims", "factor"), [(3, (4, 4, 4)), (3, (1, 2, 4)), (3, (2, 4, 8)), (2, (1, 4, 4)), (2, (1, 2, 8))]
)
def test_the_work_of_an_architecture_is_that_of_its_layers(dims, factor, head, variant):
    arch = Architecture(
        dims=dims, factor=factor, features=6, blocks=3, layers=3, growth=4, bottleneck=5, head=head,
        variant=variant, noise_map=dims == 3,
    )  # fmt: skip
    low = (3, 5, 4)[3 - dims :]
    assert counted(arch, low) == arch.multiply_adds * prod(low)


def test_the_work_is_refused_before_torch_is_imported(tmp_path):
    """Of a header alone; a model without work, or none, passes."""
    script = """
import sys, numpy as np
from dataclasses import replace
from inrcodec.errors import LimitExceeded
from inrcodec.format import limits
from inrcodec.format.header import Header
from inrcodec.layers.superres import registry
known = registry.manifest("srdensenet-all")
header = Header(
    shape=(1024, 1024, 1024), dtype="int16", affine=np.eye(4), low=-1024.0, high=3071.0, factor=(1, 4, 4),
    layers=1, width=1, tiles=(1, 1, 1), cuts=(), sr=known.id, sr_sha256=bytes.fromhex(known.sha256),
    sr_window=known.window, sr_ensemble=4,
)
limits.check_header(header, masked=False)
registry.check_work(replace(header, shape=(256, 1024, 1024), sr_ensemble=1))
registry.check_work(replace(header, sr="lanczos", sr_sha256=b"", sr_ensemble=1))
try:
    registry.check_work(header)
except LimitExceeded as error:
    print("torch" in sys.modules, error.value)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded, work = done.stdout.split()
    each = registry.manifest("srdensenet-all").architecture.multiply_adds
    assert loaded == "False" and int(work) == each * 1024 * 256 * 256 * 4


def test_what_a_box_depends_on_is_known_without_torch(tmp_path):
    """Of a file with a model: torch is imported while the low-res volume is decoded, or not at all."""
    known = registry.manifest("ct-3d-x2")
    ramp = np.broadcast_to(40 * np.arange(40, dtype=np.int16), (24, 40, 40))
    blob = inrcodec.encode(ramp, factor=2, tiles=(1, 1, 1), width=10, steps=50, sr="lanczos", threads=1)
    header, sections = container.read(blob)
    model = {"sr": known.id, "sr_sha256": bytes.fromhex(known.sha256), "sr_window": known.window}
    named = replace(header, **model, sr_noise=9).to_bytes()
    (tmp_path / "v.inrv").write_bytes(container.pack(list({**sections, "HEAD": named}.items())))
    script = f"""
import sys, inrcodec
file = inrcodec.open({str(tmp_path / "v.inrv")!r})
print(file.bytes_needed((slice(0, 9), slice(0, 9), slice(0, 9))), "torch" in sys.modules)
print(file.read(threads=2).sum(), "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    needed, before, total, after = done.stdout.split()
    assert (before, after) == ("False", "True") and int(needed) > 0
    assert int(total) == inrcodec.open(tmp_path / "v.inrv").read(threads=1).sum()


def test_subpixels_stand_where_their_channel_says():
    network = SRDenseNet(TINY)
    with torch.no_grad():
        network.head[-1].weight.zero_()
        network.head[-1].bias.copy_(torch.arange(32.0))
        block = network(torch.zeros(1, 1, 2, 2, 2))[0, 0, :2, :4, :4]
    assert torch.equal(block.flatten(), torch.arange(32.0))


@pytest.mark.parametrize(
    "wrong",
    [
        {"dims": 4},
        {"dims": 2, "factor": (4, 4, 4)},
        {"variant": "X"},
        {"head": "deconvolution", "factor": (3, 4, 4)},
    ],
)
def test_architectures_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match=r"use|need"):
        Architecture(**wrong)


def residual(network, low, active, threads=2):
    """Of the whole volume, (z, y, x) float64."""
    shape = [n * f for n, f in zip(low.shape, network.arch.factor, strict=True)]
    out = np.zeros(shape)
    for layer in Upsampler(network, low, active, "cpu", threads).layers():
        for z in range(layer.start, min(layer.stop, shape[0])):
            for y in range(0, shape[1], 24):  # in bands, as the decoder asks for them
                layer.add_to(out[z, y : y + 24], (z, y, 0), 1.0)
    return out


@pytest.mark.parametrize("head", ["subpixel", "deconvolution"])
@pytest.mark.parametrize("dims", [2, 3])
def test_a_rim_that_is_left_out_changes_nothing_inside(dims, head):
    torch.manual_seed(0)
    network = SRDenseNet(replace(TINY, dims=dims, factor=(1, 4, 4), head=head))
    low = torch.randn(2, 1, *(9, 10, 11)[3 - dims :])
    with torch.no_grad():
        whole, inside = network(low), network(low, 2)
    spans = zip(network.arch.factor[3 - dims :], whole.shape[2:], strict=True)
    cut = [slice(2 * f, n - 2 * f) for f, n in spans]
    torch.testing.assert_close(inside, whole[(..., *cut)], atol=1e-6, rtol=0)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_noise_level_is_an_input_of_networks_with_a_noise_map(dims):
    torch.manual_seed(0)
    deaf = replace(TINY, dims=dims, factor=(1, 4, 4))
    low = torch.randn(2, 1, *(9, 10, 11)[3 - dims :])
    with torch.no_grad():
        network = SRDenseNet(deaf)
        assert torch.equal(network(low, noise=0.01), network(low))
        network = SRDenseNet(replace(deaf, noise_map=True))
        assert count(network) == count(SRDenseNet(deaf)) + 3**dims * deaf.features
        clean, noisy = network(low), network(low, noise=0.01)
        assert not torch.equal(clean, noisy)
        both = network(low, noise=torch.tensor([0.0, 0.01]))
    torch.testing.assert_close(both, torch.stack([clean[0], noisy[1]]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("ensemble", "axes"), [(1, ()), (2, (2,)), (4, (1, 2)), (8, (0, 1, 2))])
def test_an_ensemble_is_the_mean_over_mirror_images(dims, ensemble, axes):
    torch.manual_seed(0)
    network = SRDenseNet(replace(TINY, dims=dims, factor=(1, 4, 4))).eval().requires_grad_(False)
    block = torch.randn(6, 9, 10)
    images = [m for n in range(len(axes) + 1) for m in combinations(axes, n)]
    each = [upsampler.residual_of(network, block.flip(m), 0.0).flip(m) for m in images]
    found = upsampler.residual_of(network, block, 0.0, ensemble)
    assert len(images) == ensemble
    torch.testing.assert_close(found, torch.stack(each).mean(0), atol=1e-6, rtol=0)
    mirrored = upsampler.residual_of(network, block.flip(axes), 0.0, ensemble).flip(axes)
    torch.testing.assert_close(found, mirrored, atol=1e-6, rtol=0)


def test_the_gradient_path_computes_the_same():
    torch.manual_seed(0)
    network, low = SRDenseNet(TINY), torch.randn(1, 1, 6, 7, 8)
    with torch.no_grad():
        decoded = network(low)
    torch.testing.assert_close(network(low).detach(), decoded, atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(5, 40, 33), (17, 8, 70)])
def test_blocks_leave_no_seams(shape, monkeypatch):
    """With a halo as wide as the receptive field, block by block is the whole volume at once."""
    monkeypatch.setattr(blocks, "BLOCK", (8, 16, 16))
    monkeypatch.setattr(upsampler, "HALO", 4)
    torch.manual_seed(0)
    network = SRDenseNet(TINY)
    low = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    blocked = residual(network, low, np.ones(shape, bool))
    padded = np.pad(low, 8, mode="edge")
    with torch.no_grad():
        whole = network(torch.from_numpy(padded)[None, None])[0, 0].numpy()
    inside = tuple(slice(8 * f, (8 + n) * f) for n, f in zip(shape, TINY.factor, strict=True))
    np.testing.assert_allclose(blocked, whole[inside], atol=1e-5)


@pytest.mark.parametrize(
    "arch",
    [TINY, Architecture(dims=2, factor=(1, 2, 2), features=8, blocks=1, layers=2, growth=4, bottleneck=8)],
)
def test_threads_do_not_change_a_bit_and_background_gets_nothing(arch):
    torch.manual_seed(1)
    network = SRDenseNet(arch)
    low = np.random.default_rng(1).normal(size=(20, 70, 50)).astype(np.float32)
    active = np.zeros(low.shape, bool)
    active[3:, 5:10, 40:] = active[3:, 60:, 2:9] = True
    one, two = (residual(network, low, active, t) for t in (1, 2))
    assert np.array_equal(one, two)
    fz, fy, fx = arch.factor
    assert one[3 * fz, 7 * fy, 45 * fx] and one[-1, -1, 4 * fx]
    assert not one[:, : 4 * fy].any() and not one[..., :fx].any()
    assert not one[:, 27 * fy : 47 * fy].any()


@pytest.mark.parametrize("ensemble", [1, 4, 8])
@pytest.mark.parametrize(
    ("dims", "head"), [(2, "subpixel"), (3, "subpixel"), (2, "deconvolution"), (3, "deconvolution")]
)
def test_a_block_stays_on_its_device(dims, head, ensemble, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: torch.zeros(tensor.shape))  # meta has no values
    network = SRDenseNet(replace(TINY, dims=dims, factor=(1, 4, 4), head=head, noise_map=True)).eval()
    upsampling = Upsampler(
        network, np.zeros((5, 12, 9), np.float32), np.ones((5, 12, 9), bool), "meta", 1, 0.01,
        ensemble=ensemble,
    )  # fmt: skip
    block = upsampling._block((slice(0, 5), slice(0, 12), slice(0, 9)))
    assert block.shape == (5, 48, 36) and not block.any()


def test_nothing_active_needs_no_residual():
    low = np.zeros((20, 8, 8), np.float32)
    assert not residual(SRDenseNet(TINY), low, np.zeros(low.shape, bool)).any()


@pytest.mark.parametrize("model", registry.manifests())
def test_every_model_of_the_package_loads_and_is_the_one_meant(model):
    known = registry.manifest(model)
    weights = known.weights.read_bytes()
    assert sha256(weights).hexdigest() == known.sha256
    network = registry.load(model, bytes.fromhex(known.sha256))
    assert network.arch.factor == known.factor and not network.training
    assert registry.choose(known.modality, known.factor) in registry.manifests()


def test_there_is_a_ct_model_and_where_there_is_none_it_is_lanczos():
    assert registry.choose("CT", (4, 4, 4)) != registry.LANCZOS
    assert registry.choose("PT", (4, 4, 4)) == registry.LANCZOS


@pytest.mark.parametrize("name", ["no-such-model", "../../etc/passwd", "http://example.org/model"])
def test_unknown_ids_are_not_looked_for_anywhere_else(name):
    with pytest.raises(ModelNotFound, match="sr 'lanczos'"):
        registry.manifest(name)


def test_weights_with_another_hash_are_not_loaded():
    model = next(iter(registry.manifests()))
    with pytest.raises(ModelNotFound, match="SHA-256"):
        registry.load(model, bytes(32))
