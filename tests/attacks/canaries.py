"""Series of DICOM with a canary in every field that could name a person, and a search for them.

    python tests/attacks/canaries.py [--series 100]

Each series has five files. In each file every element of the standard that holds text, a date, an age or a
UID, and private ones, has a value that occurs nowhere else; what a volume needs, and terms that are not free,
such as the modality, are as a scanner writes them. The series are encoded, decoded to every format, listed,
reported, served and collected, and made to fail; then all bytes that came of it are searched for canaries.

Prints what was searched and what was found, and ends with status 1 if anything was.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import logging
import re
import shutil
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.datadict import DicomDictionary
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

from inrcodec.cli import dec, enc
from inrcodec.cli import info as info_command
from inrcodec.plugins.serve import Volumes

FILES = 5
MARK, ROOT = "KANARI", "1.2.826.0.1.3680043.99999."  # what texts begin with, and UIDs
YEAR = "1877"  # of all dates
TEXT = {"AE": 16, "CS": 16, "LO": 60, "LT": 60, "PN": 60, "SH": 16, "ST": 60, "UC": 60, "UR": 60, "UT": 60}
SEQUENCES = 40  # that hold canaries too
# What a volume is made of, and terms that are not free.
TAKEN = frozenset(
    """Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation SamplesPerPixel NumberOfFrames
    PhotometricInterpretation Modality SOPClassUID ImagePositionPatient ImageOrientationPatient PixelSpacing
    SliceThickness RescaleSlope RescaleIntercept RescaleType SmallestImagePixelValue LargestImagePixelValue
    PixelData SpecificCharacterSet TransferSyntaxUID FrameIncrementPointer PatientPosition SegmentationType
    PlanarConfiguration PixelPaddingValue PixelPaddingRangeLimit ModalityLUTSequence DimensionIndexSequence
    SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence SegmentSequence Units DoseUnits
    LossyImageCompression FloatPixelData DoubleFloatPixelData""".split()
)


class Canaries:
    """Values that occur nowhere else, each with the name of its field."""

    def __init__(self) -> None:
        self.count = 0

    def value(self, vr: str) -> str | None:
        """One more, as its type writes it; None for a type of numbers or bytes."""
        self.count += 1
        if vr in TEXT:
            return f"{MARK}{self.count:06d}"[: TEXT[vr]]
        if vr == "UI":
            return f"{ROOT}{self.count}"
        month, day = 1 + self.count % 12, 1 + self.count // 12 % 28
        return {
            "DA": f"{YEAR}{month:02d}{day:02d}",
            "DT": f"{YEAR}{month:02d}{day:02d}123456",
            "AS": "087Y",
        }.get(vr)


def standard() -> Iterator[tuple[int, str, str]]:
    """Tags, types and keywords of the standard's elements, without those of repeating groups."""
    for tag, (vr, _, _, _, keyword) in sorted(DicomDictionary.items()):
        usual = keyword and keyword not in TAKEN and not 0x60000000 <= tag < 0x61000000
        if usual and tag >> 16 not in (0x0000, 0x0002, 0x0004, 0x7FE0, 0xFFFA, 0xFFFC, 0xFFFE):
            yield tag, vr.split(" or ")[0], keyword


def one_file(canaries: Canaries, shared: dict[str, str], z: int, modality: str) -> Dataset:
    """An image with a canary in every field."""
    image = Dataset()
    image.preamble, image.file_meta = bytes(128), FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID = CTImageStorage
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPInstanceUID = canaries.value("UI")
    image.file_meta.SourceApplicationEntityTitle = canaries.value("AE")
    nested = 0
    for tag, vr, keyword in standard():
        if vr == "SQ" and nested < SEQUENCES:
            nested += 1
            item = Dataset()
            item.CodeMeaning, item.PersonName = canaries.value("LO"), canaries.value("PN")
            image.add_new(tag, vr, Sequence([item]))
        elif (value := canaries.value(vr)) is not None:
            image.add_new(tag, vr, shared.get(keyword, value))
    for group in (0x0009, 0x0019, 0x0029, 0x0043):
        block = image.private_block(group, f"{MARK}{canaries.count}", create=True)
        for element, vr in enumerate(("LO", "PN", "UT", "UI", "DA"), 1):
            block.add_new(element, vr, canaries.value(vr))
        block.add_new(16, "UN", str(canaries.value("LT")).encode())
    image.SOPClassUID = MRImageStorage if modality == "MR" else CTImageStorage
    image.Modality, image.SpecificCharacterSet, image.PatientPosition = modality, "ISO_IR 192", "HFS"
    image.Rows, image.Columns, image.SeriesNumber = 24, 24, 7
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, 2.0 * z], [1, 0, 0, 0, 1, 0]
    image.PixelSpacing, image.SliceThickness = [0.5, 0.5], 2.0
    image.RescaleSlope, image.RescaleIntercept = 1, -1024
    y, x = np.ogrid[:24, :24]
    image.PixelData = (1000 + 20 * z + 9 * y + 5 * x).astype("<i2").tobytes()
    return image


def write_series(folder: Path, canaries: Canaries, modality: str = "CT") -> None:
    """A series of files; what must be alike in a series is the same canary in each."""
    folder.mkdir(parents=True)
    alike = ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName")
    words = ("EchoNumbers", "AcquisitionDateTime", "ImageType", "SeriesDescription", "SeriesNumber")
    kinds = {keyword: vr for _, vr, keyword in standard()}
    shared = {word: canaries.value(kinds[word]) for word in (*alike, *words) if word in kinds}
    shared = {word: value for word, value in shared.items() if value is not None}
    for z in range(FILES):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = one_file(canaries, shared, z, modality)
            image.save_as(folder / f"{z}.dcm", enforce_file_format=False)


SEARCHED = re.compile(
    "|".join((MARK, re.escape(ROOT), YEAR + r"[01]\d[0-3]\d", "087Y")).encode(), re.IGNORECASE
)


def found_in(data: bytes, depth: int = 0) -> list[bytes]:
    """Canaries in bytes, also as UTF-16 and inside gzip and ZIP."""
    found = [data[max(0, m.start() - 24) : m.end() + 24] for m in SEARCHED.finditer(data)]
    found += [b"utf-16 " + m[0] for m in SEARCHED.finditer(data.replace(b"\0", b""))] if not found else []
    if depth < 2 and data[:2] == b"\x1f\x8b":
        found += found_in(gzip.decompress(data), depth + 1)
    if depth < 2 and data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found += [hit for name in archive.namelist() for hit in found_in(archive.read(name), depth + 1)]
    return found


class Search:
    """What was searched, and where canaries were."""

    def __init__(self) -> None:
        self.places, self.bytes, self.hits = 0, 0, list[str]()

    def text(self, what: str, data: bytes | str) -> None:
        raw = data.encode() if isinstance(data, str) else data
        self.places, self.bytes = self.places + 1, self.bytes + len(raw)
        self.hits += [f"{what}: {hit!r}" for hit in found_in(raw)[:3]]

    def folder(self, what: str, folder: Path) -> None:
        for path in sorted(folder.rglob("*")):
            self.text(f"{what}: name of {path.name}", path.name)
            if path.is_file():
                self.text(f"{what}: {path.relative_to(folder)}", path.read_bytes())


def said(command: Callable[[list[str]], int], words: str) -> tuple[int, str]:
    """The exit code of a command, and all that it says on both streams and in logs."""
    out, log = io.StringIO(), io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = command(words.split())
    finally:
        logging.getLogger().removeHandler(handler)
    return code, out.getvalue() + log.getvalue()


FIT = "--base siren --factor 2 --tiles 1,1,1 --width 8 --steps 60 --sr lanczos --threads 1"
ENDINGS = (".nii.gz", ".npy", ".nrrd", ".mha", ".ome.zarr")


def search(series: Path, work: Path, searched: Search, *, wide: bool) -> None:
    """All that can be done with a series."""
    out = work / "out"
    out.mkdir(parents=True)

    def do(command: Callable[[list[str]], int], words: str, expected: tuple[int, ...] = (0,)) -> None:
        code, text = said(command, words)
        searched.text(words.partition(" ")[0] + f" says, exit code {code}", text.replace(str(series), ""))
        if code not in expected:
            raise AssertionError(f"{words}: {code}: {text}")

    do(enc.main, f"{series} {out}/a.inrv --lossless -v")
    do(info_command.main, f"{out}/a.inrv --json")
    do(info_command.main, f"{out}/a.inrv --report {out}/a.html --reference {series} --preview {out}/a.png")
    for ending in (*ENDINGS, "/") if wide else (".nii.gz", "/"):
        do(dec.main, f"{out}/a.inrv {out}/decoded{ending} -v")
    if wide:
        do(enc.main, f"{series} {out}/b.inrv {FIT} -v --resume {out}/fit.safetensors")
        do(enc.main, f"{series} {out}/plan.inrv --dry-run --json")
        do(enc.main, f"-r {series.parent} --output-dir-mirror {out}/many --lossless -v")
    failures(series, work, do)
    volumes = Volumes(out, 1 << 20)
    for name in [name for name in volumes.names() if "/" not in name]:
        for rest in ("/zarr.json", "/0/zarr.json", "/0/c/0/0/0"):
            body = volumes.answer(f"/{name}{rest}").body
            assert isinstance(body, bytes)
            searched.text(f"server: {rest}", body)
    searched.folder("outputs", out)


def failures(series: Path, work: Path, do: Callable[..., None]) -> None:
    """Messages about series that cannot be read."""
    broken = work / "broken"

    def altered(**changes: Any) -> str:

        shutil.rmtree(broken, ignore_errors=True)
        shutil.copytree(series, broken)
        place = sorted(broken.iterdir())[2]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = dcmread(place)
            for word, value in changes.items():
                if value is None:
                    delattr(image, word)
                else:
                    setattr(image, word, value)
            image.save_as(place, enforce_file_format=False)
        return f"{broken} {work}/failed.inrv"

    errors = (2, 3, 10)
    do(enc.main, altered(ImagePositionPatient=None), errors)
    do(enc.main, altered(Rows=12), errors)
    do(enc.main, altered(SeriesInstanceUID=f"{ROOT}77", SeriesNumber=8), (*errors, 0))
    do(enc.main, altered(PixelData=b"\0\0"), errors)
    do(enc.main, altered(RescaleSlope=0), errors)
    do(enc.main, altered(ImageOrientationPatient=[1, 1, 1, 1, 1, 1]), errors)
    do(enc.main, altered(BitsStored=77), errors)
    do(enc.main, altered(FrameOfReferenceUID=f"{ROOT}78"), errors)
    sorted(broken.iterdir())[1].unlink()
    do(enc.main, f"{broken} {work}/failed.inrv", errors)


def main(words: list[str] | None = None) -> int:
    """Make, use and search."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--series", type=int, default=100, help="of five files each")
    options = parser.parse_args(words)
    canaries, searched = Canaries(), Search()
    with tempfile.TemporaryDirectory() as name:
        for number in range(options.series):
            place = Path(name) / f"{number}"
            write_series(place / "in" / "series", canaries, "MR" if number % 3 == 2 else "CT")
            search(place / "in" / "series", place / "work", searched, wide=number % 10 == 0)
    print(f"{options.series * FILES} files, {canaries.count} canaries; searched {searched.places} outputs of "
          f"{searched.bytes / 1e6:.1f} MB: {len(searched.hits)} found")  # fmt: skip
    for hit in sorted(set(searched.hits)):
        print(f"  {hit}")
    return 1 if searched.hits else 0


if __name__ == "__main__":
    sys.exit(main())
