"""The ledger of one encoding: every byte, what was reached, and how.

In: the written file's parts and measurements.  Out: a record that prints and turns into JSON.
Invariant: all bytes are counted, and the peak of every PSNR is stated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from inrcodec.encoder.tissue import aim as tissue_aim
from inrcodec.format.summary import bytes_by_part
from inrcodec.volume import windows

if TYPE_CHECKING:
    from inrcodec.encoder.measured import Measured

# What the report says as the header says it.
FROM_HEADER = (
    *("shape", "dtype", "modality", "factor", "tiles", "layers", "width", "sr", "seed"),
    *("psnr", "peak", "max_error", "bound", "unit"),
)


@dataclass(frozen=True, kw_only=True)
class EncodeReport:
    """What came of an encoding.

    Attributes
    ----------
    shape, dtype : of the source, (z, y, x).
    modality : as the source or the user says, or as its values show; "" if unknown.
    source_bytes : of the source on disk; ``None`` for arrays.
    voxel_bytes : voxels x bytes that one takes in the source.
    file_bytes : of the ``.inrv`` file, all in.
    base : coder of the low-res volume; "none" where there is none.
    sections : bytes of "header", "base", "mask", "padding", "special", "refinement" and "container".
    ratio : voxel_bytes / file_bytes.
    bpv : bits per voxel.
    psnr, peak : of the decoded volume, dB against the stated peak, in stored units.
    psnr_lanczos : the same with the super-resolution model left out.
    psnr_lowres : of the fit alone, over the low-res volume, at the same peak; with `through_sr` it is lower,
        as the fit is not to the plain low-res volume; ``None`` without networks.
    max_error, unit : largest error of a voxel, in physical units.
    bound : that no voxel exceeds, where one was requested.
    mean_errors : by window, mean absolute error of the voxels whose source lies in it, in physical units.
    mean_errors_lowres : the same of the low-res volume alone: what the networks hold, and a focus serves.
    low_pass_error : in flat tissue, root mean square of the error after a Gaussian of three voxels, in
        physical units: noise averages out of it, false structure does not (`volume.low_pass`). ``None`` where
        there is no flat tissue, or where no error was to be made.
    low_pass_error_mm : the same after a Gaussian of 5 mm (full width at half maximum).
    low_pass_tolerance : 10 HU for CT, a 40th of the window elsewhere.
    low_pass_aim : what `low_pass_error_mm` was to be, where no target said what is wanted.
    low_pass_off : share of these voxels that are then off by more, 0 to 1.
    low_pass_window : what counts as tissue, and its lower and upper end in physical units.
    low_pass_voxels : of flat tissue that was looked at, in a few boxes.
    seam_energy : mean jump of the error where tiles or bricks meet, over that one low-res voxel beside; 1 is
        none, ``None`` where none is in flat tissue (`volume.seams`).
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
    low_pass_error: float | None
    low_pass_error_mm: float | None
    low_pass_tolerance: float | None
    low_pass_aim: float | None
    low_pass_off: float | None
    low_pass_window: str
    low_pass_voxels: int
    seam_energy: float | None
    focus: str
    through_sr: bool
    seconds: dict[str, float]
    base: str
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


def report(found: Measured, seconds: Mapping[str, float]) -> EncodeReport:
    """The report of a file that is about to be written."""
    header, plan, total = found.header, found.plan, found.size
    volume, scale = plan.facts.volume, abs(header.rescale[0])
    lowres = found.result.windows if found.lowres is None else found.lowres.windows
    lengths = {name: len(body) for name, body in found.all_sections}
    return EncodeReport(
        **{name: getattr(header, name) for name in FROM_HEADER},
        base=header.coder,
        source_bytes=volume.source_bytes,
        voxel_bytes=volume.voxel_bytes,
        file_bytes=total,
        sections=bytes_by_part(lengths, total),
        ratio=volume.voxel_bytes / total,
        bpv=8 * total / volume.array.size,
        psnr_lanczos=found.lanczos.errors.psnr,
        psnr_lowres=None if found.lowres is None else found.lowres.psnr,
        mean_errors={name: mean * scale for name, mean in found.result.windows.means.items()},
        mean_errors_lowres={name: mean * scale for name, mean in lowres.means.items()},
        **_in_flat_tissue(found),
        focus=windows.format_focus(plan.options.focus),
        through_sr=plan.options.through_sr,
        seconds=dict(seconds),
        ensemble=header.sr_ensemble,
        notices=[*plan.facts.notices, *found.notices],
        reason=plan.grid.reason,
        considered=plan.grid.rows(),
    )


def _in_flat_tissue(found: Measured) -> dict[str, Any]:
    """Errors that a reader might take for a finding."""
    errors = found.low_pass
    window = "" if errors is None else found.plan.facts.flat_tissue.label
    return {
        "low_pass_error": None if errors is None else errors.error,
        "low_pass_error_mm": None if errors is None else errors.error_mm,
        "low_pass_tolerance": None if errors is None else errors.tolerance,
        "low_pass_aim": tissue_aim.aim(found.plan.facts, found.plan.options),
        "low_pass_off": None if errors is None else errors.off,
        "low_pass_window": window,
        "low_pass_voxels": 0 if errors is None else errors.voxels,
        "seam_energy": found.seam_energy,
    }
