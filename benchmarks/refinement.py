"""The refinement against its targets: bytes beside the peers', the promise, speed and preview.

    python benchmarks/refinement.py VOLUME [VOLUME …] [--crop z0:z1,y0:y1,x0:x1] [--only lossless near …]

Sections: ``lossless`` (JPEG XL of effort 7 and JPEG-LS, slice by slice), ``near`` (bounds of 2, 8 and 32
against SZ3, JPEG-LS and SPERR at the same bound), ``psnr`` (40 to 55 dB against SPERR at the same PSNR,
interpolated between its two nearest rates), ``promise`` (every volume at every bound, threads, instruction
sets, and the NumPy decoder of the specification on a part), ``speed`` (beside JPEG XL and JPEG-LS in the same
run; and a box of a file) and ``preview``.

Values are clipped to 12 bits where they are CT.  Integer bounds leave half a unit below the next one, so SZ3
and SPERR are given the bound plus 0.49 and rounded; that the peers keep it is checked.  The peers need the
extra ``inrcodec[bench]``.  Prints the figures beside their targets; writes ``DIR/refinement-SECTION.json``.
"""

import argparse
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

import numpy as np
import peer_codecs
import stacks
from shared import (
    RESULTS,
    Figure,
    Section,
    cropped,
    parsed_region,
    parser_of,
    run,
    skipped,
    twelve_bits,
    with_report,
)

import inrcodec
from inrcodec import Volume, api, io
from inrcodec._version import __version__
from inrcodec.volume.box import Box
from inrcodec.volume.metrics import peak_of, psnr

BOUNDS = (2, 8, 32)
LADDER = (40.0, 42.5, 45.0, 47.5, 50.0, 52.5, 55.0)
LEAST_SPEED, BOX_SECONDS, ROUNDS = {"encode": 30.0, "decode": 40.0}, 0.15, 3
PREVIEW_SECONDS, PREVIEW_BYTES = 1.5, 64_000
SECOND = (slice(0, 12), slice(0, 40), slice(0, 40))  # of the middle, for the slow decoder
INSTRUCTIONS = (
    {},
    {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    {"OPENBLAS_CORETYPE": "Nehalem", "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3"},
)
DIGEST = "import sys, inrcodec; print(inrcodec.verify(sys.argv[1], threads=int(sys.argv[2]))['digest'])"

LOSSLESS_PEERS = {
    "JPEG XL": (peer_codecs.jpegxl_lossless, peer_codecs.jpegxl_plane),
    "JPEG-LS": (peer_codecs.jpegls, peer_codecs.jpegls_plane),
}

Named = list[tuple[str, Volume]]


def lossless(volumes: Named, args: argparse.Namespace) -> Section:
    """Bytes, all in."""
    peer_codecs.require()
    figures = []
    for name, volume in volumes:
        ours = len(api.encode(volume, lossless=True, threads=args.threads))
        stack, _ = stacks.stack_of(volume)
        peers = {
            "JPEG XL": sum(map(len, peer_codecs.jpegxl_lossless(stack))),
            "JPEG-LS": sum(map(len, peer_codecs.jpegls(stack))),
        }
        if peer_codecs.tomoz is not None:
            peers["tomoz"] = sum(map(len, peer_codecs.tomoz_lossless(stack)))
        words = _words(ours, peers, volume)
        figures.append(Figure(name=f"{name} / JPEG XL", value=ours / peers["JPEG XL"], most=1.0, note=words))
    return Section(figures)


def near(volumes: Named, args: argparse.Namespace) -> Section:
    """Bytes at equal bounds."""
    known, figures = peer_codecs.peers(), []
    for name, volume in volumes:
        stack, _ = stacks.stack_of(volume)
        for bound in BOUNDS:
            ours = len(api.encode(volume, max_error=bound, threads=args.threads))
            streams = {
                "JPEG-LS": peer_codecs.jpegls(stack, bound),
                "SZ3": [peer_codecs.sz3_encode(stack, bound + peer_codecs.HALF)],
                "SPERR": [peer_codecs.sperr_encode(stack, "PWE", bound + peer_codecs.HALF)],
            }
            for peer, found in streams.items():
                off = np.abs(known[peer].back(found, stack).astype(np.int64) - stack).max()
                assert off <= bound, f"{peer} is off by {off}, the bound is {bound}"
            peers = {peer: sum(map(len, found)) for peer, found in streams.items()}
            best = min(peers, key=lambda k: peers[k])
            words = _words(ours, peers, volume)
            figures.append(
                Figure(name=f"{name}, {bound} / {best}", value=ours / peers[best], most=0.9, note=words)
            )
    return Section(figures)


def psnrs(volumes: Named, args: argparse.Namespace) -> Section:
    """Bytes at equal PSNR."""
    sperr, figures = peer_codecs.peers()["SPERR"], []
    for name, volume in volumes:
        stack, _ = stacks.stack_of(volume)
        high = float(stack.max())
        peak = peak_of(0.0, high, volume.array.dtype)
        rungs = []
        for level in np.arange(24.0, 60.0, 2.0):  # of SPERR, against the values' own range
            streams = sperr.encode(stack, float(level + 20 * np.log10(high / peak)))
            error = (sperr.back(streams, stack).astype(np.float64) - stack) / peak
            rungs.append((psnr(float(np.square(error).mean())), len(streams[0])))
            if rungs[-1][0] > LADDER[-1] + 1:
                break
        reached, sizes = (np.array(side) for side in zip(*sorted(rungs), strict=True))
        for target in LADDER:
            if not reached[0] <= target <= reached[-1]:
                continue
            blob, report = with_report(volume, psnr=target, threads=args.threads, time_budget=60.0)
            peer = float(np.exp(np.interp(report.psnr, reached, np.log(sizes))))
            kind = "refinement" if report.sections["refinement"] else "networks"
            words = f"{report.psnr:.2f} dB in {len(blob):,} bytes ({kind}), SPERR {peer:,.0f}"
            figures.append(
                Figure(name=f"{name}, {target} dB / SPERR", value=len(blob) / peer, most=1.0, note=words)
            )
    return Section(figures)


def promise(volumes: Named, args: argparse.Namespace) -> Section:
    """Voxels that are further off than was promised; digests that differ."""
    beyond = differ = files = 0
    path = args.out / "promise.inrv"
    for _, volume in volumes:
        for bound in (0, *BOUNDS):
            for threads in (1, 2):
                path.write_bytes(api.encode(volume, max_error=bound, threads=threads))
                error = np.abs(api.decode(path).astype(np.int64) - volume.array)
                beyond, files = beyond + int((error > bound).sum()), files + 1
            for instructions in INSTRUCTIONS:
                for threads in ("1", "2"):
                    done = subprocess.run(
                        [sys.executable, "-W", "ignore", "-c", DIGEST, str(path), threads],
                        env=os.environ | instructions, capture_output=True, text=True, check=True,
                    )  # fmt: skip
                    differ += done.stdout.split() != ["equal"]
            beyond += _beyond_in_the_second_decoder(volume, bound)
    path.unlink()
    words = f"{files} files"
    return Section(
        [
            Figure(name="voxels beyond the bound", value=beyond, most=0, note=words),
            Figure(
                name="decodes of another digest",
                value=differ,
                most=0,
                note=f"{2 * len(INSTRUCTIONS)} a bound",
            ),
        ]
    )


def _beyond_in_the_second_decoder(volume: Volume, bound: int) -> int:
    sys.path.insert(0, str(Path(__file__).parent.parent / "spec"))
    import reference_decoder

    middle = tuple(slice(n // 2, n // 2 + s.stop) for n, s in zip(volume.shape, SECOND, strict=True))
    part = Volume(np.ascontiguousarray(volume.array[middle]), volume.affine)
    _, decoded = reference_decoder.decode(api.encode(part, max_error=bound))
    return int((np.abs(decoded.astype(np.int64) - part.array) > bound).sum())


def speed(volumes: Named, args: argparse.Namespace) -> Section:
    """Million voxels a second, lossless, without reading and writing; beside the peers on one thread.

    Ours and theirs take turns, so that a busy machine slows all of them alike.
    """
    peer_codecs.require()
    figures = []
    for name, volume in volumes:
        stack, _ = stacks.stack_of(volume)
        millions = volume.array.size / 1e6
        blob, rates = b"", Rates(millions)
        for _ in range(ROUNDS):
            blob, report = with_report(volume, lossless=True, threads=args.threads)
            rates.found["encode"].append(millions / report.seconds["refine"])
            rates.take("decode", api.decode, blob, threads=args.threads)
            rates.take("decode, one thread", api.decode, blob, threads=1)
            _, report = with_report(volume, lossless=True, threads=1)
            rates.found["encode, one thread"].append(millions / report.seconds["refine"])
            for peer, (encode, decode) in LOSSLESS_PEERS.items():
                planes = rates.take(f"encode {peer}", encode, stack)
                rates.take(f"decode {peer}", lambda *planes, one=decode: [*map(one, planes)], *planes)
            box = Box((0, 0, 0), volume.array.shape) & Box((0, 64, 64), (64, 128, 128))
            opened = inrcodec.open(blob)
            start = monotonic()
            opened.read(box)
            rates.found["box"].append(monotonic() - start)
        found = {key: median(values) for key, values in rates.found.items()}
        for what in ("encode", "decode"):
            least = LEAST_SPEED[what]
            figures.append(Figure(name=f"{name}, {what}", value=found[what], unit="Mvoxels/s", least=least))
            for peer in LOSSLESS_PEERS:
                ours, theirs = found[f"{what}, one thread"], found[f"{what} {peer}"]
                words = f"{ours:.1f} and {theirs:.1f} Mvoxels/s on one thread"
                figures.append(Figure(name=f"{name}, {what} time / {peer}", value=theirs / ours, note=words))
        figures.append(Figure(name=f"{name}, a box of 64^3", value=found["box"], unit="s", most=BOX_SECONDS))
    return Section(figures)


class Rates:
    """Million voxels a second by what was timed."""

    def __init__(self, millions: float) -> None:
        self.millions = millions
        self.found: dict[str, list[float]] = defaultdict(list)

    def take(self, name: str, work: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """The result of ``work``, which is timed."""
        start = monotonic()
        result = work(*args, **options)
        self.found[name].append(self.millions / (monotonic() - start))
        return result


def preview(volumes: Named, args: argparse.Namespace) -> Section:
    """Seconds to a volume from the first bytes of a lossless file, and how near it is."""
    figures = []
    for name, volume in volumes:
        blob = api.encode(volume, lossless=True, threads=args.threads)
        times = []
        for _ in range(5):
            start = monotonic()
            found = api.decode(blob[:PREVIEW_BYTES], max_bytes=PREVIEW_BYTES, threads=args.threads)
            times.append(monotonic() - start)
        peak = peak_of(float(volume.array.min()), float(volume.array.max()), volume.array.dtype)
        near = psnr(float(np.square((found.astype(float) - volume.array) / peak).mean()))
        figures.append(
            Figure(name=name, value=median(times), unit="s", most=PREVIEW_SECONDS, note=f"{near:.2f} dB")
        )
    return Section(figures)


def _words(ours: int, peers: dict[str, int], volume: Volume) -> str:
    bits = {k: f"{8 * size / volume.array.size:.4f}" for k, size in {"": ours, **peers}.items()}
    return f"{bits.pop('')} bpv; " + ", ".join(f"{k} {v}" for k, v in bits.items())


SECTIONS = {
    "lossless": lossless,
    "near": near,
    "psnr": psnrs,
    "promise": promise,
    "speed": speed,
    "preview": preview,
}


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("volumes", type=Path, nargs="+")
    parser.add_argument("--crop", type=parsed_region, metavar="Z,Y,X")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if skipped(*args.volumes):
        return
    args.out.mkdir(parents=True, exist_ok=True)
    volumes = []
    for path in args.volumes:
        volume = io.read(path)
        volume = twelve_bits(volume) if volume.array.min() < 0 else volume
        name = path.name.partition(".")[0] + (" (crop)" if args.crop else "")
        volumes.append((name, cropped(volume, args.crop) if args.crop else volume))
    run(
        SECTIONS,
        volumes,
        args,
        "refinement",
        {"volumes": [n for n, _ in volumes], "version": __version__, "threads": args.threads},
    )


if __name__ == "__main__":
    main()
