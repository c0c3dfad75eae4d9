"""Our files against the best peer, at equal PSNR: bytes over AV1's, and low-pass error over AV1's.

    python benchmarks/av1.py VOLUME --speed 1 --curve CURVE.json [--crop ...]
    python benchmarks/bar.py VOLUME --curve CURVE.json [--crop ...] [--sizes 10000 ...] [--psnrs 42 ...]
        [--base av1 ...] [--set NAME=VALUE ...] [--out FILE.json]

In: a volume, and AV1's points of it.  Out: a row for each file.  Invariant: both are measured by one
definition on one volume at one peak, and all bytes of ours are counted.

Between AV1's points the logarithm of the bytes, and that of the low-pass error, follow the PSNR (monotone
cubics).  Beyond them they follow the last two points: such figures have a ``*``, and are worth little.
"""

import argparse
import json
from ast import literal_eval
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from av1 import read
from scipy.interpolate import PchipInterpolator
from shared import parsed_region, with_report

Row = dict[str, Any]


class Bar:
    """AV1's curve: what it takes for a PSNR.

    Parameters
    ----------
    rows : points, as `av1.Curve` keeps them, of one coder; those that a smaller file beats are left out.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        kept: list[Row] = []
        for row in sorted(rows, key=lambda r: (r["bytes"], -r["psnr"])):
            if not kept or row["psnr"] > kept[-1]["psnr"]:
                kept.append(row)
        if len(kept) < 2:
            raise SystemExit("a curve needs two points: measure more levels with av1.py")
        self.rows, self.peak = kept, kept[0]["peak"]
        self.first, self.last = kept[0]["psnr"], kept[-1]["psnr"]

    def holds(self, psnr: float) -> bool:
        """Whether a PSNR is between two points."""
        return bool(self.first <= psnr <= self.last)

    def at(self, psnr: float, name: str = "bytes") -> float:
        """Bytes, or another figure, for a PSNR."""
        x = np.array([row["psnr"] for row in self.rows])
        y = np.log([row[name] for row in self.rows])
        if self.holds(psnr):
            curve = PchipInterpolator(x, y) if len(x) > 2 else lambda p: np.interp(p, x, y)
            return float(np.exp(curve(psnr)))
        a, b = (0, 1) if psnr < self.first else (-2, -1)
        slope = (y[b] - y[a]) / (x[b] - x[a])
        end = a if psnr < self.first else b
        return float(np.exp(y[end] + slope * (psnr - x[end])))


def compared(bar: Bar, report: Row) -> Row:
    """What a file of ours takes beside AV1."""
    psnr = report["psnr"]
    row = {name: report[name] for name in ("file_bytes", "psnr", "peak", "low_pass_error", "seam_energy")}
    if report["peak"] != bar.peak:
        raise SystemExit(f"the curve has peak {bar.peak:g}, the file {report['peak']:g}: not one volume")
    row |= {"av1_bytes": bar.at(psnr), "extrapolated": not bar.holds(psnr)}
    row["bytes_over_av1"] = report["file_bytes"] / row["av1_bytes"]
    if report["low_pass_error"] is not None and all(point["low_pass"] for point in bar.rows):
        row["av1_low_pass"] = bar.at(psnr, "low_pass")
        row["low_pass_over_av1"] = report["low_pass_error"] / row["av1_low_pass"]
    return row


def line(row: Row) -> str:
    """A row as text."""
    mark = "*" if row["extrapolated"] else ""
    text = f"{row['file_bytes']:>9,} bytes {row['psnr']:6.2f} dB  AV1 {row['av1_bytes']:>9,.0f}{mark}: "
    text += f"{row['bytes_over_av1']:.3f}{mark}"
    if "low_pass_over_av1" in row:
        text += f"  low-pass {row['low_pass_error']:.2f}, AV1 {row['av1_low_pass']:.2f}{mark}: "
        text += f"{row['low_pass_over_av1']:.2f}{mark}"
    return text + ("" if row["seam_energy"] is None else f"  seams {row['seam_energy']:.2f}")


def setting(text: str) -> tuple[str, Any]:
    """Parse ``name=value``."""
    name, _, value = text.partition("=")
    try:
        return name, literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("volume")
    parser.add_argument("--curve", type=Path, required=True)
    parser.add_argument("--crop", type=parsed_region)
    parser.add_argument("--coder", default="aomenc", help="of the curve")
    parser.add_argument("--speed", type=int, help="of the curve; by default the slowest that it has")
    parser.add_argument("--sizes", type=int, nargs="*", default=[])
    parser.add_argument("--psnrs", type=float, nargs="*", default=[])
    parser.add_argument("--base", nargs="*", help="base coders; by default the encoder's")
    parser.add_argument("--set", type=setting, nargs="*", default=[], metavar="NAME=VALUE", dest="options")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(argv)
    rows = [row for row in json.loads(args.curve.read_text()) if row["coder"] == args.coder]
    speed = min(row["speed"] for row in rows) if args.speed is None else args.speed
    bar = Bar([row for row in rows if row["speed"] == speed])
    volume = read(args.volume, args.crop)
    print(
        f"{args.coder}, speed {speed}: {bar.first:.2f} to {bar.last:.2f} dB at peak {bar.peak:g}", flush=True
    )
    targets: list[Row] = [{"size": n} for n in args.sizes] + [{"psnr": db} for db in args.psnrs] or [{}]
    found = []
    for base in args.base or [None]:
        for target in targets:
            options = dict(args.options) | target | ({} if base is None else {"base": base})
            start = monotonic()
            _, report = with_report(volume, **options)
            row = compared(bar, report.to_dict()) | {"options": options, "seconds": monotonic() - start}
            row |= {"factor": report.factor, "sr": report.sr, "speed": speed}
            found.append(row)
            words = " ".join(f"{name}={value}" for name, value in options.items())
            print(f"{words:32s} {line(row)}  {row['seconds']:.0f} s", flush=True)
            if args.out is not None:
                args.out.write_text(json.dumps(found, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main()
