"""What the files of ITK, FreeSurfer, Analyze and TIFF promise: values and place, whole or refused."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from inrcodec.errors import InputError, MissingExtra, UsageError, WriteError
from inrcodec.io import Provenance, check_sink, read, tiff, write
from inrcodec.io.itk import to_simpleitk
from inrcodec.volume.volume import Volume

itk = pytest.importorskip("SimpleITK")
tifffile = pytest.importorskip("tifffile")

ARRAY = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
FOUR = np.arange(5 * 24, dtype=np.int16).reshape(5, 2, 3, 4)
OBLIQUE = np.array([[0.4, -0.1, 0, -62.25], [0.1, 0.4, 0, 10.5], [0, 0, 1.5, 1234.5], [0, 0, 0, 1]])
FLIPPED = np.diag([-0.5, 0.5, -2.0, 1.0])
SINKS = [".nrrd", ".mha", ".mgz", ".mgh", ".tif", ".tiff"]
PLACED = SINKS[:4]
GREY = "minisblack"  # tifffile takes a last axis of three or four for colours


@pytest.mark.parametrize("ending", SINKS)
@pytest.mark.parametrize("rescale", [(1, 0), (0.5, -7)])
def test_values_and_spacing_come_back(tmp_path, ending, rescale):
    volume = Volume(ARRAY, np.diag([0.25, 0.5, 3, 1]), rescale=rescale)
    write(volume, tmp_path / f"a{ending}")
    back = read(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(back.physical(), volume.physical())
    np.testing.assert_allclose(back.spacing, (3, 0.5, 0.25), rtol=1e-6)
    assert back.source_bytes == (tmp_path / f"a{ending}").stat().st_size
    assert [entry.name for entry in tmp_path.iterdir()] == [f"a{ending}"]


@pytest.mark.parametrize("ending", PLACED)
@pytest.mark.parametrize("affine", [OBLIQUE, FLIPPED], ids=["oblique", "flipped"])
def test_the_place_comes_back(tmp_path, ending, affine):
    write(Volume(ARRAY, affine), tmp_path / f"a{ending}")
    tolerance = 1e-4 if ending.startswith(".mg") else 1e-9  # MGH holds float32
    np.testing.assert_allclose(read(tmp_path / f"a{ending}").affine, affine, rtol=0, atol=tolerance)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_itk_and_nibabel_see_the_same_grid(tmp_path, ending):
    write(Volume(ARRAY, OBLIQUE), tmp_path / f"a{ending}")
    image = itk.ReadImage(str(tmp_path / f"a{ending}"))
    for index in ((0, 0, 0), (3, 0, 0), (0, 2, 0), (0, 0, 1)):
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(index), (OBLIQUE @ [*index, 1])[:3])
    np.testing.assert_array_equal(itk.GetArrayFromImage(image), ARRAY)


def test_freesurfers_affine_is_nibabels(tmp_path):
    write(Volume(ARRAY, OBLIQUE), tmp_path / "a.mgz")
    image = nib.load(tmp_path / "a.mgz")
    np.testing.assert_allclose(np.diag([-1, -1, 1, 1]) @ image.affine, OBLIQUE, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, ARRAY)


TYPES = {
    ".nrrd": "i1 i2 i4 i8 u1 u2 u4 u8 f4 f8",
    ".mha": "i1 i2 i4 i8 u1 u2 u4 u8 f4 f8",
    ".mgz": "u1 i2 i4 f4",
    ".tif": "i1 i2 i4 u1 u2 u4 f4 f8",
}
WIDER = {".mgz": {"i1": "i2", "u2": "i4", "f2": "f4"}}


@pytest.mark.parametrize(("ending", "dtype"), [(e, t) for e in TYPES for t in TYPES[e].split()])
def test_types_are_kept(tmp_path, ending, dtype):
    write(Volume.from_array(ARRAY.astype(dtype)), tmp_path / f"a{ending}")
    assert read(tmp_path / f"a{ending}").array.dtype == dtype


@pytest.mark.parametrize(
    ("ending", "dtype", "wider"),
    [(".mgz", "i1", "i2"), (".mgz", "u2", "i4"), *((ending, "f2", "f4") for ending in TYPES)],
)
def test_types_that_a_format_lacks_are_widened_where_nothing_is_lost(tmp_path, ending, dtype, wider):
    write(Volume.from_array(ARRAY.astype(dtype)), tmp_path / f"a{ending}")
    back = read(tmp_path / f"a{ending}")
    assert back.array.dtype == wider
    np.testing.assert_array_equal(back.array, ARRAY)


@pytest.mark.parametrize(
    ("ending", "dtype"), [(".mgz", "u4"), (".mgz", "i8"), (".mgz", "f8"), (".tif", "i8"), (".tif", "u8")]
)
def test_types_that_would_lose_something_are_refused(tmp_path, ending, dtype):
    with pytest.raises(WriteError, match=r"no values of type .*write \.nii\.gz"):
        write(Volume.from_array(ARRAY.astype(dtype)), tmp_path / f"a{ending}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", SINKS)
def test_an_old_file_stays_until_the_new_one_is_whole(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    path.write_bytes(b"old")
    with pytest.raises(WriteError, match="force"):
        write(Volume.from_array(ARRAY), path)
    assert path.read_bytes() == b"old"
    write(Volume.from_array(ARRAY), path, force=True)
    np.testing.assert_array_equal(read(path).array, ARRAY)


@pytest.mark.parametrize("ending", SINKS)
def test_equal_volumes_give_equal_files(tmp_path, ending):
    for name in ("a", "b"):
        write(Volume.from_array(ARRAY), tmp_path / f"{name}{ending}")
    assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()


def test_a_lossy_volume_says_so_where_there_is_a_place_for_it(tmp_path):
    for ending, place in ((".nrrd", b"Comment:="), (".mha", b"Comment = "), (".tif", b"<Description>")):
        lossy = Provenance(ratio=80.0, detail="interpolated")
        write(Volume.from_array(ARRAY), tmp_path / f"a{ending}", provenance=lossy)
        after = (tmp_path / f"a{ending}").read_bytes().partition(place)[2]
        assert after.lower().startswith((b"inrv_1 lossy 80:1", b"lossy: decoded")), ending


def four_dimensional(path: Path) -> Path:
    if path.suffix in (".nrrd", ".mha"):
        itk.WriteImage(itk.GetImageFromArray(FOUR, isVector=False), str(path), path.stem == "packed")
    elif path.suffix == ".mgz":
        nib.save(nib.MGHImage(FOUR.T, np.eye(4)), path)
    elif path.suffix == ".img":
        nib.save(nib.Spm2AnalyzeImage(FOUR.T, np.eye(4)), path)
    else:
        tifffile.imwrite(path, FOUR, photometric=GREY, metadata={"axes": "TZYX"})
    return path


@pytest.mark.parametrize("name", ["a.nrrd", "packed.nrrd", "a.mha", "packed.mha", "a.mgz", "a.img", "a.tif"])
def test_one_of_several_volumes_is_chosen(tmp_path, name):
    path = four_dimensional(tmp_path / name)
    with pytest.raises(InputError, match="holds 5 volumes, choose one: 0 to 4"):
        read(path)
    np.testing.assert_array_equal(read(path, volume=3).array, FOUR[3])


# NRRD and MetaImage


def test_components_of_a_vector_are_volumes_and_colours_are_refused(tmp_path):
    vector = itk.GetImageFromArray(np.moveaxis(FOUR, 0, -1), isVector=True)
    for name in ("a.nrrd", "a.mha"):
        itk.WriteImage(vector, str(tmp_path / name))
        with pytest.raises(InputError, match="holds 5 volumes"):
            read(tmp_path / name)
        np.testing.assert_array_equal(read(tmp_path / name, volume=4).array, FOUR[4])
        itk.WriteImage(itk.Image([4, 3, 2], itk.sitkVectorUInt8, 3), str(tmp_path / name))
        with pytest.raises(InputError, match="colour image of 3 c"):
            read(tmp_path / name)
    itk.WriteImage(itk.Image([4, 3, 2], itk.sitkComplexFloat32), str(tmp_path / "a.nrrd"))
    with pytest.raises(InputError, match="complex of 32-bit float"):
        read(tmp_path / "a.nrrd")


def nrrd(path: Path, fields: str, voxels: bytes = ARRAY.tobytes()) -> Path:
    start = f"NRRD0005\ntype: short\nendian: little\ndimension: 3\nsizes: 4 3 2\n{fields}\n\n"
    path.write_bytes(start.encode() + voxels)
    return path


@pytest.mark.parametrize(
    ("space", "signs"),
    [("left-posterior-superior", (1, 1)), ("RAS", (-1, -1)), ("LAS", (1, -1))],
)
def test_the_space_of_a_nrrd_is_turned_to_lps(tmp_path, space, signs):
    fields = f"encoding: raw\nspace: {space}\nspace directions: (0.5,0,0) (0,0.25,0) (0,0,3)"
    found = read(nrrd(tmp_path / "a.nrrd", f"{fields}\nspace origin: (10,20,30)")).affine
    x, y = signs
    np.testing.assert_allclose(
        found, [[0.5 * x, 0, 0, 10 * x], [0, 0.25 * y, 0, 20 * y], [0, 0, 3, 30], [0, 0, 0, 1]]
    )


def test_the_units_of_a_nrrd_are_lengths(tmp_path):
    fields = "encoding: raw\nspace: LPS\nspace directions: (500,0,0) (0,250,0) (0,0,3000)"
    fields += "\nspace origin: (0,0,1000)"
    volume = read(nrrd(tmp_path / "a.nrrd", f'{fields}\nspace units: "um" "um" "um"'))
    assert (volume.spacing, volume.affine[2, 3]) == ((3, 0.25, 0.5), 1)
    with pytest.raises(InputError, match="several units"):
        read(nrrd(tmp_path / "a.nrrd", f'{fields}\nspace units: "um" "mm" "mm"'))


def metaimage(path: Path, fields: str, voxels: bytes = b"", more: str = "") -> Path:
    start = "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
    start += f"ElementSpacing = 1 1 1\nDimSize = 4 3 2\nElementType = MET_SHORT\n{fields}\n{more}"
    path.write_bytes(start.encode() + voxels)
    return path


HEADERS = {
    ".nhdr": lambda path, name: nrrd(path, f"encoding: raw\ndata file: {name}", b""),
    ".nrrd": lambda path, name: nrrd(path, f"encoding: raw\ndatafile: {name}", b""),
    ".mhd": lambda path, name: metaimage(path, f"ElementDataFile = {name}"),
    ".mha": lambda path, name: metaimage(path, f"ElementDataFile = {name}"),
}


@pytest.mark.parametrize("ending", HEADERS)
@pytest.mark.parametrize("name", ["a.raw", "below/a.raw"])
def test_voxels_may_lie_beside_their_header(tmp_path, ending, name):
    (tmp_path / "below").mkdir()
    (tmp_path / name).write_bytes(ARRAY.tobytes())
    volume = read(HEADERS[ending](tmp_path / f"a{ending}", name))
    np.testing.assert_array_equal(volume.array, ARRAY)
    assert volume.source_bytes == (tmp_path / f"a{ending}").stat().st_size + ARRAY.nbytes


def test_voxels_may_lie_in_a_file_for_each_slice(tmp_path):
    for number, plane in enumerate(ARRAY):
        (tmp_path / f"s{number}.raw").write_bytes(plane.tobytes())
    for name in ("LIST\ns0.raw\ns1.raw", "s%d.raw 0 1 1"):
        np.testing.assert_array_equal(read(HEADERS[".mhd"](tmp_path / "a.mhd", name)).array, ARRAY)
    np.testing.assert_array_equal(read(HEADERS[".nhdr"](tmp_path / "a.nhdr", "s%d.raw 0 1 1")).array, ARRAY)


@pytest.mark.parametrize("ending", HEADERS)
@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("{0}/secret.raw", "outside its folder"),
        ("../secret.raw", "outside its folder"),
        ("here/../../secret.raw", "outside its folder"),
        ("LIST\n../secret.raw", "outside its folder"),
        ("missing.raw", "not there"),
    ],
)
def test_voxels_outside_the_folder_are_refused(tmp_path, ending, name, cause):
    (tmp_path / "secret.raw").write_bytes(ARRAY.tobytes())
    (tmp_path / "here" / "here").mkdir(parents=True)
    with pytest.raises(InputError, match=cause):
        read(HEADERS[ending](tmp_path / "here" / f"a{ending}", name.format(tmp_path)))


@pytest.mark.parametrize("gap", ["\n", "\x0c", "\x85", "\r"])
def test_a_second_name_is_not_hidden_behind_the_first(tmp_path, gap):
    """What ITK takes for one line, and what it does not, must be what was checked."""
    (tmp_path / "secret.raw").write_bytes(ARRAY.tobytes())
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "a.raw").write_bytes(ARRAY.tobytes())
    fields = f"encoding: raw\n# comment{gap}data file: a.raw\ndata file: ../secret.raw"
    with pytest.raises(InputError, match=r"twice|outside its folder"):
        read(nrrd(tmp_path / "here" / "a.nhdr", fields, b""))


NOISE = np.random.default_rng(0).integers(0, 2**15, (2, 3, 4)).astype(np.int16)


def packed(path: Path) -> Path:
    if path.suffix == ".nrrd":
        return nrrd(path, "encoding: gzip", gzip.compress(NOISE.tobytes()))
    voxels = zlib.compress(NOISE.tobytes())
    fields = f"CompressedData = True\nCompressedDataSize = {len(voxels)}\nElementDataFile = LOCAL"
    return metaimage(path, fields, voxels)


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[:-1] + bytes([b[-1] ^ 1]),
        lambda b: b[:-2],
        lambda b: b[:-20],
        lambda b: b + b"garbage",
        lambda b: b[:-12] + bytes([b[-12] ^ 8]) + b[-11:],
    ],
    ids=["checksum", "half a checksum", "truncated", "garbage", "a bit"],
)
def test_compressed_voxels_are_checked_to_their_end(tmp_path, name, damage):
    path = packed(tmp_path / name)
    np.testing.assert_array_equal(read(path).array, NOISE)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"not a valid|needs 48 bytes"):
        read(path)


def test_a_compressed_size_is_not_believed(tmp_path):
    """ITK returns memory that it did not fill where it is missing or too small."""
    voxels = zlib.compress(NOISE.tobytes())
    for size in ("", "CompressedDataSize = 20\n", "CompressedDataSize = 999\n"):
        path = tmp_path / "a.mha"
        metaimage(path, f"CompressedData = True\n{size}ElementDataFile = LOCAL", voxels)
        np.testing.assert_array_equal(read(path).array, NOISE)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("affine", [OBLIQUE, FLIPPED], ids=["oblique", "flipped"])
def test_what_itk_wrote_is_read_as_itk_reads_it(tmp_path, packed, affine):
    for name in ("a.mha", "b.mhd", "c.nrrd", "d.nhdr"):
        itk.WriteImage(to_simpleitk(Volume(ARRAY, affine)), str(tmp_path / name), packed)
        np.testing.assert_array_equal(read(tmp_path / name).array, ARRAY)
        np.testing.assert_allclose(read(tmp_path / name).affine, affine, rtol=0, atol=1e-9)


def test_big_endian_voxels_and_those_behind_a_header_of_their_own_are_read(tmp_path):
    swapped = ARRAY.astype(">i2").tobytes()
    metaimage(tmp_path / "a.mha", "ElementByteOrderMSB = True\nElementDataFile = LOCAL", swapped)
    np.testing.assert_array_equal(read(tmp_path / "a.mha").array, ARRAY)
    (tmp_path / "a.raw").write_bytes(b"header" + ARRAY.tobytes())
    for size in (6, -1):
        path = metaimage(tmp_path / "b.mhd", f"HeaderSize = {size}\nElementDataFile = a.raw")
        np.testing.assert_array_equal(read(path).array, ARRAY)


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ("BinaryData = False", "as text"),
        ("ElementType = MET_STRING", "values are of type MET_STRING"),
        ("NDims = 4", "size is"),
        ("DimSize = 4 3 -2", "size is"),
        ("DimSize = 4 3 two", "not a valid"),
        ("ElementSpacing = 1 1", "ElementSpacing has 2 numbers, not 3"),
        ("ObjectType = Tube", "not of an image"),
        ("ElementSpacing = 1 1 0", "singular"),
    ],
)
def test_headers_that_are_no_image_are_refused(tmp_path, fields, cause):
    with pytest.raises(InputError, match=cause):
        read(metaimage(tmp_path / "a.mha", f"{fields}\nElementDataFile = LOCAL", ARRAY.tobytes()))


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha", "a.nhdr", "a.mhd"])
def test_voxels_that_are_cut_short_are_refused(tmp_path, name):
    path = tmp_path / name
    itk.WriteImage(itk.GetImageFromArray(NOISE), str(path))
    data = tmp_path / "a.raw" if path.suffix in (".nhdr", ".mhd") else path
    data.write_bytes(data.read_bytes()[:-4])
    with pytest.raises(InputError, match="cannot hold"):
        read(path)


# MGH and Analyze


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b[:-1] + b"x", lambda b: b + b"xyz"])
def test_a_mgz_is_checked_to_its_end(tmp_path, damage):
    path = tmp_path / "a.mgz"
    write(Volume.from_array(NOISE), path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match="not a valid MGH"):
        read(path)


@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.Nifti2Pair, nib.Spm2AnalyzeImage, nib.AnalyzeImage])
def test_a_pair_is_read_by_either_name(tmp_path, kind):
    affine = np.diag([-2.0, 3, 4, 1])
    nib.save(kind(ARRAY.T, affine), tmp_path / "a.img")
    (tmp_path / "a.mat").unlink(missing_ok=True)
    for name in ("a.hdr", "a.img"):
        volume = read(tmp_path / name)
        np.testing.assert_array_equal(volume.array, ARRAY)
        np.testing.assert_allclose(volume.affine[:3, :3], np.diag([2, -3, 4]))
        assert bool(volume.notices) == (kind not in (nib.Nifti1Pair, nib.Nifti2Pair))
    (tmp_path / "a.hdr").unlink()
    with pytest.raises(InputError, match=r"one of a pair, and .*a\.hdr is missing"):
        read(tmp_path / "a.img")


def test_the_matrix_beside_an_image_of_spm_is_its_place(tmp_path):
    nib.save(nib.Spm99AnalyzeImage(ARRAY.T, np.diag([-1, -1, 1, 1]) @ OBLIQUE), tmp_path / "a.img")
    assert (tmp_path / "a.mat").exists()
    np.testing.assert_allclose(read(tmp_path / "a.img").affine, OBLIQUE, atol=1e-5)


# TIFF


@pytest.mark.parametrize(
    ("unit", "factor"), [("mm", 1), ("micron", 1e-3), ("\\u00B5m", 1e-3), ("cm", 10), ("inch", 25.4)]
)
def test_a_stack_of_imagej_has_its_spacing(tmp_path, unit, factor):
    about = {"axes": "ZYX", "spacing": 3.0, "unit": unit}
    tifffile.imwrite(
        tmp_path / "a.tif", ARRAY.astype(np.uint16), imagej=True, resolution=(4, 2), metadata=about
    )
    np.testing.assert_allclose(read(tmp_path / "a.tif").spacing, np.array([3, 0.5, 0.25]) * factor)
    with pytest.raises(UsageError, match="spacing: has no meaning for a TIFF file that says it"):
        read(tmp_path / "a.tif", spacing=(1, 1, 1))


def test_signed_values_of_imagej_are_calibrated(tmp_path):
    stored = (ARRAY.astype(np.int32) + 32768).astype(np.uint16)
    about = {"axes": "ZYX", "cf": 0, "c0": -32768.0, "c1": 1.0}
    tifffile.imwrite(tmp_path / "a.tif", stored, imagej=True, metadata=about)
    np.testing.assert_array_equal(read(tmp_path / "a.tif").physical(), ARRAY)


@pytest.mark.parametrize(
    "words", [{}, {"resolution": (72, 72), "resolutionunit": "INCH"}], ids=["none", "print"]
)
def test_pages_without_a_unit_take_the_users_spacing(tmp_path, words):
    tifffile.imwrite(tmp_path / "a.tif", ARRAY, photometric=GREY, metadata=None, **words)
    assert read(tmp_path / "a.tif").spacing == (1, 1, 1)
    volume = read(tmp_path / "a.tif", spacing=(3, 0.5, 0.5))
    assert (volume.spacing, volume.shape) == ((3, 0.5, 0.5), (2, 3, 4))


def test_a_single_page_is_an_image(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", ARRAY[0], resolution=(40, 20), resolutionunit="CENTIMETER")
    volume = read(tmp_path / "a.tif")
    assert (volume.ndim, volume.spacing[1:]) == (2, (0.5, 0.25))


@pytest.mark.parametrize("compression", ["zlib", "lzw"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_compressed_and_large_files_are_read(tmp_path, compression, bigtiff):
    if compression == "lzw":
        pytest.importorskip("imagecodecs")
    tifffile.imwrite(tmp_path / "a.tif", ARRAY, photometric=GREY, compression=compression, bigtiff=bigtiff)
    np.testing.assert_array_equal(read(tmp_path / "a.tif").array, ARRAY)


def test_colours_and_several_images_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 8, 8, 3), np.uint8), photometric="rgb")
    with pytest.raises(InputError, match="colour image"):
        read(tmp_path / "a.tif")
    tifffile.imwrite(
        tmp_path / "b.tif",
        ARRAY[0].astype(np.uint8),
        photometric="palette",
        colormap=np.zeros((3, 256), np.uint16),
    )
    with pytest.raises(InputError, match=r"colour image \(PALETTE\)"):
        read(tmp_path / "b.tif")
    with tifffile.TiffWriter(tmp_path / "c.tif") as file:
        file.write(ARRAY[0])
        file.write(ARRAY[0, :2])
    with pytest.raises(InputError, match="holds 2 images"):
        read(tmp_path / "c.tif")


@pytest.mark.parametrize("name", ["../secret.tif", "other.tif"])
def test_pages_in_another_file_are_not_read(tmp_path, name):
    (tmp_path / "here").mkdir()
    other = (tmp_path / "here" / name).resolve()
    tifffile.imwrite(other, ARRAY, photometric=GREY, metadata=None)
    path = tmp_path / "here" / "a.ome.tif"
    uuid = "urn:uuid:11111111-1111-1111-1111-11111111111"
    text = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="' + uuid + '1">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="int16" SizeX="4" SizeY="3" '
        'SizeC="1" SizeZ="2" SizeT="1"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>'
        f'<TiffData IFD="0" PlaneCount="2"><UUID FileName="{name}">{uuid}2</UUID></TiffData>'
        "</Pixels></Image></OME>"
    )
    tifffile.imwrite(path, NOISE[0], photometric=GREY, metadata=None, description=text)
    with pytest.raises(InputError, match="pages in other files"):
        read(path)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_pages_outside_the_file_are_refused(tmp_path, compression):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, NOISE, photometric=GREY, compression=compression, metadata=None)
    with tifffile.TiffFile(path) as file:
        tags = file.pages[1].tags
        at, width = tags["StripOffsets"].valueoffset, tags["ImageWidth"].valueoffset
    content = bytearray(path.read_bytes())
    for place, value in ((at, 2**31), (width, 2**30)):
        broken = bytearray(content)
        broken[place : place + 4] = struct.pack("<I", value)
        path.write_bytes(broken)
        with pytest.raises(InputError, match=r"does not hold|not a valid TIFF|images"):
            read(path)


def test_no_memory_is_asked_for_that_a_file_could_not_fill(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((4, 4), np.uint8), metadata=None)
    with tifffile.TiffFile(path) as file:
        tags = file.pages[0].tags
        places = [tags[name].valueoffset for name in ("ImageWidth", "ImageLength", "RowsPerStrip")]
    content = bytearray(path.read_bytes())
    for place in places:
        content[place : place + 2] = struct.pack("<H", 60_000)
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"does not hold|not a valid TIFF"):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("package", "ending", "extra"), [("SimpleITK", ".nrrd", "itk"), ("tifffile", ".tif", "tiff")]
)
def test_a_missing_package_names_its_extra(tmp_path, monkeypatch, package, ending, extra):
    (tmp_path / f"a{ending}").write_bytes(b"anything")
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(MissingExtra, match=rf"inrcodec\[{extra}\]"):
        read(tmp_path / f"a{ending}")


def test_a_missing_package_is_seen_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    for act in (check_sink, lambda path: write(Volume.from_array(ARRAY), path)):
        with pytest.raises(MissingExtra, match=r"inrcodec\[tiff\]"):
            act(tmp_path / "a.tif")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("largest", "big"), [(2**32, False), (ARRAY.nbytes - 1, True)])
def test_offsets_are_as_wide_as_they_need_to_be(tmp_path, monkeypatch, largest, big):
    monkeypatch.setattr(tiff, "_LARGEST", largest)
    write(Volume.from_array(ARRAY), tmp_path / "a.tif")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert (file.is_bigtiff, file.is_ome) == (big, True)
    np.testing.assert_array_equal(read(tmp_path / "a.tif").array, ARRAY)


def test_a_long_line_of_a_metaimage_is_read_in_one_pass(tmp_path):
    write(Volume.from_array(ARRAY), tmp_path / "a.mha")
    long = b"Comment = a" + b" " * (1 << 19) + b"b\n"  # taken by every blank once more, it would last an hour
    (tmp_path / "a.mha").write_bytes(long + (tmp_path / "a.mha").read_bytes())
    np.testing.assert_array_equal(read(tmp_path / "a.mha").array, ARRAY)


@pytest.mark.parametrize("gap", [0, float("nan")])
def test_an_impossible_distance_of_pages_is_none(tmp_path, gap):
    words = {"axes": "ZYX", "unit": "mm", "spacing": gap}
    tifffile.imwrite(tmp_path / "a.tif", ARRAY, imagej=True, resolution=(2, 2), metadata=words)
    assert read(tmp_path / "a.tif").spacing == (1, 1, 1)
    assert read(tmp_path / "a.tif", spacing=(3, 0.5, 0.5)).spacing == (3, 0.5, 0.5)


def test_one_of_many_volumes_of_a_metaimage_is_read_without_the_others(tmp_path):
    many = np.random.default_rng(0).integers(0, 255, (128, 32, 32, 32)).astype(np.uint8)
    itk.WriteImage(itk.GetImageFromArray(many, isVector=False), str(tmp_path / "a.mha"), True)
    tracemalloc.start()
    np.testing.assert_array_equal(read(tmp_path / "a.mha", volume=127).array, many[127])
    assert tracemalloc.get_traced_memory()[1] < many.nbytes / 2
    tracemalloc.stop()
