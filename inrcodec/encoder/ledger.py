"""The ledger of one encoding: every byte, what was reached, and how.

In: the written file's parts and measurements.  Out: a record that prints and turns into JSON.
The one law: all bytes are counted, and the peak of every PSNR is stated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from inrcodec.encoder.options import ResolvedOptions
from inrcodec.format.summary import bytes_by_part
from inrcodec.volume import windows

if TYPE_CHECKING:
    from inrcodec.encoder.measure import Reached
    from inrcodec.encoder.pipeline import Job
    from inrcodec.format.header import Header
    from inrcodec.volume.volume import Volume


@dataclass(frozen=True, kw_only=True)
class EncodeReport:
    """What came of an encoding.

    Attributes
    ----------
    shape, dtype : of the source, (z, y, x).
    modality : as the source or the user says, or as its values show; "" if unknown.
    source_bytes : of the source on disk; ``None`` for arrays.
    voxel_bytes : voxels x bytes a voxel.
    file_bytes : of the ``.inrv`` file, all in.
    sections : bytes of "header", "network", "mask", "padding", "refinement" and "container".
    ratio : voxel_bytes / file_bytes.
    bpv : bits per voxel.
    psnr, peak : of the decoded volume, dB against the stated peak, in stored units.
    psnr_lanczos : the same with the super-resolution model left out.
    psnr_lowres : of the fit alone, over the low-res volume, at the same peak; with `through_sr` it is lower,
        as the fit is not to the plain low-res volume; ``None`` without networks.
    max_error, unit : largest error of a voxel, in physical units.
    bound : that no voxel exceeds, where that was asked for.
    mean_errors : by window, mean absolute error of the voxels whose source lies in it, in physical units.
    mean_errors_lowres : the same of the low-res volume alone: what the networks hold, and a focus serves.
    focus : the window that the fit was to serve.
    through_sr : whether the fit was to what gives a better full-res volume.
    sr, ensemble : the super-resolution model, and the mirror images that its result is averaged over.
    seconds : by stage.
    notices : what the user should know about the choices made.
    reason : why this factor.
    considered : all grids that were, with ceiling and forecast in dB (`grid_search.Considered`).
    """

    shape: tuple[int, int, int]
    dtype: str
    modality: str
    source_bytes: int | None
    voxel_bytes: int
    file_bytes: int
    sections: dict[str, int]
    ratio: float
    bpv: float
    psnr: float
    peak: float
    psnr_lanczos: float
    psnr_lowres: float | None
    max_error: float
    bound: float | None
    unit: str
    mean_errors: dict[str, float]
    mean_errors_lowres: dict[str, float]
    focus: str
    through_sr: bool
    seconds: dict[str, float]
    factor: tuple[int, int, int]
    tiles: tuple[int, int, int]
    layers: int
    width: int
    sr: str
    ensemble: int
    seed: int
    notices: list[str]
    reason: str = ""
    considered: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return asdict(self)


def of(
    volume: Volume, header: Header, sections: Mapping[str, bytes], found: Reached, total: int
) -> dict[str, Any]:
    """The fields of a report that follow from the file and its check; ``total`` is the file's bytes."""
    best, scale = found.refined or found.outcomes[header.sr], abs(header.rescale[0])
    return {
        "shape": volume.shape,
        "dtype": volume.array.dtype.name,
        "modality": header.modality,
        "source_bytes": volume.source_bytes,
        "voxel_bytes": volume.array.nbytes,
        "file_bytes": total,
        "sections": bytes_by_part({name: len(body) for name, body in sections.items()}, total),
        "ratio": volume.array.nbytes / total,
        "bpv": 8 * total / volume.array.size,
        "psnr": header.psnr,
        "peak": header.peak,
        "psnr_lanczos": header.psnr if found.refined else found.outcomes["lanczos"].errors.psnr,
        "psnr_lowres": found.lowres,
        "max_error": header.max_error,
        "bound": header.bound,
        "unit": header.unit,
        "mean_errors": {name: mean * scale for name, mean in best.windows.means.items()},
        "mean_errors_lowres": {name: mean * scale for name, mean in found.lowres_windows.means.items()},
        "factor": header.factor,
        "tiles": header.tiles,
        "layers": header.layers,
        "width": header.width,
        "sr": header.sr,
        "ensemble": header.sr_ensemble,
        "seed": header.seed,
    }


def plan(volume: Volume, job: Job, options: ResolvedOptions) -> dict[str, Any]:
    """What an encoding would do, in plain types: what is decided before the fit."""
    choice = job.choice
    return {
        "shape": volume.shape,
        "dtype": str(volume.array.dtype),
        "factor": job.header.factor,
        "reason": choice.reason if choice else "",
        "considered": choice.rows() if choice else [],
        "lowres_shape": job.header.lowres_shape,
        "active_voxels": int(job.low.active.sum()),
        "tiles": job.header.tiles,
        "layers": job.header.layers,
        "width": job.header.width,
        "steps": job.plan.steps,
        "sr": job.header.sr,
        "ensemble": job.header.sr_ensemble,
        "through_sr": options.through_sr,
        "focus": windows.format_focus(options.focus),
        "predicted_bytes": job.predicted,
        "notices": job.notices,
    }


def plan_of_refinement(volume: Volume, bound: float) -> dict[str, Any]:
    """The same for a promise without networks; its bytes are only known in the end."""
    return {
        "shape": volume.shape,
        "dtype": str(volume.array.dtype),
        "bound": bound,
        "reason": "a refinement keeps the promise; networks would cost more than they save",
        "considered": [],
        "predicted_bytes": None,
        "notices": [],
    }
