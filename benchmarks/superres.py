"""Super-resolution models against their targets: what they bring over Lanczos, and what they cost.

    python benchmarks/superres.py HEAD [--mr MR …] [--held-out MR] [--train VOLUME] [--only clean speed …]

Sections: ``clean`` (a clean low-res volume brought back, each CT model), ``mr`` (the same for MR models),
``decoded`` (the low-res volume of a file), ``whole`` (files of a size), ``precision`` (bfloat16), ``speed``
(slices a second), ``imitation`` (of a fit, for training, against real fits of VOLUME) and ``floor`` (volumes
that no model was made for).  HEAD is the head of the Visible Human Female, its crop slices 58-121, rows
120-375, columns 110-365; ``--mr`` names volumes that no model has seen, ``--held-out`` the one whose last
fifth was kept apart in training.  PSNR of CT has the peak 4095, of MR the width of the model's window.
Prints the figures beside their targets and writes each section to ``DIR/superres-SECTION.json``.
"""

import argparse
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from statistics import median
from time import monotonic

import numpy as np
import torch
from hard_volumes import HARD
from shared import (
    FACTOR,
    RESULTS,
    Encodings,
    Figure,
    Region,
    Section,
    cropped,
    parser_of,
    run,
    skipped,
    twelve_bits,
    with_report,
)

from inrcodec import Volume, api, io
from inrcodec._version import __version__
from inrcodec.encoder.model_choice import ensemble_of
from inrcodec.encoder.options import EncodeOptions
from inrcodec.layers.superres import registry
from inrcodec.layers.superres.network import SRDenseNet, frozen
from inrcodec.layers.superres.upsampler import Upsampler
from inrcodec.training import dataset, degrade
from inrcodec.training.dataset import TrainingVolume, paired, to_unit
from inrcodec.training.evaluate import score, scores
from inrcodec.training.options import TrainOptions
from inrcodec.volume.metrics import psnr

CROP: Region = (slice(58, 122), slice(120, 376), slice(110, 366))
CLEAN = {(1, 4, 4): 5.0, (4, 4, 4): 2.5, (2, 2, 2): 3.0}  # least dB over Lanczos, CT
CLEAN_MR = {(2, 2, 2): 1.5}
DECODED = {16_000: 1.8, 8_000: 1.2}
WHOLE = {10_000: 38.3, 17_000: 39.3}
APART = 0.05  # dB
SPEED = {"2d": 20.0, "3d": 40.0, "srdensenet": 3.0}  # slices of 512 x 512 a second
WORSE = 0.05  # dB that a file with a model may be below one without: two fits differ by as much
BANDS = (0.0, 0.125, 0.25, 0.375, 0.9)  # cycles a low-res voxel


def networks(modality: str) -> list[tuple[str, SRDenseNet]]:
    """The models for a modality."""
    known = [m for m in registry.manifests().values() if m.modality == modality]
    return [(m.id, registry.load(m.id, bytes.fromhex(m.sha256))) for m in known]


def clean(encodings: Encodings, args: argparse.Namespace) -> Section:
    """Every CT model on the clean low-res volume of the crop, and of its rows and columns of all slices."""
    if encodings.crop is None:
        print("  skipped: the volume does not hold the crop")
        return Section([])
    figures = []
    tall = cropped(encodings.head, (slice(None), *CROP[1:]))
    for name, volume in (("crop", encodings.crop), ("crop, all slices", tall)):
        figures += _gains("CT", name, to_unit(replace(volume, modality="CT")), CLEAN, args).figures
    return Section(figures)


def mr(encodings: Encodings, args: argparse.Namespace) -> Section:
    """Every MR model on volumes that it was not trained on."""
    figures = []
    for path in args.mr:
        figures += _gains("MR", path.name, _mr_of(path), CLEAN_MR, args).figures
    if args.held_out is not None:
        full = _mr_of(args.held_out)
        figures += _gains(
            "MR", f"{args.held_out.name}, last fifth", full[-(len(full) // 5) :], CLEAN_MR, args
        ).figures
    return Section(figures)


def _mr_of(path: Path) -> np.ndarray:
    return to_unit(replace(io.read(path), modality="MR"))


def _gains(modality: str, name: str, full: np.ndarray, least: dict, args: argparse.Namespace) -> Section:
    """One image, and the mean of as many as serve the network; the target is for the latter."""
    figures = []
    for model, network in networks(modality):
        volume = paired(name, "clean", full, network.arch.factor)
        target = least.get(network.arch.factor)
        for ensemble, aim in ((1, None), (2**network.arch.dims, target)):
            found = score(network, volume, args.threads, ensemble)
            words = f"Lanczos {found.lanczos:.2f} dB, model {found.model:.2f}"
            what = f"{model}, {name}, clean, {ensemble} image{'s' if ensemble > 1 else ''}"
            figures.append(Figure(name=what, value=found.gain, unit="dB", least=aim, note=words))
    return Section(figures)


def decoded(encodings: Encodings, args: argparse.Namespace) -> Section:
    """What the model brings to the low-res volume of a file that was not fitted through it."""
    figures, reports = [], []
    for size, least in DECODED.items():
        report = encodings.of(encodings.head, factor=FACTOR, size=size, through_sr=False).report
        words = (
            f"{report.file_bytes} bytes, Lanczos {report.psnr_lanczos:.2f} dB, {report.sr} {report.psnr:.2f}"
        )
        gain = report.psnr - report.psnr_lanczos
        figures.append(Figure(name=f"decoded, {size} bytes", value=gain, unit="dB", least=least, note=words))
        reports.append(report.to_dict())
    return Section(figures, {"reports": reports})


def whole(encodings: Encodings, args: argparse.Namespace) -> Section:
    """Files of the head."""
    figures = []
    for size, least in WHOLE.items():
        report = encodings.of(encodings.head, size=size).report
        words = f"{report.file_bytes} bytes, {report.sr}, Lanczos {report.psnr_lanczos:.2f} dB"
        figures.append(
            Figure(name=f"head in {size} bytes", value=report.psnr, unit="dB", least=least, note=words)
        )
    return Section(figures)


def precision(encodings: Encodings, args: argparse.Namespace) -> Section:
    """bfloat16 against the reference decode."""
    made = encodings.of(encodings.head, factor=FACTOR, size=16_000)
    errors, seconds = {}, {}
    for kind in ("float32", "bfloat16"):
        start = monotonic()
        array = api.decode(made.blob, precision=kind, threads=args.threads)
        seconds[kind] = monotonic() - start
        errors[kind] = psnr(float(np.square((array - encodings.head.array.astype(np.float32)) / 4095).mean()))
    apart = abs(errors["float32"] - errors["bfloat16"])
    words = f"{errors['float32']:.3f} dB against {errors['bfloat16']:.3f}"
    faster = seconds["float32"] / seconds["bfloat16"]
    return Section(
        [
            Figure(name="bfloat16 apart", value=apart, unit="dB", most=APART, note=words),
            Figure(name="whole decode, float32 / bfloat16", value=faster, note="times"),
        ]
    )


def speed(encodings: Encodings, args: argparse.Namespace) -> Section:
    """Slices of 512 x 512 a second, everything active, both precisions; one image and a balanced file's."""
    figures = []
    for modality in ("CT", "MR"):
        for model, network in networks(modality):
            _, fy, fx = network.arch.factor
            low = np.zeros((16, 512 // fy, 512 // fx), np.float32)
            kind = "srdensenet" if "srdensenet" in model else f"{network.arch.dims}d"
            usual = ensemble_of(registry.manifest(model), EncodeOptions().resolved())
            for dtype, ensemble in product(("float32", "bfloat16"), sorted({1, usual})):
                rate = median(_rate(network, low, dtype, ensemble, args) for _ in range(3))
                least = SPEED[kind] if (dtype, ensemble) == ("bfloat16", usual) else None
                what = f"{model}, {dtype}, {ensemble} image{'s' if ensemble > 1 else ''}"
                figures.append(Figure(name=what, value=rate, unit="slices/s", least=least))
    return Section(figures)


def _rate(network: SRDenseNet, low: np.ndarray, dtype: str, ensemble: int, args: argparse.Namespace) -> float:
    network = frozen(network.arch, network.state_dict())  # a copy: bfloat16 turns its weights
    active = np.ones(low.shape, bool)
    start = monotonic()
    upsampler = Upsampler(network, low, active, "cpu", args.threads, precision=dtype, ensemble=ensemble)
    for _ in upsampler.layers():
        pass
    return len(low) * network.arch.factor[0] / (monotonic() - start)


def imitation(encodings: Encodings, args: argparse.Namespace) -> Section:
    """The error of real fits, and of imitations as large: its spectrum, and what it costs."""
    if args.train is None:
        print("  skipped: --train names no volume to fit")
        return Section([])
    figures = []
    network = dict(networks("CT"))["ct-3d-x4"]
    options = TrainOptions(volumes=[args.train], modality="CT", factor=FACTOR, out=args.out)
    args.out.mkdir(parents=True, exist_ok=True)
    clean_one = dataset.to_evaluate_on(args.train.name, dataset.load(args.train, options), options).part
    for real in dataset.fitted(clean_one, options.fits, options):
        assert real.error is not None
        error = _imitated(clean_one, float(real.error.square().mean()))
        like = replace(real, version=f"imitated {real.version}", error=error)
        found = [_shares(m) for m in (real, like)]
        for k, (a, b) in enumerate(zip(*found, strict=True)):
            band = f"{BANDS[k]:g} to {BANDS[k + 1]:g}"
            figures.append(
                Figure(
                    name=f"{real.version}, share of the error at {band}", value=a, note=f"imitated {b:.3f}"
                )
            )
        rows = scores(network, [real, like], args.threads)
        words = f"imitated {rows[1].gain:+.2f} dB; low-res {rows[0].lowres:.1f} dB"
        figures.append(
            Figure(name=f"{real.version}, gain of ct-3d-x4", value=rows[0].gain, unit="dB", note=words)
        )
    return Section(figures)


def _imitated(clean_one: TrainingVolume, mse: float) -> torch.Tensor:
    """At the level that has the mean squared error."""
    low, high = 1e-8, 1e-1
    for _ in range(30):
        level = (low * high) ** 0.5
        generator = torch.Generator().manual_seed(0)
        error = degrade.simulated_error(clean_one.lowres, level, generator)
        low, high = (level, high) if float(error.square().mean()) < mse else (low, level)
    return error


def _shares(volume: TrainingVolume) -> list[float]:
    """Of the error's energy in each band of frequencies."""
    assert volume.error is not None
    energy = np.square(np.abs(np.fft.fftn(volume.error.numpy())))
    axes = np.meshgrid(*(np.fft.fftfreq(n) for n in energy.shape), indexing="ij")
    radius = np.sqrt(sum(a**2 for a in axes))
    return [float(energy[(radius >= a) & (radius < b)].sum() / energy.sum()) for a, b in pairwise(BANDS)]


def floor(encodings: Encodings, args: argparse.Namespace) -> Section:
    """Volumes that no model was made for, declared as CT or MR: with a model against without."""
    worst, words = 0.0, ""
    for modality, factor in sorted({(m.modality, m.factor) for m in registry.manifests().values()}):
        for name, make in HARD.items():
            array = make(np.random.default_rng(0))
            if any(n < 4 * f for n, f in zip(array.shape, factor, strict=False)) or array.ndim != 3:
                continue
            volume = Volume.from_array(array)
            options = {
                "factor": factor,
                "steps": 300,
                "modality": modality,
                "through_sr": True,
                "threads": args.threads,
            }
            found = [with_report(volume, sr=sr, **options)[1].psnr for sr in ("auto", "lanczos")]
            if found[1] - found[0] > worst:
                worst, words = (
                    found[1] - found[0],
                    f"{name}, {modality} at {factor}: {found[0]:.2f} dB, Lanczos {found[1]:.2f}",
                )
    return Section([Figure(name="below Lanczos at most", value=worst, unit="dB", most=WORSE, note=words)])


SECTIONS = {
    "clean": clean,
    "mr": mr,
    "decoded": decoded,
    "whole": whole,
    "precision": precision,
    "speed": speed,
    "imitation": imitation,
    "floor": floor,
}


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("--mr", type=Path, nargs="*", default=[])
    parser.add_argument("--held-out", type=Path)
    parser.add_argument("--train", type=Path)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if skipped(args.source, *args.mr, *filter(None, [args.held_out, args.train])):
        return
    args.out.mkdir(parents=True, exist_ok=True)
    options = {"preset": args.preset, "threads": args.threads}
    encodings = Encodings(twelve_bits(io.read(args.source)), CROP, options)
    run(SECTIONS, encodings, args, "superres", {"source": args.source.name, "version": __version__} | options)


if __name__ == "__main__":
    main()
