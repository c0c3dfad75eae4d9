"""Series that this package writes as DICOM: what validates them finds, and what other readers read.

``dciodvfy`` (Debian's ``dicom3tools``) is asked about the written series and about their sources: an error
counts that the source does not have.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from reader_causes import cause
from reader_grids import Grid, closest
from reader_oracles import DICOM
from reader_sources import Source, find_sources

from inrcodec import Volume, io

MODALITIES = ("CT", "MR", "PT")


@dataclass(frozen=True)
class Written:
    """One series that was written; ``new`` are kinds of errors that no file of the source has."""

    name: str
    modality: str
    slices: int
    source: int  # kinds of errors of the source's files
    alone: int  # of ours, without a template
    template: int  # of ours, with the source as template
    new: tuple[str, ...]
    differing: tuple[str, ...]  # readers that read another volume than was written


def errors_of(text: str) -> set[str]:
    """Kinds of errors in what ``dciodvfy`` printed: values, UIDs and file names left out."""
    lines = (line.strip() for line in text.splitlines() if line.startswith("Error"))
    return {re.sub(r'"[^"]*"|= ?<[^>]*>$|\b[\d.]{9,}\b', "…", line) for line in lines}


def errors_in(files: list[Path]) -> set[str]:
    """Kinds of errors in any of the files."""
    found: set[str] = set()
    for path in files:
        done = subprocess.run(["dciodvfy", str(path)], capture_output=True, check=False)
        found |= errors_of((done.stdout + done.stderr).decode("latin-1"))
    return found


def written(source: Source) -> Written:
    """A series written again, without a template and with its source as one, validated and read by others."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "source")
        folder.mkdir()
        before = errors_in(source.stage(folder))
        volume = io.read(folder)
        found = []
        for template in (None, folder):
            out = Path(name, "with" if template else "without")
            io.write(volume, out, template=template)
            found.append(errors_in(sorted(out.iterdir())))
        return Written(
            name=f"{source.package}: {'/'.join(Path(source.name).parts[-3:-1]) or source.name}",
            modality=source.modality,
            slices=len(volume.array),
            source=len(before),
            alone=len(found[0]),
            template=len(found[1]),
            new=tuple(sorted((found[0] | found[1]) - before)),
            differing=tuple(differing(volume, out)),
        )


def differing(volume: Volume, folder: Path) -> Iterator[str]:
    """Other readers that make of a written series another volume than its headers say, or none."""
    mine = Grid(volume.values(), volume.affine)
    (source,) = find_sources([folder])
    for name, reader in DICOM.items():
        try:
            difference, theirs = closest(mine, reader(source.files))
        except Exception as error:  # of any library
            yield f"{name}: {error}"
            continue
        if not difference.equal and not cause(source, name, mine, theirs, difference):
            yield f"{name}: {difference}"


def table(sources: list[Source]) -> list[Written]:
    """Print what was found about each source, in Markdown."""
    if which("dciodvfy") is None:
        print("\nskipped: dciodvfy is not here (Debian's dicom3tools)")
        return []
    titles = ("series", "modality", "slices", "errors of the source", "ours", "with template", "new")
    print("\n| " + " | ".join((*titles, "read otherwise")) + " |")
    print("| --- " * (len(titles) + 1) + "|")
    found = []
    for source in sources:
        row = written(source)
        counts = (row.slices, row.source, row.alone, row.template)
        lists = ("; ".join(words) or "none" for words in (row.new, row.differing))
        print("| " + " | ".join(map(str, (row.name, row.modality, *counts, *lists))) + " |", flush=True)
        found.append(row)
    total = sum(len(row.new) for row in found)
    print(f"\nerrors that the source did not have: {total} in {len(found)} series (target 0)")
    return found
