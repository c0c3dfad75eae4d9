"""Which files of a folder are images, and which series to read.

In: a folder as a hospital hands it out, a file or a DICOMDIR.  Out: the headers of one series.
Invariant: between two series that could both be meant nothing is guessed; they are listed.
"""

from __future__ import annotations

import filecmp
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydicom
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, MediaStorageDirectoryStorage

from inrcodec.errors import InputError

if TYPE_CHECKING:
    from pydicom import Dataset

logger = logging.getLogger(__name__)

# All that reading needs of a header. What is not listed is not parsed, and identity is not listed.
TAGS = [
    *("ImageType", "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription"),
    *("Modality", "InstanceNumber", "AcquisitionNumber", "AcquisitionTime", "EchoTime", "EchoNumbers"),
    *("TemporalPositionIdentifier", "TriggerTime", "DiffusionBValue", "PatientPosition", "SliceThickness"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept", "RescaleType"),
    *("ModalityLUTSequence", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
]
_MAGIC_AT = 128
# Tags (7FE0,0008), (7FE0,0009) and (7FE0,0010) as bytes, little-endian and big-endian.
_PIXELS = {tag for last in (8, 9, 16) for tag in (bytes((0xE0, 0x7F, last, 0)), bytes((0x7F, 0xE0, 0, last)))}


@dataclass(frozen=True)
class Image:
    """A file with pixels, and its header without them."""

    path: Path
    header: Dataset

    @property
    def series(self) -> str:
        """Series Instance UID."""
        return str(self.header.get("SeriesInstanceUID") or "")

    @property
    def is_localizer(self) -> bool:
        """Whether this is a scout, which only serves to plan the scan."""
        return "LOCALIZER" in [str(v).upper() for v in _values(self.header.get("ImageType"))]


def find_images(source: Path) -> list[Image]:
    """Headers of all images in a folder (with its subfolders), in one file, or beside a DICOMDIR.

    Parameters
    ----------
    source : Path
        Folder, file or DICOMDIR. Other kinds of files are skipped.

    Raises
    ------
    InputError
        There is no image, or a DICOM file cannot be parsed.
    """
    folder = source.parent if source.name.upper() == "DICOMDIR" else source
    paths = _walk(folder) if folder.is_dir() else [folder]
    images = [image for path in paths if (image := _open(path)) is not None]
    if not images:
        raise InputError(
            f"no DICOM image in {source} ({len(paths)} files examined), "
            "pass a folder of DICOM images or a .nii, .nii.gz, .npy or .npz file",
            value=str(source),
        )
    return images


def choose_series(images: list[Image], requested: str | None = None) -> list[Image]:
    """Images of one series.

    Parameters
    ----------
    images : list of Image
        Not empty.
    requested : str, optional
        Series Instance UID, or a series number. Without it: the only series, leaving out localizers and,
        beside series in space, those without positions (dose reports, screen captures).

    Raises
    ------
    InputError
        Several series could be meant, or the requested one is not there; they are listed (`value`: UIDs).
    """
    groups: dict[str, list[Image]] = {}
    for image in images:
        groups.setdefault(image.series, []).append(image)
    if requested is not None:
        chosen = [uid for uid in groups if requested == uid] or [
            uid for uid, group in groups.items() if str(group[0].header.get("SeriesNumber")) == requested
        ]
        if len(chosen) != 1:
            cause = "is not there" if not chosen else "is the number of several"
            raise InputError(
                f"{requested} {cause}, name one by UID:{_listing(groups)}",
                value=list(groups),
                option="series",
            )
    else:
        chosen = _likely(groups)
        if len(chosen) != 1:
            listing = _listing({uid: groups[uid] for uid in chosen})
            message = f"{len(chosen)} are there, choose one by its UID:{listing}"
            raise InputError(message, value=chosen, option="series")
    for uid in groups.keys() - set(chosen):
        logger.info("left out series %s", _line(uid, groups[uid]))
    series = groups[chosen[0]]
    return _without_copies([image for image in series if not image.is_localizer] or series)


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


def _walk(folder: Path) -> list[Path]:
    """All files below a folder, sorted: the result must not depend on the file system's order."""
    paths = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(path for path in paths if path.is_file())


def _open(path: Path) -> Image | None:
    """Header of a file, or None if it is not a DICOM image."""
    try:
        return _parse(path)
    except OSError as error:
        cause = (error.strerror or str(error)).lower()
        raise InputError(f"cannot read {path}: {cause}", value=str(path)) from error
    except Exception as error:  # a parser of foreign bytes may raise anything
        raise InputError(f"{path} is not a valid DICOM file: {error}", value=str(path)) from error


def _parse(path: Path) -> Image | None:
    with path.open("rb") as stream:
        start = stream.read(_MAGIC_AT + 4)
        if not _looks_like_dicom(start):
            return None
        stream.seek(0)
        header = pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=list(TAGS))
        # The stream is now where the pixels start; in a deflated file that says nothing.
        tail = stream.read(4)
    for part in (header.file_meta, header):
        for _ in part.iterall():  # pydicom converts a value when it is read: a malformed one fails here
            pass
    meta = header.file_meta
    if meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage or "Rows" not in header:
        return None  # a DICOMDIR, a report, a presentation state, structures ...
    if "TransferSyntaxUID" not in meta:
        meta.TransferSyntaxUID = (
            ImplicitVRLittleEndian  # what a file without meta information is, by definition
        )
    if tail not in _PIXELS and meta.TransferSyntaxUID != DeflatedExplicitVRLittleEndian:
        logger.info("left out %s, it has no pixel data", path)
        return None
    return Image(path, header)


def _looks_like_dicom(start: bytes) -> bool:
    """The magic, or, in files from before it, a first element of group 2 or 8."""
    if start[_MAGIC_AT:] == b"DICM":
        return True
    return len(start) > 8 and start[:2] in (b"\x02\x00", b"\x08\x00") and start[3] == 0


def _listing(groups: dict[str, list[Image]]) -> str:
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return "".join(f"\n  {_line(uid, group)}" for uid, group in ordered)


def _line(uid: str, group: list[Image]) -> str:
    header = group[0].header
    facts = [
        f"{len(group)} {'file' if len(group) == 1 else 'files'}",
        f"{header.get('Columns')}x{header.get('Rows')}",
        str(header.get("Modality") or ""),
        f"number {header.get('SeriesNumber')}" if header.get("SeriesNumber") is not None else "",
        str(header.get("SeriesDescription") or ""),
    ]
    return f"{uid or '(no UID)'}  {', '.join(fact for fact in facts if fact)}"


def _values(element: Any) -> list[Any]:
    """Values of an element that may be absent, single or multiple."""
    if element is None:
        return []
    return [element] if isinstance(element, str) or not hasattr(element, "__iter__") else list(element)
