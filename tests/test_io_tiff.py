"""TIFF: what ImageJ, OME and others wrote, read with its spacing, or refused with the reason."""

from __future__ import annotations

import struct
import tracemalloc

import numpy as np
import pytest
from foreign_files import ARRAY, GREY, NOISE

from inrcodec.errors import InputError, UsageError
from inrcodec.io import read, tiff, write
from inrcodec.volume.volume import Volume

tifffile = pytest.importorskip("tifffile")


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


@pytest.mark.parametrize(("largest", "big"), [(2**32, False), (ARRAY.nbytes - 1, True)])
def test_offsets_are_as_wide_as_they_need_to_be(tmp_path, monkeypatch, largest, big):
    monkeypatch.setattr(tiff, "_LARGEST", largest)
    write(Volume.from_array(ARRAY), tmp_path / "a.tif")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert (file.is_bigtiff, file.is_ome) == (big, True)
    np.testing.assert_array_equal(read(tmp_path / "a.tif").array, ARRAY)


@pytest.mark.parametrize("gap", [0, float("nan")])
def test_an_impossible_distance_of_pages_is_none(tmp_path, gap):
    words = {"axes": "ZYX", "unit": "mm", "spacing": gap}
    tifffile.imwrite(tmp_path / "a.tif", ARRAY, imagej=True, resolution=(2, 2), metadata=words)
    assert read(tmp_path / "a.tif").spacing == (1, 1, 1)
    assert read(tmp_path / "a.tif", spacing=(3, 0.5, 0.5)).spacing == (3, 0.5, 0.5)
