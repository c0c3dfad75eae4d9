"""What the files of a folder promise: each is read, named as damaged, or certainly something else."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_maker import dataset, ramp, save, save_bare, write_series
from pydicom.uid import (
    BasicTextSRStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from inrcodec.errors import IncompleteSeries, InputError
from inrcodec.io.dicom import read

# --- encodings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("implicit", "little"), [(True, True), (False, True), (False, False)], ids=["implicit", "explicit", "big"]
)
def test_files_without_meta_information_are_read_as_they_are_encoded(tmp_path, implicit, little):
    for path in write_series(tmp_path, ramp()):
        save_bare(pydicom.dcmread(path), path, implicit=implicit, little=little)
    np.testing.assert_array_equal(read(tmp_path).array, ramp() - 1024)


@pytest.mark.parametrize("stated", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.filterwarnings("ignore:Expected (ex|im)plicit VR")
def test_a_wrong_statement_of_the_encoding_shifts_nothing(tmp_path, stated):
    for path in write_series(tmp_path, ramp()):
        header = pydicom.dcmread(path)
        implicit = stated == ExplicitVRLittleEndian
        real = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        header.file_meta.TransferSyntaxUID = real
        header.save_as(path, implicit_vr=implicit)
        path.write_bytes(_restated(path.read_bytes(), real.encode(), stated.encode()))
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.array, ramp() - 1024)
    np.testing.assert_array_equal(volume.affine[:3, 3], [10, -20, 100])


def _restated(raw: bytes, real: bytes, wrong: bytes) -> bytes:
    """File with another transfer syntax in its meta information, and nothing else changed."""
    real, wrong = (uid + b"\0" * (len(uid) % 2) for uid in (real, wrong))
    old, new = (b"UI" + len(uid).to_bytes(2, "little") + uid for uid in (real, wrong))
    assert raw.count(old) == 1
    return raw.replace(old, new)


def test_big_endian_pixels_that_call_themselves_little_are_refused(tmp_path):
    for path in write_series(tmp_path, ramp()):
        header = pydicom.dcmread(path)
        header.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        pydicom.dcmwrite(path, header, implicit_vr=False, little_endian=False)
        path.write_bytes(_restated(path.read_bytes(), ExplicitVRBigEndian.encode(), b"1.2.840.10008.1.2.1"))
    with pytest.raises(IncompleteSeries):
        read(tmp_path)


@pytest.mark.parametrize("kind", ["stated native", "stated compressed"])
def test_pixels_that_are_not_packed_as_stated_are_refused(tmp_path, kind):
    header = dataset(ramp(1)[0], (0, 0, 0))
    stated = RLELossless
    if kind == "stated native":
        header.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
        stated = ExplicitVRLittleEndian
    real = header.file_meta.TransferSyntaxUID
    path = save(header, tmp_path / "a")
    path.write_bytes(_restated(path.read_bytes(), real.encode(), stated.encode()))
    with pytest.raises(IncompleteSeries, match=r"compressed pixels, and says that they are"):
        read(tmp_path)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("signed", [False, True])
def test_pixels_are_those_that_pydicom_finds(tmp_path, syntax, bits, signed):
    """The same first byte, in every encoding: what a shift by the length field would break."""
    kind = np.dtype(f"{'i' if signed else 'u'}{bits // 8}")
    plane = np.random.default_rng(bits).integers(0, 2**bits, (5, 9), dtype=np.uint64).astype(kind)
    big = syntax == ExplicitVRBigEndian
    header = dataset(plane, (0, 0, 0), RescaleIntercept=0)
    header.PixelData = plane.astype(kind.newbyteorder(">" if big else "<")).tobytes()
    header.PixelData += b"\0" * (len(header.PixelData) % 2)
    header["PixelData"].VR = "OB" if bits == 8 else "OW"
    header.file_meta.TransferSyntaxUID = syntax
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    path, implicit = tmp_path / "a", syntax == ImplicitVRLittleEndian
    pydicom.dcmwrite(path, header, implicit_vr=implicit, little_endian=not big, enforce_file_format=True)
    found = read(path).array[0]
    np.testing.assert_array_equal(found, pydicom.dcmread(path).pixel_array)
    np.testing.assert_array_equal(found, plane)


# --- damage ---------------------------------------------------------------------------------------


def cut(to: int | float) -> object:
    def damage(path: Path) -> None:
        raw = path.read_bytes()
        path.write_bytes(raw[: to if isinstance(to, int) else int(len(raw) * to)])

    return damage


def before(tag: bytes, more: int = 0) -> object:
    def damage(path: Path) -> None:
        raw = path.read_bytes()
        path.write_bytes(raw[: raw.rindex(tag) + more])

    return damage


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent / "gone")


def zipped(path: Path) -> None:
    path.write_bytes(gzip.compress(path.read_bytes()))


PIXEL_DATA = b"\xe0\x7f\x10\x00"
DAMAGE = {
    "cut in its pixels": (before(PIXEL_DATA, 40), "holds 28 of 84 bytes of its pixels"),
    "cut before its pixels": (before(b"\x28\x00\x10\x00"), "cut off"),
    "cut in an element": (before(b"\x20\x00\x37\x00", 15), "cut off in its header"),
    "cut in a tag": (before(b"\x20\x00\x32\x00", 3), "cut off in its header"),
    "cut in the meta information": (cut(200), "cut off"),
    "cut after the magic": (cut(132), "cut off"),
    "zero bytes": (cut(0), "is empty"),
    "link to nothing": (dangling, "is a link to nothing"),
    "compressed with gzip": (zipped, "is compressed with gzip, gunzip it"),
    "noise": (lambda path: path.write_bytes(b"\xff" * 900), "has the name of a DICOM image"),
}


@pytest.mark.parametrize("name", ["as it was", "1.2.840.7", "renamed.dcm"])
@pytest.mark.parametrize("place", [0, 2, 4], ids=["first", "middle", "last"])
@pytest.mark.parametrize(("damage", "cause"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_slice_is_named_wherever_it_is(tmp_path, damage, cause, place, name):
    path = write_series(tmp_path, ramp())[place]
    if name != "as it was" and not (damage is DAMAGE["noise"][0] and name == "1.2.840.7"):
        path = path.rename(tmp_path / name)
    damage(path)
    with pytest.raises(IncompleteSeries, match=f"{path.name} .*({cause}|has the name)") as caught:
        read(tmp_path)
    assert caught.value.value == str(path)
    assert caught.value.exit_code == 10


def test_a_slice_that_is_packed_is_named(tmp_path):
    path = write_series(tmp_path, ramp())[-1]
    (tmp_path / "slice.dcm.bz2").write_bytes(bz2.compress(path.read_bytes()))
    path.unlink()
    with pytest.raises(IncompleteSeries, match=r"slice.dcm.bz2 has the name of a DICOM image"):
        read(tmp_path)


@pytest.mark.parametrize("to", [0.6, 0.95])
@pytest.mark.parametrize("syntax", [DeflatedExplicitVRLittleEndian, RLELossless])
def test_a_cut_is_seen_in_compressed_files(tmp_path, syntax, to):
    noise = np.random.default_rng(0).integers(0, 4096, (3, 32, 32)).astype(np.int16)
    paths = write_series(tmp_path, noise)
    for path in paths:
        header = pydicom.dcmread(path)
        if syntax == RLELossless:
            header.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
        header.file_meta.TransferSyntaxUID = syntax
        header.save_as(path)
    cut(to)(paths[2])
    with pytest.raises(IncompleteSeries, match=paths[2].name):
        read(tmp_path)


@pytest.mark.parametrize("name", ["IM9", "a.dcm"])
def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch, name):
    write_series(tmp_path, ramp())
    (tmp_path / name).write_bytes(b"secret")
    (tmp_path / "notes.txt").write_bytes(b"secret")
    open_file = Path.open

    def guarded(self: Path, *args: object, **options: object) -> object:
        if self.name in (name, "notes.txt"):
            raise PermissionError(13, "Permission denied", str(self))
        return open_file(self, *args, **options)

    monkeypatch.setattr(Path, "open", guarded)
    with pytest.raises(IncompleteSeries, match=rf"{name} cannot be read \(permission denied\)"):
        read(tmp_path)


def test_a_folder_that_may_not_be_searched_is_named(tmp_path, monkeypatch):
    import os

    write_series(tmp_path, ramp())
    (tmp_path / "more").mkdir()
    scan = os.scandir

    def guarded(path: str) -> object:
        if Path(path).name == "more":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(IncompleteSeries, match=r"cannot look into .*more: permission denied"):
        read(tmp_path)


def test_a_file_whose_series_cannot_be_told_is_named(tmp_path):
    paths = write_series(tmp_path, ramp())
    raw = paths[1].read_bytes()
    place = raw.index(b"\x20\x00\x0e\x00UI") + 4
    paths[1].write_bytes(raw[:place] + b"U\xda" + raw[place + 2 :])
    with pytest.raises(IncompleteSeries, match=f"{paths[1].name} is not a valid DICOM file"):
        read(tmp_path)


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "broken").write_bytes(b"\0" * 128 + b"DICM" + b"\x02\x00\x00\x00UL\x04\x00\xff")
    with pytest.raises(IncompleteSeries, match="broken is"):
        read(tmp_path)


def test_damage_in_another_series_is_told_and_no_more(tmp_path):
    write_series(tmp_path / "a", ramp())
    other = write_series(tmp_path / "b", ramp(), SeriesInstanceUID="1.2.4")[0]
    before(PIXEL_DATA, 40)(other)
    volume = read(tmp_path, series="1.2.3")
    assert volume.shape == (5, 6, 7)
    assert any(other.name in notice and "cut off" in notice for notice in volume.notices)
    with pytest.raises(IncompleteSeries, match=other.name):
        read(tmp_path, series="1.2.4")


# --- what is something else -----------------------------------------------------------------------


def test_what_is_certainly_no_image_is_skipped_without_a_word(tmp_path):
    write_series(tmp_path, ramp())
    (tmp_path / "README.txt").write_text("viewer on disc 2")
    (tmp_path / "AUTORUN.INF").write_bytes(b"")
    (tmp_path / "index.xml").write_bytes(b"")
    (tmp_path / "thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0" * 99)
    (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(bytes(400)))
    (tmp_path / ".DS_Store").write_bytes(b"")
    (tmp_path / "LICENSE").write_text("words")
    (tmp_path / "link.txt").symlink_to(tmp_path / "gone")
    report = dataset(ramp(1)[0], None, Modality="SR", SOPClassUID=BasicTextSRStorage)
    for word in ("Rows", "Columns", "PixelData"):
        delattr(report, word)
    save(report, tmp_path / "report")
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.array, ramp() - 1024)
    assert volume.notices == ()


def test_what_a_series_leaves_out_is_told(tmp_path):
    write_series(tmp_path, ramp())
    scout = dataset(ramp(1)[0], (0, 0, 0), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    save(scout, tmp_path / "scout")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    notices = "\n".join(read(tmp_path).notices)
    assert "scout is left out: it is a localizer" in notices
    assert "linked was not searched" in notices


def test_an_image_that_lost_its_pixels_is_named(tmp_path):
    *_, last = write_series(tmp_path, ramp())
    header = pydicom.dcmread(last)
    del header.PixelData
    header.save_as(last)
    with pytest.raises(IncompleteSeries, match=f"{last.name} has no pixels"):
        read(tmp_path)
    header.SeriesInstanceUID = "1.2.77"  # of another series it is none of ours
    header.save_as(last)
    assert len(read(tmp_path).array) == len(ramp()) - 1


def test_two_studies_are_no_series(tmp_path):
    write_series(
        tmp_path, ramp(), edit=lambda k, header: setattr(header, "StudyInstanceUID", f"1.9.{k // 3}")
    )
    with pytest.raises(IncompleteSeries, match="studies have one series UID"):
        read(tmp_path)


def test_a_single_file_that_is_damaged_is_named(tmp_path):
    path = write_series(tmp_path, ramp(1))[0]
    zipped(path)
    with pytest.raises(InputError, match="gunzip"):
        read(path)


NUMBERS = {
    "all": ([1, 2, 3, 4, 5], ""),
    "backwards": ([5, 4, 3, 2, 1], ""),
    "the first is lost": (
        [2, 3, 4, 5, 6],
        "no image has the instance number 1: slices may be missing at an end",
    ),
    "one is lost": ([1, 2, 4, 5, 6], "no image has the instance number 3: slices may be missing at an end"),
    "numbered by another rule": ([1001, 1002, 1003, 1004, 1005], ""),
    "not numbered": ([None] * 5, ""),
    "one number": ([1] * 5, ""),
}


@pytest.mark.parametrize(("numbers", "notice"), NUMBERS.values(), ids=NUMBERS)
def test_a_number_that_no_image_has_is_told(tmp_path, numbers, notice):
    write_series(tmp_path, ramp(), edit=lambda k, h: setattr(h, "InstanceNumber", numbers[k]))
    notices = read(tmp_path).notices
    assert len(notices) == bool(notice)
    assert "".join(notices).startswith(notice)


def test_the_number_of_a_localizer_is_not_missing(tmp_path):
    write_series(tmp_path, ramp(), edit=lambda k, h: setattr(h, "InstanceNumber", k + 2))
    scout = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "InstanceNumber": 1}
    save(dataset(ramp(1)[0], (0, 0, 0), **scout), tmp_path / "scout")
    assert not any("instance number" in notice for notice in read(tmp_path).notices)
