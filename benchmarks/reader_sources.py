"""Finds the images of ``readers.py`` in folders, and what their headers say of them.

A source is the files of one series in one folder, or one file that is no part of a series.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

ENDINGS = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh", ".hdr")
TAGS = [
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "Manufacturer", "Rows", "Columns"),
    *("NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PixelSpacing", "BitsAllocated"),
    *("ImagePositionPatient", "ImageOrientationPatient", "ModalityLUTSequence", "RescaleSlope", "ImageType"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "PixelRepresentation"),
    *("BitsStored", "DoseGridScaling", "GridFrameOffsetVector"),
]
SAME_DIRECTION = 1e-3  # cosines of planes of one stack
UNEVEN = 1.3  # times the smallest gap between slices
MAKERS = (
    *(("SIEMENS", "Siemens"), ("GE ", "GE"), ("GEMS", "GE"), ("G.E.", "GE"), ("PHILIPS", "Philips")),
    *(
        ("TOSHIBA", "Toshiba"),
        ("FUJI", "Fujifilm"),
        ("AGFA", "Agfa"),
        ("ALOKA", "Aloka"),
        ("ELEKTA", "Elekta"),
    ),
    *(("VARIAN", "Varian"), ("SONOSITE", "SonoSite"), ("TERATECH", "Teratech"), ("UIH", "UIH")),
)
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


@dataclass
class Source:
    """Files of one series, or one file."""

    package: str
    name: str
    files: list[Path]
    headers: list[Any] = field(default_factory=list)  # of DICOM

    @property
    def is_dicom(self) -> bool:
        return bool(self.headers)

    def stage(self, folder: Path) -> list[Path]:
        """The files alone in a folder, decompressed where they end in .gz but NIfTI."""
        staged = []
        for index, path in enumerate(self.files):
            if self.is_dicom and path.suffix == ".gz":
                target = folder / f"{index:05d}-{path.stem}"
                with gzip.open(path) as stream, target.open("wb") as out:
                    shutil.copyfileobj(stream, out)
            elif self.is_dicom:
                target = folder / f"{index:05d}-{path.name}"
                shutil.copyfile(path, target)
            else:  # a header may name the file of its voxels
                target = path
            staged.append(target)
        return staged

    @property
    def has_place(self) -> bool:
        """Whether positions, directions and spacings are there, so that readers need invent none."""
        if not self.is_dicom:
            return True
        words = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
        return all(
            h.get("PerFrameFunctionalGroupsSequence") or all(h.get(word) for word in words)
            for h in self.headers
        )

    @property
    def is_text(self) -> bool:
        """Whether a header of MetaImage or NRRD says, or leaves unsaid, that its voxels are text."""
        with self.files[0].open("rb") as stream:
            words = stream.read(4096).lower().replace(b" ", b"")
        if self.modality in (".mha", ".mhd"):
            return b"binarydata=true" not in words
        return self.modality in (".nrrd", ".nhdr") and (b"encoding:t" in words or b"encoding:ascii" in words)

    @property
    def vendor(self) -> str:
        """Name of the maker, one for each; what is no maker of scanners is "another"."""
        if not self.headers:
            return "(no DICOM)"
        words = str(self.headers[0].get("Manufacturer") or "").upper()
        named = (maker for part, maker in MAKERS if part in words)
        return next(named, "another" if words else "not named")

    @property
    def modality(self) -> str:
        """Of DICOM as its header says, else the ending."""
        if self.headers:
            return str(self.headers[0].get("Modality") or "none")
        name = self.files[0].name.lower()
        return max((ending for ending in ENDINGS if name.endswith(ending)), key=len)


def find_sources(folders: Iterable[Path]) -> Iterator[Source]:
    """All sources below the folders, without copies of earlier ones.

    The package is the name of a folder or, where it holds unpacked packages, of the one below it.
    """
    seen: set[tuple[str, ...]] = set()
    for folder in folders:
        inside = [p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith(".")]
        parts = inside if any("-" in p.name for p in inside) else [folder]  # a folder of unpacked packages
        for part in parts:
            for source in _sources_of(part):
                if (content := _content(source.files)) not in seen:
                    seen.add(content)
                    yield source


def _content(files: list[Path]) -> tuple[str, ...]:
    """Digests of the files, whatever their names and order."""
    digests = []
    for path in files:
        with path.open("rb") as stream:
            digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return tuple(sorted(digests))


def _sources_of(root: Path) -> Iterator[Source]:
    package = root.name
    for parent, folders, names in os.walk(root):
        folders.sort()
        groups: dict[str, Source] = {}
        known: set[str] = set()
        for path in sorted(Path(parent, name) for name in names):
            where = str(path.relative_to(root))
            if path.name.lower().endswith(ENDINGS):
                yield Source(package, where, [path])
                continue
            header = _header(path)
            if header is None:
                continue
            series, instance = (str(header.get(f"{w}InstanceUID") or "") for w in ("Series", "SOP"))
            alone = not series or "Rows" not in header or instance in known or not _is_placed(header)
            known.add(instance)
            key = where if alone else series + path.suffix * (path.suffix == ".gz")
            groups.setdefault(key, Source(package, where, [])).files.append(path)
            groups[key].headers.append(header)
        yield from groups.values()


def _header(path: Path) -> Any:
    """Header of a DICOM file, compressed or not; None of another."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as stream:
            start = stream.read(132)
            if start[128:] != b"DICM" and path.suffix.lower() not in (".dcm", ".ima"):
                return None
            stream.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return pydicom.dcmread(stream, force=True, defer_size=64, specific_tags=[*TAGS, *PIXELS])
    except Exception:  # a broken file is a source as well
        return pydicom.Dataset() if path.suffix.lower() in (".dcm", ".ima") else None


def facts(headers: list[Any]) -> set[str]:
    """What the headers of a source say that makes it no volume, by plain rules of this file alone."""
    if "Rows" not in headers[0]:
        return {"not an image"}
    pixels = any(word in headers[0] for word in PIXELS)
    try:
        return _kinds(headers) | _places(headers) | (set() if pixels else {"not an image"})
    except (ValueError, TypeError, OverflowError):  # a number that is not one
        return {"malformed"}


def _kinds(headers: list[Any]) -> set[str]:
    found = set()
    for h in headers:
        frames, own = int(h.get("NumberOfFrames") or 1), h.get("PerFrameFunctionalGroupsSequence")
        tests = {
            "colour": h.get("SamplesPerPixel", 1) != 1
            or "PALETTE" in str(h.get("PhotometricInterpretation")),
            "frames without places": frames > 1 and own is None and not dose_places(h),
            "frames miscounted": own is not None and len(own) != frames,
            "table": bool(h.get("ModalityLUTSequence")),
            "mosaic": "MOSAIC" in str(h.get("ImageType")).upper(),
        }
        found |= {name for name, is_so in tests.items() if is_so}
    words = ("Rows", "Columns", "Modality", "PhotometricInterpretation")
    if len({tuple(str(h.get(w)) for w in words) for h in headers}) > 1:
        found.add("mixed")
    return found


def _places(headers: list[Any]) -> set[str]:
    every = [holders for header in headers for holders in groups_of(header)]
    if len(every) == 1:
        return set()
    found = set()
    places = [attribute(holders, "PlanePositionSequence", "ImagePositionPatient") for holders in every]
    turns = [attribute(holders, "PlaneOrientationSequence", "ImageOrientationPatient") for holders in every]
    if any(place is None for place in places):
        return {"no positions"}
    cosines = np.array([[float(v) for v in turn] for turn in turns if turn])
    if len(cosines) and np.ptp(cosines, axis=0).max() > SAME_DIRECTION:
        found.add("mixed")
    positions = np.array([[float(v) for v in place] for place in places])
    direction = np.cross(cosines[0, :3], cosines[0, 3:]) if len(cosines) else np.ptp(positions, axis=0)
    heights, counts = np.unique(np.round(positions @ direction, 2), return_counts=True)
    if counts.max() > 1:
        found.add("4-D" if counts.min() == counts.max() else "duplicates")
    gaps = np.diff(heights)
    if len(gaps) > 1 and gaps.max() > UNEVEN * gaps.min():
        found.add("uneven gaps")
    return found


def dose_places(header: Any) -> list[Any]:
    """Positions of the planes of a dose, which holds them as offsets along the normal (PS3.3, C.8.8.3.2)."""
    offsets = [float(v) for v in header.get("GridFrameOffsetVector") or []]
    place, turn = header.get("ImagePositionPatient"), header.get("ImageOrientationPatient")
    if len(offsets) != int(header.get("NumberOfFrames") or 1) or not place or not turn:
        return []
    normal = np.cross([float(v) for v in turn[:3]], [float(v) for v in turn[3:]])
    return [np.array([float(v) for v in place]) + (offset - offsets[0]) * normal for offset in offsets]


def groups_of(header: Any) -> list[list[Any]]:
    """For each plane of a file what may hold its attributes: its own groups, the shared ones, the file."""
    own = header.get("PerFrameFunctionalGroupsSequence")
    if own:
        shared = header.get("SharedFunctionalGroupsSequence") or [None]
        return [[item, shared[0], header] for item in own]
    return [[{"ImagePositionPatient": place}, header] for place in dose_places(header)] or [[header]]


def attribute(holders: list[Any], group: str, word: str) -> Any:
    """Value of an attribute in the first of the holders that has it, in a functional group or at its root."""
    for holder in holders:
        for dataset in (holder and (holder.get(group) or [None])[0], holder):
            value = dataset.get(word) if dataset is not None else None
            if value is not None and str(value):
                return value
    return None


def _is_placed(header: Any) -> bool:
    return any(header.get(word) for word in ("ImagePositionPatient", "PerFrameFunctionalGroupsSequence"))
