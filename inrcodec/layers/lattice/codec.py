"""A volume of integers to streams and back: stage by stage, each voxel predicted from those before.

In: integers, and how far off they may be.  Out: a stream for each stage, or the integers again.
The one law: what the decoder computes is what the encoder computed: whole numbers, in whatever order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.entropy import tokens
from inrcodec.entropy.adaptive import Tables, context_of, near_an_end
from inrcodec.entropy.interleaved import Reader, Writer
from inrcodec.errors import CorruptFile
from inrcodec.layers.lattice import predictor, scan
from inrcodec.layers.lattice.neighbours import Around, Neighbourhood, rows_of
from inrcodec.layers.lattice.predictor import Predictor
from inrcodec.layers.lattice.scan import PHASES, Stage
from inrcodec.parallel import InterruptiblePool
from inrcodec.volume.box import Shape

Ints = NDArray[np.int64]
Array = NDArray[Any]
Bytes = NDArray[np.uint8]
Bool = NDArray[np.bool_]

SLAB = 1 << 14  # voxels whose neighbours are held at a time, by each thread
PLACES = 6  # slabs all over a phase that they are from, at least
SAMPLED = 1 << 15  # voxels that a predictor is fitted to
LANES = Struct("<H")  # bytes of the states of all lanes
HEAD = Struct("<III")  # bytes of the words, of the rare tokens and of the plain bits


@dataclass(frozen=True, kw_only=True)
class Lattice:
    """What both sides know beforehand.

    Attributes
    ----------
    axes : the order, see :func:`inrcodec.layers.lattice.scan.axes_for`.
    steps : of the quantisation, for the first lattice and each stage; 1 is exact.
    most : the largest integer; the smallest is 0.
    """

    axes: tuple[int, ...]
    steps: tuple[int, ...]
    most: int

    @property
    def dtype(self) -> type[np.signedinteger[Any]]:
        """Of the integers as they are held."""
        return np.int32 if self.most < 1 << 31 else np.int64


class _Pass:
    """What both directions share: the integers as far as they are known, and the tables."""

    def __init__(self, shape: Shape, lattice: Lattice, threads: int) -> None:
        self.lattice, self.threads = lattice, threads
        self.known: Array = np.zeros(shape, lattice.dtype)
        self.tables = Tables()
        self.stages = list(scan.stages(lattice.axes))

    def start(self) -> tuple[Array, Ints, Bytes]:
        """The first lattice, its predictions and contexts."""
        first, most = scan.first(self.known, self.lattice.axes), self.lattice.most
        context = context_of(np.array([(most + 1) / (16 * self.lattice.steps[0])]))[0]
        return first, np.full(first.size, most // 2, np.int64), np.full(first.size, context, np.uint8)

    def between(self, stage: Stage) -> Array:
        """The new voxels of a stage, for now half way between their neighbours."""
        fresh: Array = stage.fresh(self.known)
        known: Array = np.moveaxis(stage.known(self.known), stage.axis, 0)
        within = np.moveaxis(fresh, stage.axis, 0)
        both = len(known) - 1
        np.subtract(known[1:], known[:both], out=within[:both])
        within[:both] >>= 1
        within[:both] += known[:both]
        within[both:] = known[both:][: len(within) - both]
        return fresh

    def phases(self, stage: Stage, fresh: Array) -> list[tuple[Array, Neighbourhood]]:
        """The voxels of each phase that has any, and where their neighbours are."""
        found = []
        for number in range(len(PHASES)):
            mine = stage.phase(fresh, number)
            if mine.size:
                found.append((mine, Neighbourhood(stage, number, stage.known(self.known), fresh)))
        return found

    def predicted(self, of: Predictor, mine: Array, near: Neighbourhood, step: int) -> tuple[Ints, Bytes]:
        """Predictions and contexts of a phase, slab by slab."""
        parts, kind = slabs(mine), of.kind(self.lattice.most)
        with InterruptiblePool(self.threads) as pool:
            found = list(pool.map(lambda part: of.predict(near.around(part, kind), step), parts))
        predicted = np.concatenate([p for p, _ in found])
        return predicted.clip(0, self.lattice.most, out=predicted), np.concatenate([c for _, c in found])

    def room(self, predicted: Ints, step: int) -> tuple[Ints, Ints]:
        """Steps that a voxel can be below its prediction, and above."""
        half = step >> 1
        return (predicted + half) // step, (self.lattice.most - predicted + half) // step

    def put(self, mine: Array, predicted: Ints, quanta: Ints, step: int) -> None:
        """The voxels of a phase, or of the first lattice."""
        most = self.lattice.most // step + 1  # more is as much, and could overflow
        quanta = quanta.clip(-most, most) if step > 1 << 20 else quanta
        values = (predicted + quanta * step).clip(0, self.lattice.most)
        mine[...] = values.reshape(mine.shape)


def slabs(mine: Array) -> list[slice]:
    """Ranges of a phase's first axis."""
    length = max(1, SLAB // max(1, mine[0].size))
    return [slice(a, min(a + length, len(mine))) for a in range(0, len(mine), length)]


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is encoded.

    Attributes
    ----------
    values : (z, y, x), whole.
    free : (z, y, x) or ``None``, voxels that may become anything.
    up : what is added to a magnitude before it is divided by its step, for each step: half of a step bounds
        the error, less than that makes more zeros.
    """

    values: Array
    lattice: Lattice
    up: tuple[int, ...]
    free: Bool | None = None


def encode(
    source: Source, threads: int = 1, progress: Callable[[float], None] | None = None
) -> tuple[list[bytes], Array]:
    """Streams of the first lattice and of each stage, and what they decode to."""
    lattice = source.lattice
    state, writer = _Pass(source.values.shape, lattice, threads), Writer()
    blocks: list[list[Future[_Block]]] = []

    def written(coded: _Coded, about: bytes, *, anew: bool) -> _Block:
        if anew:
            state.tables.begin_anew()
        below, above = state.room(coded.predicted, coded.step)
        found, bits = tokens.tokenise(tokens.folded(coded.quanta, below, above))
        contexts = near_an_end(coded.contexts, np.minimum(below, above))
        rare = writer.add(contexts, found, state.tables)
        return _Block(about, rare.tobytes(), bits.tobytes())

    def coded(
        mine: Array, wished: Array, free: Array | None, predicted: Ints, contexts: Bytes, about: bytes
    ) -> None:
        k = len(blocks) - 1
        quanta = wished.reshape(-1).astype(np.int64) - predicted
        if lattice.steps[k] > 1:
            quanta = np.sign(quanta) * ((np.abs(quanta) + source.up[k]) // lattice.steps[k])
        if free is not None:
            quanta[free.reshape(-1)] = 0
        state.put(mine, predicted, quanta, lattice.steps[k])
        anew = k > 0 and not blocks[-1]
        blocks[-1].append(
            behind.submit(written, _Coded(quanta, predicted, contexts, lattice.steps[k]), about, anew=anew)
        )

    # Tokens are coded behind the predictions of the next phase, in their order.
    with InterruptiblePool(1) as behind:
        blocks.append([])
        mine, predicted, contexts = state.start()
        free = None if source.free is None else scan.first(source.free, lattice.axes)
        coded(mine, scan.first(source.values, lattice.axes), free, predicted, contexts, b"")
        done = mine.size
        for k, stage in enumerate(state.stages, 1):
            blocks.append([])
            fresh, truth = state.between(stage), stage.fresh(source.values)
            free_here = None if source.free is None else stage.fresh(source.free)
            for mine, near in state.phases(stage, fresh):
                wished = stage.phase(truth, near.phase)
                free = None if free_here is None else stage.phase(free_here, near.phase)
                of = predictor.fit(*_sampled(near, wished, free), lattice.steps[k], mine.size, threads)
                predicted, contexts = state.predicted(of, mine, near, lattice.steps[k])
                coded(mine, wished, free, predicted, contexts, of.to_bytes())
                done += mine.size
                if progress:
                    progress(done / source.values.size)
        found = [[block.result() for block in stage] for stage in blocks]
    states, words = writer.finish()
    left = iter(words)
    streams = [b"".join(block.with_words(next(left)) for block in stage) for stage in found]
    return [LANES.pack(len(states)) + states + streams[0], *streams[1:]], state.known


def decode(
    streams: Sequence[bytes],
    shape: Shape,
    lattice: Lattice,
    threads: int = 1,
    progress: Callable[[float], None] | None = None,
) -> Array:
    """Invert :func:`encode`; of fewer streams a coarser version, its finest voxels half way between others.

    Raises
    ------
    CorruptFile
        A stream does not hold what it should.
    """
    state = _Pass(shape, lattice, threads)
    mine, predicted, contexts = state.start()
    reader, stream = _begun(streams[0])
    quanta, stream = _read(stream, reader, state, predicted, contexts, lattice.steps[0])
    _refuse_more(stream)
    state.put(mine, predicted, quanta, lattice.steps[0])
    done = mine.size
    for k, stage in enumerate(state.stages, 1):
        fresh = state.between(stage)
        if k >= len(streams):
            continue
        state.tables.begin_anew()
        stream = streams[k]
        for mine, near in state.phases(stage, fresh):
            of, stream = Predictor.from_bytes(stream, rows_of(near.phase))
            predicted, contexts = state.predicted(of, mine, near, lattice.steps[k])
            quanta, stream = _read(stream, reader, state, predicted, contexts, lattice.steps[k])
            state.put(mine, predicted, quanta, lattice.steps[k])
            done += mine.size
            if progress:
                progress(done / state.known.size)
        _refuse_more(stream)
    if len(streams) > len(state.stages):
        reader.finish()
    return state.known


def _sampled(near: Neighbourhood, wished: Array, free: Array | None) -> tuple[Around, NDArray[np.float64]]:
    """Some voxels of a phase with their neighbours, from all over it."""
    parts = slabs(wished)
    count = min(len(parts), max(PLACES, ceil(len(parts) * SAMPLED / wished.size)))
    chosen = [int((k + 0.5) * len(parts) / count) for k in range(count)]
    every = max(1, sum(wished[parts[k]].size for k in chosen) // SAMPLED)
    middles, rows, truths = [], [], []
    for part in (parts[k] for k in chosen):
        around, truth = near.around(part), wished[part].reshape(-1).astype(np.float64)
        kept = np.arange(truth.size) % every == 0
        if free is not None:
            kept &= ~free[part].reshape(-1)
        middles.append(around.middle[kept])
        rows.append(around.rows[:, kept])
        truths.append(truth[kept])
    return Around(np.concatenate(middles), np.concatenate(rows, 1)), np.concatenate(truths)


@dataclass(frozen=True, eq=False)
class _Coded:
    """What is to be coded of a phase."""

    quanta: Ints
    predicted: Ints
    contexts: Bytes
    step: int


@dataclass(frozen=True)
class _Block:
    """What is stored of a phase beside its words."""

    predictor: bytes
    rare: bytes
    bits: bytes

    def with_words(self, words: bytes) -> bytes:
        head = HEAD.pack(len(words), len(self.rare), len(self.bits))
        return b"".join([self.predictor, head, words, self.rare, self.bits])


def _begun(stream: bytes) -> tuple[Reader, bytes]:
    """The reader of the first stream's states, and the rest of the stream."""
    if len(stream) < LANES.size:
        raise CorruptFile("a refinement stream is cut off, get the file again", value=len(stream))
    (length,) = LANES.unpack_from(stream)
    stop = LANES.size + length
    return Reader(stream[LANES.size : stop]), stream[stop:]


def _read(
    stream: bytes, reader: Reader, state: _Pass, predicted: Ints, contexts: Bytes, step: int
) -> tuple[Ints, bytes]:
    """Quanta of a block, and what follows it."""
    if len(stream) < HEAD.size:
        raise CorruptFile("a refinement stream is cut off, get the file again", value=len(stream))
    edges = np.cumsum([HEAD.size, *HEAD.unpack_from(stream)])
    if edges[-1] > len(stream):
        raise CorruptFile(
            f"a refinement stream of {len(stream)} bytes is damaged, get the file again", value=len(stream)
        )
    words, rare, bits = (stream[a:b] for a, b in pairwise(edges))
    below, above = state.room(predicted, step)
    contexts = near_an_end(contexts, np.minimum(below, above))
    found = reader.block(words, contexts, state.tables, np.frombuffer(rare, np.uint8))
    values = tokens.values_of(found, np.frombuffer(bits, np.uint8))
    return tokens.unfolded(values, below, above), stream[edges[-1] :]


def _refuse_more(stream: bytes) -> None:
    if stream:
        raise CorruptFile(
            f"{len(stream)} bytes follow a refinement stream, get the file again", value=len(stream)
        )
