"""The whole corridor on one real volume, through the command line: sizes, quality, seconds, memory, geometry.

    python benchmarks/corridor.py DICOM_FOLDER_OR_NIFTI [--out DIR] [inrv-enc options …]

Prints one line a figure and writes them to ``DIR/corridor.json``.  The quality is measured here, from the
written NIfTI against the source, not taken from the encoder's report.  Figures of time are of this machine
and this run; ``--repeat N`` gives medians of the short commands.
"""

import json
import os
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from statistics import median
from time import monotonic

import nibabel
import numpy as np
from shared import RESULTS, parser_of, skipped

from inrcodec import io
from inrcodec.volume import metrics

BODY = -500  # HU: what is denser than lung


def run(*command: str) -> tuple[float, float, str]:
    """Seconds, peak MiB and standard output of one of the package's commands."""
    start = monotonic()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen([str(Path(sys.executable).parent / command[0]), *command[1:]], stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = monotonic() - start
        if status:
            raise SystemExit(f"{' '.join(command)} ended with status {os.waitstatus_to_exitcode(status)}")
        out.seek(0)
        return seconds, usage.ru_maxrss / 1024, out.read()


def quality(source: Path, decoded: Path) -> dict[str, object]:
    """PSNR and errors of the decoded NIfTI, and how far its affine is from the source's."""
    volume, image = io.read(source), nibabel.load(decoded)
    array = np.asarray(image.dataobj).T
    low, high = float(volume.array.min()), float(volume.array.max())
    errors = metrics.Errors(metrics.peak_of(low, high, volume.array.dtype))
    inside, count = 0.0, 0
    for z in range(volume.shape[0]):
        errors.add(volume.array[z], array[z])
        body = volume.array[z] > BODY
        inside += float(np.abs(volume.array[z][body].astype(np.float64) - array[z][body]).sum())
        count += int(body.sum())
    affine = np.diag([-1, -1, 1, 1]) @ image.affine
    return {
        "psnr_db": errors.psnr,
        "peak": errors.peak,
        "max_error": errors.largest,
        "mean_error_in_body": inside / max(count, 1) if low < BODY else None,
        "affine_difference": float(np.abs(affine - volume.affine).max()),
        "dtype_kept": array.dtype == volume.array.dtype,
    }


def geometry(source: Path, nifti: Path, series: Path) -> dict[str, object]:
    """How far ITK finds the decoded grids from the source's: the largest difference of any number."""
    try:
        import SimpleITK as sitk
    except ImportError:
        return {"itk_geometry": "skipped: pip install 'inrcodec[itk]'"}

    def image(path: Path) -> sitk.Image:
        if path.is_dir():
            reader = sitk.ImageSeriesReader()
            reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path)))
            return reader.Execute()
        return sitk.ReadImage(str(path))

    def numbers(found: sitk.Image) -> np.ndarray:
        return np.array([*found.GetSize(), *found.GetOrigin(), *found.GetSpacing(), *found.GetDirection()])

    truth, decoded, again = image(source), image(nifti), image(series)
    voxels = sitk.GetArrayViewFromImage
    return {
        "itk_difference_nifti": float(np.abs(numbers(decoded) - numbers(truth)).max()),
        "itk_difference_dicom": float(np.abs(numbers(again) - numbers(truth)).max()),
        "dicom_and_nifti_hold_the_same": bool(np.array_equal(voxels(decoded), voxels(again))),
    }


def digest(path: Path) -> str:
    return sha256(np.asarray(nibabel.load(path).dataobj).tobytes()).hexdigest()


def measure(source: Path, out: Path, options: list[str], repeat: int) -> dict[str, object]:
    file, nifti = out / "volume.inrv", out / "volume.nii.gz"
    seconds, memory, report = run("inrv-enc", str(source), str(file), "--force", "--json", *options)
    figures: dict[str, object] = {"options": options, "encode_s": seconds, "encode_MiB": memory}
    figures["report"] = json.loads(report)
    figures["bytes"] = file.stat().st_size
    seconds, memory, _ = run("inrv-dec", str(file), str(nifti), "--force", "-q")
    figures |= {"decode_s": seconds, "decode_MiB": memory} | quality(source, nifti)
    run("inrv-dec", str(file), str(out / "series"), "--force", "-q")
    figures |= geometry(source, nifti, out / "series")
    one = out / "one-thread.nii.gz"
    run("inrv-dec", str(file), str(one), "--force", "-q", "--threads", "1")
    figures["same_voxels_with_one_thread"] = digest(one) == digest(nifti)
    figures["info_s"] = median(run("inrv-info", str(file), "--json")[0] for _ in range(repeat))
    preview = ("inrv-info", str(file), "--preview", str(out / "preview.png"), "-q", "--force")
    figures["preview_s"] = median(run(*preview)[0] for _ in range(repeat))
    return figures


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--repeat", type=int, default=5)
    args, options = parser.parse_known_args()
    if skipped(args.source):
        return
    args.out.mkdir(parents=True, exist_ok=True)
    figures = measure(args.source, args.out, options, args.repeat)
    (args.out / "corridor.json").write_text(json.dumps(figures, indent=2) + "\n")
    for name, value in figures.items():
        if name != "report":
            print(f"{name:28s} {value:.4f}" if isinstance(value, float) else f"{name:28s} {value}")


if __name__ == "__main__":
    main()
