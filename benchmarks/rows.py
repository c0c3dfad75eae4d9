"""Three encodings of the whole head: presets ``fast`` and ``balanced``, and a file of 10 000 bytes.

    python benchmarks/rows.py DICOM_FOLDER [--only fast "size 10000" …] [--slices N] [inrv-enc options …]

DICOM_FOLDER holds the CT head of the Visible Human Female.  Each row is an ``inrv-enc`` process of its own.
Prints PSNR at the peak of the volume, bytes, and seconds of the whole process, beside the PSNR of the first
house, which was measured on all 234 slices; ``--slices N`` encodes the first N instead.  Writes
``DIR/rows.json``.  Seconds are of this machine and this run.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from shared import RESULTS, Figure, Section, command, cropped, parser_of, print_table, skipped, write

from inrcodec import io
from inrcodec._version import __version__

TOLERANCE = 0.05  # dB that a row may be below that of the first house
ROWS: dict[str, tuple[list[str], float]] = {  # options, and PSNR in dB of the first house
    "fast": (["--preset", "fast"], 38.30),
    "balanced": (["--preset", "balanced"], 39.99),
    "size 10000": (["--size", "10000"], 38.90),
}


def row(source: Path, name: str, options: Sequence[str]) -> Section:
    """Encode once: PSNR, bytes and seconds."""
    own, before = ROWS[name]
    with tempfile.TemporaryDirectory() as folder:
        target = str(Path(folder) / "head.inrv")
        seconds, mib, text = command("inrv-enc", str(source), target, "--json", "-q", *own, *options)
    report = json.loads(text)
    note = f"{report['sr']}, factor {report['factor']}, {mib:.0f} MiB"
    least = round(before - TOLERANCE, 2)
    figures = [
        Figure(name=f"{name}: PSNR", value=report["psnr"], unit="dB", least=least, note=note),
        Figure(name=f"{name}: file", value=report["file_bytes"], unit="bytes"),
        Figure(name=f"{name}: time", value=seconds, unit="s"),
    ]
    return Section(figures, {name: report})


def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--slices", type=int, metavar="N", help="encode the first N (all)")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args, options = parser.parse_known_args(argv)
    if skipped(args.source):
        return
    with tempfile.TemporaryDirectory() as folder:
        source = args.source
        if args.slices:
            volume = io.read(source)
            source = Path(folder) / "head.nii"
            io.write(cropped(volume, (slice(args.slices), slice(None), slice(None))), source)
            options += ["--modality", "CT"]
        figures, reports = [], {}
        for name in args.only:
            found = row(source, name, options)
            print_table(name, found.figures)
            figures += found.figures
            reports |= found.details
    about = {"source": args.source.name, "version": __version__}
    write(args.out / "rows.json", Section(figures, reports), about)


if __name__ == "__main__":
    main()
