"""The grid of the low-res volume: which factors, and why.

In: facts of a volume, and options.  Out: factors, and every grid that was considered.
Invariant: the spacing's grid is taken unless a forecast finds another one clearly better.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import product
from math import floor, inf, isfinite, log2, prod
from typing import Any

from inrcodec.encoder.bases.table import BASES
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.forecast import Forecast
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.encoder.presets import PRESETS
from inrcodec.errors import UsageError
from inrcodec.layers.superres import registry
from inrcodec.volume import metrics
from inrcodec.volume.box import Shape, lowres_shape
from inrcodec.volume.volume import Volume

GAIN = 0.5  # dB that a step to another grid must promise: an ankle was promised 0.4 and gained 0.1
SAVED = 0.9  # share of the bytes, likewise, for a PSNR
FREE = 0.1  # dB that a coarser axis may cost without a target
DEAR = 3.0  # dB that a finer axis must bring there for twice the bytes
COARSEST = 4  # factor of the finest axis: the paper's, and the highest that a shipped model brings back
SHORTEST = 4  # low-res voxels that an axis keeps: fewer leave nothing for a kernel of six taps
# Bytes of a file, and ratio at least, where the usual networks of a small volume take fewer: 29 slices of a
# head reach 41.7 dB in 16 kB, 36.1 in the usual 2.9; 12 slices of 96 x 96 28.5 dB in 2.2 kB, 23.6 in 0.9.
SMALL_FILE, SMALL_RATIO = 16_000, 100
WORTH_MORE = 2.0  # times the usual bytes: below, a preset's few steps do not fill what they are given


@dataclass(frozen=True)
class Considered:
    """One grid, and what it is expected to give."""

    factor: Shape
    lowres_shape: Shape
    ceiling: float | None  # PSNR in dB with a perfect low-res volume; ``None`` where nothing is down-sampled
    bytes: int | None  # of the file that the forecast is for; ``None`` where no size reaches the PSNR
    psnr: float | None  # forecast in dB
    chosen: bool  # whether this is the grid that was taken


@dataclass(frozen=True)
class Choice:
    """Factors, the reason in words, all grids that were considered, and the file size that they are for."""

    factor: Shape
    reason: str
    considered: list[Considered] = field(default_factory=list)
    size: int | None = None

    def rows(self) -> list[dict[str, Any]]:
        """Plain types, for reports."""
        return [asdict(row) for row in self.considered]


def choose(facts: Facts, options: ResolvedOptions, size: int | None) -> Choice:
    """The grid for a file of ``size`` bytes, for a PSNR, or for a file of as many bytes as it comes to."""
    found = _Grids(facts, options)
    if options.psnr is not None:
        return found.for_psnr(options.psnr)[0]
    size = found.small_size() if size is None else size
    if found.fixed:
        return Choice(found.first, found.fixed, size=size)
    return found.without_target() if size is None else replace(found.for_size(size), size=size)


def in_order(facts: Facts, options: ResolvedOptions, psnr: float) -> list[Choice]:
    """The grids to try for a PSNR, the one that is forecast to take the fewest bytes first."""
    return _Grids(facts, options).for_psnr(psnr)


class _Grids:
    """The forecasts of one volume, each made when it is first needed."""

    def __init__(self, facts: Facts, options: ResolvedOptions) -> None:
        self.facts, self.volume, self.options = facts, facts.volume, options
        self.base = BASES[options.coder]
        self.first = factor_for(facts.volume, options)
        self.forecasts: dict[Shape, Forecast] = {}
        self.fixed = self._fixed() or ("" if facts.sample.boxes else "from the spacing; the volume is flat")

    def _fixed(self) -> str:
        """Why there is no choice; empty where there may be one."""
        if self.options.factor is not None:
            return "as requested"
        if is_fixed(self.options):
            return "from the spacing; the requested model serves one grid"
        return "from the spacing; too few voxels for another grid" if max(self.first) == 1 else ""

    @cached_property
    def peak(self) -> float:
        """Squared peak of the volume, for errors in [-1, 1]."""
        return 4 * (self.facts.peak / (self.facts.span.high - self.facts.span.low)) ** 2

    def at(self, factor: Shape) -> Forecast:
        """The forecast of a grid."""
        if factor not in self.forecasts:
            model = registry.choose(self.volume.modality, factor)
            # A model that is only tried, for want of a modality, promises nothing.
            plain = registry.LANCZOS in (model, self.options.sr) or not self.volume.modality
            lift = 0.0 if plain else registry.manifest(model).lift
            self.forecasts[factor] = self.base.forecast(self.facts, self.options, factor, lift)
        return self.forecasts[factor]

    def small_size(self) -> int | None:
        """Bytes for a volume whose usual networks would be too small to look at; ``None`` for all others."""
        if not self.base.grows:
            return None
        if self.options.width is not None or self.options.max_error is not None:
            return None
        size = min(SMALL_FILE, self.volume.array.nbytes // SMALL_RATIO)
        return size if size > WORTH_MORE * self._usual(self.first) else None

    @property
    def _is_forecastable(self) -> bool:
        return bool(self.facts.sample.boxes) and all(f in (1, 2, 4) for f in self.first)

    def _alone(self, psnr: float) -> Choice:
        """The one grid that there is, with its forecast for a PSNR where one can be made."""
        if not self._is_forecastable:
            return Choice(self.first, self.fixed)
        size = self.at(self.first).size(self._own(psnr))
        needed = round(size + self.base.fixed) if isfinite(size) else None
        return self._choice(self.first, self.fixed, {self.first: needed}, psnr)

    def for_size(self, size: int) -> Choice:
        """The smallest error in so many bytes."""
        best, gain = self.first, 0.0
        while near := self._near(best):
            most = max(self._psnr(g, size) for g in near)
            level = [g for g in near if self._psnr(g, size) > most - GAIN / 2]
            tried = min(level, key=lambda g: prod(self.at(g).lowres_shape))
            more = self._psnr(tried, size) - self._psnr(best, size)
            if more < GAIN:
                break
            best, gain = tried, gain + more
        reason = f"from the spacing; no other grid is forecast {GAIN:g} dB better in {size:,} bytes"
        if best != self.first:
            better, named = f"forecast {gain:.1f} dB better in {size:,} bytes", across(self.first)
            reason = f"{better} than {named}, which the spacing suggests"
        return self._choice(best, reason, dict.fromkeys(self.forecasts, size))

    def without_target(self) -> Choice:
        """The spacing's grid, unless an axis costs next to nothing, or a lot; each grid at its usual size."""
        usual, fixed = self._usual(self.first), self.base.fixed
        first = self._psnr(self.first, usual)
        chosen, reason = self.first, "from the spacing: low-res voxels near cubes"
        suggested = f"than {across(self.first)}, which the spacing suggests: forecast to"
        for grid in self._near(self.first, together=False):
            size = self._usual(grid)
            more = self._psnr(grid, size) - first
            if size < usual and more > -FREE:
                effect = f"bring {more:.1f} dB in" if more > 0 else f"cost {-more:.2f} dB, for"
                chosen, reason = grid, f"coarser {suggested} {effect} fewer bytes"
            elif more > DEAR * log2((size - fixed) / (usual - fixed)) > 0 and chosen == self.first:
                chosen, reason = grid, f"finer {suggested} bring {more:.1f} dB"
        return self._choice(chosen, reason, {g: self._usual(g) for g in self.forecasts})

    def for_psnr(self, psnr: float) -> list[Choice]:
        """Grids by the bytes that a PSNR takes; those that never reach it last, the best of them first."""
        if self.fixed:
            return [self._alone(psnr)]
        sizes: dict[Shape, float] = {}

        def key(grid: Shape) -> tuple[float, float]:
            found = self.at(grid)
            if grid not in sizes:
                sizes[grid] = found.size(self._own(psnr))
            return sizes[grid], found.ceiling

        best = self.first
        while (near := min([best, *self._near(best)], key=key)) != best:
            best = near
        order = sorted(self.forecasts, key=key)
        if isfinite(sizes[best]) and sizes[self.first] * SAVED <= sizes[best]:
            order.remove(self.first)
            order.insert(0, self.first)
        needed = {g: round(sizes[g] + self.base.fixed) if isfinite(sizes[g]) else None for g in order}
        reasons = [f"the fewest bytes are forecast for {psnr:g} dB"]
        reasons += [f"the grids with fewer bytes forecast do not reach {psnr:g} dB"] * (len(order) - 1)
        return [self._choice(g, r, needed, psnr) for g, r in zip(order, reasons, strict=True)]

    def _choice(
        self, factor: Shape, reason: str, sizes: Mapping[Shape, int | None], psnr: float | None = None
    ) -> Choice:
        rows = []
        for grid in sorted(self.forecasts, reverse=True):
            found, size = self.at(grid), sizes[grid]
            reached = psnr if size is None else self._psnr(grid, size)
            ceiling = _decibels(self.peak, found.ceiling)
            best = round(ceiling, 2) if isfinite(ceiling) else None
            expected = None if size is None or reached is None else round(reached, 2)
            rows.append(Considered(grid, found.lowres_shape, best, size, expected, grid == factor))
        return Choice(factor, reason, rows)

    def _psnr(self, grid: Shape, size: int) -> float:
        return _decibels(self.peak, self.at(grid).error(size - self.base.fixed))

    def _own(self, psnr: float) -> float:
        """A PSNR against the volume's own range instead of its peak."""
        return psnr - _decibels(self.peak, 4.0)

    def _usual(self, grid: Shape) -> int:
        """Bytes that a grid comes to where none are requested."""
        found = self.at(grid) if self._is_forecastable else None
        voxels = prod(lowres_shape(self.volume.shape, grid))
        return round(self.base.fixed + self.base.usual(self.options, found, voxels))

    def _near(self, grid: Shape, *, together: bool = True) -> list[Shape]:
        """Finer and coarser by two along z, in the plane, or both; y and x alone where they differ."""
        groups: list[tuple[int, ...]] = [(0,), (1, 2)]
        if self.first[1] != self.first[2]:
            groups = [(0,), (1,), (2,)]
        groups += [(0, 1, 2)] if together else []
        found = []
        for axes, times in product(groups, (0.5, 2)):
            z, y, x = (max(1, int(f * times)) if axis in axes else f for axis, f in enumerate(grid))
            if (z, y, x) != grid and self._serves((z, y, x), grid):
                found.append((z, y, x))
        return found

    def _serves(self, grid: Shape, before: Shape) -> bool:
        """Whether every axis that got coarser keeps enough voxels."""
        return all(
            f <= b or (f <= COARSEST and n // f >= SHORTEST)
            for f, b, n in zip(grid, before, self.volume.shape, strict=True)
        )


def is_fixed(options: ResolvedOptions) -> bool:
    """Whether the options leave one grid."""
    by_model = options.sr_given and options.sr != registry.LANCZOS
    return options.factor is not None or by_model


def across(factor: Shape) -> str:
    """Factors in words."""
    return " x ".join(map(str, factor))


def _decibels(peak: float, error: float) -> float:
    return metrics.psnr(error / peak) if error > 0 else inf


def factor_for(volume: Volume, options: ResolvedOptions) -> Shape:
    """Per-axis factors: as requested, else powers of two that bring the low-res voxels nearest to cubes."""
    if options.factor is not None:
        shrinks = options.factor == PRESETS[options.preset].factor  # a preset's factor fits the axis
        requested = (1, *options.factor[1:]) if volume.ndim == 2 else options.factor
        for name, n, f in zip("zyx", volume.shape, requested, strict=True):
            if f > n and not shrinks:
                raise UsageError(
                    f"{f} along {name} is more than the {n} voxels there; did you mean 1 for it?",
                    value=f,
                    option="factor",
                )
        z, y, x = (min(f, n) for f, n in zip(requested, volume.shape, strict=True))
        return z, y, x
    finest = min(
        s for s, n in zip(volume.spacing, volume.shape, strict=True) if n > 1 or max(volume.shape) == 1
    )
    z, y, x = (_factor_of(n, s / finest) for n, s in zip(volume.shape, volume.spacing, strict=True))
    return z, y, x


def _factor_of(n: int, anisotropy: float) -> int:
    longest = max(1, n // SHORTEST)
    exponent = min(log2(COARSEST), max(0.0, log2(COARSEST / anisotropy)), floor(log2(longest)))
    return int(2 ** round(exponent))
