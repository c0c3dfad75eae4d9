"""AV1 as a codec of volumes: the best peer that we know.

In: a volume. Out: bytes, PSNR, low-pass error and seconds at each quality. Invariant: bytes are AV1's own, a
plain sequence of OBUs without any container.

    python benchmarks/av1.py VOLUME [--crop z0:z1,y0:y1,x0:x1] [--levels 63 55 ...] [--speed 4]
        [--coder aomenc] [--curve FILE.json] [--streams FOLDER]

aomenc  the slices as a monochrome video of 12 bits, by libaom (`aomenc` and `aomdec` of Debian's aom-tools);
        level: cq-level, speed: cpu-used
svt     of 10 bits, by libsvtav1 through PyAV (extra "av1"); level: CRF, speed: preset, from -1 on

Values are clipped to 12 bits where they are CT; PSNR is at the peak of the volume, 4095 for CT. ``--curve``
keeps what was measured and adds to it: `bar.py` measures our files against it. ``--streams`` keeps the
streams, which are then not made again.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from time import monotonic
from typing import Any

import numpy as np
from low_pass import figures
from shared import cropped, parsed_region, twelve_bits
from stacks import Stack, from_bits, stack_of, to_bits

from inrcodec import Volume, io
from inrcodec.layers.base.av1 import video
from inrcodec.volume.metrics import peak_for, psnr

LEVELS = (63, 58, 52, 46, 40, 34, 28)  # from few bytes to many
SPEED = 4  # of aomenc; 1 takes 3 to 8 % fewer bytes and several times as long


def encode(stack: Stack, level: int, speed: int = SPEED) -> bytes:
    """Return the OBUs of a stack (z, y, x) of values below 4096, by aomenc."""
    depth, height, width = stack.shape
    even = np.pad(stack, ((0, 0), (0, height % 2), (0, width % 2)), mode="edge")
    chroma = np.full(even[0].size // 2, 1 << 11, "<u2").tobytes()  # grey: carries nothing
    with tempfile.TemporaryDirectory() as folder:
        raw, obus = Path(folder, "in.raw"), Path(folder, "out.obu")
        with raw.open("wb") as stream:
            for plane in even:
                stream.write(plane.astype("<u2").tobytes() + chroma)
        _run(
            *("aomenc", "--codec=av1", "--profile=2", "--bit-depth=12", "--input-bit-depth=12"),
            *("--i420", "--monochrome", f"--width={even.shape[2]}", f"--height={even.shape[1]}"),
            *("--fps=25/1", f"--limit={depth}", f"--cpu-used={speed}", "--end-usage=q"),
            *(f"--cq-level={level}", "--min-q=0", "--max-q=63", "--tune=psnr", "--lag-in-frames=48"),
            *("--kf-max-dist=9999", "--threads=2", "--passes=2", "--obu", "-o", str(obus), str(raw)),
        )
        return obus.read_bytes()


def decode(obus: bytes, shape: tuple[int, ...]) -> Stack:
    """Return the stack (z, y, x) of a stream that :func:`encode` made."""
    depth, height, width = shape
    rows, columns = height + height % 2, width + width % 2
    with tempfile.TemporaryDirectory() as folder:
        stream, raw = Path(folder, "in.obu"), Path(folder, "out.raw")
        stream.write_bytes(obus)
        _run("aomdec", "--rawvideo", "--output-bit-depth=12", "-o", str(raw), str(stream))
        planes = np.fromfile(raw, "<u2").reshape(depth, -1)[:, : rows * columns]
    return np.ascontiguousarray(planes.reshape(depth, rows, columns)[:, :height, :width])


def svt_encode(stack: Stack, level: float, speed: int = 2) -> bytes:
    """Return the OBUs of a stack of 10 bits, by libsvtav1."""
    return video.encode(stack, round(4 * level), speed, 1)


def svt_decode(stream: bytes, shape: tuple[int, ...]) -> Stack:
    """Return the stack that :func:`svt_encode` coded."""
    depth, height, width = shape
    return video.decode(stream, (depth, height, width))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@dataclass(frozen=True)
class Coder:
    """One of both coders."""

    bits: int
    encode: Callable[[Stack, int, int], bytes]
    decode: Callable[[bytes, tuple[int, ...]], Stack]


CODERS = {
    "aomenc": Coder(12, encode, decode),
    "svt": Coder(10, svt_encode, svt_decode),
}


def point(volume: Volume, found: Stack, low: int) -> dict[str, Any]:
    """Return the PSNR and the low-pass error of a decoded stack."""
    decoded = found.astype(np.int32) + low
    peak = peak_for(volume, volume.value_range)
    squares = [float(np.square((a - b) / peak).sum()) for a, b in zip(decoded, volume.array, strict=True)]
    flat = figures(volume, decoded)
    return {
        "psnr": psnr(sum(squares) / volume.array.size),
        "peak": peak,
        "low_pass": None if flat is None else flat.error,
        "low_pass_mm": None if flat is None else flat.error_mm,
        "off": None if flat is None else flat.off,
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("volume")
    parser.add_argument("--crop", type=parsed_region)
    parser.add_argument("--levels", type=int, nargs="+", default=LEVELS)
    parser.add_argument("--speed", type=int, default=SPEED)
    parser.add_argument("--coder", choices=CODERS, default="aomenc")
    parser.add_argument("--curve", type=Path, metavar="FILE.json")
    parser.add_argument("--streams", type=Path, metavar="FOLDER")
    args = parser.parse_args(argv)
    if args.coder == "aomenc" and which("aomenc") is None:
        sys.exit("aomenc is missing: install Debian's aom-tools, or libaom with its examples")
    volume = read(args.volume, args.crop)
    stack, low = stack_of(volume)
    coder = CODERS[args.coder]
    coded, curve = to_bits(stack, coder.bits), Curve(args.curve)
    for level in args.levels:
        kept = args.streams and args.streams / f"{args.coder}-{args.speed}-{level}"
        start = monotonic()
        fresh = kept is None or not kept.exists()
        stream = coder.encode(coded, level, args.speed) if fresh else kept.read_bytes()
        seconds = monotonic() - start
        if kept is not None and fresh:
            args.streams.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(stream)
        found = from_bits(coder.decode(stream, stack.shape), stack, coder.bits)
        about = {"coder": args.coder, "speed": args.speed, "level": level}
        row = about | {"bytes": len(stream)} | point(volume, found, low)
        curve.add(row)
        tissue = "no flat tissue" if row["low_pass"] is None else f"low-pass error {row['low_pass']:.2f}"
        print(
            f"{args.coder} {level}: {row['bytes']:,} bytes, {row['psnr']:.2f} dB, {tissue} {volume.unit}, "
            f"{seconds:.1f} s",
            flush=True,
        )


def read(path: str, crop: Any = None) -> Volume:
    """Return a volume as every benchmark of peers takes it: CT clipped to 12 bits."""
    volume = io.read(path).in_memory()
    volume = twelve_bits(volume) if volume.array.min() < 0 else volume
    return volume if crop is None else cropped(volume, crop)


class Curve:
    """Measured points in a file, or in none."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        known = path is not None and path.exists()
        self.rows: list[dict[str, Any]] = json.loads(path.read_text()) if known and path else []

    def add(self, row: dict[str, Any]) -> None:
        """Keep a point, in place of an older one of its name."""
        name = ("coder", "speed", "level")
        self.rows = [r for r in self.rows if any(r[k] != row[k] for k in name)] + [row]
        if self.path is not None:
            self.path.write_text(json.dumps(self.rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
