"""Encode and measure; for a PSNR that was asked for, as often as it takes.

In: a volume and options.  Out: an encoding and what it reaches; with a PSNR, the smallest found that has it.
The one law: what is returned was decoded and measured; a PSNR that was not reached is an error.

The grids are tried in the order of the bytes that are forecast for the PSNR, until one reaches it.  The size
is found by fits that go on from each other.  The squared error of a file is what its grid costs, a ceiling
that is measured once, plus a multiple of the low-res error; and the decibels of the low-res error grow with
the logarithm of the bytes.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf, log10

from inrcodec.encoder import bounded, grid_search, measure, pipeline, plan
from inrcodec.encoder.fit.loop import FittedTiles
from inrcodec.encoder.grid_search import Choice
from inrcodec.encoder.measure import Reached
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.encoder.pipeline import Encoded, Job, Lowres
from inrcodec.errors import InputError, TargetNotReached
from inrcodec.layers.superres import registry
from inrcodec.progress import Progress
from inrcodec.volume.value_range import Range
from inrcodec.volume.volume import Volume

ATTEMPTS = 6  # fits at most, for one grid
SPARE = 0.02  # dB above what was asked for: where the fits aim
CLOSE = 0.03  # share of the bytes that a file may have more than the estimate of the smallest
SLOPE, GENTLEST, STEEPEST = 16.0, 8.0, 40.0  # dB of low-res PSNR for ten times the bytes; on the head 16
LARGEST_STEP = 4.0  # times the bytes of the attempt before
WORTH_IT = (
    0.8  # of a refinement's bytes: networks that are forecast to take more are not tried; forecasts flatter
)
# dB: a fit that is aimed at a model and gains less by it may be behind one that is aimed at Lanczos.  Of 22
# volumes that no model was made for, by 0.67 dB at a gain of 0.77.
NARROW = 1.0
HOPELESS = 1.5  # times the bytes that another way takes: no further fit is tried for an estimate above
ROOM_BELOW_CEILING = 0.3  # dB that a grid's ceiling must be above what is asked for


@dataclass(frozen=True)
class Attempt:
    """One fit, decoded and measured."""

    encoded: Encoded
    found: Reached
    networks: FittedTiles | None
    size: int  # bytes of the file

    @property
    def psnr(self) -> float:
        return self.found.best_errors.psnr


def encode(
    volume: Volume, options: ResolvedOptions, progress: Progress | None = None
) -> tuple[Encoded, Reached]:
    """One encoding; with ``options.psnr``, the smallest found that reaches it.

    Raises
    ------
    TargetNotReached
        No grid and no size that were tried reach it.
    InputError, UsageError, ModelNotFound, FitFailed, LimitExceeded
    """
    if options.max_error is not None:
        return _guaranteed(volume, options, progress)
    if options.psnr is None:
        return _once(volume, options, progress)
    span = pipeline.span_of(volume, options)
    choices = grid_search.in_order(volume, span, options, options.psnr)
    if progress is not None:
        progress("grid", 1.0)
    if options.preset == "paper":
        return _smallest(volume, span, choices, options, progress)
    return _either(volume, span, choices, options, progress)


def _guaranteed(
    volume: Volume, options: ResolvedOptions, progress: Progress | None
) -> tuple[Encoded, Reached]:
    """A refinement that keeps its promise, behind networks where they are wished."""
    span = pipeline.span_of(volume, options)
    layer = bounded.guaranteed(volume, span, options, progress)
    if not options.base:
        encoded = bounded.bare(volume, span, options)
        return bounded.refined(volume, encoded, None, layer, options, progress)
    return bounded.refined(volume, *_once(volume, options, progress), layer, options, progress)


def _either(
    volume: Volume, span: Range, choices: list[Choice], options: ResolvedOptions, progress: Progress | None
) -> tuple[Encoded, Reached]:
    """Networks or a refinement, whichever reaches the PSNR in fewer bytes, as far as a forecast tells."""
    try:
        layer = bounded.with_psnr(volume, span, options, progress)
    except (InputError, TargetNotReached):  # no values that a refinement could count
        if options.base:
            raise
        return _smallest(volume, span, choices, options, progress)
    if options.base:
        plain = replace(options, psnr=None)
        return bounded.refined(volume, *_once(volume, plain, progress), layer, options, progress)
    bare = bounded.bare(volume, span, options)
    size = bounded.size_of(bare, layer)
    forecast = next((row.bytes for row in choices[0].considered if row.chosen), 0)
    found = None
    if forecast is not None and forecast < size * WORTH_IT:
        with suppress(TargetNotReached):
            found = _smallest(volume, span, choices, options, progress, size)
    if found is not None and pipeline.size_of(*found) <= size:
        return found
    took = "do not reach it in as many" if found is None else f"take {pipeline.size_of(*found):,} bytes"
    if forecast is not None and found is None and forecast >= size * WORTH_IT:
        took = f"are forecast to take {forecast:,} bytes"
    bare.notices.append(f"a refinement alone reaches {options.psnr:g} dB in fewer bytes: networks {took}")
    return bounded.refined(volume, bare, None, layer, options, progress)


def _smallest(
    volume: Volume,
    span: Range,
    choices: list[Choice],
    options: ResolvedOptions,
    progress: Progress | None,
    most: float = inf,
) -> tuple[Encoded, Reached]:
    """Networks alone: the smallest found that reach the PSNR; not sought where they need over ``most`` bytes.

    Raises
    ------
    TargetNotReached
    """
    best = -inf
    for choice in choices:
        low = pipeline.downsample(volume, span, choice.factor, options.threads, progress)
        search = _Search(volume, span, low, options, progress)
        reached = search.run(most)
        if reached is not None:
            reached.encoded.choice = choice
            return reached.encoded, reached.found
        best = max(best, search.most)
    raise TargetNotReached(
        f"{options.psnr:g} dB were asked for, {best:.2f} dB is the most that was reached; "
        "ask for less, or for a finer factor or more steps",
        value=best,
    )


def _once(volume: Volume, options: ResolvedOptions, progress: Progress | None) -> tuple[Encoded, Reached]:
    """One fit; where its model is a loss or a narrow gain, another without, as if there were none.

    What was aimed at the model, or left room for it, would be worse and smaller than it need be.
    """
    encoded = pipeline.encode(volume, options, progress)
    found = _measured(volume, encoded, options, progress)
    if options.time_budget is not None or not _is_doubtful(volume, encoded, found, options):
        return encoded, found
    plain = replace(options, sr=registry.LANCZOS)
    other = pipeline.encode(volume, plain, progress)
    measured = _measured(volume, other, plain, progress)
    if found.best_errors.mse < measured.best_errors.mse:
        return encoded, found
    other.notices = [*encoded.notices, *pipeline.model_left_out(encoded, found, measured)]
    return other, measured


def _is_doubtful(volume: Volume, encoded: Encoded, found: Reached, options: ResolvedOptions) -> bool:
    """Whether a fit without the model might do better than this one with it."""
    model = encoded.header.sr
    if model == registry.LANCZOS:
        return False
    if found.best != model:
        return options.through_sr or plan.wished_bytes(volume, options) is not None
    with_model, without = (found.outcomes[sr].errors.psnr for sr in (model, registry.LANCZOS))
    return options.through_sr and with_model - without < NARROW


def _measured(
    volume: Volume, encoded: Encoded, options: ResolvedOptions, progress: Progress | None
) -> Reached:
    return measure.reached(
        encoded.header,
        encoded.sections,
        volume,
        encoded.lowres,
        aim=encoded.aim,
        windows=encoded.windows,
        threads=options.threads,
        progress=progress,
    )


class _Search:
    """The attempts on one grid."""

    def __init__(
        self, volume: Volume, span: Range, low: Lowres, options: ResolvedOptions, progress: Progress | None
    ) -> None:
        self.volume, self.span, self.low, self.options, self.progress = volume, span, low, options, progress
        self.masks = pipeline.masks_of(volume, low)
        assert options.psnr is not None
        self.wished = options.psnr
        self.attempts: list[Attempt] = []
        self.notices: list[str] = []
        self.most = -inf  # dB

    def run(self, most: float) -> Attempt | None:
        """The smallest attempt that reaches the PSNR; ``None`` where this grid does not in so many bytes."""
        ceiling = self._ceiling()
        if ceiling < self.wished + ROOM_BELOW_CEILING:
            self.most = ceiling
            return None
        size: int | None = None
        for _ in range(ATTEMPTS):
            try:
                attempt = self._attempt(size)
            except TargetNotReached:  # too few bytes for any network: the attempts before must do
                if not self.attempts:
                    raise
                break
            self.most = max(self.most, attempt.psnr)
            if attempt.psnr == inf:  # one value: no size is too small
                break
            needed = self._needed(attempt, ceiling)
            if attempt.psnr >= self.wished and attempt.size <= needed * (1 + CLOSE):
                break
            if needed > most * HOPELESS:
                break
            size = round(min(max(needed, attempt.size / LARGEST_STEP), attempt.size * LARGEST_STEP))
        reached = [a for a in self.attempts if a.psnr >= self.wished]
        return min(reached, key=lambda a: a.size) if reached else None

    def _ceiling(self) -> float:
        """PSNR of this grid without any error of the networks."""
        job = self._job(None)
        job = pipeline.aimed(self.volume, job, self.options, self.progress)
        self.low, self.notices = job.low, job.notices
        if job.header.sr == registry.LANCZOS:
            self.options = replace(self.options, sr=registry.LANCZOS)
        found = measure.reached(
            job.header,
            job.masks,
            self.volume,
            self.low.values,
            lowres=self.low.aimed,
            threads=self.options.threads,
        )
        return found.best_errors.psnr

    def _attempt(self, size: int | None) -> Attempt:
        """Fit to a size, from the attempt before; the first takes the size that it comes to."""
        job = self._job(size)
        start = self.attempts[-1].networks if self.attempts else None
        if self.attempts and job.header.tiles != self.attempts[-1].encoded.header.tiles:
            start = None  # other tiles have other networks
        networks = pipeline.fitted(job, self.options, self.progress, start)
        job = replace(job, notices=self.notices)
        encoded = pipeline.written(self.volume, job, self.options, networks)
        found = _measured(self.volume, encoded, self.options, self.progress)
        attempt = Attempt(encoded, found, networks, pipeline.size_of(encoded, found))
        self.attempts.append(attempt)
        return attempt

    def _job(self, size: int | None) -> Job:
        return pipeline.job_for(self.volume, self.span, self.low, self.masks, self.options, size)

    def _needed(self, attempt: Attempt, ceiling: float) -> float:
        """Bytes that the PSNR asks for, as far as the attempts tell."""
        cost, total = 10 ** (-ceiling / 10), 10 ** (-attempt.psnr / 10)
        low = 10 ** (-attempt.found.fit / 10)
        share = max(total - cost, 1e-3 * total) / max(low, 1e-15)  # of the low-res error that is seen
        wanted = (10 ** (-(self.wished + SPARE) / 10) - cost) / share
        more = -10 * log10(max(wanted, 1e-15)) - attempt.found.fit  # dB of the low-res volume
        return float(attempt.size * 10 ** (more / self._slope()))

    def _slope(self) -> float:
        """Decibels of low-res PSNR for ten times the bytes, from the last two attempts."""
        if len(self.attempts) < 2:
            return SLOPE
        a, b = self.attempts[-2:]
        decades = log10(b.size / a.size)
        if abs(decades) < 0.02:
            return SLOPE
        return min(max((b.found.fit - a.found.fit) / decades, GENTLEST), STEEPEST)
