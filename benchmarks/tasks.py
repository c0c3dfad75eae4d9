"""What the bytes are worth: measurements that a user takes of a CT or an MR, from files of equal size.

    python benchmarks/tasks.py VOLUME [VOLUME ...] [--crop z0:z1,y0:y1,x0:x1] [--modality CT]
        [--ratios 64 256 1000] [--codecs av1 SPERR ...] [--threads N] [--out DIR]

In: CT volumes, or MR of a whole head.  Out: for each codec and ratio, how far the measurements of the decoded
volume (`measurements.py`) are from those of the source.  Invariant: every codec has at most the bytes of its
ratio; all are searched with equally many tries, but ours that take a size.

siren, av1   ours, ``--size`` with that base
max-error    ours, the smallest whole ``--max-error`` that fits: the promise is told
AV1          libaom at 12 bits, cpu-used 4 (Debian's aom-tools; without them libsvtav1 at 10)
JPEG 2000, SPERR

Ratios are of stored bytes of the volume to those of the file.  ``DIR/tasks-NAME.json`` has every figure.
Needs the extra ``inrcodec[tasks]``.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from shutil import which
from typing import Any, TypeAlias

import av1
import numpy as np
import peer_codecs
from measurements import BINS, CONCORDANT, Measured, Row, require
from numpy.typing import NDArray
from shared import RESULTS, parsed_region
from stacks import from_bits, stack_of, to_bits

from inrcodec import Volume, api
from inrcodec.errors import FitFailed, TargetNotReached

File: TypeAlias = tuple[str, int, NDArray[Any]]  # its name, bytes, and what it decodes to
Streams: TypeAlias = list[bytes]

STEPS = 8  # of the search for a level that fits the bytes
LEVELS = {"JPEG 2000": (10.0, 80.0), "SPERR": (1.0, 60.0)}  # that are searched
SPEED = 4  # of AV1: cpu-used, or the preset
NAMES = ("siren", "av1", "max-error", "AV1", "JPEG 2000", "SPERR")


def fitting(
    encode: Callable[[float], Streams], low: float, high: float, size: int
) -> tuple[float, Streams] | None:
    """The largest level whose bytes fit, and its streams; ``None`` where those of the lowest do not."""
    best = None
    for step in range(STEPS):
        level = low if step == 0 else (low + high) / 2
        streams = encode(level)
        if sum(map(len, streams)) <= size:
            best, low = (level, streams), level
        elif step == 0:
            return None
        else:
            high = level
    return best


class Codecs:
    """The codecs of one volume; what a search has coded for one ratio is there for the next."""

    def __init__(self, volume: Volume, threads: int | None) -> None:
        self.volume, self.threads = volume, threads
        self.stack, self.low = stack_of(volume)
        self.peers = peer_codecs.peers()
        self.bounded = lru_cache(maxsize=None)(self._bounded)
        self.video = lru_cache(maxsize=None)(self._video)
        self.coder = av1.CODERS["aomenc" if which("aomenc") and which("aomdec") else "svt"]
        self.coded = to_bits(self.stack, self.coder.bits)

    def file(self, name: str, size: int) -> File | None:
        """The file of a codec of at most so many bytes; ``None`` where it does not get that small."""
        if name == "max-error":
            return self._promised(size)
        if name == "AV1":
            return self._av1(size)
        if name in self.peers:
            return self._peer(name, size)
        try:
            blob = api.encode(self.volume, size=size, base=name, threads=self.threads)
        except (TargetNotReached, FitFailed):
            return None
        return f"`.inrv`, `--base {name}`", len(blob), api.decode(blob)

    def _promised(self, size: int) -> File | None:
        span = int(self.stack.max()) * abs(self.volume.rescale[0])
        found = fitting(lambda level: [self.bounded(round(2**-level))], -float(np.log2(span / 2)), 0, size)
        if found is None:
            return None
        level, [blob] = found
        return f"`.inrv`, `--max-error {round(2**-level)}`", len(blob), api.decode(blob)

    def _bounded(self, bound: int) -> bytes:
        return api.encode(self.volume, max_error=bound, threads=self.threads)

    def _av1(self, size: int) -> File | None:
        found = fitting(lambda level: [self.video(round(-level))], -63, 0, size)
        if found is None:
            return None
        _, [stream] = found
        decoded = from_bits(self.coder.decode(stream, self.stack.shape), self.stack, self.coder.bits)
        return f"AV1, {self.coder.bits} bits", len(stream), decoded.astype(np.int32) + self.low

    def _video(self, level: int) -> bytes:
        return self.coder.encode(self.coded, level, SPEED)

    def _peer(self, name: str, size: int) -> File | None:
        peer, levels = self.peers[name], LEVELS[name]
        found = fitting(lambda level: peer.encode(self.stack, level), *levels, size)
        if found is None:
            return None
        decoded = peer.back(found[1], self.stack)
        return name, sum(map(len, found[1])), decoded.astype(np.int32) + self.low


def rows_of(volume: Volume, args: argparse.Namespace) -> list[Row]:
    """A row for each ratio and codec."""
    source, coders, rows = Measured(volume), Codecs(volume, args.threads), []
    for ratio in args.ratios:
        for name in args.codecs:
            file = coders.file(name, int(volume.array.nbytes / ratio))
            row: Row = {"codec": name, "ratio": ratio, "bytes": None}
            if file is not None:
                row = {"codec": file[0], "ratio": ratio, "bytes": file[1]} | source.beside(file[2])
            rows.append(row)
            print(line(row), flush=True)
    return rows


def heading(modality: str) -> str:
    """The head of a table in Markdown."""
    names = ["ratio", "codec", "bytes"]
    names += ["brain, cm³", "brain"] if modality == "MR" else ["emphysema, %", "lung", "bone", "body"]
    names += [f"features ≥ {CONCORDANT}", "median"]
    return f"| {' | '.join(names)} |\n|{' --- |' * len(names)}"


def line(row: Row) -> str:
    """A row of that table."""
    cells = [f"{row['ratio']:g}:1", row["codec"]]
    if row["bytes"] is None:
        return f"| {' | '.join(cells)} | does not get that small |"
    cells += [f"{row['bytes']:,}", f"{row['source']:.2f} → {row['decoded']:.2f}"]
    masks = [name.removeprefix("dice_") for name in row if name.startswith("dice_")]
    cells += [f"{row[f'dice_{n}']:.4f} / {row[f'hd95_{n}']:.2f}" for n in masks]
    cells += [f"{100 * row['concordant']:.0f} % of {row['features']}", f"{row['concordance']:.2f}"]
    return f"| {' | '.join(cells)} |".replace("nan", "–")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("volumes", nargs="+")
    parser.add_argument("--crop", type=parsed_region)
    parser.add_argument("--modality", choices=list(BINS), help="where a file does not say it")
    parser.add_argument("--ratios", type=float, nargs="+", default=[64, 256, 1000])
    parser.add_argument("--codecs", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    for path in args.volumes:
        volume, name = av1.read(path, args.crop), Path(path).name.partition(".")[0]
        volume = replace(volume, modality=args.modality or volume.modality)
        require(volume.modality)
        print(f"{name}, {' x '.join(map(str, volume.shape))}\n{heading(volume.modality)}", flush=True)
        (args.out / f"tasks-{name}.json").write_text(json.dumps(rows_of(volume, args), indent=1) + "\n")


if __name__ == "__main__":
    main()
