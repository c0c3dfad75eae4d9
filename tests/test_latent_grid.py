"""The latent grid of the benchmarks: its bytes hold what its networks decode.

In: a crop of a real head, at low resolution, and the weights of the experiment.
Invariant: no figure of a training is judged, only that integers stand for the floats.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from inrcodec import io

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from latent_coder import LATENT, SCALES, Reader, Writer, frequencies  # noqa: E402
from latent_integers import IntegerGrid, doubled  # noqa: E402
from latent_network import LatentGrid, to_channels, to_voxels  # noqa: E402
from latent_train import lowres, padded, values_of  # noqa: E402

RATE = 0.2


@pytest.fixture(scope="module")
def network():
    made = LatentGrid().eval().requires_grad_(False)
    missing = made.load_state_dict(load_file(ROOT / "benchmarks" / "latent.safetensors"), strict=False)
    assert not missing.unexpected_keys and all(name.endswith("dct") for name in missing.missing_keys)
    return made


@pytest.fixture(scope="module")
def crop():
    values = values_of(io.read(ROOT / "tests" / "data" / "vhf-head.nii.gz"))
    return lowres(values, (1, 4, 4))[:12, :40, :44]


def test_the_bytes_decode_to_what_was_coded_and_cost_what_the_floats_say(network, crop):
    x, rate = torch.tensor(padded(crop))[None, None], torch.tensor([RATE])
    inside = tuple(-(-n // 4) for n in crop.shape)
    latents = network.analyzed(x, rate)
    hyper = network.hyper(latents, rate)
    flat, level, bits = network.code(latents, hyper, rate, torch.round, False, inside)
    grid, writer, shape = IntegerGrid(network, RATE), Writer(), tuple(latents.shape[2:])
    coded = grid.run(shape, writer.code, inside, (latents[0].double().numpy(), hyper[0].double().numpy()))
    data = writer.bytes()
    decoded = grid.run(shape, Reader(data).code, inside)
    assert all(np.array_equal(a, b) for a, b in zip(coded, decoded, strict=True))
    assert abs(len(data) - float(bits.sum()) / 8) < 16 + 0.05 * len(data)
    parts = [torch.tensor(part[None] / (1 << LATENT), dtype=torch.float32) for part in decoded]
    floats, integers = network.synthesized(flat, level, rate), network.synthesized(*parts, rate)
    lost = (floats - x).square().mean()
    assert (integers - x).square().mean() < 1.1 * lost


@pytest.mark.parametrize("scale", [0, 40, SCALES - 1])
def test_any_integers_survive_the_coder(scale):
    rng = np.random.default_rng(scale)
    steps = np.rint(rng.standard_cauchy((3, 4, 5, 6)) * 50).astype(np.int64)
    mean, index = rng.integers(-900, 900, steps.shape), np.full(steps.shape, scale)
    wanted = rng.random(steps.shape) < 0.7
    writer = Writer()
    coded = writer.code(mean, index, wanted, steps + mean / (1 << LATENT))
    assert np.array_equal(Reader(writer.bytes()).code(mean, index, wanted, None), coded)
    assert np.array_equal(coded[wanted], ((steps << LATENT) + mean)[wanted])


def test_tables_are_whole():
    for scale in range(SCALES):
        table, reach = frequencies(scale)
        assert table.sum() == 1 << 16 and table.min() >= 1 and len(table) == 2 * reach + 2


def test_grids_and_their_inverses():
    x = torch.randn(1, 1, 12, 16, 20)
    assert torch.equal(to_voxels(to_channels(x, 4), 4), x)
    blocks = LatentGrid().analysis
    one = torch.ones(1, 1, 1, 1, 1)
    latents = blocks(x, one)  # an overlap of zero at first: the transform alone
    assert torch.allclose(latents.square().sum(), x.square().sum(), rtol=1e-4)
    level = np.full((1, 2, 3, 4), 160)
    assert np.array_equal(doubled(level), np.full((1, 4, 6, 8), 160))
