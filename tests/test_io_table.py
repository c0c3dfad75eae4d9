"""What the one door promises: every kind of source and sink behind `read` and `write`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from inrcodec.encoder.source_options import SourceOptions
from inrcodec.errors import InputError, InrvError, UsageError, WriteError
from inrcodec.io import check_file, check_sink, read, write
from inrcodec.volume.volume import Volume

DATA = Path(__file__).parent / "data"
VOLUME = Volume.from_array(np.arange(24, dtype=np.int16).reshape(2, 3, 4), spacing=(2, 0.5, 0.5))


FOREIGN = ["a.nrrd", "a.mha", "a.mgz", "a.mgh", "a.tif", "a.zarr"]
NEEDS = {".nrrd": "SimpleITK", ".tif": "tifffile", ".zarr": "zarr"}
INNER = [*FOREIGN[:-1], "a.zarr/zarr.json", "a.zarr/0/zarr.json", "a.zarr/0/c/0/0/0"]  # files of them
SINKS = ["a.npy", "a.nii", "a.nii.gz", "A.NII.GZ", "dicom", "dotted.name/", *FOREIGN]


@pytest.mark.parametrize("name", SINKS)
@pytest.mark.parametrize("as_path", [str, Path])
def test_every_sink_is_a_source(tmp_path, name, as_path):
    pytest.importorskip(NEEDS.get(Path(name).suffix, "numpy"))
    target = f"{tmp_path}/{name}" if name.endswith("/") else as_path(tmp_path / name)
    check_sink(target)
    write(VOLUME, target)
    np.testing.assert_array_equal(read(target).array, VOLUME.array)
    with pytest.raises(WriteError, match="force: needed to replace"):
        check_sink(target)
    check_sink(target, force=True)
    write(VOLUME, target, force=True)


@pytest.mark.parametrize(
    "source",
    [
        VOLUME,
        VOLUME.array,
        DATA / "mr-t1.nii.gz",
        DATA / "vhf-head-dicom",
        DATA / "vhf-head-dicom" / "IM0003",
    ],
    ids=["volume", "array", "NIfTI", "folder", "file without an ending"],
)
def test_every_source_gives_a_volume(source):
    assert isinstance(read(source), Volume)


def test_an_array_keeps_its_spacing_and_a_volume_is_itself():
    assert read(VOLUME.array, spacing=(3, 2, 1)).spacing == (3, 2, 1)
    assert read(VOLUME) is VOLUME


@pytest.mark.parametrize("name", ["image.20240131", "image.img"])
def test_a_dicom_file_may_have_any_name(tmp_path, name):
    (tmp_path / name).write_bytes((DATA / "vhf-head-dicom" / "IM0003").read_bytes())
    assert read(tmp_path / name).ndim == 2


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("missing.nii", "does not exist"),
        ("a.inrv", "did you mean to decode"),
        ("a.png", "no DICOM image in"),
    ],
)
def test_other_sources_are_refused(tmp_path, name, cause):
    for existing in ("a.inrv", "a.png"):
        (tmp_path / existing).write_bytes(b"something")
    with pytest.raises(InputError, match=cause):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("source", "options"),
    [
        (VOLUME, {"spacing": (1, 1, 1)}),
        (VOLUME.array, {"series": "1.2"}),
        (DATA / "mr-t1.nii.gz", {"spacing": (1, 1, 1)}),
        (DATA / "mr-t1.nii.gz", {"series": "1.2"}),
        (DATA / "vhf-head-dicom", {"spacing": (1, 1, 1)}),
    ],
)
def test_options_without_meaning_are_refused(source, options):
    with pytest.raises(UsageError, match=r"has no meaning|has its own"):
        read(source, **options)


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("a.png", r"\.nii, \.nii\.gz, \.npy, .*\.zarr, or a folder"),
        *(
            (name, "a folder for DICOM")
            for name in ("a.npz", "a.dcm", "a.nii.bz2", "a.tar", "John.Smith", "a.inrv")
        ),
    ],
)
def test_other_sinks_are_refused_before_anything_is_written(tmp_path, name, cause):
    for act in (check_sink, lambda path: write(VOLUME, path)):
        with pytest.raises(UsageError, match=cause):
            act(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["series.1.2.840", "2024.11.30", "John.Smith/", "a.nii/", "there.nii"])
def test_a_folder_may_have_a_dot_in_its_name(tmp_path, name):
    (tmp_path / "there.nii").mkdir()
    write(VOLUME, f"{tmp_path}/{name}")
    assert len(list((tmp_path / name).glob("slice_*.dcm"))) == VOLUME.shape[0]


def test_a_template_is_for_dicom_only(tmp_path):
    with pytest.raises(UsageError, match="template: has no meaning for NIfTI"):
        write(VOLUME, tmp_path / "a.nii", template=DATA / "vhf-head-dicom")


@pytest.mark.parametrize(
    ("name", "template", "error"),
    [
        ("a.nii", DATA / "vhf-head-dicom", UsageError),
        ("d", DATA / "vhf-head-dicom", None),
        ("d", DATA / "mr-t1.nii.gz", InputError),
        ("d", DATA / "missing", InputError),
    ],
)
def test_a_template_is_checked_before_the_work(tmp_path, name, template, error):
    if error is None:
        check_sink(tmp_path / name, template=template, modality="CT")
    else:
        with pytest.raises(error):
            check_sink(tmp_path / name, template=template, modality="CT")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("modality", "refused"), [("MR", True), ("CT", False)])
def test_a_template_of_another_modality_is_seen_before_the_work(tmp_path, modality, refused):
    template = DATA / "vhf-head-dicom"
    if refused:
        with pytest.raises(UsageError, match="template is CT and the volume is MR"):
            check_sink(tmp_path / "d", template=template, modality=modality)
    else:
        check_sink(tmp_path / "d", template=template, modality=modality)


def test_a_template_for_an_unknown_modality_is_refused(tmp_path):
    for act in (check_sink, lambda path, **words: write(VOLUME, path, **words)):
        with pytest.raises(UsageError, match=r"modality: .*give it if"):
            act(tmp_path / "d", template=DATA / "vhf-head-dicom")
    assert not list(tmp_path.iterdir())


def test_any_file_can_be_checked(tmp_path):
    check_file(tmp_path / "a.inrv")
    (tmp_path / "a.inrv").write_bytes(b"old")
    with pytest.raises(WriteError, match="force: needed to replace"):
        check_file(tmp_path / "a.inrv")
    assert list(tmp_path.iterdir()) == [tmp_path / "a.inrv"]


@pytest.mark.filterwarnings("ignore")  # pydicom warns of every odd value
@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.nii", "a.nii.gz", "dicom/slice_0002.dcm", *INNER])
def test_broken_bytes_give_a_volume_or_a_reason(tmp_path, name):
    """Nothing but the package's own errors, whatever the parsers below it raise."""
    pytest.importorskip(NEEDS.get(Path(name.split("/")[0]).suffix, "numpy"))
    if name == "a.npz":
        np.savez(tmp_path / name, VOLUME.array)
    else:
        write(VOLUME, tmp_path / name.split("/")[0])
    path, source = tmp_path / name, tmp_path / name.split("/")[0]
    sound = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        broken = bytearray(sound)
        for at in rng.integers(0, min(len(sound), 1200), 2):
            broken[at] = rng.integers(0, 256)
        path.write_bytes(bytes(broken))
        try:
            assert read(source).array.ndim == 3
        except InrvError:
            refused += 1
    assert refused


def test_formats_are_imported_when_they_are_needed():
    code = (
        "import sys, inrcodec.io; print(sorted({'pydicom', 'nibabel', 'torch', 'scipy'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


FOUR = np.arange(2 * 5 * 3 * 4, dtype=np.int16).reshape(2, 5, 3, 4)


def test_one_of_several_volumes_is_chosen_and_none_is_guessed(tmp_path):
    np.save(tmp_path / "four.npy", FOUR)
    with pytest.raises(InputError, match="holds 2 volumes, choose one: 0 to 1"):
        read(tmp_path / "four.npy")
    with pytest.raises(InputError, match="2 is not one of them"):
        read(FOUR, volume=2)
    with pytest.raises(UsageError, match="no meaning"):
        read(FOUR[0], volume=0)
    for index in (0, 1):
        np.testing.assert_array_equal(read(tmp_path / "four.npy", volume=index).array, FOUR[index])


@pytest.mark.parametrize("name", ["a.npy", "a.nii.gz", "dicom"])
def test_a_part_is_where_it_was(tmp_path, name):
    whole = Volume.from_array(FOUR[1], spacing=(2, 0.5, 0.5))
    write(whole, tmp_path / name)
    part, spacing = read(tmp_path / name, slices=slice(1, -1)), 2 if name != "a.npy" else 1
    np.testing.assert_array_equal(part.array, FOUR[1, 1:-1])
    np.testing.assert_allclose(part.affine[:3, 3], [0, 0, spacing])


@pytest.mark.parametrize("slices", [slice(5, None), slice(3, 3), slice(0, 5, 2)])
def test_a_part_without_slices_is_refused(slices):
    with pytest.raises(UsageError, match=r"slices: \d:\d? is not a run of some of 5 slices"):
        read(FOUR[0], slices=slices)


@pytest.mark.parametrize(("word", "part"), [("1:3", (1, 3)), (":3", (None, 3)), ("-2:", (-2, None))])
def test_slices_are_given_as_python_writes_them(word, part):
    assert SourceOptions(slices=word).slices == slice(*part)


@pytest.mark.parametrize("word", ["", "3", "a:b", "1:2:3", "1.5:3", ":::"])
def test_what_are_no_slices_is_refused(word):
    with pytest.raises(UsageError, match="A:B, from slice A"):
        SourceOptions(slices=word)
