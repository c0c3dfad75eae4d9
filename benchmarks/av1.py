"""AV1 at 12 bits as a codec of volumes: the best peer that we know.

In: a volume. Out: bytes, PSNR, low-pass error and seconds at each quality. Invariant: bytes are AV1's own,
without the headers of the container that it comes in.

    python benchmarks/av1.py VOLUME [--crop z0:z1,y0:y1,x0:x1] [--levels 63 55 ...] [--speed 4]

The slices are a monochrome video of 12 bits, coded by `aomenc` and decoded by `aomdec` of libaom (Debian's
aom-tools). Values are clipped to 12 bits where they are CT; PSNR is at the peak of the volume, 4095 for CT.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from shutil import which

import numpy as np
from low_pass import low_pass_error
from numpy.typing import NDArray
from peer_codecs import stack_of
from shared import cropped, parsed_region, timed, twelve_bits

from inrcodec import io

LEVELS = (63, 58, 52, 46, 40, 34, 28)  # cq-level: from few bytes to many
SPEED = 4  # cpu-used; 1 takes 3 to 8 % fewer bytes and several times as long
BITS = 12
GREY = 1 << (BITS - 1)  # of the chroma planes, which carry nothing
FILE_HEADER, FRAME_HEADER = 32, 12  # bytes of IVF


def encode(stack: NDArray[np.uint16], level: int, speed: int = SPEED) -> bytes:
    """Return the IVF stream of a stack (z, y, x) of values below 4096."""
    depth, height, width = stack.shape
    even = np.pad(stack, ((0, 0), (0, height % 2), (0, width % 2)), mode="edge")
    chroma = np.full(even[0].size // 2, GREY, "<u2").tobytes()
    with tempfile.TemporaryDirectory() as folder:
        raw, ivf = Path(folder, "in.raw"), Path(folder, "out.ivf")
        raw.write_bytes(b"".join(plane.astype("<u2").tobytes() + chroma for plane in even))
        _run(
            *("aomenc", "--codec=av1", "--profile=2", f"--bit-depth={BITS}", f"--input-bit-depth={BITS}"),
            *("--i420", "--monochrome", f"--width={even.shape[2]}", f"--height={even.shape[1]}"),
            *("--fps=25/1", f"--limit={depth}", f"--cpu-used={speed}", "--end-usage=q"),
            *(f"--cq-level={level}", "--min-q=0", "--max-q=63", "--tune=psnr", "--lag-in-frames=48"),
            *("--kf-max-dist=9999", "--threads=2", "--passes=2", "--ivf", "-o", str(ivf), str(raw)),
        )
        return ivf.read_bytes()


def decode(ivf: bytes, shape: tuple[int, ...]) -> NDArray[np.uint16]:
    """Return the stack (z, y, x) of a stream that :func:`encode` made."""
    depth, height, width = shape
    rows, columns = height + height % 2, width + width % 2
    with tempfile.TemporaryDirectory() as folder:
        stream, raw = Path(folder, "in.ivf"), Path(folder, "out.raw")
        stream.write_bytes(ivf)
        _run("aomdec", "--rawvideo", f"--output-bit-depth={BITS}", "-o", str(raw), str(stream))
        planes = np.fromfile(raw, "<u2").reshape(depth, -1)[:, : rows * columns]
    return np.ascontiguousarray(planes.reshape(depth, rows, columns)[:, :height, :width])


def bytes_of(ivf: bytes, depth: int) -> int:
    """Return the bytes of the frames alone."""
    return len(ivf) - FILE_HEADER - FRAME_HEADER * depth


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("volume")
    parser.add_argument("--crop", type=parsed_region)
    parser.add_argument("--levels", type=int, nargs="+", default=LEVELS)
    parser.add_argument("--speed", type=int, default=SPEED)
    args = parser.parse_args(argv)
    if which("aomenc") is None:
        sys.exit("aomenc is missing: install Debian's aom-tools, or libaom with its examples")
    volume = twelve_bits(io.read(args.volume))
    if args.crop is not None:
        volume = cropped(volume, args.crop)
    stack, low = stack_of(volume)
    for level in args.levels:
        ivf, seconds, _ = timed(lambda level=level: encode(stack, level, args.speed))
        found = decode(ivf, stack.shape)
        error = found.astype(np.float64) - stack
        psnr = 20 * np.log10(4095 / np.sqrt(np.square(error).mean()))
        tissue = low_pass_error(
            (stack + float(low)).astype(np.float32), (found + float(low)).astype(np.float32)
        )
        print(
            f"cq-level {level}: {bytes_of(ivf, len(stack)):,} bytes, {psnr:.2f} dB, "
            f"low-pass error {tissue:.1f} HU, {seconds:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
