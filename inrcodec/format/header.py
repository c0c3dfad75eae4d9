"""The header: typed fields to canonical MessagePack and back.

In: a `Header`, or the bytes of the section HEAD.  Out: the other.
Invariant: a header has exactly one byte string: canonical MessagePack, without fields that equal their
default; what is read is written again and compared.

`FIELDS` is the schema, in one table; the specification's table is tested against it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import CorruptFile
from inrcodec.format import header_checks, limits, messagepack
from inrcodec.format.fields import (
    AFFINE,
    INTEGER,
    NUMBER,
    PAIRS,
    SCALARS,
    TEXT,
    Kind,
    integers,
    numbers,
    octets,
)
from inrcodec.format.header_checks import AV1 as AV1
from inrcodec.format.header_checks import DTYPES as DTYPES
from inrcodec.format.header_checks import LANCZOS as LANCZOS
from inrcodec.format.header_checks import LATENT as LATENT
from inrcodec.format.header_checks import NO_CODER as NO_CODER
from inrcodec.format.header_checks import NOISE_STEPS as NOISE_STEPS
from inrcodec.format.header_checks import SIREN as SIREN
from inrcodec.volume.box import Shape, lowres_shape
from inrcodec.volume.bricks import Bricks

Scalar = int | float | str


@dataclass(frozen=True, kw_only=True, eq=False)
class Header:
    """Contents of the section HEAD.

    Attributes
    ----------
    shape : (z, y, x)
        Voxels of the volume; 1 along an axis that it has not.
    axes, brick : str, tuple of int
        Axes that the volume has, "zyx" or "yx"; voxels of a brick (z, y, x), empty if the volume is one.
    dtype : str
        NumPy name of the stored type.
    affine : ndarray, (4, 4), float64
        Voxel index (x, y, z, 1) to LPS millimetres.
    low, high : float
        Stored values of -1 and +1 in unit range.
    coder, factor : str, (z, y, x)
        Coder of the low-res volume, "none" where there is none; Lanczos factors, 1 ... 8.
    layers, width : int
        Hidden layers, and neurons of each.
    tiles, cuts : (tz, ty, tx), tuple of int
        Boxes along each axis; first index of each next box in k-d order.
    rescale, slice_rescale, modality, unit, padding, description
        As in `Volume`; no scales of slices are an empty tuple.
    kernel, companding
        Down-sampling; nodes of the curve between low-res values and the networks' (`companding`).
    wiener
        Weights of the filter of full-res values (`layers.wiener`), empty where there is none.
    background, cell, mask_method
        Unit value of inactive voxels, not companded; edges of a mask cell in low-res voxels; coder of MASK.
    omega, weights_method
        Frequency of the networks, coder of WGHT.
    av1_slices, av1_flat
        Low-res slices of each AV1 stream, 0 where one holds all; lowest and highest code of background, empty
        where every voxel is active.
    latent_model, latent_sha256, latent_rate, latent_ends, latent_slices, latent_flat
        Model of latents, SHA-256 of its weights, 0 ... 127; the model's values of the coded values -1 and +1;
        low-res slices of a stream, as of AV1; what the unit values of background cells differ from
        ``background`` by at most, ``None`` where every voxel is active.
    sr, sr_sha256, sr_window, sr_noise, sr_ensemble
        Super-resolution model, SHA-256 of its weights, physical values of its -1 and +1; noise level of the
        low-res volume, `NOISE_STEPS` to 1 in its window; mirror images whose results are averaged.
    refine_axes, refine_steps, refine_unit, refine_filter, bound
        Axis that each stage of the refinement halves; quantisation steps of its first lattice and of each
        stage, empty without a refinement; stored units of an integer (0: the bits of a float); weights of the
        filter of its integers (`layers.lattice.filter`), empty where there is none; promised bound of the
        physical error, if any.
    psnr, psnr_lanczos, peak, max_error, digest
        PSNR in dB (inf: lossless), also by Lanczos alone where there is a model; its peak in stored units;
        largest error in physical units; digest of the decoded bricks (`inrcodec.format.digest`).
    version, seed
        Of the encoder.
    """

    shape: Shape
    dtype: str
    affine: NDArray[np.float64]
    low: float
    high: float
    axes: str = "zyx"
    brick: tuple[int, ...] = ()
    coder: str = SIREN
    factor: Shape = (1, 1, 1)
    layers: int = 0
    width: int = 0
    tiles: Shape = (1, 1, 1)
    cuts: tuple[int, ...] = ()
    rescale: tuple[float, float] = (1.0, 0.0)
    slice_rescale: tuple[tuple[float, float], ...] = ()
    modality: str = ""
    unit: str = ""
    padding: float | None = None
    description: Mapping[str, Scalar] = field(default_factory=dict)
    kernel: str = "lanczos3"
    companding: tuple[int, ...] = ()
    wiener: tuple[int, ...] = ()
    background: float = 0.0
    cell: Shape = (1, 1, 1)
    mask_method: int = 1
    omega: float = 30.0
    weights_method: int = 1
    av1_slices: int = 0
    av1_flat: tuple[int, ...] = ()
    latent_model: str = ""
    latent_sha256: bytes = b""
    latent_rate: int = 0
    latent_ends: tuple[float, float] = (-1.0, 1.0)
    latent_slices: int = 0
    latent_flat: float | None = None
    sr: str = LANCZOS
    sr_sha256: bytes = b""
    sr_window: tuple[float, float] = (-1.0, 1.0)
    sr_noise: int = 0
    sr_ensemble: int = 1
    refine_axes: tuple[int, ...] = ()
    refine_steps: tuple[int, ...] = ()
    refine_unit: float = 1.0
    refine_filter: tuple[int, ...] = ()
    bound: float | None = None
    psnr: float = inf
    psnr_lanczos: float | None = None
    peak: float = 0.0
    max_error: float = 0.0
    digest: bytes = bytes(16)
    version: str = ""
    seed: int = 0

    @property
    def ndim(self) -> int:
        """Axes of the volume: 2 for an image."""
        return len(self.axes)

    @property
    def has_lowres(self) -> bool:
        """Whether there is a low-res volume; a refinement may stand alone."""
        return self.coder != NO_CODER

    @property
    def lowres_shape(self) -> Shape:
        """Low-res voxels, (z, y, x): ``ceil(n / factor)``."""
        return lowres_shape(self.shape, self.factor)

    @property
    def stream_slices(self) -> int:
        """Low-res slices of a stream, of the last perhaps fewer; 0 of a coder that has none."""
        stated = {AV1: self.av1_slices, LATENT: self.latent_slices}.get(self.coder)
        return 0 if stated is None else stated or self.lowres_shape[0]

    @property
    def streams(self) -> int:
        """Streams of the low-res volume; 0 of a coder that has none."""
        return -(-self.lowres_shape[0] // self.stream_slices) if self.stream_slices else 0

    @property
    def bricks(self) -> Bricks:
        """The bricks of the volume; refinement and padding of each are coded by themselves."""
        z, y, x = self.brick or self.shape
        return Bricks(self.shape, (z, y, x))

    @property
    def refine_streams(self) -> int:
        """Streams of a brick's refinement: one a step, and one of the lower halves of float64."""
        has_lower_halves = bool(self.refine_steps) and self.refine_unit == 0 and self.dtype == "float64"
        return len(self.refine_steps) + has_lower_halves

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
            if attribute == "shape":
                value = value[3 - self.ndim :]
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
            raise CorruptFile(f"header has unknown fields {unknown[:5]}", value=unknown)
        values = {}
        for name, (attribute, kind) in FIELDS.items():
            if name in found:
                values[attribute] = kind.parse(found[name])
            elif attribute not in DEFAULTS:
                raise CorruptFile(f"header has no {'.'.join(name)}", value=name)
        values["shape"] = header_checks.shape_of(values["shape"], values.get("axes", DEFAULTS["axes"]))
        header = cls(**values)
        header_checks.check(header)
        if header.to_bytes() != messagepack.dumps(_known(tree)):
            raise CorruptFile(
                "header is not in canonical form: it states a default, or a float as an integer"
            )
        return header


MINOR = 0  # minor version of the format that FIELDS describes

# (group, key) in the file -> attribute and type.
FIELDS: dict[tuple[str, str], tuple[str, Kind]] = {
    ("volume", "axes"): ("axes", TEXT),
    ("volume", "shape"): ("shape", integers(None)),
    ("volume", "brick"): ("brick", integers(None)),
    ("volume", "dtype"): ("dtype", TEXT),
    ("volume", "affine"): ("affine", AFFINE),
    ("volume", "rescale"): ("rescale", numbers(2)),
    ("volume", "slice_rescale"): ("slice_rescale", PAIRS),
    ("volume", "modality"): ("modality", TEXT),
    ("volume", "unit"): ("unit", TEXT),
    ("volume", "padding"): ("padding", NUMBER),
    ("volume", "about"): ("description", SCALARS),
    ("range", "low"): ("low", NUMBER),
    ("range", "high"): ("high", NUMBER),
    ("lowres", "coder"): ("coder", TEXT),
    ("lowres", "factor"): ("factor", integers(3)),
    ("lowres", "kernel"): ("kernel", TEXT),
    ("lowres", "companding"): ("companding", integers(None)),
    ("lowres", "wiener"): ("wiener", integers(None)),
    ("mask", "background"): ("background", NUMBER),
    ("mask", "cell"): ("cell", integers(3)),
    ("mask", "method"): ("mask_method", INTEGER),
    ("net", "layers"): ("layers", INTEGER),
    ("net", "width"): ("width", INTEGER),
    ("net", "tiles"): ("tiles", integers(3)),
    ("net", "cuts"): ("cuts", integers(None)),
    ("net", "omega"): ("omega", NUMBER),
    ("net", "method"): ("weights_method", INTEGER),
    ("av1", "slices"): ("av1_slices", INTEGER),
    ("av1", "flat"): ("av1_flat", integers(None)),
    ("latent", "id"): ("latent_model", TEXT),
    ("latent", "sha256"): ("latent_sha256", octets(0, 32)),
    ("latent", "rate"): ("latent_rate", INTEGER),
    ("latent", "ends"): ("latent_ends", numbers(2)),
    ("latent", "slices"): ("latent_slices", INTEGER),
    ("latent", "flat"): ("latent_flat", NUMBER),
    ("sr", "id"): ("sr", TEXT),
    ("sr", "sha256"): ("sr_sha256", octets(0, 32)),
    ("sr", "window"): ("sr_window", numbers(2)),
    ("sr", "noise"): ("sr_noise", INTEGER),
    ("sr", "ensemble"): ("sr_ensemble", INTEGER),
    ("refine", "axes"): ("refine_axes", integers(None)),
    ("refine", "steps"): ("refine_steps", integers(None)),
    ("refine", "unit"): ("refine_unit", NUMBER),
    ("refine", "filter"): ("refine_filter", integers(None)),
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
        raise CorruptFile(f"header is a {type(tree).__name__}, not a map", value=tree)
    for group, entries in tree.items():
        if not isinstance(entries, dict) or not entries:
            raise CorruptFile(f"header has no fields under {group!r:.80}", value=group)
        yield from (((group, key), value) for key, value in entries.items())


def _known(tree: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The part of a tree that `FIELDS` describes."""
    parts = {
        group: {key: value for key, value in entries.items() if (group, key) in FIELDS}
        for group, entries in tree.items()
    }
    return {group: part for group, part in parts.items() if part}
