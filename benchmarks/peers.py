"""Rate and distortion of `.inrv` beside the codecs that one would use instead, on any volumes.

    python benchmarks/peers.py VOLUME [VOLUME …] [--crop z0:z1,y0:y1,x0:x1] [--codecs inrv SPERR …]
        [--sizes 8000 16000 …] [--psnrs 44 50 …] [--out DIR]

Every codec encodes and decodes each volume at every rung of its ladder, in a process of its own.  `.inrv` has
two: files of a size (networks) and files of a quality (``--psnr``, a refinement where that is smaller).
``DIR/peers-NAME.csv`` has a line a file: bytes, bits per voxel, ratio, PSNR, SSIM in 3-D, mean and largest
error in physical units, mean error in the windows of CT, seconds and MiB of both ways.
``DIR/peers-NAME.png`` draws PSNR and SSIM over bits per voxel.  Printed, and in ``DIR/peers-NAME.json``: the
bytes of each of our files over those that the best peer needs for its PSNR (interpolated in the logarithm of
the bytes), and BD-rate and BD-PSNR (Bjøntegaard; Akima) over each peer.

Values are clipped to 12 bits where they are CT.  Seconds are of one run, with as many threads as each codec
takes by itself.  MiB are what a process held at its peak beyond what it held before.  Needs the extra
``inrcodec[bench]``.
"""

import argparse
import csv
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import peer_codecs
from encoded import cropped, parsed_region, twelve_bits

from inrcodec import Volume, __version__, api, focus, io
from inrcodec.metrics import Errors, WindowErrors, peak_of
from inrcodec.normalize import Range

OURS = "inrv"
SIZES = (6_000, 9_000, 14_000, 21_000, 32_000)  # bytes
PSNRS = (42.0, 45.0, 48.0, 51.0, 54.0)  # dB
SSIM_EDGE = 7  # voxels of its window: scikit-image's default
LEAST_POINTS = 4  # of a curve, for Akima
Row = dict[str, Any]


def measured(path: str, modality: str, codec: str, kind: str, level: float) -> Row:
    """One file: in this process, which does nothing else."""
    volume = replace(io.read(path), modality=modality)
    stack, low = peer_codecs.stack_of(volume)
    if codec == OURS:
        encode, decode = _ours(volume, low, kind, level)
    else:
        peer = peer_codecs.peers()[codec]
        encode, decode = lambda: peer.encode(stack, level), lambda streams: peer.back(streams, stack)
    streams, encode_s, encode_mib = _timed(encode)
    found, decode_s, decode_mib = _timed(lambda: decode(streams))
    size = sum(map(len, streams))
    return {
        "codec": codec,
        "level": f"{kind} {level:g}".strip(),
        "bytes": size,
        "bpv": 8 * size / stack.size,
        "ratio": volume.array.nbytes / size,
        **_quality(volume, (found.astype(np.int64) + low).astype(volume.array.dtype)),
        "encode_s": encode_s,
        "decode_s": decode_s,
        "encode_MiB": encode_mib,
        "decode_MiB": decode_mib,
    }


def _ours(volume: Volume, low: int, kind: str, level: float) -> tuple[Callable[..., Any], Callable[..., Any]]:
    wish: dict[str, Any] = {kind: int(level) if kind == "size" else level}
    return lambda: [api.encode(volume, **wish)], lambda streams: api.decode(streams[0]).astype(np.int64) - low


def _timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What it gives, seconds, and MiB beyond what was held before."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, start = _held("VmRSS"), monotonic()
    found = work()
    return found, monotonic() - start, (_held("VmHWM") - before) / 1024


def _held(name: str) -> int:
    """KiB, as Linux counts them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _quality(volume: Volume, decoded: np.ndarray) -> Row:
    source, scale = volume.array, abs(volume.rescale[0])
    span = Range.of(volume)
    peak = peak_of(span.low, span.high, source.dtype)
    errors, windows = Errors(peak), WindowErrors(focus.told("all", volume, span))
    errors.add(source, decoded)
    windows.add(source, decoded)
    absolute = sum(float(np.abs(a.astype(float) - b).sum()) for a, b in zip(source, decoded, strict=True))
    return {
        "psnr": errors.psnr,
        "ssim": _ssim(source, decoded, peak),
        "mean_error": absolute / source.size * scale,
        "max_error": errors.largest * scale,
        **{f"mean_error_{name}": mean * scale for name, mean in windows.means.items()},
    }


def _ssim(source: np.ndarray, decoded: np.ndarray, peak: float) -> float:
    """Of the volume, in three dimensions (Wang et al., 2004)."""
    from skimage.metrics import structural_similarity

    edge = min(SSIM_EDGE, *source.shape)
    edge -= edge % 2 == 0
    pair = (a.astype(np.float32) for a in (source, decoded))
    return float(structural_similarity(*pair, data_range=peak, win_size=edge))


def ladder(codec: str, args: argparse.Namespace) -> list[tuple[str, float]]:
    """Kinds and levels of a codec's rungs."""
    if codec == OURS:
        return [("size", n) for n in args.sizes] + [("psnr", db) for db in args.psnrs]
    return [("", level) for level in peer_codecs.peers()[codec].levels]


def rows_of(volume: Volume, args: argparse.Namespace) -> list[Row]:
    """Every codec at every rung; one that cannot is told and left out."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "volume.nii")
        io.write(volume, path)
        for codec in args.codecs:
            for kind, level in ladder(codec, args):
                with get_context("spawn").Pool(1) as pool:
                    try:
                        row = pool.apply(measured, (path, volume.modality, codec, kind, level))
                    except Exception as error:  # of a codec that is not ours to mend
                        print(f"  {codec} {kind} {level:g}: left out, {error}", flush=True)
                        continue
                found.append(row)
                print(
                    f"  {codec:12s} {row['level']:>12s} {row['bytes']:>11,} bytes {row['bpv']:.4f} bpv "
                    f"{row['psnr']:.2f} dB {row['ssim']:.4f} {row['encode_s']:.1f} s {row['decode_s']:.1f} s",
                    flush=True,
                )
    return found


def curve(rows: Sequence[Row], codec: str, kind: str = "") -> list[tuple[float, float]]:
    """(bytes, dB), of files that none smaller is as good as."""
    points: list[tuple[float, float]] = []
    mine = [r for r in rows if r["codec"] == codec and r["level"].startswith(kind)]
    for row in sorted(mine, key=lambda r: (r["bytes"], -r["psnr"])):
        if np.isfinite(row["psnr"]) and (not points or row["psnr"] > points[-1][1]):
            points.append((row["bytes"], row["psnr"]))
    return points


def needed(points: Sequence[tuple[float, float]], psnr: float) -> float | None:
    """Bytes for a PSNR, between two rungs; ``None`` beyond the ladder."""
    if len(points) < 2 or not points[0][1] <= psnr <= points[-1][1]:
        return None
    sizes, reached = (np.array(side, float) for side in zip(*points, strict=True))
    return float(np.exp(np.interp(psnr, reached, np.log(sizes))))


def against_best(rows: Sequence[Row], peers: Sequence[str]) -> list[Row]:
    """Each of our files beside the peer that needs the fewest bytes for its PSNR."""
    found = []
    for row in (r for r in rows if r["codec"] == OURS):
        sizes = {name: needed(curve(rows, name), row["psnr"]) for name in peers}
        reached = {name: size for name, size in sizes.items() if size is not None}
        best = min(reached, key=lambda name: reached[name]) if reached else None
        about = {"level": row["level"], "bytes": row["bytes"], "psnr": row["psnr"], "best": best}
        share = {"needs": reached[best], "share": row["bytes"] / reached[best]} if best else {}
        found.append(about | share)
    return found


def bjontegaard_of(rows: Sequence[Row], peers: Sequence[str]) -> list[Row]:
    """BD-rate (per cent of bytes more) and BD-PSNR (dB) of both of our ladders over each peer."""
    from bjontegaard import bd_psnr, bd_rate

    found = []
    for kind in ("size", "psnr"):
        ours = curve(rows, OURS, kind)
        for name in peers:
            theirs = curve(rows, name)
            if min(len(ours), len(theirs)) < LEAST_POINTS or not _overlap(ours, theirs):
                continue
            sides = [list(side) for points in (theirs, ours) for side in zip(*points, strict=True)]
            how: dict[str, Any] = {"method": "akima", "require_matching_points": False, "min_overlap": 0}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rate, gain = bd_rate(*sides, **how), bd_psnr(*sides, **how)
            found.append({"ladder": kind, "peer": name, "bd_rate": float(rate), "bd_psnr": float(gain)})
    return found


def _overlap(ours: Sequence[tuple[float, float]], theirs: Sequence[tuple[float, float]]) -> bool:
    """Whether both ladders have PSNRs and bytes in common."""
    return all(max(ours[0][k], theirs[0][k]) < min(ours[-1][k], theirs[-1][k]) for k in (0, 1))


def draw(rows: Sequence[Row], name: str, path: Path) -> None:
    """PSNR and SSIM over bits per voxel."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for axis, key, unit in zip(axes, ("psnr", "ssim"), ("PSNR (dB)", "SSIM, 3-D"), strict=True):
        for codec in dict.fromkeys(r["codec"] for r in rows):
            points = sorted((r["bpv"], r[key]) for r in rows if r["codec"] == codec)
            style = {"color": "black", "linewidth": 2.5, "zorder": 3} if codec == OURS else {"linewidth": 1.2}
            axis.plot(
                *zip(*points, strict=True), marker=".", label=f".{codec}" if codec == OURS else codec, **style
            )
        axis.set(xscale="log", xlabel="bits per voxel, all bytes counted", ylabel=unit, title=name)
        axis.grid(alpha=0.3, which="both")
    axes[0].legend(fontsize="small")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def write_table(rows: Sequence[Row], path: Path) -> None:
    """As CSV: a line a file."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as stream:
        table = csv.DictWriter(stream, names)
        table.writeheader()
        table.writerows(rows)


def report(name: str, rows: list[Row], args: argparse.Namespace) -> None:
    """Write what was measured, and print what it comes to."""
    peers = [codec for codec in args.codecs if codec != OURS]
    best, bd = against_best(rows, peers), bjontegaard_of(rows, peers)
    for row in best:
        words = f"{row['level']:>12s}: {row['psnr']:.2f} dB in {row['bytes']:,} bytes, "
        print(
            words
            + (f"{row['best']} needs {row['needs']:,.0f}: {row['share']:.3f}" if row["best"] else "no peer's")
        )
    for row in bd:
        over = f"{row['ladder']} over {row['peer']}"
        print(f"  {over:20s} BD-rate {row['bd_rate']:+7.1f} %, BD-PSNR {row['bd_psnr']:+.2f} dB")
    slug = "".join(c if c.isalnum() else "-" for c in name).strip("-")
    write_table(rows, args.out / f"peers-{slug}.csv")
    draw(rows, name, args.out / f"peers-{slug}.png")
    about = {"volume": name, "version": __version__, "command": " ".join(sys.argv)}
    found = {"about": about, "against_best": best, "bjontegaard": bd, "rows": rows}
    (args.out / f"peers-{slug}.json").write_text(json.dumps(found, indent=2) + "\n")


def require() -> None:
    """End with a word where a package is missing."""
    peer_codecs.require()
    for name in ("bjontegaard", "matplotlib", "skimage"):
        if find_spec(name) is None:
            sys.exit(f"{name} is missing: pip install 'inrcodec[bench]'")


def main() -> None:
    require()
    names = [OURS, *peer_codecs.peers()]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("volumes", type=Path, nargs="+")
    parser.add_argument("--crop", type=parsed_region, metavar="Z,Y,X", help="such as 58:122,120:376,110:366")
    parser.add_argument("--codecs", nargs="+", choices=names, default=names)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="bytes of our files")
    parser.add_argument("--psnrs", type=float, nargs="*", default=PSNRS, help="dB of our files")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for path in args.volumes:
        if not path.exists():
            print(f"skipped: {path} is not here")
            continue
        volume = io.read(path)
        volume = twelve_bits(volume) if volume.array.min() < 0 else volume
        name = path.name.partition(".")[0]
        if args.crop:
            volume, name = cropped(volume, args.crop), f"{name}, crop"
        print(f"{name}, {' x '.join(map(str, volume.shape))}", flush=True)
        report(name, rows_of(volume, args), args)


if __name__ == "__main__":
    main()
