"""Networks of latents: their sizes, and integers that code as the floats of which they were frozen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import small_latents
import torch

from inrcodec import io
from inrcodec.layers.base.latent.contexts import Given
from inrcodec.layers.base.latent.model import Model
from inrcodec.layers.base.latent.stream import values_of, write_stream
from inrcodec.training.latent import evaluate, materials
from inrcodec.training.latent.card import frozen
from inrcodec.training.latent.freeze import freeze
from inrcodec.training.latent.grids import to_channels, to_voxels
from inrcodec.training.latent.network import GROUPS, Analysis, LatentGrid, Sizes
from inrcodec.training.latent.tables import tables
from inrcodec.training.latent.thaw import thaw

HEAD = Path(__file__).parent / "data" / "vhf-head.nii.gz"


def test_grids_and_their_inverses():
    x = torch.randn(1, 1, 12, 16, 20)
    assert torch.equal(to_voxels(to_channels(x, 4), 4), x)
    latents = Analysis()(x, torch.ones(1, 1, 1, 1, 1))  # an overlap of zero at first: the transform alone
    assert torch.allclose(latents.square().sum(), x.square().sum(), rtol=1e-4)


def test_sizes_follow_from_weights():
    for sizes in (Sizes.of_maps(8), Sizes(12, 8, 4, 6, 1, 2)):
        assert Sizes.of(LatentGrid(sizes).state_dict()) == sizes
    for groups in (small_latents.GROUPS, small_latents.DEEP):
        with pytest.raises(LookupError, match="groups"):
            Sizes.of(small_latents.weights(groups=groups))


def noisy_network(deep: float = 1.0) -> LatentGrid:
    """Of a few maps; what is 0 before training, the residual blocks of contexts among it, is noise."""
    torch.manual_seed(0)
    network = LatentGrid(Sizes.of_maps(24)).eval().requires_grad_(False)
    for name, value in network.named_parameters():
        if name.startswith("contexts.") and name.endswith((".phase", ".rate", ".second.weight")):
            noise = torch.randn(value.shape) / value[0].numel() ** 0.5
            value.copy_(deep * noise if "bodies" in name else noise)
    return network


@pytest.mark.parametrize("rate", [40, 100])
def test_the_integers_of_a_model_code_as_its_floats_do(rate):
    """Bytes within 1 %, and 1 % of the squared error."""
    network, head = noisy_network(), io.read(HEAD).values()[8:24, 200:296, 200:296]
    values = materials.lowres((head / 1000).astype(np.float32), (1, 2, 2))  # edges multiples of 16
    decoded, bits = network(torch.from_numpy(values)[None, None], torch.tensor([evaluate.of_rate(rate)]))
    model = Model.of(frozen(network.state_dict()))
    stream, integers = write_stream(model, rate, values.astype(np.float64), worth=0.0)
    ideal = float(bits.sum()) / 8
    assert abs(len(stream) - ideal) < 16 + 0.01 * ideal
    floats = np.square(decoded[0, 0].numpy() - values).mean()
    assert np.square(values_of(model, rate, integers) - values).mean() < 1.01 * floats


@pytest.mark.parametrize("group", [0, 2])
@pytest.mark.parametrize("rate", [5, 90])
def test_contexts_of_integers_give_the_distributions_of_the_floats(group, rate):
    rng, shape = np.random.default_rng(group), (6, 8, 10)
    before, count, features = sum(GROUPS[:group]), GROUPS[group], Sizes.of_maps(24).features
    values, known, linear = (
        rng.normal(scale=200, size=(*shape, n)).astype(np.int32) for n in (count, before, 3)
    )
    hints = rng.integers(0, 300, (*shape, features)).astype(np.int16)
    even = np.indices(shape).sum(0) % 2 == 0

    def integers(network):
        found = []

        def code(mean, index, wanted):
            found.append(np.stack([mean / 64, (index.astype(float) - 24) / 8]))
            return wanted.astype(np.int64)

        context = Model.of(frozen(network.state_dict())).contexts[group]
        given = Given(known if before else None, hints, linear)
        context.run(shape, shape, given, rate, code, values.astype(np.float64), 1)
        return np.concatenate(found, 1)

    def floats(network):
        parts = [(values, 64), (known, 64), (hints, 256), (linear, 64)]
        tensors = [torch.from_numpy(x / unit).float().movedim(-1, 0)[None] for x, unit in parts]
        tensors[1] = tensors[1] if before else None
        rates = torch.tensor([evaluate.of_rate(rate)])
        _, *found = network.contexts[group](*tensors, rates, lambda x: x)
        both = np.stack([x[0].movedim(0, -1).numpy() for x in found])
        return np.concatenate([both[:, even], both[:, ~even]], 1)

    off = np.abs(integers(noisy_network()) - floats(noisy_network())).max((1, 2))
    apart = np.abs(floats(noisy_network()) - floats(noisy_network(0.0))).max((1, 2))
    assert (off < (0.1, 0.09)).all() and apart[0] > 4 * off[0], (off, apart)  # scales are eighths


@pytest.mark.parametrize("groups", [small_latents.GROUPS, small_latents.DEEP], ids=["plain", "deep"])
def test_a_model_that_is_thawed_and_frozen_is_the_same(groups):
    found = small_latents.tensors(groups)
    again = freeze(thaw(found), small_latents.STEPS, tables())
    assert found.keys() == again.keys()
    for name, tensor in found.items():
        units = 0 if name.startswith("coder") else 1 + 2e-3 * np.abs(tensor.astype(float)).max()
        assert np.abs(tensor.astype(float) - again[name]).max() <= units, name
