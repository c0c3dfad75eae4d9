"""All that a decoder must know before it touches a voxel: typed fields to canonical MessagePack and back.

In: a `Header`, or the bytes of the section HEAD. Out: the other. The one law: a header has exactly one
byte string: canonical MessagePack, and what equals its default is left out; what is read is written again
and compared.

`FIELDS` is the schema, in one table; the specification's table is tested against it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from itertools import pairwise
from math import inf, isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec import validate
from inrcodec.errors import CorruptFile, UnsupportedFile
from inrcodec.format import header_checks, limits, messagepack
from inrcodec.format.fields import AFFINE, INTEGER, NUMBER, SCALARS, TEXT, Kind, integers, numbers, octets
from inrcodec.volume import volume
from inrcodec.volume.affine import is_singular
from inrcodec.volume.box import Shape, lowres_shape

Scalar = int | float | str

DTYPES = tuple(sorted(dtype.name for dtype in volume.DTYPES))
LANCZOS = "lanczos"
LARGEST_OMEGA = 1000.0
NOISE_STEPS = 4096  # in 1, half of what a model takes: half a Hounsfield unit each
LARGEST_STEP = 1 << 32  # of the refinement's quantisation
NARROWEST_WINDOW = 1e-6  # of its larger end's magnitude


@dataclass(frozen=True, kw_only=True, eq=False)
class Header:
    """Contents of the section HEAD.

    Attributes
    ----------
    shape : (z, y, x)
        Voxels of the volume.
    dtype : str
        NumPy name of the stored type.
    affine : ndarray, (4, 4), float64
        Voxel index (x, y, z, 1) to LPS millimetres.
    low, high : float
        Stored values of -1 and +1 in unit range.
    factor : (z, y, x)
        Lanczos factors, 1 ... 8.
    layers, width : int
        Hidden layers, and neurons of each.
    tiles, cuts : (tz, ty, tx), tuple of int
        Boxes along each axis; first index of each next box in k-d order.
    ndim, rescale, modality, unit, padding, description
        As in `Volume`.
    kernel, companding
        Down-sampling; nodes of the curve between low-res values and the networks' (`companding`).
    background, cell, mask_method
        Unit value of inactive voxels, not companded; edges of a mask cell in low-res voxels; coder of MASK.
    kind, omega, weights_method
        Network, its frequency, coder of WGHT.
    sr, sr_sha256, sr_window, sr_noise, sr_ensemble
        Super-resolution model, SHA-256 of its weights, physical values of its -1 and +1;
        root mean square error of the low-res volume that it is told, in `NOISE_STEPS` to 1 of its values;
        mirror images whose results are averaged.
    refine_axes, refine_steps, refine_unit, bound
        Order of the refinement's halvings; quantisation steps of its first lattice and of each stage, none
        without a refinement; stored values of an integer (0: the bits of a float); physical error that no
        voxel exceeds, where that is promised.
    psnr, psnr_lanczos, peak, max_error, digest
        What was reached: dB (inf: nothing differs) at the peak, which is in stored units, the same without
        the model where there is one; largest error in physical units; BLAKE2b-128 of the decoded array (C
        order, little-endian).
    version, seed
        Of the encoder.
    """

    shape: Shape
    dtype: str
    affine: NDArray[np.float64]
    low: float
    high: float
    factor: Shape
    layers: int
    width: int
    tiles: Shape
    cuts: tuple[int, ...]
    ndim: int = 3
    rescale: tuple[float, float] = (1.0, 0.0)
    modality: str = ""
    unit: str = ""
    padding: float | None = None
    description: Mapping[str, Scalar] = field(default_factory=dict)
    kernel: str = "lanczos3"
    companding: tuple[int, ...] = ()
    background: float = 0.0
    cell: Shape = (1, 1, 1)
    mask_method: int = 1
    kind: str = "siren"
    omega: float = 30.0
    weights_method: int = 1
    sr: str = LANCZOS
    sr_sha256: bytes = b""
    sr_window: tuple[float, float] = (-1.0, 1.0)
    sr_noise: int = 0
    sr_ensemble: int = 1
    refine_axes: tuple[int, ...] = ()
    refine_steps: tuple[int, ...] = ()
    refine_unit: float = 1.0
    bound: float | None = None
    psnr: float = inf
    psnr_lanczos: float | None = None
    peak: float = 0.0
    max_error: float = 0.0
    digest: bytes = bytes(16)
    version: str = ""
    seed: int = 0

    @property
    def lowres_shape(self) -> Shape:
        """Low-res voxels, (z, y, x): ``ceil(n / factor)``."""
        return lowres_shape(self.shape, self.factor)

    def to_bytes(self) -> bytes:
        """Canonical bytes of the section HEAD.

        Raises
        ------
        CorruptFile, UnsupportedFile
            A field has a value that no reader would accept.
        """
        tree: dict[str, dict[str, Any]] = {}
        for (group, key), (attribute, kind) in FIELDS.items():
            value = getattr(self, attribute)
            if value is not None and not _is_default(attribute, kind, value):
                tree.setdefault(group, {})[key] = kind.emit(value)
        return messagepack.dumps(tree)

    @classmethod
    def from_bytes(cls, data: bytes, minor: int = 0) -> Header:
        """Read and check the section HEAD.

        Parameters
        ----------
        data : bytes
        minor : int
            Minor version of the file; only a newer one may have keys that are unknown here.

        Raises
        ------
        CorruptFile
            Not canonical, a field missing, unknown, of another type or out of its range.
        UnsupportedFile
            An identifier of a kernel, network, coder or type that is unknown here.
        LimitExceeded
            Longer than 1 MiB.
        """
        limits.check("number of header bytes", len(data), limits.HEADER)
        tree = messagepack.loads(data)
        found = dict(_leaves(tree))
        unknown = sorted(".".join(name) for name in found.keys() - FIELDS.keys())
        if unknown and minor <= MINOR:
            raise CorruptFile(f"header has unknown fields {unknown[:5]}, get the file again", value=unknown)
        values = {}
        for name, (attribute, kind) in FIELDS.items():
            if name in found:
                values[attribute] = kind.parse(found[name])
            elif attribute not in DEFAULTS:
                raise CorruptFile(f"header has no {'.'.join(name)}, get the file again", value=name)
        header = cls(**values)
        check(header)
        if header.to_bytes() != messagepack.dumps(_known(tree)):
            raise CorruptFile(
                "header states a default, which is left out in canonical form, get the file again"
            )
        return header


MINOR = 0  # minor version of the format that FIELDS describes

# (group, key) in the file -> attribute and type.
FIELDS: dict[tuple[str, str], tuple[str, Kind]] = {
    ("volume", "shape"): ("shape", integers(3)),
    ("volume", "dtype"): ("dtype", TEXT),
    ("volume", "affine"): ("affine", AFFINE),
    ("volume", "ndim"): ("ndim", INTEGER),
    ("volume", "rescale"): ("rescale", numbers(2)),
    ("volume", "modality"): ("modality", TEXT),
    ("volume", "unit"): ("unit", TEXT),
    ("volume", "padding"): ("padding", NUMBER),
    ("volume", "about"): ("description", SCALARS),
    ("range", "low"): ("low", NUMBER),
    ("range", "high"): ("high", NUMBER),
    ("lowres", "factor"): ("factor", integers(3)),
    ("lowres", "kernel"): ("kernel", TEXT),
    ("lowres", "companding"): ("companding", integers(None)),
    ("mask", "background"): ("background", NUMBER),
    ("mask", "cell"): ("cell", integers(3)),
    ("mask", "method"): ("mask_method", INTEGER),
    ("net", "layers"): ("layers", INTEGER),
    ("net", "width"): ("width", INTEGER),
    ("net", "tiles"): ("tiles", integers(3)),
    ("net", "cuts"): ("cuts", integers(None)),
    ("net", "kind"): ("kind", TEXT),
    ("net", "omega"): ("omega", NUMBER),
    ("net", "method"): ("weights_method", INTEGER),
    ("sr", "id"): ("sr", TEXT),
    ("sr", "sha256"): ("sr_sha256", octets(0, 32)),
    ("sr", "window"): ("sr_window", numbers(2)),
    ("sr", "noise"): ("sr_noise", INTEGER),
    ("sr", "ensemble"): ("sr_ensemble", INTEGER),
    ("refine", "axes"): ("refine_axes", integers(None)),
    ("refine", "steps"): ("refine_steps", integers(None)),
    ("refine", "unit"): ("refine_unit", NUMBER),
    ("refine", "bound"): ("bound", NUMBER),
    ("quality", "psnr"): ("psnr", NUMBER),
    ("quality", "lanczos"): ("psnr_lanczos", NUMBER),
    ("quality", "peak"): ("peak", NUMBER),
    ("quality", "max_error"): ("max_error", NUMBER),
    ("quality", "digest"): ("digest", octets(16)),
    ("encoder", "version"): ("version", TEXT),
    ("encoder", "seed"): ("seed", INTEGER),
}
DEFAULTS: dict[str, Any] = {
    f.name: f.default if f.default is not MISSING else {}
    for f in fields(Header)
    if f.default is not MISSING or f.default_factory is not MISSING
}


def _is_default(attribute: str, kind: Kind, value: Any) -> bool:
    default = DEFAULTS.get(attribute)
    return default is not None and bool(kind.emit(value) == kind.emit(default))


def _leaves(tree: Any) -> Iterator[tuple[tuple[str, str], Any]]:
    """Fields of the tree by (group, key)."""
    if not isinstance(tree, dict):
        raise CorruptFile(f"header is a {type(tree).__name__} and no map, get the file again", value=tree)
    for group, entries in tree.items():
        if not isinstance(entries, dict) or not entries:
            raise CorruptFile(f"header has no fields under {group!r:.80}, get the file again", value=group)
        yield from (((group, key), value) for key, value in entries.items())


def _known(tree: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The part of a tree that `FIELDS` describes."""
    parts = {
        group: {key: value for key, value in entries.items() if (group, key) in FIELDS}
        for group, entries in tree.items()
    }
    return {group: part for group, part in parts.items() if part}


def check(header: Header) -> None:
    """Refuse values that mean nothing, or that this version does not know."""
    known = {
        "type": (header.dtype, DTYPES),
        "kernel": (header.kernel, ("lanczos3",)),
        "network": (header.kind, ("siren",)),
        "coder of weights": (header.weights_method, (1,)),
        "coder of masks": (header.mask_method, (1,)),
    }
    for name, (value, choices) in known.items():
        if value not in choices:
            allowed = ", ".join(map(str, choices))
            raise UnsupportedFile(
                f"{name} {value!r} is unknown here ({allowed}), update inrcodec", value=value
            )
    for name, wrong in _impossible(header):
        if wrong:
            raise CorruptFile(f"header has an impossible {name}, get the file again", value=name)
    _check_cuts(header)


def _impossible(header: Header) -> Iterator[tuple[str, bool]]:
    """Names of what can be out of range, and whether it is."""
    yield "shape", min(header.shape) < 1
    yield "number of dimensions", header.ndim not in (2, 3) or (header.ndim == 2 and header.shape[0] != 1)
    yield "affine", is_singular(header.affine[:3, :3])
    yield "rescale", header.rescale[0] == 0
    smallest, largest = volume.limits_of(np.dtype(header.dtype))
    yield "range", not smallest <= header.low <= header.high <= largest
    yield "padding", header.padding is not None and not volume.is_held(header.padding, np.dtype(header.dtype))
    yield "modality", len(header.modality) > volume.LONGEST_MODALITY
    yield "factor", min(header.factor) < 1 or max(header.factor) > limits.FACTOR
    yield "companding", not header_checks.is_curve(header.companding)
    yield "background", not -1 <= header.background <= 1
    yield "mask cell", min(header.cell) < 1
    yield "network", min(header.layers, header.width) < 1 or not 0 < header.omega <= LARGEST_OMEGA
    yield (
        "number of tiles",
        any(not 1 <= t <= n for t, n in zip(header.tiles, header.lowres_shape, strict=True)),
    )
    yield "super-resolution hash", (header.sr == LANCZOS) != (header.sr_sha256 == b"")
    yield "super-resolution window", _is_narrow(*header.sr_window) or _is_narrow(*_window_in_units(header))
    yield "noise", not 0 <= header.sr_noise <= (0 if header.sr == LANCZOS else NOISE_STEPS)
    yield "ensemble", header.sr_ensemble not in ((1,) if header.sr == LANCZOS else validate.ENSEMBLES)
    yield "refinement", not _is_refinement(header)
    yield "quality", min(header.peak, header.max_error) < 0
    yield "seed", header.seed < 0


def _is_refinement(header: Header) -> bool:
    """Whether the order of halvings serves the shape, with a step for each and the first lattice."""
    axes, steps = header.refine_axes, header.refine_steps
    if not steps:
        return not axes and header.refine_unit == 1 and header.bound is None
    halved = [(n, axes.count(k)) for k, n in enumerate(header.shape)]
    floats = np.dtype(header.dtype).kind == "f"
    return (
        set(axes) <= {0, 1, 2}
        and all(count == 0 or 2 ** (count - 1) < n for n, count in halved)
        and len(steps) == len(axes) + 1
        and all(1 <= step <= LARGEST_STEP for step in steps)
        and (isfinite(header.refine_unit) and header.refine_unit >= 0 if floats else header.refine_unit == 1)
        and _is_countable(header)
        and (header.bound is None or header.bound >= 0)
    )


def _is_countable(header: Header) -> bool:
    """Whether the integers that stand for the stored values are below 2^32."""
    if header.refine_unit == 0:
        return np.dtype(header.dtype).itemsize <= 4
    return (header.high - header.low) / header.refine_unit < LARGEST_STEP - 0.5


def _window_in_units(header: Header) -> tuple[float, float]:
    """Ends of the model's window in unit values, ascending; as they are where no model will use them."""
    span = header.high - header.low
    if header.sr == LANCZOS or span == 0:
        return header.sr_window
    return _in_units(header.sr_window, header.rescale, header.low, header.high)


def _in_units(
    window: tuple[float, float], rescale: tuple[float, float], low: float, high: float
) -> tuple[float, float]:
    slope, intercept = rescale
    first, last = sorted(((v - intercept) / slope - low) * (2 / (high - low)) - 1 for v in window)
    return first, last


def can_see(window: tuple[float, float], rescale: tuple[float, float], low: float, high: float) -> bool:
    """Whether a model's window can stand beside a range: one too far from it or too narrow cannot."""
    return not (_is_narrow(*window) or _is_narrow(*_in_units(window, rescale, low, high)))


def _is_narrow(low: float, high: float) -> bool:
    """Whether dividing by the distance of a window's ends would overflow, or leave rounding alone."""
    distance = high - low
    if not (isfinite(distance) and distance > 0 and isfinite(2 / distance)):
        return True
    return distance < NARROWEST_WINDOW * max(abs(low), abs(high))


def _check_cuts(header: Header) -> None:
    """Cuts must be as many as the tiles need, and leave no box empty."""
    tz, ty, tx = header.tiles
    groups = [(1, tz, 0), (tz, ty, 1), (tz * ty, tx, 2)]
    if len(header.cuts) != sum(lines * (parts - 1) for lines, parts, _ in groups):
        raise CorruptFile(f"header has {len(header.cuts)} cuts for tiles {header.tiles}, get the file again")
    start = 0
    for lines, parts, axis in groups:
        for _ in range(lines if parts > 1 else 0):
            edges = [0, *header.cuts[start : start + parts - 1], header.lowres_shape[axis]]
            if any(a >= b for a, b in pairwise(edges)):
                raise CorruptFile(f"header has cuts {edges[:8]} that leave a box empty, get the file again")
            start += parts - 1
