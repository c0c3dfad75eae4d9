"""The refinement against its targets: bytes beside the peers', the promise, speed and preview.

    python benchmarks/refinement.py VOLUME [VOLUME …] [--crop z0:z1,y0:y1,x0:x1] [--only lossless near …]

Sections: ``lossless`` (JPEG XL of effort 7 and JPEG-LS, slice by slice), ``near`` (bounds of 2, 8 and 32
against SZ3, JPEG-LS and SPERR at the same bound), ``psnr`` (40 to 55 dB against SPERR at the same PSNR,
interpolated between its two nearest rates), ``promise`` (every volume at every bound, threads, instruction
sets, and the NumPy decoder of the specification on a part), ``speed`` and ``preview``.

Values are clipped to 12 bits where they are CT.  Integer bounds leave half a unit below the next one, so SZ3
and SPERR are given the bound plus 0.49 and rounded; that the peers keep it is checked.  The peers need the
extra ``inrcodec[bench]``.  Prints the figures beside their targets; writes ``DIR/refinement-SECTION.json``.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import monotonic

import numpy as np
from encoded import twelve_bits
from figures import Figure, Section, run

from inrcodec import Volume, __version__, api, io
from inrcodec.metrics import peak_of, psnr

BOUNDS = (2, 8, 32)
LADDER = (40.0, 42.5, 45.0, 47.5, 50.0, 52.5, 55.0)
EFFORT = 7  # of JPEG XL
LEAST_SPEED, PREVIEW_SECONDS, PREVIEW_BYTES = 5.0, 1.5, 64_000
SECOND = (slice(0, 12), slice(0, 40), slice(0, 40))  # of the middle, for the slow decoder
INSTRUCTIONS = (
    {},
    {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    {"OPENBLAS_CORETYPE": "Nehalem", "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3"},
)
DIGEST = "import sys, inrcodec; print(inrcodec.verify(sys.argv[1], threads=int(sys.argv[2]))['digest'])"

Named = list[tuple[str, Volume]]


def lossless(volumes: Named, args: argparse.Namespace) -> Section:
    """Bytes, all in."""
    codecs, figures = _peers(), []
    for name, volume in volumes:
        ours = len(api.encode(volume, lossless=True, threads=args.threads))
        planes = _unsigned(volume)
        peers = {
            "JPEG XL": sum(len(codecs.jpegxl_encode(p, lossless=True, effort=EFFORT)) for p in planes),
            "JPEG-LS": sum(len(codecs.jpegls_encode(p)) for p in planes),
        }
        assert all(np.array_equal(codecs.jpegls_decode(codecs.jpegls_encode(p)), p) for p in planes[:2])
        assert all(
            np.array_equal(codecs.jpegxl_decode(codecs.jpegxl_encode(p, lossless=True, effort=EFFORT)), p)
            for p in planes[:2]
        )
        words = f"{_bits(ours, volume)} bpv; " + ", ".join(
            f"{k} {_bits(v, volume)}" for k, v in peers.items()
        )
        figures.append(Figure(name=f"{name} / JPEG XL", value=ours / peers["JPEG XL"], most=1.0, note=words))
    return Section(figures)


def near(volumes: Named, args: argparse.Namespace) -> Section:
    """Bytes at equal bounds."""
    codecs, figures = _peers(), []
    for name, volume in volumes:
        values = volume.array.astype(np.float32)
        for bound in BOUNDS:
            ours = len(api.encode(volume, max_error=bound, threads=args.threads))
            peers = {"JPEG-LS": sum(len(codecs.jpegls_encode(p, level=bound)) for p in _unsigned(volume))}
            found = codecs.sz3_encode(values, mode=codecs.SZ3.MODE.ABS, abs=bound + 0.49)
            _check(codecs.sz3_decode(found, shape=values.shape, dtype=values.dtype), values, bound)
            peers["SZ3"] = len(found)
            found = codecs.sperr_encode(values, mode=codecs.SPERR.MODE.PWE, level=bound + 0.49)
            _check(codecs.sperr_decode(found), values, bound)
            peers["SPERR"] = len(found)
            best = min(peers, key=lambda k: peers[k])
            words = f"{_bits(ours, volume)} bpv; " + ", ".join(
                f"{k} {_bits(v, volume)}" for k, v in peers.items()
            )
            figures.append(
                Figure(name=f"{name}, {bound} / {best}", value=ours / peers[best], most=0.9, note=words)
            )
    return Section(figures)


def psnrs(volumes: Named, args: argparse.Namespace) -> Section:
    """Bytes at equal PSNR."""
    codecs, figures = _peers(), []
    for name, volume in volumes:
        values = volume.array.astype(np.float32)
        low, high = float(values.min()), float(values.max())
        peak = peak_of(low, high, volume.array.dtype)
        rungs = []
        for level in np.arange(24.0, 60.0, 2.0):  # of SPERR, against the values' own range
            found = codecs.sperr_encode(
                values, mode=codecs.SPERR.MODE.PSNR, level=float(level + 20 * np.log10((high - low) / peak))
            )
            decoded = np.rint(codecs.sperr_decode(found)).clip(low, high)
            rungs.append((psnr(float(np.square((decoded - values) / peak).mean())), len(found)))
            if rungs[-1][0] > LADDER[-1] + 1:
                break
        reached, sizes = (np.array(side) for side in zip(*sorted(rungs), strict=True))
        for wished in LADDER:
            if not reached[0] <= wished <= reached[-1]:
                continue
            blob, report = api.encode_report(volume, psnr=wished, threads=args.threads, time_budget=60.0)
            peer = float(np.exp(np.interp(report.psnr, reached, np.log(sizes))))
            kind = "refinement" if report.sections["refinement"] else "networks"
            words = f"{report.psnr:.2f} dB in {len(blob):,} bytes ({kind}), SPERR {peer:,.0f}"
            figures.append(
                Figure(name=f"{name}, {wished} dB / SPERR", value=len(blob) / peer, most=1.0, note=words)
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
    """Million voxels a second, lossless, without reading and writing."""
    figures = []
    for name, volume in volumes:
        encoded, decoded = [], []
        for _ in range(3):
            blob, report = api.encode_report(volume, lossless=True, threads=args.threads)
            encoded.append(volume.array.size / report.seconds["refine"] / 1e6)
            start = monotonic()
            api.decode(blob, threads=args.threads)
            decoded.append(volume.array.size / (monotonic() - start) / 1e6)
        for what, rates in (("encode", encoded), ("decode", decoded)):
            figures.append(
                Figure(name=f"{name}, {what}", value=median(rates), unit="Mvoxels/s", least=LEAST_SPEED)
            )
    return Section(figures)


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


def _peers():
    try:
        import imagecodecs
    except ImportError:
        sys.exit("the peers need imagecodecs: pip install 'inrcodec[bench]'")
    return imagecodecs


def _unsigned(volume: Volume) -> list[np.ndarray]:
    """Contiguous planes from 0 on, as the image codecs want them."""
    return [
        np.ascontiguousarray(p)
        for p in (volume.array.astype(np.int32) - volume.array.min()).astype(np.uint16)
    ]


def _check(decoded: np.ndarray, values: np.ndarray, bound: int) -> None:
    assert np.abs(np.rint(decoded) - values).max() <= bound


def _bits(size: int, volume: Volume) -> str:
    return f"{8 * size / volume.array.size:.4f}"


def _cropped(volume: Volume, crop: str | None) -> Volume:
    if crop is None:
        return volume
    spans = tuple(slice(*map(int, part.split(":"))) for part in crop.split(","))
    return Volume(np.ascontiguousarray(volume.array[spans]), volume.affine, modality=volume.modality)


SECTIONS = {
    "lossless": lossless,
    "near": near,
    "psnr": psnrs,
    "promise": promise,
    "speed": speed,
    "preview": preview,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("volumes", type=Path, nargs="+")
    parser.add_argument("--crop", metavar="Z,Y,X")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    for path in args.volumes:
        if not path.exists():
            print(f"skipped: {path} is not here")
            return
    args.out.mkdir(parents=True, exist_ok=True)
    volumes = []
    for path in args.volumes:
        volume = io.read(path)
        volume = twelve_bits(volume) if volume.array.min() < 0 else volume
        volumes.append(
            (path.name.partition(".")[0] + (" (crop)" if args.crop else ""), _cropped(volume, args.crop))
        )
    run(
        SECTIONS,
        volumes,
        args,
        "refinement",
        {"volumes": [n for n, _ in volumes], "version": __version__, "threads": args.threads},
    )


if __name__ == "__main__":
    main()
