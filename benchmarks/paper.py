"""The paper's tables beside ours, in one run: architectures, SIREN with our architecture and alone, others.

    python benchmarks/paper.py HEAD [--only slice …] [--iterations N] [--slice Z] [--crop …] [--out DIR]

Sections: ``architectures`` (tables 1-3), ``slice`` (tables 4-6), ``engine`` (the slice by our own fit in
6 kB), ``volume`` (tables 4-6 on the volume, which the paper did not do) and ``others`` (table 7, whose
other rows are quoted).  HEAD is the head of the Visible Human Female, of which the paper used the
sibling; its crop is slices 58-121, rows 120-375, columns 110-365, and the slice is the middle one of these.
``--frame`` takes whole slices of 512 x 512 as the paper did: four times the time.

Both arms take the same number of iterations: the paper's 50 000 with ``--iterations 50000``, by default few
enough for half an hour on two cores; the tables say how many.  An iteration sees all points of a slice in
either arm (16 times fewer after down-sampling; the published ratios of time and memory follow from nothing
else), but that *ours* leaves out background; of a volume 65 536 drawn at random.

* *alone*: one SIREN at full resolution, by the published recipe in plain float32 torch (:mod:`recipe`).  Its
  bytes are those of the float32 weights, as the paper counts them.
* *ours*: ``inrcodec.encode(…, preset="paper", layers=L, steps=N)``, decoded again from the file's quantised
  weights, all bytes counted.
* *alone, in our time*: the same for as many seconds as our fit took.
* *low-res*: the published recipe in plain torch after down-sampling, for time and memory like for like.

PSNR has the peak 4095 of 12 bits (the paper: 255 of 8 bits).  Memory of *alone* and *low-res* is the largest
sum of tensors that a training step holds beyond weights and data: on a CPU as torch's profiler counts
allocations, on a GPU ``torch.cuda.max_memory_allocated``.  *ours* works in threads, which the profiler does
not see: it is compared by what a process of its own holds at its peak beyond what it held before
(``process``), for a whole encoding and for one step of *alone*; that is more than tensors.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

import numpy as np
import torch
from recipe import BATCH, WIDTH, Recipe, Siren
from shared import (
    RESULTS,
    Figure,
    Section,
    apart,
    cropped,
    lowres_of,
    parsed_region,
    parser_of,
    peak_of_tensors,
    run,
    skipped,
    timed,
    twelve_bits,
    with_report,
)

from inrcodec import Volume, api, io
from inrcodec._version import __version__
from inrcodec.layers.base.siren.siren import Layout
from inrcodec.volume.metrics import Errors, peak_of, psnr
from inrcodec.volume.value_range import Range, unit_part

ITERATIONS = 500
SIZE = 6000  # bytes of the slice by our own engine: a tenth of its 8-bit pixels
DEPTHS = (2, 3, 4)
LOOKS = 5  # times that the PSNR of *alone* is looked at; the best counts, as in the paper
TIMED = 20  # iterations of *low-res*, whose PSNR does not matter
PARAMETERS = {2: 17_153, 3: 33_665, 4: 50_177}  # tables 1-3
PUBLISHED = {  # tables 4 and 5: PSNR, seconds for the run, KB of GPU memory; and the rate of both
    2: {"ours": (34.670, 55.76, 1038), "alone": (25.269, 664.92, 10_254), "rate": 3.65},
    3: {"ours": (34.865, 74.80, 1296), "alone": (28.800, 1004.21, 10_512), "rate": 1.96},
    4: {"ours": (35.140, 99.61, 1554), "alone": (30.689, 1336.53, 10_770), "rate": 1.28},
}
OTHERS = {"Shen et al.": 27.50, "Mishra et al.": 29.33}  # table 7, as published, on other images
FASTER, LEANER = 12.0, 9.9  # times, of alone over ours
EIGHT_BITS = 1  # byte a voxel: what the paper's compression rate counts


@dataclass(frozen=True)
class Arm:
    """One way to store a volume: dB, bytes, seconds an iteration, bytes of tensors and of the process."""

    psnr: float | None
    size: int | None
    seconds: float
    memory: int | None
    process: float | None


def architectures(source: Any, args: argparse.Namespace) -> Section:
    """Tables 1 to 3: parameters of the networks that the fit has and that the recipe has."""
    figures, lines = [], ["| hidden layers | paper | inrcodec | float32 |", "| --- | --- | --- | --- |"]
    for depth in DEPTHS:
        ours = sum(Layout(depth, WIDTH).sizes)
        plain = sum(p.numel() for p in Siren(depth).parameters())
        published = PARAMETERS[depth]
        note = f"{plain:,} in plain torch, {4 * ours / 1000:.1f} kB in float32"
        figures.append(
            Figure(
                name=f"{depth} x {WIDTH}, parameters", value=ours, least=published, most=published, note=note
            )
        )
        lines.append(f"| {depth} × {WIDTH} | {published:,} | {ours:,} | {4 * ours / 1000:.1f} kB |")
    return Section(figures, {"table": lines})


def slice_(source: Volume, args: argparse.Namespace) -> Section:
    """Tables 4 to 6, on one slice, all of whose points are seen in an iteration."""
    return _compared(_slice_of(source, args), None, args, targets=True)


def _slice_of(source: Volume, args: argparse.Namespace) -> Volume:
    z = len(source.array) // 2 if args.slice is None else args.slice
    return Volume(source.array[z : z + 1], np.eye(4), modality="CT", ndim=2)


def engine(source: Volume, args: argparse.Namespace) -> Section:
    """The slice as `inrv-enc` would store it: networks of the same depths, in a size instead of a width."""
    figures, plane = [], _slice_of(source, args)
    for depth, published in PUBLISHED.items():
        blob, report = with_report(plane, layers=depth, size=SIZE, seed=args.seed, device=args.device)
        words = f"{len(blob):,} bytes, factor {report.factor[1]}, {report.sr}, {report.seconds['fit']:.0f} s"
        least = round(published["ours"][0], 2)
        figures.append(
            Figure(name=f"{depth} layers, PSNR", value=report.psnr, unit="dB", least=least, note=words)
        )
    return Section(figures)


def volume(source: Volume, args: argparse.Namespace) -> Section:
    """The same on the volume."""
    return _compared(source, BATCH, args, targets=False)


def others(source: Any, args: argparse.Namespace) -> Section:
    """Table 7: quoted, as neither code nor images of the others are at hand."""
    figures = [Figure(name=f"{name} (published)", value=value, unit="dB") for name, value in OTHERS.items()]
    for depth, row in PUBLISHED.items():
        figures += [
            Figure(name=f"SIREN alone, {depth} layers (published)", value=row["alone"][0], unit="dB"),
            Figure(name=f"the paper, {depth} layers (published)", value=row["ours"][0], unit="dB"),
        ]
    return Section(figures)


def _compared(source: Volume, batch: int | None, args: argparse.Namespace, *, targets: bool) -> Section:
    figures, rows = [], {}
    low_res, full = _unit(source, (1, 4, 4) if source.shape[0] == 1 else (4, 4, 4)), _unit(source)
    for depth in DEPTHS:
        arms = {
            "alone": _alone(source, full, depth, batch, args),
            "low-res": _timed_alone(low_res, depth, batch, args),
            "ours": _ours(source, depth, args),
        }
        seconds = arms["ours"].seconds * args.iterations
        arms["alone, in our time"] = _in_time(source, full, depth, batch, seconds, args)
        rows[depth] = arms
        print("  " + ", ".join(f"{name} {_described(arm)}" for name, arm in arms.items()), flush=True)
        figures += _figures(depth, arms, targets)
    table = _table(rows, source, args.iterations)
    print("\n".join(table))
    return Section(
        figures,
        {
            "iterations": args.iterations,
            "arms": {depth: {k: asdict(arm) for k, arm in arms.items()} for depth, arms in rows.items()},
            "table": table,
        },
    )


def _unit(source: Volume, factor: tuple[int, int, int] | None = None) -> np.ndarray:
    """The volume in [-1, 1], at full or at low resolution."""
    span = Range.of(source)
    if factor is not None:
        return lowres_of(source, factor)
    return np.stack([unit_part(source, span, (z,)) for z in range(source.shape[0])])


def _alone(source: Volume, full: np.ndarray, depth: int, batch: int | None, args: argparse.Namespace) -> Arm:
    """SIREN at full resolution."""
    recipe = Recipe(full, args.seed, depth, args.device)
    best, seconds = 0.0, []
    looks = {round(args.iterations * k / LOOKS) for k in range(1, LOOKS + 1)}
    for done in range(1, args.iterations + 1):
        seconds.append(_spent(lambda: recipe.step(batch), args.device))
        if done in looks:
            best = max(best, _psnr_of(recipe, source))
    memory = peak_of_tensors(lambda: recipe.step(batch), args.device)
    held = apart(_memory_alone, full, depth, batch, args)
    return Arm(best, 4 * PARAMETERS[depth], median(seconds), memory, held)


def _in_time(
    source: Volume, full: np.ndarray, depth: int, batch: int | None, seconds: float, args: argparse.Namespace
) -> Arm:
    """SIREN at full resolution, for as long as our fit took: at least one iteration."""
    recipe, spent, done = Recipe(full, args.seed, depth, args.device), 0.0, 0
    while spent < seconds:
        spent, done = spent + _spent(lambda: recipe.step(batch), args.device), done + 1
    return Arm(_psnr_of(recipe, source), 4 * PARAMETERS[depth], spent / done, None, None)


def _psnr_of(recipe: Recipe, source: Volume) -> float:
    """Of what the network gives, against the peak of the stored values."""
    span = Range.of(source)
    scale = (span.high - span.low) / 2 / _peak(source)
    return psnr(recipe.mse() * scale**2)


def _peak(source: Volume) -> float:
    span = Range.of(source)
    return peak_of(span.low, span.high, source.array.dtype)


def _memory_alone(full: np.ndarray, depth: int, batch: int | None, args: argparse.Namespace) -> float:
    """Bytes, in a process of its own."""
    recipe = Recipe(full, args.seed, depth, args.device)
    return timed(lambda: recipe.step(batch))[2] * 2**20


def _timed_alone(values: np.ndarray, depth: int, batch: int | None, args: argparse.Namespace) -> Arm:
    """The same recipe after down-sampling."""
    recipe = Recipe(values, args.seed, depth, args.device)
    seconds = [_spent(lambda: recipe.step(batch), args.device) for _ in range(TIMED)]
    return Arm(None, None, median(seconds), peak_of_tensors(lambda: recipe.step(batch), args.device), None)


def _ours(source: Volume, depth: int, args: argparse.Namespace) -> Arm:
    """A file, and what it decodes to."""
    options: dict[str, Any] = {"preset": "paper", "layers": depth, "seed": args.seed, "device": args.device}
    options |= {"sr": args.sr} if args.sr else {}
    blob, report = with_report(source, steps=args.iterations, **options)
    errors = Errors(_peak(source))
    errors.add(source.array, api.decode_volume(blob).array)
    print(f"  {depth} x {WIDTH}: {len(blob):,} bytes, {report.sr}", flush=True)
    held = apart(_memory_ours, source, options | {"steps": args.iterations})
    return Arm(errors.psnr, len(blob), report.seconds["fit"] / args.iterations, None, held)


def _memory_ours(source: Volume, options: dict[str, Any]) -> float:
    """Bytes, of a whole encoding in a process of its own, model and check and all."""
    return timed(lambda: api.encode(source, **options))[2] * 2**20


def _spent(work: Callable[[], None], device: str) -> float:
    start = monotonic()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return monotonic() - start


def _figures(depth: int, arms: dict[str, Arm], targets: bool) -> list[Figure]:
    published = PUBLISHED[depth]
    alone, ours = arms["alone"], arms["ours"]
    assert ours.psnr is not None and alone.psnr is not None
    gained = published["ours"][0] - published["alone"][0]
    found: list[tuple[str, float, str, float | None, str]] = [
        ("PSNR, ours", ours.psnr, "dB", round(published["ours"][0], 2), f"{ours.size:,} bytes, all in"),
        ("over SIREN alone", ours.psnr - alone.psnr, "dB", round(gained, 1), f"alone {alone.psnr:.2f} dB"),
    ]
    hurried = arms["alone, in our time"].psnr
    assert hurried is not None
    gained = ours.psnr - hurried
    found.append(("over SIREN alone, in our time", gained, "dB", None, f"alone {hurried:.2f} dB"))
    ratios = [f"paper {published['alone'][k] / published['ours'][k]:.1f}" for k in (1, 2)]
    for name in ("low-res", "ours"):
        faster = alone.seconds / arms[name].seconds
        found.append((f"time, alone / {name}", faster, "times", FASTER, ratios[0]))
    leaner = {
        "tensors of a step, alone / low-res": (alone.memory, arms["low-res"].memory),
        "process, alone / ours": (alone.process, ours.process),
    }
    for name, (more, less) in leaner.items():
        assert more is not None and less is not None
        found.append((f"memory, {name}", more / less, "times", LEANER, ratios[1]))
    figures = [
        Figure(name=f"{depth} layers: {name}", value=value, unit=unit, least=least, note=note)
        for name, value, unit, least, note in found
    ]
    return figures if targets else [replace(figure, least=None) for figure in figures]


def _described(arm: Arm) -> str:
    quality = "" if arm.psnr is None else f"{arm.psnr:.2f} dB, "
    held = arm.process if arm.memory is None else arm.memory
    return f"{quality}{1000 * arm.seconds:.1f} ms" + (f", {held / 1000:,.0f} kB" if held else "")


def _table(rows: dict[int, dict[str, Arm]], source: Volume, iterations: int) -> list[str]:
    """Markdown: the paper's columns, and ours; memory of ours is that of a process."""
    head = "iterations", "PSNR (dB)", "ms / iteration", "memory (kB)", "bytes", "rate, 8 bits a voxel"
    lines = ["| layers | | " + " | ".join(head) + " |", "| --- " * (len(head) + 2) + "|"]
    for depth, arms in rows.items():
        for name in ("ours", "alone"):
            published = PUBLISHED[depth]
            quality, seconds, memory = published[name]
            lines.append(
                f"| {depth} | {name}, paper | 50,000 | {quality:.2f} | {seconds / 50:.1f} | {memory:,} | "
                f"{4 * PARAMETERS[depth]:,} | {published['rate']} |"
            )
            arm = arms[name]
            rate = source.array.size * EIGHT_BITS / (arm.size or 1)
            lines.append(
                f"| {depth} | {name}, here | {iterations:,} | {arm.psnr:.2f} | {1000 * arm.seconds:.1f} | "
                f"{(arm.process or 0) / 1000:,.0f} | {arm.size:,} | {rate:.2f} |"
            )
    return lines


SECTIONS = {
    "architectures": architectures,
    "slice": slice_,
    "engine": engine,
    "volume": volume,
    "others": others,
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--iterations", type=int, default=ITERATIONS, help=f"of every arm ({ITERATIONS})")
    parser.add_argument("--crop", type=parsed_region, default=parsed_region("58:122,120:376,110:366"))
    parser.add_argument("--frame", action="store_true", help="whole slices instead of the crop")
    parser.add_argument("--slice", type=int, metavar="Z", help="of the crop (the middle one)")
    parser.add_argument("--sr", help="model instead of the one that is chosen")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    if skipped(args.source):
        return
    head = twelve_bits(io.read(args.source))
    z, y, x = args.crop
    head = cropped(head, (z, slice(None), slice(None)) if args.frame else (z, y, x))
    about = {"source": args.source.name, "shape": head.shape, "version": __version__}
    about |= {"iterations": args.iterations, "device": args.device, "threads": torch.get_num_threads()}
    args.out.mkdir(parents=True, exist_ok=True)
    run(SECTIONS, head, args, "paper", about)


if __name__ == "__main__":
    main()
