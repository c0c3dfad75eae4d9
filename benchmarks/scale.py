"""What encoding costs as a volume grows: seconds by stage and peak memory, against voxels.

    python benchmarks/scale.py DICOM_FOLDER_OR_NIFTI [--times 1 2 4 8 16] [--steps 60] [inrv-enc options …]

The volume is repeated along z and y, every other copy mirrored, and each size is encoded by a process of its
own with the same few steps a tile: the steps are a wish, not a cost of size.  Prints a table, and the slopes
of a straight line through the logarithms: 1 is linear, and 1.05 is what the encoder is held to.  Memory is
what the process held at its peak beyond the array itself; Python and torch are in it at every size.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import numpy as np
from corridor import run

from inrcodec import Volume, io

MOST = 1.05  # slope that is linear, but for what a machine's caches and clocks do


def repeated(volume: Volume, times: int) -> Volume:
    """``times`` (a power of two) copies along z and y, z first, each the mirror image of its neighbours."""
    along_y = 2 ** ((times.bit_length() - 1) // 2)
    z, y = (_mirrored(n, k) for n, k in zip(volume.shape, (times // along_y, along_y), strict=False))
    return replace(volume, array=volume.array[np.ix_(z, y)])


def _mirrored(n: int, copies: int) -> np.ndarray:
    """Indices 0 … n - 1, back again, and so on."""
    way = np.arange(n)
    return np.concatenate([way if k % 2 == 0 else way[::-1] for k in range(copies)])


def measure(volume: Volume, times: int, options: list[str]) -> dict[str, float]:
    """Seconds by stage and MiB of one encoding."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "volume.nii", Path(folder) / "volume.inrv"
        grown = repeated(volume, times)
        io.write(grown, source)
        array_mib = grown.array.nbytes / 2**20
        figures = {"times": times, "voxels": grown.array.size}
        del grown
        before = _cpu_seconds()
        seconds, peak, report = run("inrv-enc", str(source), str(target), "--json", "-q", *options)
        cpu = _cpu_seconds() - before
    found = json.loads(report)
    figures |= {"tiles": int(np.prod(found["tiles"])), "bytes": found["file_bytes"], "psnr": found["psnr"]}
    figures |= {f"{stage}_s": spent for stage, spent in found["seconds"].items()}
    return figures | {"all_s": seconds, "cpu_s": cpu, "beyond_MiB": peak - array_mib}


def _cpu_seconds() -> float:
    """Of all processes that have ended: what a busy machine changes less than the clock on the wall."""
    usage = getrusage(RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def slope(rows: list[dict[str, float]], name: str) -> float:
    """Of the logarithm of a figure against that of the voxels."""
    voxels, values = ([row[key] for row in rows] for key in ("voxels", name))
    return float(np.polyfit(np.log(voxels), np.log(values), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("--times", type=int, nargs="+", default=[1, 2, 4, 8, 16], help="powers of two")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args, options = parser.parse_known_args()
    if any(n < 1 or n & (n - 1) for n in args.times):
        parser.error(f"--times {args.times}: powers of two are wanted")
    if not args.source.exists():
        print(f"skipped: {args.source} is not here")
        return
    volume = io.read(args.source)
    rows: list[dict[str, float]] = []
    for times in args.times:
        rows.append(measure(volume, times, ["--steps", str(args.steps), *options]))
        if len(rows) == 1:
            print("  ".join(f"{name:>12s}" for name in rows[0]))
        print("  ".join(f"{value:12.7g}" for value in rows[-1].values()), flush=True)
    slopes = {name: slope(rows, name) for name in ("all_s", "cpu_s", "beyond_MiB")} if len(rows) > 1 else {}
    for name, value in slopes.items():
        print(f"slope of {name}: {value:.3f} ({'held' if value <= MOST else 'not held'}: at most {MOST})")
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "scale.json").write_text(json.dumps({"rows": rows, "slopes": slopes}, indent=2) + "\n")


if __name__ == "__main__":
    main()
