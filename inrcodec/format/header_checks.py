"""Values of a header that are impossible, or unknown to this version.

In: a header.  Out: nothing, or an error that names the field.
Invariant: a header that passes is sound in itself; what is too large is for `limits`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from itertools import pairwise
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from inrcodec import validate
from inrcodec.errors import CorruptFile, UnsupportedFile
from inrcodec.format import limits
from inrcodec.volume import value_range, volume
from inrcodec.volume.affine import is_beyond, is_singular
from inrcodec.volume.value_range import Range

if TYPE_CHECKING:
    from inrcodec.format.header import Header

DTYPES = tuple(sorted(dtype.name for dtype in volume.DTYPES))
LANCZOS = "lanczos"
SIREN, AV1, LATENT = "siren", "av1", "latent"  # coders of the low-res volume
NO_CODER = "none"  # of a low-res volume that there is not
AXES = ("zyx", "yx")
LARGEST_OMEGA = 1000.0
NOISE_STEPS = 4096  # per 1, which is half of a model's window: half a Hounsfield unit each
LARGEST_STEP = 1 << 32  # of the refinement's quantisation
OF_CODER: dict[str, tuple[str, ...]] = {
    SIREN: (
        *("background", "cell", "mask_method", "layers", "width", "tiles", "cuts", "omega", "weights_method"),
    ),
    AV1: ("av1_slices", "av1_flat"),
    LATENT: (
        *("background", "latent_model", "latent_sha256", "latent_rate", "latent_ends"),
        *("latent_slices", "latent_flat"),
    ),
    NO_CODER: (),
}
OF_LOWRES = (
    *("factor", "kernel", "companding", "wiener", "sr", "sr_sha256", "sr_window", "sr_noise", "sr_ensemble"),
    *("psnr_lanczos", *OF_CODER[SIREN], *OF_CODER[AV1], *OF_CODER[LATENT]),
)
AV1_CODES = 1 << 10
LATENT_RATES = 128
ONE = 1 << 15  # integer of unit value 1 among the nodes of a companding curve
WEIGHTS = (-128, 255)  # of a filter, the smallest and the largest: two bytes each at most
WIENER, REFINE_FILTER = 14, 42  # weights of the filter of an up-sampling, and of that of a refinement
MOST = 8  # nodes between the ends of the curve


def check(header: Header) -> None:
    """Refuse values that are impossible, or unknown to this version.

    Raises
    ------
    CorruptFile, UnsupportedFile
    """
    known = {
        "type": (header.dtype, DTYPES),
        "name of the axes": (header.axes, AXES),
        "kernel": (header.kernel, ("lanczos3",)),
        "coder of the low-res volume": (header.coder, tuple(OF_CODER)),
        "coder of weights": (header.weights_method, (1,)),
        "coder of masks": (header.mask_method, (1,)),
    }
    for name, (value, choices) in known.items():
        if value not in choices:
            allowed = ", ".join(map(str, choices))
            raise UnsupportedFile(
                f"{name} {value!r} is unknown to this version ({allowed}), update inrcodec", value=value
            )
    for name, wrong in _impossible(header):
        if wrong:
            raise CorruptFile(f"header has an impossible {name}", value=name)
    _check_cuts(header)


def _impossible(header: Header) -> Iterator[tuple[str, bool]]:
    """Names of fields, and whether their value is out of range."""
    yield "shape", min(header.shape) < 1
    yield "shape for its axes", header.ndim == 2 and header.shape[0] != 1
    yield "brick", bool(header.brick) and not _are_bricks(header)
    yield "affine", is_beyond(header.affine[:3]) or is_singular(header.affine[:3, :3])
    yield "rescale", header.rescale[0] == 0
    yield "rescale of slices", bool(header.slice_rescale) and not _scales_slices(header)
    smallest, largest = volume.limits_of(np.dtype(header.dtype))
    span = header.high - header.low
    yield "range", not (smallest <= header.low <= header.high <= largest and isfinite(span))
    yield "padding", header.padding is not None and not volume.is_held(header.padding, np.dtype(header.dtype))
    yield "modality", len(header.modality) > volume.LONGEST_MODALITY
    yield "factor", min(header.factor) < 1 or max(header.factor) > limits.FACTOR
    yield "companding", not is_curve(header.companding)
    yield "filter", not is_filter(header.wiener, WIENER)
    yield "background", not -1 <= header.background <= 1
    yield "mask cell", min(header.cell) < 1
    for coder, names in OF_CODER.items():
        others = [name for name in names if name not in OF_CODER[header.coder]]
        yield (
            f"field of the coder {coder!r}, which is not its own",
            header.has_lowres and _states(header, others),
        )
    slices = header.av1_slices or header.latent_slices
    yield "number of slices of a stream", slices != 0 and not 1 <= slices < header.lowres_shape[0]
    if header.coder == AV1:
        flat = header.av1_flat
        yield "background", bool(flat) and not (len(flat) == 2 and 0 <= flat[0] <= flat[1] < AV1_CODES)
    elif header.coder == LATENT:
        yield from _impossible_latents(header)
    elif header.has_lowres:
        yield "network", min(header.layers, header.width) < 1 or not 0 < header.omega <= LARGEST_OMEGA
        yield (
            "number of tiles",
            any(not 1 <= t <= n for t, n in zip(header.tiles, header.lowres_shape, strict=True)),
        )
    else:
        yield "low-res volume, which it says is not there", _states(header, OF_LOWRES)
        yield "volume: there is nothing to decode", not header.refine_steps
    yield "super-resolution hash", (header.sr == LANCZOS) != (header.sr_sha256 == b"")
    yield "super-resolution window", not _has_window(header)
    yield "noise", not 0 <= header.sr_noise <= (0 if header.sr == LANCZOS else NOISE_STEPS)
    yield "ensemble", header.sr_ensemble not in ((1,) if header.sr == LANCZOS else validate.ENSEMBLES)
    yield "refinement", not _is_refinement(header)
    yield "filter of the refinement", not is_filter(header.refine_filter, REFINE_FILTER)
    exact = header.bound is not None or header.refine_unit == 0
    yield "filter of a refinement that promises a bound", bool(header.refine_filter) and exact
    yield "quality", min(header.peak, header.max_error) < 0
    yield "seed", header.seed < 0


def _impossible_latents(header: Header) -> Iterator[tuple[str, bool]]:
    """See `_impossible`; of the coder of latents alone."""
    yield "model of latents", not (header.latent_model and header.latent_sha256)
    yield "rate of latents", not 0 <= header.latent_rate < LATENT_RATES
    yield "ends of latents", value_range.is_narrow(*sorted(header.latent_ends))
    flat = header.latent_flat
    yield "background", header.background != 0 if flat is None else not 0 <= flat <= 2


def shape_of(lengths: tuple[int, ...], axes: str) -> tuple[int, int, int]:
    """Voxels along (z, y, x), from those along the axes that a volume has.

    Raises
    ------
    UnsupportedFile
        Axes that this version does not know.
    CorruptFile
        Not a length for each.
    """
    if axes not in AXES:
        known = ", ".join(AXES)
        raise UnsupportedFile(
            f"axes {axes!r} are unknown to this version ({known}), update inrcodec", value=axes
        )
    if len(lengths) != len(axes):
        raise CorruptFile(f"header has {len(lengths)} lengths for axes {axes!r}", value=lengths)
    z, y, x = (1, *lengths)[-3:]
    return z, y, x


def _states(header: Header, names: Sequence[str]) -> bool:
    """Whether a header says anything by some of its fields."""
    defaults = {f.name: f.default for f in fields(header)}
    return any(getattr(header, name) != defaults[name] for name in names)


def _scales_slices(header: Header) -> bool:
    """Whether scales of slices are as many, differ, and belong to stored values that lost nothing."""
    scales = header.slice_rescale
    return (
        len(scales) == header.shape[0]
        and all(slope != 0 for slope, _ in scales)
        and len(set(scales)) > 1
        and header.rescale == (1.0, 0.0)
        and header.bound == 0
    )


def _is_refinement(header: Header) -> bool:
    """Whether the halvings fit the shape, with a step for each and for the first lattice."""
    axes, steps = header.refine_axes, header.refine_steps
    if not steps:
        return not axes and header.refine_unit == 1 and header.bound is None and not header.refine_filter
    halved = [(n, axes.count(k)) for k, n in enumerate(header.brick or header.shape)]
    floats = np.dtype(header.dtype).kind == "f"
    return (
        set(axes) <= {0, 1, 2}
        and all(count == 0 or 2 ** (count - 1) < n for n, count in halved)
        and len(steps) == len(axes) + 1
        and all(1 <= step <= LARGEST_STEP for step in steps)
        and (isfinite(header.refine_unit) and header.refine_unit >= 0 if floats else header.refine_unit == 1)
        and (floats or (header.low == int(header.low) and header.high == int(header.high)))
        and _is_countable(header)
        and (header.bound is None or header.bound >= 0)
    )


def _are_bricks(header: Header) -> bool:
    """Whether the edges cut the volume, and every coarser lattice goes through all bricks."""
    edges, axes = header.brick, header.refine_axes
    if len(edges) != 3 or edges == header.shape:
        return False
    return all(
        edge == n or (1 <= edge < n and edge % 2 ** min(axes.count(k), limits.AXIS.bit_length()) == 0)
        for k, (edge, n) in enumerate(zip(edges, header.shape, strict=True))
    )


def _is_countable(header: Header) -> bool:
    """Whether the refinement's integers are below 2^32."""
    return header.refine_unit == 0 or (header.high - header.low) / header.refine_unit < LARGEST_STEP - 0.5


def _has_window(header: Header) -> bool:
    """Whether dividing by the window's width is safe, in physical values and in those of the range."""
    low, high = float(header.low), float(header.high)
    if header.sr == LANCZOS or low == high:  # no model will use it
        return not value_range.is_narrow(*header.sr_window)
    return Range(low, high).can_see(header.sr_window, header.rescale)


def _check_cuts(header: Header) -> None:
    """Refuse cuts that are not as many as the tiles need, or leave a box empty."""
    tz, ty, tx = header.tiles
    groups = [(1, tz, 0), (tz, ty, 1), (tz * ty, tx, 2)]
    if len(header.cuts) != sum(lines * (parts - 1) for lines, parts, _ in groups):
        raise CorruptFile(f"header has {len(header.cuts)} cuts for tiles {header.tiles}")
    start = 0
    for lines, parts, axis in groups:
        for _ in range(lines if parts > 1 else 0):
            edges = [0, *header.cuts[start : start + parts - 1], header.lowres_shape[axis]]
            if any(a >= b for a, b in pairwise(edges)):
                raise CorruptFile(f"header has cuts {edges[:8]} that leave a box empty")
            start += parts - 1


def is_filter(weights: Sequence[int], count: int) -> bool:
    """Whether there are no weights, or as many as a filter has, in their range and not all 0."""
    smallest, largest = WEIGHTS
    held = all(smallest <= weight <= largest for weight in weights)
    return not weights or (len(weights) == count and held and any(weights))


def is_curve(nodes: Sequence[int]) -> bool:
    """Whether nodes are few, come in pairs, and rise between the ends in both coordinates."""
    if len(nodes) % 2 or len(nodes) > 2 * MOST:
        return False
    ends = [[-ONE, *axis, ONE] for axis in (nodes[0::2], nodes[1::2])]
    return all(a < b for axis in ends for a, b in pairwise(axis))
