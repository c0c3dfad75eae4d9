"""The corridor as a whole: what goes in comes back, the same every time, and says what it is."""

import io as streams
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import encoded
from dicom_maker import write_series

import inrcodec
from inrcodec import api, io
from inrcodec.encoder import base_file
from inrcodec.encoder.measured import Measured
from inrcodec.encoder.options import EncodeOptions
from inrcodec.errors import CorruptFile, InputError, InrvError, TargetNotReached, UsageError
from inrcodec.format import container
from inrcodec.format.header import Header
from inrcodec.layers.superres import upsampler
from inrcodec.volume.volume import Volume

QUICK = {"steps": 120, "threads": 1}
Z, Y, X = np.meshgrid(*(np.linspace(-1, 1, n) for n in (12, 40, 44)), indexing="ij")
BLOB = np.exp(-3 * (Z**2 + Y**2 + X**2))
CIRCLE = Y**2 + X**2 < 0.9

VOLUMES = {
    "int16": (1000 * BLOB - 1000).astype(np.int16),
    "uint8": (255 * BLOB).astype(np.uint8),
    "uint16": (4095 * BLOB).astype(np.uint16),
    "int32": (-(10**6) * BLOB).astype(np.int32),
    "int64": (2**50 * BLOB).astype(np.int64),
    "uint64": (2**52 * BLOB).astype(np.uint64),
    "float16": BLOB.astype(np.float16),
    "float32": (BLOB * 1e-6).astype(np.float32),
    "float64": BLOB * 1e300,
    "big-endian": (1000 * BLOB).astype(">i2"),
    "fortran": np.asfortranarray((1000 * BLOB).astype(np.int16)),
    "padded": np.where(CIRCLE, 1000 * BLOB - 1000, -3024).astype(np.int16),
    "image": (1000 * BLOB[6]).astype(np.int16),
    "constant": np.full((5, 6, 7), 42, np.int16),
    "one voxel": np.full((1, 1, 1), -7, np.int8),
    "nothing but padding": np.full((3, 8, 8), -2000, np.int16),
    "two values": (BLOB > 0.5).astype(np.uint8),
    "a row": np.arange(60, dtype=np.uint16).reshape(1, 60),
}


@pytest.mark.parametrize("name", VOLUMES)
def test_what_is_decoded_has_the_shape_and_type_of_what_was_encoded(name):
    source = VOLUMES[name]
    blob, report = encoded(source, factor=None if min(source.shape) < 4 else 2, **QUICK)
    decoded = inrcodec.decode(blob, threads=1)
    assert decoded.shape == source.shape
    assert decoded.dtype == source.dtype.newbyteorder("=")
    assert decoded.min() >= source.min() and decoded.max() <= source.max()
    error = np.abs(decoded.astype(np.float64) - source.astype(np.float64))
    assert error.max() == pytest.approx(report.max_error)
    span = float(source.max()) - float(source.min()) or 1.0
    # A constant has as much: no outcome of the fit is worse.
    assert np.sqrt(np.square(error / span).mean()) <= 1.1 * (source / span).std()
    assert inrcodec.verify(blob, threads=1)["digest"] == "equal"
    json.dumps(inrcodec.info(blob))


def test_constants_are_exact_and_cost_no_network():
    for name in ("constant", "one voxel", "nothing but padding"):
        blob, report = encoded(VOLUMES[name], **QUICK)
        assert np.array_equal(inrcodec.decode(blob), VOLUMES[name])
        assert report.psnr == float("inf") and report.sections["base"] <= 100


def test_padding_is_exact_and_nothing_else_takes_its_value():
    source = VOLUMES["padded"]
    decoded = inrcodec.decode(inrcodec.encode(source, **QUICK))
    assert np.array_equal(decoded == -3024, source == -3024)


def test_geometry_rescale_and_modality_come_back():
    affine = np.array([[0, 0.4, 0.01, -7.25], [0.5, 0, 0, 12.5], [0, 0.02, -3.0, 1500], [0, 0, 0, 1]])
    source = Volume(
        VOLUMES["uint16"], affine, rescale=(0.5, -10), modality="MR", unit="", description={"bits": 12}
    )
    blob = inrcodec.encode(source, **QUICK)
    volume = inrcodec.decode_volume(blob)
    np.testing.assert_array_equal(volume.affine, affine)
    assert (volume.rescale, volume.modality, volume.description) == ((0.5, -10), "MR", {"bits": 12})
    low = inrcodec.decode_volume(blob, lowres=True)
    factor = inrcodec.info(blob)["codec"]["factor"]
    assert low.shape == tuple(-(-n // f) for n, f in zip(source.shape, factor, strict=True))
    corner = np.array([-0.5, -0.5, -0.5, 1])  # both grids start at the same corner in space
    np.testing.assert_allclose(low.affine @ corner, affine @ corner, atol=1e-12)


@pytest.mark.parametrize("tiles", [(1, 1, 1), (1, 3, 2)])
def test_same_seed_same_file_whatever_the_threads_and_another_seed_another(tiles):
    source = io.read("tests/data/mr-t1.nii.gz")
    keywords = {"steps": 30, "factor": 4, "width": 16, "tiles": tiles, "sr": "lanczos"}
    one, two = (inrcodec.encode(source, threads=t, seed=5, **keywords) for t in (1, 2))
    assert one == two
    assert one != inrcodec.encode(source, threads=1, seed=6, **keywords)


def test_same_voxels_whatever_the_threads_and_requested_slices():
    blob = inrcodec.encode(VOLUMES["int16"], modality="CT", steps=60, threads=1, factor=4, tiles=(1, 2, 2))
    assert inrcodec.info(blob)["codec"]["sr"] in ("ct-3d-x4", "lanczos")
    assert np.array_equal(inrcodec.decode(blob, threads=1), inrcodec.decode(blob, threads=3))
    decoder = api.open(blob)
    whole = decoder.lowres(threads=1)
    for z in range(len(whole)):
        assert np.array_equal(decoder.lowres(slice(z, z + 1), threads=2), whole[z : z + 1])


def test_the_encoder_keeps_the_better_of_model_and_lanczos(monkeypatch):
    """A model that only adds noise is found out on the volume at hand."""
    rng = np.random.default_rng(0)
    monkeypatch.setattr(
        upsampler.Upsampler,
        "_block",
        lambda up, place: rng.normal(
            0, 0.1, [(part.stop - part.start) * f for part, f in zip(place, up.factor, strict=True)]
        ),
    )
    source = Volume.from_array(VOLUMES["int16"], modality="CT")
    blob, report = encoded(source, steps=60, threads=1, factor=4)
    assert report.sr == "lanczos" and report.psnr == report.psnr_lanczos
    assert any("Lanczos is used" in notice for notice in report.notices)
    with_lanczos = inrcodec.decode(blob, sr="lanczos")
    assert np.array_equal(inrcodec.decode(blob), with_lanczos)


@pytest.mark.parametrize(
    ("gain", "keywords", "doubtful"),
    [
        (0.5, {"preset": "balanced"}, True),
        (1.5, {"preset": "balanced"}, False),
        (-0.5, {"preset": "balanced"}, True),
        (0.5, {"preset": "fast"}, False),
        (-0.5, {"preset": "fast"}, False),
        (-0.5, {"preset": "fast", "size": 5000}, True),
        (0.5, {"preset": "balanced", "time_budget": 9.0}, False),
        (None, {"preset": "balanced"}, False),
    ],
)
def test_a_loss_and_a_narrow_gain_of_the_model_are_held_against_networks_without_it(gain, keywords, doubtful):
    """Whether the fit was made for the model, or bytes were kept for it, is what makes the loss a doubt."""
    options = EncodeOptions(**keywords).resolved()
    lanczos = SimpleNamespace(errors=SimpleNamespace(psnr=30.0))
    model = None if gain is None else SimpleNamespace(errors=SimpleNamespace(psnr=30.0 + gain))
    plan = SimpleNamespace(options=options, size=options.size)
    found = Measured(plan, None, {}, lanczos, lanczos, model, None, ())
    assert base_file.is_doubtful(found) == doubtful


def test_of_two_encodings_the_one_with_the_smaller_error_is_kept(monkeypatch):
    """Whichever it is: the second plan has no model, and says why where it wins."""
    volume = Volume.from_array(VOLUMES["int16"], modality="CT")
    monkeypatch.setattr(base_file, "is_doubtful", lambda found: found.model is not None)
    keywords = {"steps": 60, "threads": 1, "factor": 4}
    blob, report = encoded(volume, **keywords)
    _, plain = encoded(volume, sr="lanczos", **keywords)
    assert report.psnr >= plain.psnr
    assert report.sr != "lanczos" or any("Lanczos is used" in notice for notice in report.notices)
    assert inrcodec.verify(blob)["ok"]


def test_a_file_with_a_model_decodes_without_it():
    head = io.read("tests/data/vhf-head.nii.gz")
    source = replace(head, array=head.array[:16, 150:246, 180:276])
    blob, report = encoded(source, steps=200, threads=1, width=24)
    assert report.sr in ("ct-3d-x4", "lanczos") and report.psnr >= report.psnr_lanczos
    plain = inrcodec.decode(blob, sr="lanczos")
    errors = (plain.astype(float) - source.array) ** 2
    assert 10 * np.log10(4095**2 / errors.mean()) == pytest.approx(report.psnr_lanczos)
    with pytest.raises(UsageError, match="lanczos"):
        inrcodec.decode(blob, sr="ct-3d-x9")


def test_the_report_counts_every_byte():
    blob, report = encoded(VOLUMES["padded"], **QUICK)
    assert sum(report.sections.values()) == report.file_bytes == len(blob)
    assert report.ratio == VOLUMES["padded"].nbytes / len(blob)
    assert {"read", "downsample", "fit", "verify"} <= report.seconds.keys()
    facts = inrcodec.info(blob)
    assert facts["bytes"]["file"] == len(blob) and facts["quality"]["psnr"] == report.psnr


@pytest.mark.parametrize("size", [1000, 1500])
def test_a_size_is_never_exceeded(size):
    assert len(inrcodec.encode("tests/data/vhf-head-dicom", size=size, steps=200, threads=1)) <= size


def test_a_ratio_is_a_size_and_an_impossible_one_writes_nothing(tmp_path):
    source = VOLUMES["int16"]
    assert source.nbytes / len(inrcodec.encode(source, ratio=30, **QUICK)) >= 30
    with pytest.raises(TargetNotReached):
        inrcodec.encode_file(source, tmp_path / "x.inrv", ratio=200, **QUICK)
    assert not list(tmp_path.iterdir())


def test_sources_and_files_of_every_kind(tmp_path):
    np.save(tmp_path / "a.npy", VOLUMES["int16"])
    target = tmp_path / "a.inrv"
    report = inrcodec.encode_file(tmp_path / "a.npy", target, spacing=(3, 1, 1), **QUICK)
    assert report.file_bytes == target.stat().st_size and report.source_bytes
    whole = inrcodec.decode(target)
    assert np.array_equal(inrcodec.decode(target.read_bytes()), whole)
    assert np.array_equal(inrcodec.decode(streams.BytesIO(target.read_bytes())), whole)
    assert inrcodec.decode_volume(str(target)).spacing == (3, 1, 1)
    with pytest.raises(InrvError, match="exists"):
        inrcodec.encode_file(VOLUMES["int16"], target, **QUICK)


def test_options_and_keywords_go_together_and_misspelt_ones_are_refused():
    options = inrcodec.EncodeOptions.from_preset("fast", steps=60, threads=1)
    blob = inrcodec.encode(VOLUMES["uint8"], options=options, width=12)
    assert inrcodec.info(blob)["codec"]["width"] == 12
    with pytest.raises(UsageError, match="did you mean 'width'"):
        inrcodec.encode(VOLUMES["uint8"], options=options, widht=12)


def test_the_plan_is_what_is_done():
    source = VOLUMES["int16"]
    planned = inrcodec.plan(source, **QUICK)
    report = encoded(source, **QUICK)[1]
    for name in ("factor", "tiles", "layers", "width"):
        assert planned[name] == getattr(report, name), name
    assert report.sr in (planned["sr"], "lanczos")  # a model is tried, and may be left out
    assert planned["predicted_bytes"] > 0  # how near it comes is the fit's


def test_the_preview_is_the_central_lowres_slice():
    blob = inrcodec.encode(VOLUMES["uint8"], factor=2, **QUICK)
    picture = inrcodec.open(blob).preview()
    low = inrcodec.decode(blob, lowres=True)
    assert picture.shape == low.shape[1:] and picture.dtype == np.uint8
    assert np.corrcoef(picture.ravel(), low[len(low) // 2].ravel())[0, 1] > 0.99


def test_a_changed_result_is_seen():
    blob = inrcodec.encode(VOLUMES["uint8"], factor=2, **QUICK)
    header, sections = container.read(blob)
    forged = replace(header, digest=bytes([1] * 16)).to_bytes()
    other = container.pack([("HEAD", forged), *list(sections.items())[1:]])
    assert inrcodec.verify(other)["digest"] == "differs"
    assert api.open(blob).digest() == Header.from_bytes(sections["HEAD"]).digest


def test_a_stream_for_a_tile_of_nothing_is_refused():
    blob = inrcodec.encode(VOLUMES["constant"], **QUICK)
    _, sections = container.read(blob)
    bodies = dict(sections) | {"INDX": (9).to_bytes(4, "little"), "WGHT": bytes(9)}
    with pytest.raises(CorruptFile, match="stream"):
        inrcodec.decode(container.pack(list(bodies.items())))


def test_no_patient_data_in_the_file(tmp_path):
    import pydicom

    for path in sorted((Path("tests/data/vhf-head-dicom")).iterdir())[:6]:
        dataset = pydicom.dcmread(path)
        dataset.PatientName, dataset.PatientID = "Secret^Name", "SECRET-ID"
        dataset.InstitutionName, dataset.StudyDate = "Secret Hospital", "20261123"
        dataset.save_as(tmp_path / path.name)
    names = sorted(tmp_path.iterdir(), key=lambda p: float(pydicom.dcmread(p).ImagePositionPatient[2]))
    positions = [float(pydicom.dcmread(p).ImagePositionPatient[2]) for p in names]
    keep = [p for p, z in zip(names, positions, strict=True) if z - positions[0] < 1.5]
    for path in set(names) - set(keep):
        path.unlink()
    blob = inrcodec.encode(tmp_path, steps=30, threads=1, sr="lanczos")
    assert b"ecret" not in blob and b"SECRET" not in blob and b"2026" not in blob


@pytest.mark.parametrize(
    "words",
    [
        {"unit": "µSv"},
        {"description": {"größe": 1}},
        {"description": {"a": "x" * 65}},
        {"description": {"a": np.inf}},
    ],
    ids=str,
)
def test_words_that_no_file_holds_are_refused_on_encode(words, tiny_array):
    volume = inrcodec.Volume(tiny_array, np.eye(4), **words)
    with pytest.raises(InputError, match="cannot be stored"):
        inrcodec.encode(volume, factor=2, steps=10, threads=1)


def test_a_size_that_is_too_small_names_the_least(tiny_array):
    keywords = {"factor": 2, "sr": "lanczos", "threads": 1}
    with pytest.raises(TargetNotReached, match="take about") as caught:
        inrcodec.encode(tiny_array, size=100, **keywords)
    least = int(re.search(r"about (\d+)", str(caught.value))[1])
    assert api.plan(tiny_array, size=least, **keywords)["width"] >= 2
    with pytest.raises(TargetNotReached, match="take about"):
        api.plan(tiny_array, size=least - 1, **keywords)


def test_a_target_is_not_named_as_another_format(tmp_path, tiny_array):
    for name in ("a.nii.gz", "a.NPY", "a.dcm", "a.nii.bz2", "a.xyz", "a.tar", "a.inrvv"):
        with pytest.raises(UsageError, match=r"did you mean .*a\.inrv"):
            inrcodec.encode_file(tiny_array, tmp_path / name)
    assert not list(tmp_path.iterdir())
    for name in ("a", "a.INRV", "series.1.2.840"):
        inrcodec.encode_file(tiny_array, tmp_path / name, lossless=True)


def test_a_subfolder_and_other_series_are_noticed(tmp_path, tiny_array):
    write_series(tmp_path / "study" / "s1", tiny_array)
    write_series(
        tmp_path / "study" / "scout",
        tiny_array[:1],
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        SeriesInstanceUID="1.2.4",
    )
    notices = api.plan(tmp_path / "study", factor=2)["notices"]
    assert any("subfolder s1 of" in notice for notice in notices)
    assert any("1 other series" in notice for notice in notices)
    alone = api.plan(tmp_path / "study" / "s1", factor=2)["notices"]
    assert not any("subfolder" in notice or "other series" in notice for notice in alone)


def test_a_stage_of_the_model_is_reported_only_where_there_is_one(tiny_blob):
    stages = set()
    inrcodec.decode(tiny_blob, progress=lambda stage, fraction: stages.add(stage))
    assert stages == {"lowres", "upsample"}


def test_the_low_res_volume_has_no_model_to_leave_out(tiny_blob):
    with pytest.raises(UsageError, match="has no meaning with lowres"):
        inrcodec.decode(tiny_blob, lowres=True, sr="lanczos")
