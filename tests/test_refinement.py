"""The promise: bounds that hold for every type, and a command that says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from conftest import encoded
from hypothesis import given
from hypothesis import strategies as st
from refined_volumes import part_of_a_head, some

import inrcodec
from inrcodec import Volume, api, io
from inrcodec.cli import dec, enc, info
from inrcodec.encoder.bounded import stored_bound
from inrcodec.errors import CorruptFile, InputError, UsageError
from inrcodec.layers.lattice import lower_halves
from inrcodec.layers.lattice.integers import Scale
from inrcodec.volume.value_range import Range

DICOM = Path(__file__).parent / "data" / "vhf-head-dicom"
DTYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32"]


@pytest.fixture(scope="module")
def head():
    return part_of_a_head()


# --- integers


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=30))
def test_the_order_of_floats_is_that_of_their_integers(values):
    array = np.array(values, np.float32)
    scale = Scale(array.dtype, float(array.min()), float(array.max()), 0.0)
    found = scale.of(array)
    assert found.min() >= 0 and found.max() <= scale.most < 2**32
    assert scale.stored(found).tobytes() == array.tobytes()
    assert all((np.diff(array[np.argsort(found)]) >= 0).tolist())


def test_values_that_no_32_bits_count_are_refused():
    for scale in (Scale(np.dtype("int64"), -(2.0**40), 2.0**40), Scale(np.dtype("float64"), 0.0, 1.0, 1e-12)):
        with pytest.raises(InputError, match=r"2\^32"):
            scale.check()


# --- promises


@pytest.mark.parametrize("dtype", DTYPES)
def test_lossless_is_bit_for_bit(dtype):
    array = some(dtype)
    if dtype.startswith("float"):
        array.flat[:3] = [0.0, -0.0, np.finfo(dtype).smallest_subnormal]
    blob, report = encoded(array, lossless=True)
    assert inrcodec.decode(blob).tobytes() == array.tobytes()
    assert (report.psnr, report.max_error, report.bound) == (float("inf"), 0.0, 0.0)
    assert api.verify(blob)["ok"]


@given(
    st.sampled_from([*DTYPES, "float64"]),
    st.tuples(*(st.integers(1, 9),) * 3),
    st.floats(0.02, 1e4),
    st.sampled_from([1.0, -0.5, 3.0]),
    st.booleans(),
)
def test_no_voxel_is_further_off_than_was_promised(dtype, shape, bound, slope, padded):
    array = some(dtype, shape)
    padding = array.flat[0].item() if padded else None
    volume = Volume(array, np.eye(4), rescale=(slope, 7.0), padding=padding)
    try:
        blob, report = encoded(volume, max_error=bound)
    except UsageError as error:  # floats that are further apart than that
        assert "further apart" in str(error) and array.dtype.kind == "f"
        return
    decoded = inrcodec.decode(blob)
    error = np.abs(decoded.astype(np.float64) - array.astype(np.float64)) * abs(slope)
    assert error.max() <= bound and report.max_error == pytest.approx(error.max())
    assert padding is None or (decoded[array == padding] == padding).all()


@pytest.mark.parametrize("brick", [None, 8])
@pytest.mark.parametrize("share", [1.0, 1 / 3, -1e-300, 1e30])
def test_float64_is_lossless_and_bounded(brick, share):
    array = some("float64", (9, 14, 17)) * share
    array.flat[:4] = [0.0, -0.0, 5e-324, array.flat[9] * (1 + 2**-52)]
    blob = inrcodec.encode(array, lossless=True, brick=brick)
    assert inrcodec.decode(blob).tobytes() == array.tobytes()
    bound = 1e-4 * np.abs(array).max()
    assert np.abs(inrcodec.decode(inrcodec.encode(array, max_error=bound)) - array).max() <= bound


def test_what_a_part_of_float64_gives():
    """A box and a level are those of the whole; a file that is cut has the upper halves."""
    array = some("float64", (16, 24, 32)) / 3
    blob = inrcodec.encode(array, lossless=True, brick=8)
    with inrcodec.open(blob) as file:
        assert np.array_equal(file.read(np.s_[3:12, 2:20:3, 9:]), array[3:12, 2:20:3, 9:])
        z, y, x = file.levels[1].factor
        assert np.array_equal(file.read(level=1), array[::z, ::y, ::x])
        assert 4 * array.size < file.bytes_needed(level=1) < file.bytes_needed()
        assert file.bytes_needed(np.s_[:8, :8, :8]) < len(blob) / 4
    cut = inrcodec.decode(blob, max_bytes=len(blob) - 4 * array.size // 2)
    assert np.allclose(cut, array, rtol=2**-19, atol=0) and not np.array_equal(cut, array)


def test_lower_halves_that_do_not_fit_are_refused():
    array = some("float64", (3, 4, 5)) / 3
    stream = lower_halves.encode(array)
    for damaged in (b"", stream[:-1], stream + b"\0", lower_halves.encode(array[:2])):
        with pytest.raises(CorruptFile):
            lower_halves.join(np.zeros(array.shape), damaged, array.shape)


@pytest.mark.parametrize("value", [-7, 0])
def test_one_value_takes_next_to_nothing(value):
    array = np.full((6, 30, 30), value, np.int16)
    blob = inrcodec.encode(array, lossless=True)
    assert np.array_equal(inrcodec.decode(blob), array) and len(blob) < 1500


def test_two_dimensions_come_back_as_two():
    array = some("uint16", (1, 30, 20))[0]
    assert np.array_equal(inrcodec.decode(inrcodec.encode(array, lossless=True)), array)


def test_a_larger_error_takes_fewer_bytes_and_lossless_less_than_zlib(head):
    volume = head
    sizes = [len(inrcodec.encode(volume, max_error=e)) for e in (0, 2, 8, 32)]
    assert sizes == sorted(sizes, reverse=True) and sizes[3] < sizes[0] / 4
    assert sizes[0] < 0.8 * len(zlib.compress(volume.array.tobytes(), 9))


def test_a_psnr_beyond_the_networks_is_reached_by_a_refinement(head):
    volume = head
    blob, report = encoded(volume, psnr=48.0, steps=200)
    assert report.sections["refinement"] > 0 and report.sections["base"] == 0 and report.bound is None
    assert 48.0 <= report.psnr < 48.5
    error = np.square((inrcodec.decode(blob).astype(float) - volume.array) / report.peak).mean()
    assert -10 * np.log10(error) == pytest.approx(report.psnr)
    assert any("refinement" in notice for notice in report.notices)


def test_same_volume_same_file_whatever_the_threads():
    array = some("int16", (12, 30, 30))
    assert len({inrcodec.encode(array, lossless=True, threads=t) for t in (1, 2, 3)}) == 1


@pytest.mark.parametrize(
    "instructions",
    [
        {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
        {"OPENBLAS_CORETYPE": "Nehalem", "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3"},
    ],
)
def test_other_instructions_decode_the_same(tmp_path, instructions):
    array = some("int16", (12, 40, 40))
    path = tmp_path / "v.inrv"
    inrcodec.encode_file(array, path, max_error=3)
    script = "import sys, inrcodec; print(inrcodec.verify(sys.argv[1])['digest'])"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(path)],
        env=os.environ | instructions, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["equal"]


# --- commands


def test_commands_promise_and_say_so(tmp_path, capsys, head):
    source, target, back = (tmp_path / name for name in ("h.nii.gz", "h.inrv", "back.nii.gz"))
    io.write(head, source)
    assert enc.main([str(source), str(target), "--max-error", "10"]) == 0
    assert "promised: at most 10" in capsys.readouterr().err
    assert dec.main([str(target), str(back)]) == 0
    assert np.abs(io.read(back).array.astype(int) - head.array).max() <= 10
    assert info.main([str(target), "--json", "--verify"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["quality"]["bound"] == 10 and found["verify"]["ok"] and found["bytes"]["refinement"] > 1000
    assert dec.main([str(target), str(back), "--quality", "preview", "--force"]) == 0
    assert dec.main([str(target), str(back), "--max-bytes", "3kB", "--force"]) == 0
    assert dec.main([str(target), str(back), "--quality", "base", "--force"]) == 2
    assert dec.main([str(target), str(back), "--quality", "good", "--force"]) == 2
    assert np.abs(io.read(back).array.astype(int) - head.array).max() > 10


def test_dicom_says_what_was_lost_and_nothing_of_what_was_not(tmp_path):
    first = sorted(DICOM.iterdir())[0]
    for knobs, words in (([], None), (["--quality", "preview"], "Only a part"), (None, "more than 10 HU")):
        target, back = tmp_path / "v.inrv", tmp_path / f"back{words}"
        promise = ["--max-error", "10"] if knobs is None else ["--lossless"]
        assert enc.main([str(DICOM), str(target), *promise, "--force", "-q"]) == 0
        assert dec.main([str(target), str(back), *(knobs or []), "-q"]) == 0
        header = pydicom.dcmread(sorted(back.iterdir())[0])
        source = pydicom.dcmread(first).get("LossyImageCompression")
        if words is None:
            assert header.get("LossyImageCompression") == source and "DerivationDescription" not in header
            assert np.array_equal(io.read(back).array, io.read(DICOM).array)
        else:
            assert header.LossyImageCompression == "01" and words in header.DerivationDescription


def test_a_dry_run_of_a_promise_plans_no_networks(tmp_path, capsys, head):
    io.write(head, tmp_path / "h.nii.gz")
    words = [str(tmp_path / "h.nii.gz"), str(tmp_path / "h.inrv"), "--max-error", "3", "--dry-run"]
    assert enc.main([*words, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["bound"] == 3 and "factor" not in plan and plan["predicted_bytes"] is None
    assert enc.main(words) == 0 and "keeps the promise" in capsys.readouterr().err
    assert not (tmp_path / "h.inrv").exists()


@pytest.mark.parametrize("psnr", [60, 70, 90, 140])
def test_any_psnr_is_reached_or_nothing_is_lost(psnr):
    array = some("int16", (10, 20, 20))
    report = encoded(array, psnr=psnr)[1]
    assert report.psnr >= psnr and (report.bound == 0) == (report.psnr == float("inf"))
    assert report.sections["refinement"] > 0
    assert encoded(np.full((3, 9, 9), 7, np.int16), psnr=psnr)[1].psnr == float("inf")


def test_networks_lead_where_values_cannot_be_counted():
    """A constant has some 10 dB of a ramp, and no outcome of a fit is worse."""
    array = (np.add.outer(np.arange(8), np.add.outer(np.arange(20), np.arange(20))) * 2.0**35).astype(
        np.int64
    )
    assert encoded(array, psnr=8, steps=60, factor=2)[1].sections["refinement"] == 0


def test_a_model_that_is_dropped_leaves_no_noise_behind():
    array = some("int16", (16, 24, 24))
    blob, report = encoded(array, lossless=True, base="siren", steps=20, factor=2, modality="CT")
    assert np.array_equal(inrcodec.decode(blob), array) and report.psnr_lanczos == report.psnr


@pytest.mark.parametrize("slope", [0.1, 0.3, 0.7, 1.1, 1 / 3])
def test_bounds_that_are_multiples_of_the_slope_hold(slope):
    for k in (1, 3, 17, 34, 39):
        for bound in (k * slope, round(k * slope, 6)):
            volume = Volume(some("int16", (4, 9, 9)), np.eye(4), rescale=(slope, 0.0))
            assert encoded(volume, max_error=bound)[1].max_error <= bound


@pytest.mark.parametrize("dtype", ["int16", "float32"])
@pytest.mark.parametrize("slope", [1.0, 0.1, 1 / 3, -0.7, 1e-3, 1e6, 1e-300])
@pytest.mark.parametrize("bound", [0.0, 1e-3, 0.35, 7.0, 1e9, 1e17, 1e20, 1e308])
def test_a_bound_in_stored_units_is_found_without_a_search(bound, slope, dtype):
    """The largest whose product keeps the promise, or all there is, also for quotients beyond 2^53."""
    volume = Volume(some(dtype), np.eye(4), rescale=(slope, 0.0))
    span = Range.of(volume)
    found = stored_bound(volume, span, bound)
    assert 0 <= found <= span.high - span.low and found * abs(slope) <= bound
    if dtype == "int16":
        assert found.is_integer() and (found == span.high - span.low or (found + 1) * abs(slope) > bound)


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32", "float64"])
def test_any_bound_can_be_promised(dtype):
    volume = Volume(some(dtype), np.eye(4), rescale=(0.5, 0.0))
    blob, report = encoded(volume, max_error=1e308)
    assert report.bound == 1e308 and inrcodec.decode(blob).shape == volume.shape


@pytest.mark.filterwarnings("ignore:overflow encountered in square")
def test_the_range_of_a_type_can_be_the_bound():
    largest = float(np.finfo(np.float64).max) / 2
    array = np.array([[[-largest, 0.0, largest]]])
    decoded = inrcodec.decode(inrcodec.encode(array, max_error=1.5 * largest))
    assert np.abs(decoded / 4 - array / 4).max() <= 1.5 * largest / 4


def test_nearly_nothing_but_padding(recwarn):
    array = np.full((24, 48, 48), -2000, np.int16)
    array[3, 4, 5], array[20, 40, 7] = 40, 900
    volume = Volume(array, np.eye(4), padding=-2000)
    assert np.array_equal(inrcodec.decode(inrcodec.encode(volume, lossless=True)), array)
    assert not [w for w in recwarn if issubclass(w.category, RuntimeWarning)]


def test_a_bound_beyond_all_values():
    array = np.array([[[0, 2**32 - 1, 7, 2**31]]], np.uint32)
    assert inrcodec.decode(inrcodec.encode(array, max_error=3e9)).shape == array.shape
    floats = inrcodec.encode(some("float32"), max_error=1e308)
    assert inrcodec.decode(floats).shape == (6, 14, 17)


@pytest.mark.parametrize("padding", [0.0, -0.0, None])
def test_two_zeros_come_back_as_they_are(padding):
    array = np.array([[[0.0, -0.0, 3.5, 1.25, -0.0, 7.0]]], np.float32)
    blob = inrcodec.encode(Volume(array, np.eye(4), padding=padding), lossless=True)
    assert inrcodec.decode(blob).tobytes() == array.tobytes()


def test_dicom_of_floats_promises_nothing(tmp_path):
    np.save(tmp_path / "v.npy", some("float32"))
    target, back = tmp_path / "v.inrv", tmp_path / "back"
    assert enc.main([str(tmp_path / "v.npy"), str(target), "--lossless", "--modality", "CT", "-q"]) == 0
    assert dec.main([str(target), str(back), "-q"]) == 0
    header = pydicom.dcmread(sorted(back.iterdir())[0])
    assert header.LossyImageCompression == "01" and "more than" not in header.DerivationDescription
