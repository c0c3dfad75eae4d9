"""A volume of integers to streams and back: stage by stage, each voxel predicted from those before it.

In: integers, and the quantisation steps of the stages.  Out: a stream per stage, or the integers again.
Invariant: the decoder computes what the encoder computed, in whole numbers and so in any order.

Predictions of a phase do not depend on each other, so threads share them; tokens are coded one after the
other, in the encoder behind the predictions of the next phase.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from math import ceil, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.entropy.adaptive import context_of
from inrcodec.entropy.interleaved import Reader
from inrcodec.layers.lattice import compiled, plain, predictor, scan
from inrcodec.layers.lattice.neighbours import Around, Neighbourhood, rows_of
from inrcodec.layers.lattice.predictor import Predictor
from inrcodec.layers.lattice.scan import PHASES, Stage
from inrcodec.layers.lattice.stream import LANES, Block, Cursor, read_block
from inrcodec.native.library import kernels
from inrcodec.parallel import InterruptiblePool, mapped
from inrcodec.volume.arrays import Array, Bool, Bytes
from inrcodec.volume.box import Shape, lowres_shape

SLAB = 1 << 14  # voxels whose neighbours each thread holds at a time
PLACES = 6  # slabs, spread over a phase, that a predictor is fitted to, at least
SAMPLED = 1 << 15  # voxels that a predictor is fitted to
PENDING = 2  # phases that wait for their tokens to be coded, at most: each holds 17 bytes per voxel


@dataclass(frozen=True, kw_only=True)
class Lattice:
    """What both sides know beforehand.

    Attributes
    ----------
    axes : axis that each stage halves, see :func:`inrcodec.layers.lattice.scan.axes_for`.
    steps : quantisation steps of the first lattice and of each stage; 1 is exact.
    most : largest integer; the smallest is 0.
    filter : weights of the filter that follows, see `layers.lattice.filter`; empty where none does.
    """

    axes: tuple[int, ...]
    steps: tuple[int, ...]
    most: int
    filter: tuple[int, ...] = ()

    @property
    def dtype(self) -> type[np.signedinteger[Any]]:
        """Type of the integers in memory."""
        return np.int32 if self.most < 1 << 31 else np.int64

    def of_steps(self, count: int, shape: Shape) -> tuple[Shape, Lattice]:
        """The points that the first steps code, of a volume, as a volume and a lattice of their own."""
        points = lowres_shape(shape, scan.spacing_of(self.axes[count - 1 :]))
        return points, replace(self, axes=self.axes[: count - 1], steps=self.steps[:count])


Coder = plain.Coder | compiled.Coder


def _coder(most: int) -> Coder:
    """The compiled kernels where there are any; both give the same bytes and voxels."""
    found = kernels()
    return plain.Coder(most) if found is None else compiled.Coder(most, found)


class _Coding:
    """What both directions share: the coder of the phases, and the lattice that is known."""

    def __init__(self, shape: Shape, lattice: Lattice, threads: int) -> None:
        self.shape, self.lattice, self.threads = shape, lattice, threads
        self.known: Array = np.empty(lowres_shape(shape, scan.spacing_of(lattice.axes)), lattice.dtype)
        self.coder = _coder(lattice.most)

    def first(self) -> tuple[Array, Bytes]:
        """Predictions and contexts of the first lattice."""
        size, most = self.known.size, self.lattice.most
        context = context_of(np.array([(most + 1) / (16 * self.lattice.steps[0])]))[0]
        return np.full(size, most // 2, self.coder.dtype), np.full(size, context, np.uint8)

    def fresh(self, stage: Stage, *, is_coded: bool) -> Array:
        """The new voxels of a stage, half way between their neighbours if they are not coded.

        Where another axis has one voxel, some are neighbours of themselves before they are decoded.
        """
        shape, axis = list(self.known.shape), stage.axis
        shape[axis] = -(-self.shape[axis] // (stage.spacing[axis] // 2)) - shape[axis]
        fresh: Array = np.empty(shape, self.known.dtype)
        if is_coded and min(shape[k] for k in stage.others) > 1:
            return fresh
        known, within = np.moveaxis(self.known, axis, 0), np.moveaxis(fresh, axis, 0)
        both = len(known) - 1
        np.subtract(known[1:], known[:both], out=within[:both])
        within[:both] >>= 1
        within[:both] += known[:both]
        within[both:] = known[both:][: len(within) - both]
        return fresh

    def join(self, stage: Stage, fresh: Array) -> None:
        """Known and new voxels become the known ones of the next stage."""
        shape, axis = list(self.known.shape), stage.axis
        shape[axis] += fresh.shape[axis]
        joined: Array = np.empty(shape, fresh.dtype)
        along = np.moveaxis(joined, axis, 0)
        along[::2], along[1::2] = np.moveaxis(self.known, axis, 0), np.moveaxis(fresh, axis, 0)
        self.known = joined

    def phases(self, stage: Stage, fresh: Array) -> Iterator[tuple[Array, Neighbourhood]]:
        """The voxels of each phase that has any, and their neighbours."""
        for number in range(len(PHASES)):
            phase = stage.phase(fresh, number)
            if phase.size:
                yield phase, Neighbourhood(stage, number, self.known, fresh)

    def predict(self, model: Predictor, phase: Array, near: Neighbourhood, step: int) -> tuple[Array, Bytes]:
        """Predictions and contexts of a phase, slab by slab."""
        row, predict = phase[0].size, self.coder.predictions(model, near, step)
        predicted, contexts = np.empty(phase.size, self.coder.dtype), np.empty(phase.size, np.uint8)

        def fill(part: slice) -> None:
            flat = slice(part.start * row, part.stop * row)
            predict(part, predicted[flat], contexts[flat])

        mapped(fill, slabs(phase, self.coder.slabs * SLAB), self.threads)
        return predicted, contexts


def slabs(phase: Array, voxels: int | None = None) -> list[slice]:
    """Ranges of a phase's first axis, of about so many voxels."""
    length = max(1, (voxels or SLAB) // max(1, phase[0].size))
    return [slice(a, min(a + length, len(phase))) for a in range(0, len(phase), length)]


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is encoded.

    Attributes
    ----------
    values : (z, y, x), whole numbers.
    dont_care : (z, y, x) or ``None``, voxels whose decoded value does not matter.
    trade : what a bit is worth, in 1 / `rate.ONE` of a squared step; 0 takes the nearest quantum, which
        bounds the error by half a step.
    """

    values: Array
    lattice: Lattice
    trade: int = 0
    dont_care: Bool | None = None


class _Encoder(_Coding):
    """Predicts and quantises phases; their tokens are coded in the background, in the same order."""

    def __init__(self, source: Source, threads: int, background: InterruptiblePool) -> None:
        super().__init__(source.values.shape, source.lattice, threads)
        self.source, self.background = source, background
        self.blocks: list[list[Future[Block]]] = []  # of each stage
        self.pending: deque[Future[Block]] = deque()

    def encode_first(self) -> int:
        """Code the first lattice; the number of its voxels."""
        self.blocks.append([])
        axes, dont_care = self.lattice.axes, self.source.dont_care
        predicted, contexts = self.first()
        ignored = None if dont_care is None else scan.first(dont_care, axes)
        self._code(self.known, scan.first(self.source.values, axes), ignored, (predicted, contexts, b""))
        return self.known.size

    def encode_stage(self, stage: Stage) -> Iterator[int]:
        """Code the phases of a stage; the number of voxels of each."""
        self.blocks.append([])
        self.background.submit(self.coder.start_stage)  # of a thin brick too, where it has no voxel
        step = self.lattice.steps[len(self.blocks) - 1]
        fresh, truth = self.fresh(stage, is_coded=True), stage.fresh(self.source.values)
        dont_care = None if self.source.dont_care is None else stage.fresh(self.source.dont_care)
        for phase, near in self.phases(stage, fresh):
            target = stage.phase(truth, near.phase)
            ignored = None if dont_care is None else stage.phase(dont_care, near.phase)
            around, truths, share = _sample(self.coder, near, target, ignored)
            model = predictor.fit(around, truths, step, int(share * phase.size), self.threads)
            predictions = self.predict(model, phase, near, step)
            self._code(phase, target, ignored, (*predictions, model.to_bytes()))
            yield phase.size
        self.join(stage, fresh)

    def _code(
        self, phase: Array, target: Array, ignored: Array | None, predictions: tuple[Array, Bytes, bytes]
    ) -> None:
        """Quantise a phase, decode it and hand its tokens on."""
        predicted, contexts, model = predictions
        stage = len(self.blocks) - 1
        step, trade = self.lattice.steps[stage], self.source.trade
        flat = None if ignored is None else ignored.reshape(-1)
        folded = self.coder.quantise(predicted, contexts, target.reshape(-1), flat, step, trade)
        phase[...] = predicted.reshape(phase.shape)

        def write() -> Block:
            return Block(model, *self.coder.write(folded, contexts))

        if len(self.pending) == PENDING:
            self.pending.popleft().result()
        self.pending.append(self.background.submit(write))
        self.blocks[-1].append(self.pending[-1])

    def finish(self) -> list[bytes]:
        """The streams of all stages."""
        written = [[block.result() for block in stage] for stage in self.blocks]
        states, words = self.coder.writer.finish()
        left = iter(words)
        streams = [b"".join(block.to_bytes(next(left)) for block in stage) for stage in written]
        return [LANES.pack(len(states)) + states + streams[0], *streams[1:]]


def encode(
    source: Source, threads: int = 1, progress: Callable[[float], None] | None = None
) -> tuple[list[bytes], Array]:
    """Streams of the first lattice and of each stage, and what they decode to before the filter."""
    with InterruptiblePool(1) as background:
        encoder = _Encoder(source, threads, background)
        done = encoder.encode_first()
        for stage in scan.stages(source.lattice.axes):
            for count in encoder.encode_stage(stage):
                done += count
                if progress:
                    progress(done / source.values.size)
        return encoder.finish(), encoder.known


def decode(
    streams: Sequence[bytes],
    shape: Shape,
    lattice: Lattice,
    threads: int = 1,
    progress: Callable[[float], None] | None = None,
    *,
    spaced: bool = False,
) -> Array:
    """Invert :func:`encode`; of fewer streams a coarser version, its finest voxels half way between others.

    The filter is another's.

    Parameters
    ----------
    spaced : whether only the lattice of these streams is returned, without the voxels between.

    Raises
    ------
    CorruptFile
        A stream does not hold what it should.
    """
    whole = len(streams) > len(lattice.axes)
    if spaced:
        shape, lattice = lattice.of_steps(len(streams), shape)
    coding, stages = _Coding(shape, lattice, threads), list(scan.stages(lattice.axes))
    cursor = Cursor(streams[0])
    reader = Reader(cursor.take(*cursor.unpack(LANES)))
    predicted, contexts = coding.first()
    coding.coder.read(reader.states, read_block(cursor), predicted, contexts, lattice.steps[0])
    cursor.finish()
    coding.known[...] = predicted.reshape(coding.known.shape)
    done = coding.known.size
    for k, stage in enumerate(stages, 1):
        fresh = coding.fresh(stage, is_coded=k < len(streams))
        if k < len(streams):
            coding.coder.start_stage()
            cursor = Cursor(streams[k])
            for phase, near in coding.phases(stage, fresh):
                model = Predictor.read(cursor, rows_of(near.phase))
                predicted, contexts = coding.predict(model, phase, near, lattice.steps[k])
                coding.coder.read(reader.states, read_block(cursor), predicted, contexts, lattice.steps[k])
                phase[...] = predicted.reshape(phase.shape)
                done += phase.size
                if progress:
                    progress(done / prod(shape))
            cursor.finish()
        coding.join(stage, fresh)
    if whole:
        reader.finish()
    return coding.known


def _sample(
    coder: Coder, near: Neighbourhood, target: Array, ignored: Array | None
) -> tuple[Around, NDArray[np.float64], float]:
    """Some voxels from all over a phase whose neighbours differ; these, the voxels, and their share."""
    parts = slabs(target)
    count = min(len(parts), max(PLACES, ceil(len(parts) * SAMPLED / target.size)))
    chosen = [int((k + 0.5) * len(parts) / count) for k in range(count)]
    every = max(1, sum(target[parts[k]].size for k in chosen) // SAMPLED)
    flat = all(near.is_flat(parts[k]) for k in chosen)  # nothing to fit to: one voxel is as good as all
    chosen = chosen[:1] if flat else chosen
    kept, truths = [], []
    for part in (parts[k] for k in chosen):
        truth = target[part].reshape(-1)
        kept.append(np.zeros(truth.size, bool))
        kept[-1][:: truth.size if flat else every] = True
        if ignored is not None:
            kept[-1] &= ~ignored[part].reshape(-1)
        truths.append(truth[kept[-1]].astype(np.float64))
    around = coder.around(near, [parts[k] for k in chosen], kept)
    differ, truth = around.rows.any(0), np.concatenate(truths)
    if not differ.all():  # the others say nothing of the weights, and would crowd the classes
        around = Around(around.middle[differ], around.rows.compress(differ, 1))
    return around, truth[differ], float(differ.mean()) if truth.size else 0.0
