"""SIRENs: shapes, one function in training and decoding, and bits that do not depend on what is asked for."""

import numpy as np
import pytest
import torch
from siren_reference import evaluate

from inrcodec.encoder.fit.quantizer import Quantizer
from inrcodec.layers.base.siren import siren, tiles
from inrcodec.layers.base.siren.siren import Layout
from inrcodec.layers.base.siren.weights import PER_OCTAVE, code_of, dequantize, step_of
from inrcodec.volume.box import Box

TILE = tiles.tile(np.ones((17, 25, 23), bool), Box((0, 0, 0), (17, 25, 23)))
LAYOUT = Layout(3, 24)
FLAT = siren.initial(LAYOUT, 2, torch.Generator().manual_seed(0))


def networks():
    quantizer = Quantizer(LAYOUT, FLAT)
    codes, integers = quantizer.codes(), quantizer.integers(FLAT)
    return [dequantize(LAYOUT, q, c) for q, c in zip(integers, codes, strict=True)]


@pytest.mark.parametrize(("layers", "weights"), [(2, 17_153), (3, 33_665), (4, 50_177)])
def test_the_papers_networks_have_the_papers_weights(layers, weights):
    layout = Layout(layers, 128)
    assert layout.weights == weights == sum(n * m for n, m in layout.shapes)
    assert siren.initial(layout, 1, torch.Generator().manual_seed(0)).shape == (1, weights)


def test_training_and_decoding_see_the_same_function():
    weights = networks()
    flat = torch.stack([torch.cat([torch.from_numpy(t).flatten() for t in w]) for w in weights]).double()
    coordinates = torch.from_numpy(TILE.coordinates()).expand(2, -1, -1)
    trained = evaluate(LAYOUT, flat, coordinates).clamp(-1, 1)
    for t, network in enumerate(weights):
        np.testing.assert_allclose(siren.decode(LAYOUT, network, TILE), trained[t], atol=1e-9)


@pytest.mark.parametrize("rows", [(0, 1), (1023, 1025), (5000, 9775), (4096, 8192), (9774, 9775), (3, 3)])
@pytest.mark.parametrize("step", [1, 700, 3000])
def test_a_voxels_bits_do_not_depend_on_the_rows_asked_for(rows, step):
    network, rows = networks()[0], np.arange(*rows, step)
    whole = siren.decode(LAYOUT, network, TILE)
    assert np.array_equal(siren.decode(LAYOUT, network, TILE, rows), whole[rows])


def test_only_chunks_that_are_asked_for_are_evaluated(monkeypatch):
    evaluated, chunk = [], siren._chunk
    monkeypatch.setattr(siren, "_chunk", lambda *args: evaluated.append(args[-1]) or chunk(*args))
    siren.decode(LAYOUT, networks()[0], TILE, np.array([5, 7, 2 * siren.CHUNK, 5 * siren.CHUNK - 1]))
    assert evaluated == [0, 2 * siren.CHUNK, 4 * siren.CHUNK]


def test_steps_are_exact_powers_in_eighths_of_an_octave():
    assert step_of(192) == 1.0 and step_of(192 + PER_OCTAVE) == 2.0 and step_of(0) == 2.0**-24
    assert [code_of(np.log(step_of(c))) for c in range(256)] == list(range(256))


def test_what_is_stored_is_within_half_a_step():
    quantizer = Quantizer(LAYOUT, FLAT)
    steps = np.array([[step_of(c) for c in row] for row in quantizer.codes()])
    for t, network in enumerate(networks()):
        for k, (tensor, exact) in enumerate(zip(network, FLAT[t].split(LAYOUT.sizes), strict=True)):
            assert np.abs(tensor.ravel() - exact.numpy()).max() <= steps[t, k] / 2 * (1 + 1e-6)
