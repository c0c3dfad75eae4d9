"""Integers of a lattice as tokens and plain bits, their tables, and the lanes that they are coded in."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inrcodec.entropy import interleaved, tokens
from inrcodec.entropy.adaptive import BITS, CONTEXTS, FAR, LOWEST, STEPS, Tables, context_of, near_an_end
from inrcodec.entropy.interleaved import BlockReader, Reader, Writer
from inrcodec.errors import CorruptFile
from inrcodec.native.library import SWITCH


@pytest.fixture(autouse=True)
def _plain(monkeypatch):
    monkeypatch.setenv(SWITCH, "0")


# --- tokens


@given(st.lists(st.integers(0, 2**34) | st.integers(0, 80), max_size=60))
def test_tokens_and_plain_bits_are_the_integers(values):
    values = np.array(values, dtype=np.int64)
    found, bits = tokens.tokenise(values)
    assert found.size == 0 or found.max() < tokens.COUNT
    plain = tokens.PlainBits(bits)
    again = [plain.values_of(found[k : k + 7]) for k in range(0, len(found), 7)]  # piece by piece
    plain.finish()
    assert np.array_equal(np.concatenate([values[:0], *again]), values)


@pytest.mark.parametrize(("below", "above"), [(0, 0), (0, 9), (9, 0), (3, 7), (7, 3), (5, 5)])
def test_folding_uses_every_integer_once(below, above):
    values = np.arange(-below, above + 1)
    room = np.full(len(values), below), np.full(len(values), above)
    found = tokens.folded(values, *room)
    assert sorted(found) == list(range(len(values)))
    assert np.array_equal(tokens.unfolded(found, *room), values)


def test_values_near_an_end_have_contexts_of_their_own():
    contexts = np.array([0, 20, 55, 20], np.uint8)
    found = near_an_end(contexts, np.array([0, 7, 3, 8]))
    assert found.tolist() == [FAR, FAR + 2 * 8 + 7, FAR + 6 * 8 + 3, 20] and found.max() < CONTEXTS


def test_other_plain_bits_than_the_tokens_ask_for_are_seen():
    found, bits = tokens.tokenise(np.array([1000, 70_000]))
    for wrong in (bits[:-1], np.append(bits, bits[:1])):
        plain = tokens.PlainBits(wrong)
        with pytest.raises(CorruptFile, match="plain bits"):
            plain.values_of(found)
            plain.finish()


# --- tables and lanes


def laplace(n, seed=0):
    """Contexts, and folded integers whose mean magnitude is what their context says."""
    rng = np.random.default_rng(seed)
    scale = 2.0 ** rng.uniform(-2, 4, n)
    values = np.rint(rng.laplace(size=n) * scale).astype(np.int64)
    return context_of(scale), np.where(values > 0, 2 * values - 1, -2 * values)


def test_contexts_are_quarters_of_octaves():
    for octave in range(LOWEST, 8):
        edges = 2.0**octave * np.array([1, 1.25, 1.5, 1.75])
        expected = STEPS * (octave - LOWEST) + np.arange(4)
        assert context_of(edges).tolist() == expected.tolist()
        assert context_of(np.nextafter(edges[1:], 0)).tolist() == expected[:-1].tolist()
    assert context_of(np.array([0.0, -3.0, 1e-300, 1e300])).tolist() == [0, 0, 0, FAR - 1]


def test_frequencies_fill_the_slots_and_know_rare_tokens():
    tables = Tables()
    for _ in range(3):
        assert (tables.frequency.sum(1) == 1 << BITS).all() and (tables.frequency[:, -1] >= 1).all()
        tables.learn(np.full(5000, 7, np.uint8), np.full(5000, 3, np.uint8))
    assert tables.frequency[7, 3] > 0.9 * (1 << BITS) and tables.frequency[8, 3] < 0.5 * (1 << BITS)


@pytest.mark.parametrize("lengths", [(1,), (5, 0, 3), (20_000, 1, 40_000)])
def test_lanes_give_back_all_blocks(lengths):
    blocks = [(*laplace(n, k),) for k, n in enumerate(lengths)]
    writer, tables, rare = Writer(), Tables(), []
    for contexts, values in blocks:
        rare.append(writer.add(contexts, tokens.tokenise(values)[0], tables))
    states, words = writer.finish()
    reader, tables = Reader(states), Tables()
    for (contexts, values), data, escaped in zip(blocks, words, rare, strict=True):
        block = BlockReader(reader.states, data, escaped)
        read = [block.read(contexts[piece], tables) for piece in interleaved.pieces(len(contexts))]
        block.finish()
        assert np.array_equal(np.concatenate([values[:0], *read]), tokens.tokenise(values)[0])
    reader.finish()


def test_lanes_are_near_the_entropy():
    contexts, values = laplace(300_000)
    found, writer = tokens.tokenise(values)[0], Writer()
    rare = writer.add(contexts, found, Tables())
    states, words = writer.finish()
    ideal = 0.0
    for context in np.unique(contexts):
        counts = np.unique(found[contexts == context], return_counts=True)[1]
        ideal -= float((counts * np.log2(counts / counts.sum())).sum())
    assert 8 * (len(states) + sum(map(len, words)) + len(rare)) < 1.015 * ideal


def test_few_bits_are_one_lane():
    """Arrays of one symbol each made a constant volume of 64 x 128 x 128 take 13 s."""
    found, contexts = np.zeros(100_000, np.uint8), np.zeros(100_000, np.uint8)
    found[::1000] = 1
    writer = Writer()
    writer.add(contexts, found, Tables())
    assert len(writer.finish()[0]) == 8
    for count, many in (
        (40_000, False),
        (300_000, True),
    ):  # array operations on 2 to 31 symbols are no better
        writer, (contexts, values) = Writer(), laplace(count)
        writer.add(contexts, tokens.tokenise(values)[0], Tables())
        assert writer.bits > 4 * interleaved.LANE_BITS
        states = writer.finish()[0]
        assert len(states) >= 8 * interleaved.FEWEST_LANES if many else len(states) == 8


@pytest.mark.parametrize("quiet", [False, True])
def test_a_single_lane_is_coded_alike_by_the_loop_and_by_arrays(quiet, monkeypatch):
    monkeypatch.setattr(interleaved, "PIECES", (interleaved.PIECES[0], 1000))
    contexts, values = laplace(3000)
    if quiet:
        contexts, values = np.sort(contexts), np.where(values > 9, values, 0)
    found, writer = tokens.tokenise(values)[0], Writer()
    rare = writer.add(contexts, found, Tables())
    loop, arrays = (np.full(1, interleaved.LOW) for _ in range(2))
    words = interleaved._pushed_on_one(loop, *writer.blocks[0])
    assert words == interleaved._pushed(arrays, *writer.blocks[0]) and loop == arrays
    readers = [BlockReader(loop, words, rare), BlockReader(arrays, words, rare)]
    read = [readers[0]._pop_one(contexts, Tables()), readers[1]._pop(contexts, Tables())]
    assert np.array_equal(*read) and loop == arrays == interleaved.LOW
    assert readers[0].used == readers[1].used == len(words) // 4
    with pytest.raises(CorruptFile, match="damaged"):
        BlockReader(np.full(1, interleaved.LOW), words[:8], rare)._pop_one(contexts, Tables())


def test_pieces_follow_each_other_and_are_whole_rows():
    found = list(interleaved.pieces(10**7))
    assert found[0].start == 0 and found[-1].stop == 10**7
    assert all(a.stop == b.start and a.stop % interleaved.MOST_LANES == 0 for a, b in pairwise(found))
