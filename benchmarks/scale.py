"""What a file costs as things grow: seconds and peak memory, both ways, with slopes and figures.

    python benchmarks/scale.py DICOM_FOLDER_OR_NIFTI [--only voxels lowres network] [--times 1 2 4 8 16]
        [--factors 6 4 3 2] [--widths 16 24 32 48 64] [--steps 60] [--out DIR] [inrv-enc options …]

Ladders: ``voxels`` (the volume repeated along z and y, every other copy mirrored), ``lowres`` (the volume at
finer grids) and ``network`` (wider networks in as many tiles).  Every rung is encoded, decoded whole, and
read for one low-res slice in the middle (of a volume in tiles that is a region of interest: only the tiles
that the slice crosses are evaluated), each by a process of its own and with the same few steps a tile: steps
are an option, not a cost of size.

Prints a table a ladder, and the slopes of straight lines through the logarithms: 1 is linear.  The encoder is
held to 1.05 against voxels.  Memory is what a process held at its peak beyond the array itself; Python and
torch are in it at every size.  Writes ``DIR/scale-LADDER.json`` and, where Matplotlib is installed,
``DIR/scale-LADDER.png``.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import numpy as np
from shared import RESULTS, command, parser_of, skipped

from inrcodec import Volume, io
from inrcodec.report import plots

MOST = 1.05  # slope that is linear, but for what a machine's caches and clocks do
SLICE = """
import sys, time, inrcodec
decoder = inrcodec.open(sys.argv[1])
middle = decoder.lowres_shape[0] // 2
start = time.monotonic()
decoder.lowres(slice(middle, middle + 1))
print(time.monotonic() - start)
"""
COSTS = ("encode_s", "encode_cpu_s", "fit_s", "decode_s", "slice_s", "encode_MiB", "decode_MiB")
Row = dict[str, float]
Rung = tuple[Volume, list[str]]


def repeated(volume: Volume, times: int) -> Volume:
    """``times`` (a power of two) copies along z and y, z first, each the mirror image of its neighbours."""
    along_y = 2 ** ((times.bit_length() - 1) // 2)
    z, y = (_mirrored(n, k) for n, k in zip(volume.shape, (times // along_y, along_y), strict=False))
    return replace(volume, array=volume.array[np.ix_(z, y)])


def _mirrored(n: int, copies: int) -> np.ndarray:
    """Indices 0 … n - 1, back again, and so on."""
    way = np.arange(n)
    return np.concatenate([way if k % 2 == 0 else way[::-1] for k in range(copies)])


def voxels(volume: Volume, args: argparse.Namespace) -> Iterator[Rung]:
    """Larger volumes."""
    for times in args.times:
        yield repeated(volume, times), []


def lowres(volume: Volume, args: argparse.Namespace) -> Iterator[Rung]:
    """Finer grids of the same volume."""
    for factor in args.factors:
        yield volume, ["--factor", str(factor), "--sr", "lanczos"]


def network(volume: Volume, args: argparse.Namespace) -> Iterator[Rung]:
    """Wider networks in as many tiles."""
    for width in args.widths:
        yield volume, ["--factor", "4", "--tiles", "2,2,2", "--width", str(width), "--sr", "lanczos"]


LADDERS: dict[str, tuple[Callable[[Volume, argparse.Namespace], Iterator[Rung]], str]] = {
    "voxels": (voxels, "voxels"),
    "lowres": (lowres, "lowres_voxels"),
    "network": (network, "weights"),
}


def measure(volume: Volume, options: Sequence[str]) -> Row:
    """Sizes, seconds and MiB of one rung."""
    with tempfile.TemporaryDirectory() as folder:
        source, target, back = (Path(folder) / name for name in ("volume.nii", "volume.inrv", "back.nii"))
        io.write(volume, source)
        array_mib = volume.array.nbytes / 2**20
        before = _cpu_seconds()
        seconds, peak, report = command("inrv-enc", str(source), str(target), "--json", "-q", *options)
        cpu = _cpu_seconds() - before
        found = json.loads(report)
        decode_s, decode_peak, _ = command("inrv-dec", str(target), str(back), "-q")
        one = subprocess.run(
            [sys.executable, "-c", SLICE, str(target)], capture_output=True, text=True, check=True
        )
    layers, width = found["layers"], found["width"]
    small = [-(-n // f) for n, f in zip(found["shape"], found["factor"], strict=True)]
    return {
        "voxels": volume.array.size,
        "lowres_voxels": int(np.prod(small)),
        "weights": int(np.prod(found["tiles"])) * ((layers - 1) * width**2 + (layers + 4) * width + 1),
        "tiles": int(np.prod(found["tiles"])),
        "bytes": found["file_bytes"],
        "encode_s": seconds,
        "encode_cpu_s": cpu,
        "fit_s": found["seconds"].get("fit", 0.0),
        "decode_s": decode_s,
        "slice_s": float(one.stdout),
        "encode_MiB": peak - array_mib,
        "decode_MiB": decode_peak - array_mib,
    }


def _cpu_seconds() -> float:
    """Of all processes that have ended: what a busy machine changes less than the clock on the wall."""
    usage = getrusage(RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def slope(rows: Sequence[Row], along: str, name: str) -> float:
    """Of the logarithm of a cost against that of what grows."""
    grown, values = ([row[key] for row in rows] for key in (along, name))
    return float(np.polyfit(np.log(grown), np.log(values), 1)[0])


def draw(rows: Sequence[Row], along: str, path: Path) -> None:
    """Seconds and MiB over what grows, both axes logarithmic."""
    figure = plots.figure(10, 4)
    axes = figure.subplots(1, 2)
    for axis, unit in zip(axes, ("_s", "_MiB"), strict=True):
        for name in (n for n in COSTS if n.endswith(unit) and not n.endswith("_cpu_s")):
            label = f"{name.removesuffix(unit)}: slope {slope(rows, along, name):.2f}"
            axis.plot([r[along] for r in rows], [r[name] for r in rows], marker="o", label=label)
        axis.set(xscale="log", yscale="log", xlabel=along.replace("_", " "))
        axis.set_ylabel("seconds" if unit == "_s" else "MiB beyond the array")
        axis.grid(alpha=0.3, which="both")
        axis.legend(fontsize="small")
    figure.savefig(path, dpi=90)


def climb(name: str, volume: Volume, args: argparse.Namespace, options: Sequence[str]) -> None:
    """One ladder: its table, slopes, JSON and figure."""
    rungs, along = LADDERS[name]
    rows: list[Row] = []
    for grown, own in rungs(volume, args):
        rows.append(measure(grown, ["--steps", str(args.steps), *own, *options]))
        if len(rows) == 1:
            print(f"\n{name}\n" + "  ".join(f"{key:>13s}" for key in rows[0]))
        print("  ".join(f"{value:13.6g}" for value in rows[-1].values()), flush=True)
    slopes = {cost: slope(rows, along, cost) for cost in COSTS} if len(rows) > 1 else {}
    for cost, value in slopes.items():
        held = name == "voxels" and cost in ("encode_s", "encode_cpu_s", "encode_MiB")
        verdict = f" ({'held' if value <= MOST else 'NOT HELD'}: at most {MOST})" if held else ""
        print(f"slope of {cost} against {along.replace('_', ' ')}: {value:.3f}{verdict}")
    (args.out / f"scale-{name}.json").write_text(
        json.dumps({"rows": rows, "slopes": slopes}, indent=2) + "\n"
    )
    if slopes and find_spec("matplotlib"):
        draw(rows, along, args.out / f"scale-{name}.png")


def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("--only", nargs="+", choices=LADDERS, default=list(LADDERS))
    parser.add_argument("--times", type=int, nargs="+", default=[1, 2, 4, 8, 16], help="powers of two")
    parser.add_argument("--factors", type=int, nargs="+", default=[6, 4, 3, 2])
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 24, 32, 48, 64])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args, options = parser.parse_known_args(argv)
    if any(n < 1 or n & (n - 1) for n in args.times):
        parser.error(f"--times {args.times}: powers of two are wanted")
    if skipped(args.source):
        return
    args.out.mkdir(parents=True, exist_ok=True)
    volume = io.read(args.source)
    for name in args.only:
        climb(name, volume, args, options)


if __name__ == "__main__":
    main()
