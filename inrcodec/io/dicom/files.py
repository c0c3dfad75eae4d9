"""Which files of a folder are images, and which ought to be and cannot be read.

In: a folder, a file or a DICOMDIR.  Out: headers, and where the pixels of each file start.
Invariant: a file that may hold an image is read, or named as damaged; only what is certainly something else
is skipped without a word.
"""

from __future__ import annotations

import gzip
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from pydicom import Dataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from inrcodec.errors import IncompleteSeries, InputError, reason
from inrcodec.io.dicom import pet
from inrcodec.io.dicom.terms import values_of

logger = logging.getLogger(__name__)

# All that reading needs of a header. What is not listed is not parsed. Identity is not listed, but for the
# study's UID, which is compared and goes nowhere.
TAGS: list[Any] = [
    "StudyInstanceUID",
    *("ImageType", "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription"),
    *("Modality", "InstanceNumber", "AcquisitionNumber", "AcquisitionTime", "EchoTime", "EchoNumbers"),
    *("AcquisitionDate", "AcquisitionDateTime", "ContentTime", "FlipAngle", "InversionTime", "KVP"),
    *("TemporalPositionIdentifier", "TriggerTime", "DiffusionBValue", "DiffusionGradientOrientation"),
    *("DimensionIndexSequence", "PatientPosition", "SliceThickness", "SpacingBetweenSlices"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing"),
    *("Rows", "Columns", "NumberOfFrames", "FrameIncrementPointer"),
    *("SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "FrameOfReferenceUID"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept", "RescaleType"),
    *("ModalityLUTSequence", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *pet.TAGS,
    *("GridFrameOffsetVector", "DoseGridScaling", "DoseUnits"),
    *("SegmentationType", "SegmentSequence", "MaximumFractionalValue"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    # Private: creators of the blocks, and what makers say of diffusion and of the parts of a complex number.
    *(0x00190010, 0x0019100C, 0x0019100E),  # Siemens: b-value, direction
    *(0x001910BB, 0x001910BC, 0x001910BD, 0x00430010, 0x00431039, 0x0043102F),  # GE: the same, kind of image
    *(0x20010010, 0x20011003, 0x20050010, 0x200510B0, 0x200510B1, 0x200510B2),  # Philips
    *(0x00650010, 0x00651009, 0x00651037, 0x00651050, 0x00651051),  # United Imaging, with slices of a grid
    *(0x0019100A, 0x00290010, 0x00290011, 0x00291010, 0x00291110),  # Siemens: slices of a mosaic
]
_TAGS: list[BaseTag | int] = [Tag(word) for word in TAGS]
STRUCTURES = "RTSTRUCT"
UNDEFINED = 0xFFFFFFFF  # length of an element that ends with a delimiter
_MAGIC_AT, _MAGIC = 128, b"DICM"
_PIXELS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
_GZIP = b"\x1f\x8b"
_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"  # little-endian, as all compressed pixels are
_ENDINGS = (".dcm", ".dicom", ".ima")
# Endings of what lies beside images on discs and in archives. Any other name may be that of an image.
_OTHER_KINDS = frozenset(
    ".txt .md .rtf .doc .docx .pdf .htm .html .css .js .xml .xsl .json .csv .tsv .xls .xlsx .log .inf .ini "
    ".cfg .bat .sh .py .exe .dll .msi .jar .app .ico .icns .db .lnk .url .zip .7z .rar .tar .iso .jpg .jpeg "
    ".png .gif .bmp .tif .tiff .svg .mp4 .avi .mov .mpg .wav .nii .nrrd .mha .mhd .npy .npz .mat .bval .bvec "
    ".inrv .part .md5 .sha256".split()
)


@dataclass(frozen=True)
class Pixels:
    """The element of a file that holds its pixels."""

    keyword: str
    vr: str | None  # None where it is implicit
    start: int  # of the value, in bytes from the start of the file; in a deflated file it means nothing
    length: int  # in bytes, or `UNDEFINED`


@dataclass(frozen=True)
class Image:
    """A file that is an image, and its header without the pixels."""

    path: Path
    header: Dataset
    pixels: Pixels

    @property
    def series(self) -> str:
        """Series Instance UID."""
        return str(self.header.get("SeriesInstanceUID") or "")

    @property
    def is_localizer(self) -> bool:
        """Whether this is a scout, which only serves to plan the scan."""
        return "LOCALIZER" in [str(v).upper() for v in values_of(self.header, "ImageType")]


@dataclass(frozen=True)
class Damaged:
    """A file that may belong to the series and cannot be read."""

    path: Path
    cause: str
    series: str = ""  # Series Instance UID, "" if unknown

    def error(self) -> IncompleteSeries:
        """The refusal."""
        remedy = "get the file again, or move it out of the folder if it is of no concern"
        return IncompleteSeries(f"{self.path} {self.cause}: {remedy}", value=str(self.path))


@dataclass
class Found:
    """What a folder holds."""

    images: list[Image] = field(default_factory=list)
    damaged: list[Damaged] = field(default_factory=list)
    without_pixels: list[tuple[Path, str]] = field(
        default_factory=list
    )  # headers of images, and their series
    notices: list[str] = field(default_factory=list)
    other_kinds: set[str] = field(default_factory=set)  # modalities of what is DICOM and no image


class _Damage(Exception):
    """Why a file that should be an image is none."""


def find_images(source: Path | Sequence[Path]) -> Found:
    """Headers of all images in a folder (with its subfolders), in one file or several, or beside a DICOMDIR.

    Raises `InputError` without any image; as `IncompleteSeries` if there are only damaged ones.
    """
    found = Found()
    if not isinstance(source, Path):
        paths, source = list(source), source[0].parent
    elif not source.exists():
        raise InputError(f"{source} does not exist, check the path", value=str(source))
    else:
        folder = source.parent if source.name.upper() == "DICOMDIR" else source
        paths = list(_walk(folder, found)) if folder.is_dir() else [folder]
    examine(paths, found)
    if not found.images and found.damaged:
        raise found.damaged[0].error()
    if not found.images:
        empty = f", {len(found.without_pixels)} of them images without pixels" if found.without_pixels else ""
        if STRUCTURES in found.other_kinds:
            raise InputError(
                f"{source} holds outlines of structures ({STRUCTURES}), which are not voxels: turn them into "
                "a label map first (dcmrtstruct2nii or plastimatch do that)",
                value=STRUCTURES,
            )
        raise InputError(
            f"no DICOM image in {source} ({len(paths)} files examined{empty}), "
            "pass a folder of DICOM images or a .nii, .nii.gz, .npy or .npz file",
            value=str(source),
        )
    return found


def examine(paths: Iterable[Path], found: Found) -> None:
    """Put every file where it belongs in what was found."""
    _check_others([path for path in paths if not _open(path, found)], found)


def _walk(folder: Path, found: Found) -> Iterator[Path]:
    """All files below a folder, sorted: the result must not depend on the file system's order."""

    def fail(error: OSError) -> None:
        raise IncompleteSeries(
            f"cannot look into {error.filename}: {reason(error)}, a part of the series may be there",
            value=str(error.filename),
        ) from error

    paths = []
    for parent, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            if Path(parent, name).is_symlink():
                found.notices.append(f"the linked folder {Path(parent, name)} was not searched")
        paths += [Path(parent, name) for name in names if not name.startswith(".")]
    # A link that leads nowhere may have been an image; pipes and devices are none.
    yield from sorted(path for path in paths if path.is_file() or path.is_symlink())


def _open(path: Path, found: Found) -> bool:
    """Put a file where it belongs; False if it does not look like DICOM."""
    try:
        with path.open("rb") as stream:
            return _sort(path, stream, found)
    except OSError as error:
        cause = "is a link to nothing" if path.is_symlink() and not path.exists() else ""
        if not _is_other_kind(path):
            found.damaged.append(Damaged(path, cause or f"cannot be read ({reason(error)})"))
    return True


def _sort(path: Path, stream: BinaryIO, found: Found) -> bool:
    start = stream.read(_MAGIC_AT + 4)
    if start[:2] == _GZIP and (cause := _zipped(path)):
        found.damaged.append(Damaged(path, cause))
        return True
    if not _looks_like_dicom(start):
        if not start and not _is_other_kind(path):
            found.damaged.append(Damaged(path, "is empty"))
        return not start
    stream.seek(0)
    seen = _Parse(stream)
    try:
        header = seen.header()
        pixels = seen.image()
    except OSError:
        raise
    except Exception as error:  # a parser of foreign bytes may raise anything
        certain = start[_MAGIC_AT:] == _MAGIC or "SOPClassUID" in seen.found
        if certain or not _is_other_kind(path):
            cause = (
                str(error) if isinstance(error, _Damage) else f"is not a valid DICOM file ({reason(error)})"
            )
            found.damaged.append(Damaged(path, cause, seen.series()))
        return True
    if pixels is not None:
        found.images.append(Image(path, header, pixels))
    elif "Rows" not in header and "Modality" in header:
        found.other_kinds.add(str(header.Modality))
    elif "Rows" in header and seen.pixels is None:
        found.without_pixels.append((path, str(header.get("SeriesInstanceUID") or "")))
    return True


class _Parse:
    """Header of one file, and a view on where its elements end."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.size = stream, os.fstat(stream.fileno()).st_size
        self.found: Dataset = Dataset()
        self.end, self.length = 0, 0  # of the last element that was seen
        self.pixels: Pixels | None = None

    def _stop(self, tag: int, vr: str | None, length: int) -> bool:
        """See each element of the data set; stop before the pixels."""
        start = self.stream.tell()
        self.end, self.length = start + (0 if length == UNDEFINED else length), length
        if int(tag) in _PIXELS:
            self.pixels = Pixels(_PIXELS[int(tag)], vr, start, length)
        return int(tag) in _PIXELS

    def header(self) -> Dataset:
        """All of `TAGS` that the file has."""
        header = read_partial(self.stream, self._stop, force=True, specific_tags=_TAGS)
        self.found = header
        for part in (header.file_meta, header):
            for _ in part.iterall():  # pydicom converts a value when it is read: a malformed one fails here
                pass
        if "TransferSyntaxUID" not in header.file_meta:
            header.file_meta.TransferSyntaxUID = _encoding(header)
        return header

    def series(self) -> str:
        """Series Instance UID of a damaged file, "" if that is damaged too."""
        try:
            return str(self.found.get("SeriesInstanceUID") or "")
        except Exception:  # the parser's, on the same bytes again
            return ""

    def image(self) -> Pixels | None:
        """Where the pixels are, None for what is no image; raises `_Damage` for what is not whole."""
        header, syntax = self.found, UID(self.found.file_meta.TransferSyntaxUID)
        kind = UID(str(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID") or ""))
        if kind == MediaStorageDirectoryStorage:
            return None
        is_image, deflated = "Image Storage" in kind.name, syntax == DeflatedExplicitVRLittleEndian
        if self.pixels is None:
            if is_image or not kind.name or kind.name == kind:  # a report or a directory is of no concern
                if not deflated and not self._is_whole():
                    raise _Damage(f"is cut off in its header, after {self.size} bytes")
                if "Rows" not in header and (is_image or not kind):
                    raise _Damage("is cut off or damaged: it should be an image, and its header has no size")
            return None
        if "Rows" not in header or "Columns" not in header:
            raise _Damage("has pixels, and its header no size")
        if deflated:  # whose checks are those of zlib
            return self.pixels
        if self.pixels.length != UNDEFINED and self.end > self.size:
            there = self.size - self.pixels.start
            raise _Damage(f"is cut off: it holds {there} of {self.pixels.length} bytes of its pixels")
        if (self.pixels.length == UNDEFINED) != syntax.is_encapsulated:
            packed = "compressed" if self.pixels.length == UNDEFINED else "uncompressed"
            raise _Damage(f"has {packed} pixels, and says that they are {syntax.name}")
        if syntax.is_encapsulated and not self._has_all_fragments():
            raise _Damage(f"is cut off in its compressed pixels, after {self.size} bytes")
        return self.pixels

    def _is_whole(self) -> bool:
        """Whether the last element of a file without pixels ends with the file."""
        if self.length != UNDEFINED:
            return self.end == self.size
        self.stream.seek(max(0, self.size - 8))
        return self.stream.read(4) in (_END, b"\xff\xfe\xe0\xdd")

    def _has_all_fragments(self) -> bool:
        assert self.pixels is not None
        self.stream.seek(self.pixels.start)
        while len(part := self.stream.read(8)) == 8 and part[:4] == _ITEM:
            self.stream.seek(int.from_bytes(part[4:], "little"), os.SEEK_CUR)
        return part[:4] == _END


def _encoding(header: Dataset) -> UID:
    """Transfer syntax of a file that states none, as the parser found it; without compression."""
    implicit, little = header.original_encoding
    if not little:
        return ExplicitVRBigEndian
    return ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian


def _check_others(others: list[Path], found: Found) -> None:
    """Among files that do not look like DICOM find those that should: named so, or as the images beside."""
    named = {_pattern(image.path) for image in found.images}
    for path in others:
        packed = Path(path.stem).suffix.lower() in _ENDINGS  # such as .dcm.bz2
        like = packed or _pattern(path) in named
        if path.suffix.lower() in _ENDINGS or (like and not _is_other_kind(path)):
            found.damaged.append(Damaged(path, "has the name of a DICOM image and is not one"))


def _pattern(path: Path) -> tuple[Path, str] | None:
    """Folder and name without its numbers; None for a name without any."""
    name = re.sub(r"\d+", "#", path.name)
    return (path.parent, name) if name != path.name else None


def _zipped(path: Path) -> str:
    """What is wrong with a gzip file that holds DICOM; "" for one that holds something else."""
    try:
        with gzip.open(path) as stream:
            start = stream.read(_MAGIC_AT + 4)
    except (OSError, EOFError, ValueError):
        start = b""
    named = Path(path.stem).suffix.lower() in _ENDINGS
    return "is compressed with gzip, gunzip it" if named or _looks_like_dicom(start) else ""


def _looks_like_dicom(start: bytes) -> bool:
    """The magic, or, in files from before it, a first element of group 2 or 8."""
    is_old = len(start) > 8 and (
        (start[:2] in (b"\x02\x00", b"\x08\x00") and start[3] == 0)
        or (start[:3] == b"\x00\x08\x00" and start[4:6].isalpha())  # big-endian, which has explicit types
    )
    return is_old or start[_MAGIC_AT:] == _MAGIC


def _is_other_kind(path: Path) -> bool:
    return path.suffix.lower() in _OTHER_KINDS
