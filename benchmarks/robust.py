"""A hundred fits of hard volumes and of crops of real ones, and how many of them are stuck or diverged.

    python benchmarks/robust.py [VOLUME …] [--fits 100] [--seeds 2] [--steps 300] [--out DIR]

Every other case is a synthetic volume (``hard_volumes.py``), the others are random crops of the volumes,
those of ``tests/data`` where none is named; each is fitted with some number of tiles and width, to a size or
freely, from several seeds.  A fit is an offender if it fails, or if one of its tiles, as decoded from the
file, has an error that can be seen and that is

- larger than that of the tile's mean,
- or leaves more than half of what neighbouring voxels share unexplained (``divergence.stuck_at``; not asked
  where a tile has fewer voxels than its network has weights, which could not pay for themselves),
- or leaves more than a tenth of the tile's variance, and is more than 6 dB above that of another seed;

or if the error of all its tiles together can be seen and is more than 6 dB above that of another seed.

Prints every case and the offenders, writes ``DIR/robust.json``, and ends with status 1 if there are any.
"""

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from math import log10, prod
from multiprocessing import get_context
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from hard_volumes import HARD
from shared import RESULTS, lowres_of, parser_of, skipped

from inrcodec import Volume, api, io
from inrcodec.encoder.fit import divergence
from inrcodec.layers.base import companding
from inrcodec.layers.base.siren import tiles
from inrcodec.volume.box import lowres_shape
from inrcodec.volume.value_range import amplitude

SAMPLES = Path(__file__).parents[1] / "tests" / "data"
MOST_LOWRES = 40_000  # voxels: a fit then takes a second or two
SMALL = 2000  # low-res voxels below which no size is requested
BITS = 0.6  # a low-res voxel, where one is
VISIBLE = 1e-4  # squared error, relative to the amplitude's square, below which nothing is wrong
DECIBELS = 6.0  # that another seed may be better by
LEFT = 0.1  # of a tile's variance unexplained, from which on another seed's better tile counts
DRAWS, WORTH = 20, 0.1  # of a crop, until it spans this much of the whole volume's range

# Options of the cases; tiles are at most as many as an axis has low-res voxels.
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"tiles": (1, 2, 2)},
    {"size": True},
    {"tiles": (2, 1, 1), "width": 24},
    {"focus": True},
    {"layers": 2, "width": 40},
    {"tiles": (2, 2, 2), "width": 16},
    {"size": True, "tiles": (1, 1, 2)},
)


@dataclass(frozen=True)
class Case:
    """What one process needs to make a volume and to fit it."""

    number: int
    source: str  # key of HARD, or a path
    crop: bool
    steps: int

    @property
    def name(self) -> str:
        return (
            f"{self.number} crop of {Path(self.source).name}" if self.crop else f"{self.number} {self.source}"
        )


@dataclass
class Result:
    """One fit; errors of its tiles are mean squares of what the networks see, in [-1, 1]."""

    case: str
    seed: int
    options: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    seconds: float = 0.0
    psnr: float | None = None  # of the low-res volume, against the range
    error: float = 0.0  # of all tiles together
    errors: list[float] = field(default_factory=list)
    variances: list[float] = field(default_factory=list)
    visible: float = 0.0
    excused: int = 0
    offences: list[str] = field(default_factory=list)


def fitted(case: Case, seed: int) -> Result:
    """Encode, decode and judge."""
    result = Result(case.name, seed)
    start = monotonic()
    try:
        rng = np.random.default_rng(case.number)
        volume, factor = crop_of(case.source, rng) if case.crop else (_hard(case.source, rng), 1)
        result.shape = volume.shape
        result.options = options_for(volume, factor, case.number)
        blob = api.encode(volume, steps=case.steps, seed=seed, threads=1, sr="lanczos", **result.options)
        judge(result, volume, blob)
    except Exception as error:  # whatever it is, it is counted
        result.offences.append(f"{type(error).__name__}: {error}")
    result.seconds = monotonic() - start
    return result


def _hard(name: str, rng: np.random.Generator) -> Volume:
    return Volume.from_array(HARD[name](rng))


@lru_cache(maxsize=2)
def _read(path: str) -> Volume:
    return io.read(Path(path))


def crop_of(path: str, rng: np.random.Generator) -> tuple[Volume, int]:
    """A random region of a volume, and the factor that makes it small."""
    whole = _read(path)
    sizes = [
        min(n, int(rng.integers(*limits)))
        for n, limits in zip(whole.shape, ((8, 33), (32, 97), (32, 97)), strict=True)
    ]
    for _ in range(DRAWS):  # most of a scan's frame is air
        starts = [int(rng.integers(0, n - size + 1)) for n, size in zip(whole.shape, sizes, strict=True)]
        region = tuple(slice(a, a + size) for a, size in zip(starts, sizes, strict=True))
        array = np.ascontiguousarray(whole.array[region])
        if span_of(array) > WORTH * span_of(whole.array):
            break
    factor = 1
    while prod(-(-n // factor) for n in sizes) > MOST_LOWRES:
        factor *= 2
    return Volume(array, whole.affine, whole.rescale, whole.modality, whole.padding, unit=whole.unit), factor


def span_of(array: np.ndarray) -> float:
    return float(array.max()) - float(array.min())


def options_for(volume: Volume, factor: int, number: int) -> dict[str, Any]:
    """Knobs of a case; what its volume has no room for is left out."""
    z, y, x = (min(factor, n) for n in volume.shape)
    factors = z, y, x
    low = lowres_shape(volume.shape, factors)
    options = dict(OPTIONS[(number + number // len(OPTIONS)) % len(OPTIONS)])
    if "tiles" in options:
        options["tiles"] = tuple(min(part, n) for part, n in zip(options["tiles"], low, strict=True))
    if options.pop("size", False) and prod(low) >= SMALL:
        options["size"] = 700 + int(prod(low) * BITS / 8)
    if options.pop("focus", False):
        values = volume.physical()
        window = np.quantile(values, [0.3, 0.7]).tolist()
        if window[1] - window[0] > 0.03 * span_of(values) > 0:
            options["focus"] = tuple(window)
    return options | {"factor": factors}


def judge(result: Result, volume: Volume, blob: bytes) -> None:
    """Errors of all tiles of a file, and what is wrong with them."""
    decoder = api.open(blob)
    header = decoder.header
    clean = lowres_of(volume, header.factor)
    decoded = decoder.lowres(threads=1)
    result.psnr = 10 * log10(4 / max(float(np.square(clean - decoded).mean()), 1e-12))
    # What the networks see: a focus moves errors out of its window, and that is no fault.
    clean, decoded = (companding.compress(header.companding, values) for values in (clean, decoded))
    active = decoder.decoder.base.active
    if not active.any():  # nothing but background
        return
    result.error = float(np.square(clean - decoded)[active].mean())
    result.visible = VISIBLE * amplitude(clean[active]) ** 2
    for k, box in enumerate(decoder.decoder.base.boxes):
        tile = tiles.tile(active, box)
        if tile is None:
            result.errors.append(0.0)
            result.variances.append(0.0)
            continue
        truth, found = (values[tuple(tile.index.T)] for values in (clean, decoded))
        error, variance = float(np.square(found - truth).mean()), float(truth.var())
        result.errors.append(error)
        result.variances.append(variance)
        offence = wrong_with(error, truth, tile, result.visible)
        if (
            offence
            and np.isfinite(error)
            and error < variance
            and len(truth) < decoder.decoder.base.layout.weights
        ):
            result.excused += 1
        elif offence:
            result.offences.append(f"tile {k} {offence}: {error:.3g} of {variance:.3g}")


def wrong_with(error: float, truth: np.ndarray, tile: tiles.Tile, visible: float) -> str:
    """What is wrong with a tile of itself, if anything."""
    if not np.isfinite(error):
        return "is not finite"
    if error <= visible:
        return ""
    if error > 1.01 * truth.var():
        return "is worse than its mean"
    return "is stuck" if error > divergence.stuck_at(tile.index, truth) else ""


def compare(results: list[Result]) -> None:
    """Note what other seeds of a case do better."""
    for result in results:
        for other in results:
            for k, (mine, best) in enumerate(zip(result.errors, other.errors, strict=False)):
                if mine > LEFT * result.variances[k]:
                    _note(result, other, f"tile {k}", mine, best)
            if result.errors and other.errors:
                _note(result, other, "all tiles", result.error, other.error)


def _note(result: Result, other: Result, what: str, mine: float, best: float) -> None:
    better = 10 * log10(max(mine, 1e-30) / max(best, 1e-30))
    if mine > result.visible and better > DECIBELS:
        result.offences.append(f"{what}: seed {other.seed} is {better:.1f} dB better")


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("volumes", type=Path, nargs="*")
    parser.add_argument("--fits", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=2, help="of each case")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    sources = args.volumes or [SAMPLES / "vhf-head.nii.gz", SAMPLES / "mr-t1.nii.gz"]
    skipped(*sources)
    results = run([path for path in sources if path.exists()], args)
    offenders = [result for result in results if result.offences]
    for result in offenders:
        print(f"offender: {result.case}, seed {result.seed}, {result.options}: {'; '.join(result.offences)}")
    excused = sum(result.excused for result in results)
    print(f"{len(offenders)} stuck or diverged in {len(results)} fits (target 0); {excused} tiles excused")
    args.out.mkdir(parents=True, exist_ok=True)
    found = {"fits": len(results), "offenders": len(offenders), "results": [asdict(r) for r in results]}
    (args.out / "robust.json").write_text(json.dumps(found, indent=2, default=str) + "\n")
    raise SystemExit(1 if offenders else 0)


def run(sources: list[Path], args: argparse.Namespace) -> list[Result]:
    """All fits, in processes of one thread each."""
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that are yet to start
    names, found = list(HARD), []
    with ProcessPoolExecutor(args.workers, get_context("spawn")) as pool:
        jobs = []
        for k in range(args.first, args.first + -(-args.fits // args.seeds)):
            crop = bool(k % 2 and sources)
            source = (
                str(sources[k // 2 % len(sources)])
                if crop
                else names[(k // 2 if sources else k) % len(names)]
            )
            case = Case(k, source, crop, args.steps)
            jobs.append([pool.submit(fitted, case, seed) for seed in range(args.seeds)])
        for job in jobs:
            results = [future.result() for future in job]
            compare(results)
            found += results
            _print(results)
    return found


def _print(results: list[Result]) -> None:
    first = results[0]
    seconds = sum(r.seconds for r in results) / len(results)
    psnr = " ".join("failed" if r.psnr is None else f"{r.psnr:6.2f}" for r in results)
    options = ", ".join(f"{name} {value}" for name, value in first.options.items())
    words = "OFFENDS" if any(r.offences for r in results) else ""
    print(f"{first.case:36s} {first.shape!s:16s} {seconds:5.1f} s  {psnr} dB  {options}  {words}", flush=True)


if __name__ == "__main__":
    main()
