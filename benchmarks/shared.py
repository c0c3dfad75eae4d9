"""What the benchmarks share: volumes, encodings, figures beside targets, and processes that are measured.

volume     twelve_bits, cropped, parsed_region, lowres_of, psnr_of
encoding   with_report, Encodings
figures    Figure, Section, run; skipped for data that is not here
cost       apart, timed, command, peak_of_tensors
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec import Volume, api
from inrcodec.encoder import lowres
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.ledger import EncodeReport
from inrcodec.file import InrvFile
from inrcodec.format import limits
from inrcodec.volume.metrics import peak_of, psnr

Shape = tuple[int, int, int]
Region = tuple[slice, slice, slice]

CLIP = (-1024.0, 3071.0)  # HU that 12 bits hold: with them the peak of every PSNR is 4095
PEAK = 4095.0
FACTOR = (4, 4, 4)
RESULTS = Path("benchmarks/results")

# --------------------------------------------------------------------------------------------- volume


def twelve_bits(volume: Volume) -> Volume:
    """Clip to ``CLIP`` in physical units; padding keeps its value."""
    slope, intercept = volume.rescale
    low, high = sorted((bound - intercept) / slope for bound in CLIP)
    if volume.array.dtype.kind != "f":
        types = np.iinfo(volume.array.dtype)
        low, high = max(low, float(types.min)), min(high, float(types.max))
    clipped = np.clip(volume.array, low, high).astype(volume.array.dtype)
    if volume.padding is not None:
        clipped = np.where(volume.array == volume.padding, volume.array, clipped)
    return replace(volume, array=clipped)


def cropped(volume: Volume, region: Region) -> Volume:
    """Crop a volume; its affine is that of the whole."""
    return replace(volume, array=np.ascontiguousarray(volume.array[region]))


def parsed_region(text: str) -> Region:
    """Parse ``58:122,120:376,110:366``."""
    match = re.fullmatch(r"(\d+):(\d+),(\d+):(\d+),(\d+):(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a region z:z,y:y,x:x")
    a, b, c, d, e, f = map(int, match.groups())
    return slice(a, b), slice(c, d), slice(e, f)


def lowres_of(volume: Volume, factor: Shape) -> NDArray[np.float64]:
    """The plain low-res volume, (z, y, x), in [-1, 1] of the range of the volume."""
    return lowres.downsample(Facts.of(volume), factor).values


def psnr_of(volume: Volume, decoded: NDArray[Any]) -> float:
    """PSNR of a decoded array in dB, at the peak of the source."""
    low, high = float(volume.array.min()), float(volume.array.max())
    peak = peak_of(low, high, volume.array.dtype)
    return psnr(float(np.mean(np.square((decoded.astype(np.float32) - volume.array) / peak))))


def within(factor: Shape, volume: Volume) -> Shape:
    """A factor that no axis is shorter than."""
    z, y, x = (min(f, n, limits.FACTOR) for f, n in zip(factor, volume.shape, strict=True))
    return z, y, x


# ------------------------------------------------------------------------------------------- encoding


def with_report(source: api.Source, **options: Any) -> tuple[bytes, EncodeReport]:
    """The bytes of a file, and its report."""
    stream = BytesIO()
    report = api.encode_file(source, stream, **options)
    return stream.getvalue(), report


@dataclass(frozen=True)
class Encoding:
    """A file in memory, its report, and its source."""

    blob: bytes
    report: EncodeReport
    volume: Volume

    @property
    def decoder(self) -> InrvFile:
        return api.open(self.blob)


class Encodings:
    """Encodings of a volume and of its crop, each made once for all sections that need it.

    Parameters
    ----------
    volume : of 12 bits (see :func:`twelve_bits`).
    region : the crop.
    options : of every encoding: preset, steps, threads, …
    """

    def __init__(self, volume: Volume, region: Region, options: dict[str, Any]) -> None:
        self.head, self.options = volume, options
        inside = all(s.stop <= n for s, n in zip(region, volume.shape, strict=True))
        self.crop = cropped(volume, region) if inside else None
        self._made: dict[tuple[Any, ...], Encoding] = {}

    def of(self, volume: Volume, *, factor: Shape | None = None, **options: Any) -> Encoding:
        """The encoding with some more options; without a factor, with the one that the encoder chooses."""
        if factor is None and "psnr" not in options:  # the grid for a PSNR is known only after its fits
            factor = api.plan(volume, **self.options, **options)["factor"]
        fixed = None if factor is None else within(factor, volume)
        key = (id(volume), fixed, *sorted(options.items()))
        if key not in self._made:
            blob, report = with_report(volume, factor=fixed, **self.options, **options)
            self._made[key] = Encoding(blob, report, volume)
        return self._made[key]


# -------------------------------------------------------------------------------------------- figures


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured value; ``least`` or ``most`` is its target where it has one.

    ``value`` is ``None`` where it could not be measured, and ``note`` then says why.
    """

    name: str
    value: float | None
    unit: str = ""
    least: float | None = None
    most: float | None = None
    note: str = ""

    @property
    def held(self) -> bool | None:
        """Whether the target is met; ``None`` without a target."""
        if self.least is None and self.most is None:
            return None
        if self.value is None:
            return False
        return (self.least is None or self.value >= self.least) and (
            self.most is None or self.value <= self.most
        )

    @property
    def target(self) -> str:
        bounds = (("≥", self.least), ("≤", self.most))
        return " ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)


@dataclass(frozen=True)
class Section:
    """What one section measured: the figures, and the data behind them."""

    figures: list[Figure]
    details: dict[str, Any] = field(default_factory=dict)


def print_table(title: str, figures: Sequence[Figure]) -> None:
    """One line per figure: name, value, target, whether it is met, remark."""
    print(f"\n{title}")
    for f in figures:
        value = "-" if f.value is None else f"{f.value:.5g} {f.unit}".rstrip()
        held = {None: "", True: "held", False: "NOT HELD"}[f.held]
        print(f"  {f.name:44s} {value:>16s}   {f.target:>9s}  {held:8s}  {f.note}".rstrip(), flush=True)


def write(path: Path, section: Section, about: Mapping[str, Any]) -> None:
    """Write a section as JSON."""
    figures = [asdict(f) | {"held": f.held} for f in section.figures]
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"about": dict(about), "figures": figures, "details": section.details}
    path.write_text(json.dumps(content, indent=2, default=str) + "\n")


def run(
    sections: Mapping[str, Callable[..., Section]],
    source: Any,
    args: Any,
    prefix: str,
    about: Mapping[str, Any],
) -> None:
    """Measure, print and write the sections that ``args.only`` names, each from ``source`` and ``args``."""
    for name in args.only:
        start = monotonic()
        section = sections[name](source, args)
        print_table(f"{name} ({monotonic() - start:.0f} s)", section.figures)
        write(args.out / f"{prefix}-{name}.json", section, about)


def skipped(*paths: Path) -> bool:
    """Whether a volume is missing, which is then said: a benchmark without its data is not a failure."""
    missing = [path for path in paths if not path.exists()]
    for path in missing:
        print(f"skipped: {path} is not here")
    return bool(missing)


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """A parser whose help is the docstring of the script."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


# ----------------------------------------------------------------------------------------------- cost


def command(*words: str) -> tuple[float, float, str]:
    """Run a command of the package: seconds, peak MiB and standard output."""
    start = monotonic()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen([str(Path(sys.executable).parent / words[0]), *words[1:]], stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = monotonic() - start
        if status:
            raise SystemExit(f"{' '.join(words)} ended with status {os.waitstatus_to_exitcode(status)}")
        out.seek(0)
        return seconds, usage.ru_maxrss / 1024, out.read()


def apart(work: Callable[..., Any], *words: Any) -> Any:
    """What ``work(*words)`` returns, in a new process: nothing that ran before counts."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(work, *words).result()


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What it returns, seconds, and the MiB by which this process grew at its peak (Linux only)."""
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before, start = _resident("VmRSS"), monotonic()
    result = work()
    return result, monotonic() - start, (_resident("VmHWM") - before) / 1024


def _resident(name: str) -> int:
    """KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def peak_of_tensors(work: Callable[[], Any], device: str = "cpu") -> int:
    """Largest sum of live tensors, in bytes, beyond those that were there before.

    On a CPU from the profiler's record of each allocation, which sees this thread alone.
    """
    import torch
    from torch.profiler import ProfilerActivity, profile

    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        work()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        recorded.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    held = peak = 0
    for event in sorted((e for e in events if e.get("name") == "[memory]"), key=lambda e: e["ts"]):
        held += event["args"]["Bytes"]  # negative where memory is given back
        peak = max(peak, held)
    return peak
