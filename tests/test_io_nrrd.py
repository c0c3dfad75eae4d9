"""NRRD and MetaImage: places, voxels beside their header, and compressed ones to their end."""

from __future__ import annotations

import tracemalloc
import zlib

import numpy as np
import pytest
from foreign_files import ARRAY, FLIPPED, FOUR, NOISE, OBLIQUE, metaimage, nrrd, packed

from inrcodec.errors import InputError
from inrcodec.io import read, write
from inrcodec.io.itk import to_simpleitk
from inrcodec.volume.volume import Volume

itk = pytest.importorskip("SimpleITK")


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


def test_a_long_line_of_a_metaimage_is_read_in_one_pass(tmp_path):
    write(Volume.from_array(ARRAY), tmp_path / "a.mha")
    long = b"Comment = a" + b" " * (1 << 19) + b"b\n"  # taken by every blank once more, it would last an hour
    (tmp_path / "a.mha").write_bytes(long + (tmp_path / "a.mha").read_bytes())
    np.testing.assert_array_equal(read(tmp_path / "a.mha").array, ARRAY)


def test_one_of_many_volumes_of_a_metaimage_is_read_without_the_others(tmp_path):
    many = np.random.default_rng(0).integers(0, 255, (128, 32, 32, 32)).astype(np.uint8)
    itk.WriteImage(itk.GetImageFromArray(many, isVector=False), str(tmp_path / "a.mha"), True)
    tracemalloc.start()
    np.testing.assert_array_equal(read(tmp_path / "a.mha", volume=127).array, many[127])
    assert tracemalloc.get_traced_memory()[1] < many.nbytes / 2
    tracemalloc.stop()
