"""Rate and distortion of `.inrv` beside the codecs that one would use instead, on any volumes.

    python benchmarks/peers.py VOLUME [VOLUME …] [--crop z0:z1,y0:y1,x0:x1] [--codecs inrv SPERR …]
        [--sizes 8000 16000 …] [--psnrs 44 50 …] [--out DIR]

Every codec encodes each volume at every rung of its ladder, and decodes it, in processes of their own.
`.inrv` has two ladders: files of a size (networks) and files of a quality (``--psnr``, a refinement where
that is smaller).
``DIR/peers-NAME.csv`` has a line a file: bytes, bits per voxel, ratio, PSNR, SSIM in 3-D, low-pass error,
mean and largest error in physical units, mean error in the windows of CT, seconds and MiB of both ways.
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
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import low_pass
import numpy as np
import peer_codecs
import stacks
from shared import RESULTS, apart, cropped, parsed_region, parser_of, skipped, timed, twelve_bits

from inrcodec import Volume, api, io
from inrcodec._version import __version__
from inrcodec.report import plots
from inrcodec.volume import windows as focus
from inrcodec.volume.metrics import Errors, WindowErrors, peak_for
from inrcodec.volume.value_range import Range

OURS = "inrv"
SIZES = (6_000, 9_000, 14_000, 21_000, 32_000)  # bytes
PSNRS = (42.0, 45.0, 48.0, 51.0, 54.0)  # dB
SSIM_EDGE = 11  # voxels that its window reaches over
LEAST_POINTS = 4  # of a curve, for Akima
LEAST_OVERLAP = 1 / 3  # of the dB of the shorter of two curves: less is no comparison
Row = dict[str, Any]


def measured(path: str, modality: str, codec: str, kind: str, level: float, folder: str) -> Row:
    """One file: encoded in a process of its own, and decoded in another."""
    coded = apart(_encode, path, modality, codec, kind, level, folder)
    return coded | apart(_decode, path, modality, codec, folder)


def _encode(path: str, modality: str, codec: str, kind: str, level: float, folder: str) -> Row:
    """Write the streams to the folder."""
    volume = replace(io.read(path), modality=modality)
    stack, _ = stacks.stack_of(volume)
    if codec == OURS:
        option: dict[str, Any] = {kind: int(level) if kind == "size" else level}
        streams, seconds, mib = timed(lambda: [api.encode(volume, **option)])
    else:
        peer = peer_codecs.peers()[codec]
        streams, seconds, mib = timed(lambda: peer.encode(stack, level))
    for k, stream in enumerate(streams):
        (Path(folder) / f"{k:06d}").write_bytes(stream)
    size = sum(map(len, streams))
    return {
        "codec": codec,
        "level": f"{kind} {level:g}".strip(),
        "bytes": size,
        "bpv": 8 * size / stack.size,
        "ratio": volume.array.nbytes / size,
        "encode_s": seconds,
        "encode_MiB": mib,
    }


def _decode(path: str, modality: str, codec: str, folder: str) -> Row:
    """Read the streams, and compare."""
    volume = replace(io.read(path), modality=modality)
    stack, low = stacks.stack_of(volume)
    names = sorted(Path(folder).iterdir())
    streams = [name.read_bytes() for name in names]
    for name in names:
        name.unlink()
    if codec == OURS:
        found, seconds, mib = timed(lambda: api.decode(streams[0]))
        decoded = (found.astype(np.int64) - low).astype(np.uint16)
    else:
        peer = peer_codecs.peers()[codec]
        decoded, seconds, mib = timed(lambda: peer.back(streams, stack))
    return {**_quality(volume, stack, decoded, low), "decode_s": seconds, "decode_MiB": mib}


def _quality(volume: Volume, stack: np.ndarray, decoded: np.ndarray, low: int) -> Row:
    """Errors in physical units; PSNR and SSIM of values from 0 on."""
    span, scale = Range.of(volume), abs(volume.rescale[0])
    peak = peak_for(volume, span)
    errors, windows = Errors(peak), WindowErrors(focus.error_windows(focus.ALL, volume, span))
    absolute = 0.0
    for source, found in zip(stack, decoded, strict=True):
        errors.add(source, found)
        windows.add(source.astype(np.int64) + low, found.astype(np.int64) + low)
        absolute += float(np.abs(source.astype(float) - found).sum())
    flat = low_pass.figures(volume, decoded.astype(np.int64) + low)
    return {
        "psnr": errors.psnr,
        "low_pass_error": None if flat is None else flat.error,
        "low_pass_error_mm": None if flat is None else flat.error_mm,
        "ssim": _ssim(stack, decoded, peak),
        "mean_error": absolute / stack.size * scale,
        "max_error": errors.largest * scale,
        **{f"mean_error_{name}": mean * scale for name, mean in windows.means.items()},
    }


def _ssim(source: np.ndarray, decoded: np.ndarray, peak: float) -> float:
    """Of the volume, in three dimensions: a Gaussian of 1.5 voxels (Wang et al., 2004), values from 0 on."""
    from skimage.metrics import structural_similarity

    edge = min(SSIM_EDGE, *source.shape)
    narrow = {"win_size": edge - (edge % 2 == 0)}  # no room for the Gaussian: an even window
    wide = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    pair = (a.astype(np.float32) for a in (source, decoded))
    how: dict[str, Any] = wide if edge == SSIM_EDGE else narrow
    return float(structural_similarity(*pair, data_range=peak, **how))


def ladder(codec: str, args: argparse.Namespace) -> list[tuple[str, float]]:
    """Kinds and levels of a codec's rungs."""
    if codec == OURS:
        return [("size", n) for n in args.sizes] + [("psnr", db) for db in args.psnrs]
    levels = peer_codecs.peers()[codec].levels
    kept = levels[:: -1 * -(-len(levels) // args.rungs)][::-1]  # the finest always
    return [("", level) for level in kept]


def rows_of(volume: Volume, args: argparse.Namespace) -> list[Row]:
    """Every codec at every rung; one that cannot is named and left out."""
    found = []
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as streams:
        path = str(Path(folder) / "volume.nii")
        io.write(volume, path)
        for codec in args.codecs:
            for kind, level in ladder(codec, args):
                try:
                    row = measured(path, volume.modality, codec, kind, level, streams)
                except Exception as error:  # of a codec that is not ours to mend, or that died
                    print(f"  {codec} {kind} {level:g}: left out, {error!r}", flush=True)
                    continue
                found.append(row)
                blotches = "" if row["low_pass_error"] is None else f"low-pass {row['low_pass_error']:.2f} "
                print(
                    f"  {codec:12s} {row['level']:>12s} {row['bytes']:>11,} bytes {row['bpv']:.4f} bpv "
                    f"{row['psnr']:.2f} dB {row['ssim']:.4f} {blotches}"
                    f"{row['encode_s']:.1f} s {row['decode_s']:.1f} s",
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
    found, curves = [], {name: curve(rows, name) for name in peers}
    for row in (r for r in rows if r["codec"] == OURS):
        sizes = {name: needed(points, row["psnr"]) for name, points in curves.items()}
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
            if min(len(ours), len(theirs)) < LEAST_POINTS or not (shared := _shared(ours, theirs)):
                continue
            sides = [list(side) for points in (theirs, ours) for side in zip(*points, strict=True)]
            how: dict[str, Any] = {"method": "akima", "require_matching_points": False, "min_overlap": 0}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the overlap, which is judged here
                rate, gain = bd_rate(*sides, **how), bd_psnr(*sides, **how)
            about = {"ladder": kind, "peer": name, "from_db": shared[0], "to_db": shared[1]}
            found.append(about | {"bd_rate": float(rate), "bd_psnr": float(gain)})
    return found


def _shared(
    ours: Sequence[tuple[float, float]], theirs: Sequence[tuple[float, float]]
) -> tuple[float, float] | None:
    """The dB that both ladders have, where that is enough, and they have bytes in common too."""
    (first, last), bytes_shared = (
        (max(ours[0][k], theirs[0][k]), min(ours[-1][k], theirs[-1][k])) for k in (1, 0)
    )
    shorter = min(points[-1][1] - points[0][1] for points in (ours, theirs))
    enough = last - first >= LEAST_OVERLAP * shorter and bytes_shared[0] < bytes_shared[1]
    return (first, last) if enough else None


def draw(rows: Sequence[Row], name: str, path: Path) -> None:
    """PSNR and SSIM over bits per voxel."""
    figure = plots.figure(11, 4.5)
    axes = figure.subplots(1, 2)
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
    figure.savefig(path, dpi=90)


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
        over, span = f"{row['ladder']} over {row['peer']}", f"{row['from_db']:.1f}-{row['to_db']:.1f} dB"
        print(f"  {over:22s} {span}: BD-rate {row['bd_rate']:+7.1f} %, BD-PSNR {row['bd_psnr']:+.2f} dB")
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


def main(argv: Sequence[str] | None = None) -> None:
    require()
    names = [OURS, *peer_codecs.peers()]
    parser = parser_of(__doc__)
    parser.add_argument("volumes", type=Path, nargs="+")
    parser.add_argument("--crop", type=parsed_region, metavar="Z,Y,X", help="such as 58:122,120:376,110:366")
    parser.add_argument("--codecs", nargs="+", choices=names, default=names)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="bytes of our files")
    parser.add_argument("--psnrs", type=float, nargs="*", default=PSNRS, help="dB of our files")
    parser.add_argument("--rungs", type=int, default=99, metavar="N", help="of each peer's ladder at most")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    for path in args.volumes:
        if skipped(path):
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
