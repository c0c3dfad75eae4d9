"""What ``dciodvfy`` (Debian's ``dicom3tools``) says of series that were written, and of their sources."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from reader_sources import Source

from inrcodec import io

MODALITIES = ("CT", "MR", "PT")


@dataclass(frozen=True)
class Verified:
    """Errors of one series; ``new`` are those of ours that no file of the source has."""

    name: str
    modality: str
    slices: int
    source: int
    ours: int
    new: tuple[str, ...]
    template: bool


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


def verified(source: Source) -> list[Verified]:
    """A series written again, without a template and with its source as one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "source")
        folder.mkdir()
        files = source.stage(folder)
        volume = io.read(folder)
        before = errors_in(files)
        rows = []
        for template in (None, folder):
            out = Path(name, "with" if template else "without")
            io.write(volume, out, template=template)
            ours = errors_in(sorted(out.iterdir()))
            new = tuple(sorted(ours - before))
            label = f"{source.package}: {Path(source.name).parent.name or source.name}"
            rows.append(
                Verified(
                    label, source.modality, len(volume.array), len(before), len(ours), new, bool(template)
                )
            )
        return rows


def table(sources: list[Source]) -> list[Verified]:
    """Print the errors of all series of more than one slice, in Markdown."""
    if which("dciodvfy") is None:
        print("\nskipped: dciodvfy is not here (Debian's dicom3tools)")
        return []
    print("\n| series | modality | slices | errors of the source | ours | ours, with template | new |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    found: list[Verified] = []
    for source in sources:
        without, with_template = verified(source)
        found += [without, with_template]
        new = "; ".join(sorted({*without.new, *with_template.new})) or "none"
        counts = (without.slices, without.source, without.ours, with_template.ours)
        cells = (without.name, without.modality, *counts, new)
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    total = len({(row.name, word) for row in found for word in row.new})
    print(f"\nerrors that the source did not have: {total} in {len(found) // 2} series (target 0)")
    return found
