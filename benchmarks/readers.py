"""Real files of other projects, read by this package and by other readers, and compared.

    python benchmarks/readers.py [FOLDER …] [--only TEXT] [--dciodvfy] [--pet] [--out DIR]

Without a FOLDER the files are read that pydicom and nibabel bring for their own tests.  A folder may also
hold unpacked packages (``NAME-VERSION/``), each a row of the first table.  Series of DICOM are read by
`inrcodec.io.read`, and by SimpleITK (GDCM), dcm2niix, pydicom with the standard's formula, and highdicom;
other formats by SimpleITK and nibabel.  Every read is in a process that may crash or hang.

Compared are physical values voxel by voxel and the places of the eight corners (1e-3 mm), after axes were
permuted and flipped to run alike.  Where another reader differs, the headers decide; a refusal is checked
against them as well.

``--dciodvfy`` writes the series of CT, MR and PET as DICOM again, validates them and has them read by others;
``--pet`` encodes a synthetic PET series without loss.  Needs the extra "readers".  Prints tables in Markdown
and writes ``DIR/readers.json``.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import reader_pet
import reader_written
from reader_causes import cause
from reader_grids import closest
from reader_oracles import DICOM, OTHERS
from reader_sources import Source, facts, find_sources
from reader_worker import Outcome, Worker
from shared import RESULTS, parser_of, skipped

from inrcodec import api

# Reason of a refusal: words of the message, and the facts of the headers of which one makes it true.
REASONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "no image (report, plan, structures, waveform …)": (r"no DICOM image", ("not an image",)),
    "colour": (r"colour", ("colour",)),
    "several volumes, and images missing": (r"4-D series with images missing", ("duplicates",)),
    "several volumes (time, echo, diffusion), one to be chosen": (r"4-D series|holds \d+ volumes", ("4-D",)),
    "frames without places (film, cine)": (r"without a place", ("frames without places",)),
    "duplicate slices": (r"duplicate slices|slices: duplicate", ("duplicates", "4-D")),
    "missing slices": (r"missing slices|slices: missing", ("uneven gaps",)),
    "irregular slices": (r"irregular slices|slices: .*irregular", ("uneven gaps",)),
    "no positions": (r"have no position|no orientation", ("no positions",)),
    "mixed in size, direction or kind": (r"mixed", ("mixed",)),
    "NaN or infinite values": (r"NaN or infinite", ("not finite",)),
    "frames miscounted": (r"announces \d+ frames and describes", ("frames miscounted",)),
    "voxels written as text": (r"voxels as text", ("text",)),
    "a mosaic": (r"(?i)mosaic", ("mosaic",)),
    "values by a table": (r"Modality LUT", ("table",)),
    "no decoder for this compression": (r"no decoder|decoder is not installed|Unable to decode", ()),
}
BROKEN = "cut off, damaged or without pixels"
NO_VOLUME = {fact for _, needed in REASONS.values() for fact in needed}  # of headers whose image was accepted
VERDICTS = {
    "equal": "as every other reader that reads it",
    "explained": "another reader differs, and the headers are on our side",
    "unchecked": "no other reader reads it",
    "refused": "with a reason that holds",
    "unequal": "another reader differs, unexplained",
    "wrong": "accepted, though its headers say that it is no volume",
    "refused wrongly": "with a reason that does not hold",
    "crash": "",
    "timeout": "",
}


@dataclass
class Row:
    """One source: what became of it, here and elsewhere."""

    package: str
    name: str
    files: int
    modality: str
    vendor: str
    verdict: str = ""  # a word of `VERDICTS`
    reason: str = ""
    slices: int = 0
    others: dict[str, str] = field(default_factory=dict)
    causes: dict[str, str] = field(default_factory=dict)
    chosen: list[bool] = field(default_factory=list)  # whether each chosen volume is as another reader's
    facts: list[str] = field(default_factory=list)
    note: str = ""


def judged(source: Source, mine: Outcome, others: dict[str, Outcome]) -> Row:
    """Verdict of one source."""
    row = Row(source.package, source.name, len(source.files), source.modality, source.vendor)
    row.facts = sorted(facts(source.headers) if source.is_dicom else facts_of_file(source, others))
    if mine.kind == "read":
        _judge_grid(row, source, mine, others)
        return row
    row.others = {name: _brief(other) for name, other in others.items()}
    row.verdict, row.note = mine.kind, f"{mine.error}: {mine.message}"
    if mine.kind == "refused":
        row.reason, is_true = refusal(mine, row.facts, others)
        row.verdict = "refused" if is_true else "refused wrongly"
    return row


def _judge_grid(row: Row, source: Source, mine: Outcome, others: dict[str, Outcome]) -> None:
    (grid,) = mine.grids
    row.note, row.slices = f"{grid.values.shape} {grid.values.dtype} {grid.note}", len(grid.values)
    agree = unexplained = 0
    for name, other in others.items():
        if other.kind != "read":
            row.others[name] = _brief(other)
            continue
        difference, theirs = closest(grid, list(other.grids), source.has_place)
        row.others[name] = str(difference)
        agree += difference.equal
        if not difference.equal:
            row.causes[name] = cause(source, name, grid, theirs, difference)
            unexplained += not row.causes[name]
    wrong = set(row.facts) & NO_VOLUME
    if row.slices > row.files:  # as other readers have it, or the verdict is another
        wrong -= {"mosaic"}
    if wrong:
        row.verdict, row.reason = "wrong", ", ".join(sorted(wrong))
    elif unexplained:
        row.verdict = "unequal"
    else:
        row.verdict = "explained" if row.causes else "equal" if agree else "unchecked"


def facts_of_file(source: Source, others: dict[str, Outcome]) -> set[str]:
    """What a file of another format, and what other readers made of it, says that makes it no volume."""
    floats = [g.values for other in others.values() for g in other.grids if g.values.dtype.kind == "f"]
    tests = {
        "4-D": any(len(other.grids) > 1 for other in others.values()),
        "colour": any("components" in other.message for other in others.values()),
        "not finite": not all(np.isfinite(values).all() for values in floats),
        "text": source.is_text,
    }
    return {name for name, is_so in tests.items() if is_so}


def refusal(mine: Outcome, known: Sequence[str], others: dict[str, Outcome]) -> tuple[str, bool]:
    """Reason of a refusal, and whether it holds: by a fact, or as pydicom, or no reader, reads the file."""
    judges = [others["pydicom"]] if "pydicom" in others else list(others.values())
    unreadable = all(other.kind != "read" for other in judges)
    for reason, (words, needed) in REASONS.items():
        if re.search(words, mine.message):
            return reason, any(fact in known for fact in needed) or (unreadable and not (needed and known))
    return BROKEN, "InrvError" in mine.bases and unreadable


def _brief(outcome: Outcome) -> str:
    if outcome.kind == "read":
        shapes = Counter(str(grid.values.shape) for grid in outcome.grids)
        return "reads " + " and ".join(f"{count} of {shape}" for shape, count in shapes.items())
    last = (outcome.message.strip().splitlines() or [""])[-1]
    return f"{outcome.kind}: {last[:90]}"


def read_all(sources: Sequence[Source], timeout: float) -> list[Row]:
    """Rows of all sources, one after another."""
    rows, mine_at, others_at = [], Worker(), Worker()
    for source in sources:
        with tempfile.TemporaryDirectory() as folder:
            staged = source.stage(Path(folder))
            mine = mine_at.read("inrcodec", staged, timeout)
            names = DICOM if source.is_dicom else OTHERS
            others = {name: others_at.read(name, staged, timeout) for name in names}
            row = judged(source, mine, others)
            if row.reason.endswith("to be chosen"):
                chosen = mine_at.read("inrcodec volumes", staged, timeout)
                theirs = [grid for other in others.values() for grid in other.grids]
                row.chosen = [bool(theirs) and closest(grid, theirs)[0].equal for grid in chosen.grids]
                row.note += f" | chosen: {chosen.kind} {chosen.message} {row.chosen}"
        rows.append(row)
        _tell(row)
    mine_at.close()
    others_at.close()
    return rows


def _tell(row: Row) -> None:
    print(
        f"{row.verdict:16s} {row.package[:24]:24s} {row.name[-50:]:50s} {row.files:4d} {row.reason}",
        flush=True,
    )
    if row.verdict not in ("equal", "refused") or not all(row.chosen):
        print(f"    {row.note[:300]}  {row.facts}")
        for name, words in row.others.items():
            print(f"    {name:10s} {words}  {row.causes.get(name, '')}")


def table(title: str, rows: Sequence[Row], key: str) -> None:
    """Counts of verdicts by one field, in Markdown."""
    found = Counter(row.verdict for row in rows)
    verdicts = [word for word in VERDICTS if found[word]]
    print(f"\n| {title} | files | sources | {' | '.join(verdicts)} |")
    print("| --- " * (3 + len(verdicts)) + "|")
    for value in [*sorted({getattr(row, key) for row in rows}), None]:
        part = [row for row in rows if value is None or getattr(row, key) == value]
        counts = Counter(row.verdict for row in part)
        cells = [value or "all", sum(r.files for r in part), len(part), *(counts[v] or "" for v in verdicts)]
        print("| " + " | ".join(map(str, cells)) + " |")


def summary(rows: Sequence[Row]) -> None:
    """The counts that decide, and the causes of what was explained."""
    counts = Counter(row.verdict for row in rows)
    print("\n| | sources |\n| --- | --- |")
    for verdict, words in VERDICTS.items():
        print(f"| {verdict}{': ' + words if words else ''} | {counts[verdict]} |")
    chosen = [is_equal for row in rows for is_equal in row.chosen]
    print(
        f"\nvolumes chosen from sources of several: {len(chosen)}, equal to another reader's: {sum(chosen)}"
    )
    causes = Counter(re.sub(r"[\d.e+-]+ mm", "… mm", c) for row in rows for c in row.causes.values() if c)
    for words, count in causes.most_common():
        print(f"- {words} ({count})")


def pet() -> None:
    """Bytes of the synthetic PET series, encoded without loss, beside those of its stored pixels."""
    print("\n| stored pixels | bytes | lossless | ratio |\n| --- | --- | --- | --- |")
    for kind in reader_pet.TYPES:
        with tempfile.TemporaryDirectory() as folder:
            series = Path(folder, "pet")
            stored = reader_pet.write_series(series, kind)
            coded = len(api.encode(series, lossless=True))
        print(f"| {kind} | {stored:,} | {coded:,} | {coded / stored:.3f} |", flush=True)


def to_validate(sources: Sequence[Source], rows: Sequence[Row], folder: Path) -> list[Source]:
    """Accepted series of several slices of the modalities that can be written, and the synthetic PET."""
    reader_pet.write_series(folder / "synthetic-1")
    accepted = [
        source
        for source, row in zip(sources, rows, strict=True)
        if row.slices > 1
        and row.verdict in ("equal", "explained")
        and row.modality in reader_written.MODALITIES
    ]
    return [*accepted, *find_sources([folder])]


def default_folders() -> list[Path]:
    """Where pydicom and nibabel keep the files of their tests."""
    specs = [find_spec(name) for name in ("pydicom", "nibabel")]
    return [Path(s.submodule_search_locations[0]) for s in specs if s and s.submodule_search_locations]


def missing() -> list[str]:
    """Packages of other readers that are not installed."""
    return [name for name in ("SimpleITK", "dcm2niix", "highdicom") if find_spec(name) is None]


def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("folders", type=Path, nargs="*")
    parser.add_argument("--only", default="", help="sources whose package or name holds this")
    parser.add_argument("--timeout", type=float, default=120, help="seconds of one read (%(default)g)")
    parser.add_argument("--dciodvfy", action="store_true", help="write series again, validate and read them")
    parser.add_argument("--pet", action="store_true", help="bytes of a synthetic PET series")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    if skipped(*args.folders):
        return
    if absent := missing():
        print(f"skipped: {', '.join(absent)} not installed")
        return
    folders = args.folders or default_folders()
    sources = [s for s in find_sources(folders) if args.only in f"{s.package}/{s.name}"]
    rows = read_all(sources, args.timeout)
    for key in ("package", "modality", "vendor"):
        table(key, rows, key)
    table("reason", [row for row in rows if row.reason], "reason")
    summary(rows)
    written = []
    if args.dciodvfy:
        with tempfile.TemporaryDirectory() as folder:
            written = reader_written.table(to_validate(sources, rows, Path(folder)))
    if args.pet:
        pet()
    args.out.mkdir(parents=True, exist_ok=True)
    found = {"sources": [asdict(row) for row in rows], "written": [asdict(w) for w in written]}
    (args.out / "readers.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
