"""Which of several series in a folder is read, and which of its files.

In: what was found.  Out: the images of one series, and what was left out.
Invariant: between two series that could both be meant nothing is guessed; they are listed.
"""

from __future__ import annotations

import filecmp
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inrcodec.errors import IncompleteSeries, InputError
from inrcodec.io.dicom.files import Found, Image, examine
from inrcodec.io.dicom.terms import code

_LISTED = 5


@dataclass(frozen=True)
class Series:
    """The files of a series."""

    number: str  # digits, "" without one
    files: tuple[Path, ...]


logger = logging.getLogger(__name__)


def series_in(files: Sequence[Path]) -> list[Series]:
    """All series among the files of a folder, by UID; each with the damaged files that may be of it.

    Empty files are nothing where there is no image.
    """
    found = Found()
    examine(files, found)
    numbers = {
        image.series: number if (number := str(image.header.get("SeriesNumber") or "")).isdecimal() else ""
        for image in found.images
    }
    known = {*numbers, *(uid for _, uid in found.without_pixels), *(file.series for file in found.damaged)}
    members: dict[str, set[Path]] = {uid: set() for uid in sorted(known)}
    for image in found.images:
        members[image.series].add(image.path)
    for path, uid in found.without_pixels:
        members[uid].add(path)
    lost = {file.path for file in found.damaged if not file.series}
    if "" not in numbers:  # else they are among the images without a UID
        members.pop("", None)
    if not members:
        lost = {path for path in lost if not path.is_file() or path.stat().st_size}
        members = {"": set()} if lost else {}
    for file in found.damaged:
        members.get(file.series, set()).add(file.path)
    return [Series(numbers.get(uid, ""), tuple(sorted(paths | lost))) for uid, paths in members.items()]


def choose_series(found: Found, requested: str | None = None) -> tuple[list[Image], list[str]]:
    """Images of the series requested by Series Instance UID or series number, or of the only one.

    Localizers are left out and, beside series in space, those without positions (dose reports, screen
    captures). Returns the images and notices of what else the series holds. Raises `InputError` where several
    could be meant, or the requested one is not there; they are listed (`value`: UIDs). Raises
    `IncompleteSeries` for a damaged file, unless it says that it is of another series.
    """
    groups: dict[str, list[Image]] = {}
    for image in found.images:
        groups.setdefault(image.series, []).append(image)
    names = _names(groups)
    lines = {uid: _line(uid, names[uid], group, found) for uid, group in groups.items()}
    uid = _chosen(groups, lines, requested)
    for damaged in found.damaged:
        if damaged.series in ("", uid):
            raise damaged.error()
    for path, of in found.without_pixels:
        if of == uid:
            cause = f"{path} has no pixels, as the other images of its series have"
            raise IncompleteSeries(
                f"{cause}: get the file again, or move it out of the folder", value=str(path)
            )
    _refuse_several_studies(groups[uid])
    for other in groups.keys() - {uid}:
        logger.info("left out series %s", lines[other])
    series = [image for image in groups[uid] if not image.is_localizer]
    notices = []
    if series:  # not all of them are localizers
        notices = [_left_out(image.path, "it is a localizer") for image in groups[uid] if image.is_localizer]
    notices += [_left_out(file.path, f"it {file.cause}") for file in found.damaged]
    notices += _gap_in_numbers(groups[uid])
    return _without_copies(series or groups[uid]), notices


def _refuse_several_studies(images: list[Image]) -> None:
    """A copied series UID must not make one volume of two patients."""
    studies = {str(image.header.get("StudyInstanceUID") or ""): image.path for image in images}
    if len(studies) > 1:
        first, second, *_ = studies.values()
        cause = f"images of {len(studies)} studies have one series UID, such as {first} and {second}"
        remedy = "put each study into a folder of its own"
        raise IncompleteSeries(f"{cause}: {remedy}", value=(str(first), str(second)))


def _gap_in_numbers(images: list[Image]) -> list[str]:
    """A notice of instance numbers that no file has: a lost slice at an end leaves no gap in space."""
    stated = {str(image.header.get("InstanceNumber") or "").strip() for image in images}
    if not all(number.isdecimal() for number in stated) or len(stated) < len(images):
        return []  # not numbered one by one
    numbers = set(map(int, stated))
    missing = sorted(set(range(1, max(numbers) + 1)) - numbers) if max(numbers) <= 2 * len(numbers) else []
    if not missing:
        return []
    listed = ", ".join(map(str, missing[:_LISTED])) + (" ..." if len(missing) > _LISTED else "")
    return [f"no image has the instance number {listed}: slices may be missing at an end of the series"]


def _left_out(path: Path, cause: str) -> str:
    return f"{path} is left out: {cause}"


def _chosen(groups: dict[str, list[Image]], lines: dict[str, str], requested: str | None) -> str:
    """UID of the series that is meant."""
    listing = "".join(f"\n  {lines[uid]}" for uid in sorted(groups, key=lambda uid: (-len(groups[uid]), uid)))
    if requested is None:
        chosen = _likely(groups)
        message = f"{len(groups)} are there, choose one by its number or UID:{listing}"
    else:
        chosen = [uid for uid in groups if requested == uid]
        chosen = chosen or [uid for uid, group in groups.items() if requested in _numbers(group)]
        cause = "is not there" if not chosen else "is the number of several"
        message = f"{requested} {cause}, name one of these:{listing}"
    if len(chosen) != 1:
        raise InputError(message, value=list(groups), option="series")
    return chosen[0]


def _names(groups: dict[str, list[Image]]) -> dict[str, str]:
    """What a series is called in a list: its number, or its UID where that is not told by a number.

    A UID leads to a person, and so may a description: neither is said without need.
    """
    numbers = {uid: str(group[0].header.get("SeriesNumber") or "").strip() for uid, group in groups.items()}
    times = Counter(number.lstrip("0") for number in numbers.values())
    return {
        uid: number if number.isdecimal() and times[number.lstrip("0")] == 1 else uid
        for uid, number in numbers.items()
    }


def _numbers(group: list[Image]) -> set[str]:
    """Series number as it is written and without leading zeros."""
    number = str(group[0].header.get("SeriesNumber") or 0).strip()
    return {number, number.lstrip("0") or "0"} if "SeriesNumber" in group[0].header else set()


def _likely(groups: dict[str, list[Image]]) -> list[str]:
    """Series left after dropping, as long as others remain, localizers and then images without a place."""
    left = list(groups)
    for holds in (lambda image: not image.is_localizer, _has_place):
        left = [uid for uid in left if any(holds(image) for image in groups[uid])] or left
    return left


def _has_place(image: Image) -> bool:
    return any(word in image.header for word in ("ImagePositionPatient", "PerFrameFunctionalGroupsSequence"))


def _without_copies(images: list[Image]) -> list[Image]:
    """Without files that equal an earlier one byte for byte (folders copied into one another)."""
    seen: dict[str, Path] = {}
    kept = []
    for image in images:
        uid = str(image.header.get("SOPInstanceUID") or image.path)
        if uid in seen and filecmp.cmp(seen[uid], image.path, shallow=False):
            logger.info("left out %s, a copy of %s", image.path, seen[uid])
            continue
        seen.setdefault(uid, image.path)
        kept.append(image)
    return kept


def _line(uid: str, name: str, group: list[Image], found: Found) -> str:
    """A series in the list: all of its files, and how many of them are something else than its slices."""
    header = group[0].header
    empty = sum(of == uid for _, of in found.without_pixels)
    damaged = sum(file.series == uid != "" for file in found.damaged)
    parts = {
        "localizers": sum(image.is_localizer for image in group),
        "without a position": sum(not _has_place(image) for image in group),
        "without pixels": empty,
        "damaged": damaged,
    }
    count = len(group) + empty + damaged
    several = ", ".join(f"{number} {what}" for what, number in parts.items() if number)
    facts = [
        f"{count} file{'' if count == 1 else 's'}{several and f' ({several})'}",
        f"{header.get('Columns')}x{header.get('Rows')}",
        code(header.get("Modality") or ""),
    ]
    return f"{name or '(no UID)'}  {', '.join(filter(None, facts))}"
