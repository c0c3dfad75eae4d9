"""The fitting engine against its targets: speed, bytes, seams, focus, presets, promises.

    python benchmarks/fit.py DICOM_FOLDER_OR_NIFTI [--only recipe rate …] [--preset best] [--out DIR]

Sections: ``recipe`` (time to the PSNR of the published recipe), ``throughput`` (samples a second), ``rate``
(PSNR at file sizes), ``seams``, ``focus``, ``presets`` (whole processes), ``targets`` (sizes and qualities
that are requested).  The targets are for the head of the Visible Human Female on two cores; its crop is
slices 58-121, rows 120-375, columns 110-365.  Values are clipped to [-1024, 3071] HU first (not for
``presets``), so that the peak of every PSNR is 4095.  Prints the figures beside their targets and writes each
section to ``DIR/fit-SECTION.json``.  Times are of this machine and this run: leave it alone meanwhile.

Where 2000 iterations of the recipe take too long, ``--paper-psnr DB`` gives the PSNR of an earlier run of
them; then only ``--paper-timed`` iterations are run, and the time of all of them is extrapolated.
"""

import argparse
from pathlib import Path

import promises
import quality
import recipe
import torch
from shared import RESULTS, Encodings, parsed_region, parser_of, run, skipped, twelve_bits

from inrcodec import io
from inrcodec._version import __version__

SECTIONS = {
    "recipe": recipe.time_to_psnr,
    "throughput": recipe.throughput,
    "rate": quality.rate,
    "seams": quality.seams,
    "focus": quality.focus,
    "presets": promises.presets,
    "targets": promises.targets,
}
LADDER = [50, 75, 100, 150, 200, 300, 400, 600, 800, 1200, 1600, 2400, 3200, 4800]


def arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--preset", default="balanced", help="of rate, seams, focus and targets")
    parser.add_argument("--steps", type=int, help="instead of the preset's: figures then miss their targets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="one a core without it")
    parser.add_argument("--crop", type=parsed_region, default=parsed_region("58:122,120:376,110:366"))
    parser.add_argument("--size", type=int, default=16_000, help="bytes for seams and focus")
    parser.add_argument("--sizes", type=int, nargs="+", default=[7_000, 10_000, 14_000, 20_000])
    parser.add_argument("--presets", nargs="+", default=["fast", "balanced"], help="best takes minutes")
    parser.add_argument("--ladder", type=int, nargs="+", default=LADDER, help="steps of the fits for recipe")
    parser.add_argument("--paper-iterations", type=int, default=recipe.ITERATIONS)
    parser.add_argument("--paper-psnr", type=float)
    parser.add_argument("--paper-timed", type=int, default=20)
    parser.add_argument("--repetitions", type=int, default=recipe.REPETITIONS, help="for throughput")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if skipped(args.source):
        return
    volume = twelve_bits(io.read(args.source))
    options = {"preset": args.preset, "seed": args.seed, "threads": args.threads, "steps": args.steps}
    encodings = Encodings(volume, args.crop, options)
    about = {"source": args.source.name, "shape": volume.shape, "version": __version__} | options
    about["cores"] = torch.get_num_threads()
    run(SECTIONS, encodings, args, "fit", about)


if __name__ == "__main__":
    main()
