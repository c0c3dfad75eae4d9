"""Training of super-resolution models: nothing leaks, a resumed training is the same one, cards are true."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_samples import FACTOR, clean_volume, options, texture, written_volumes

import inrcodec
from inrcodec import Volume
from inrcodec.encoder import curves
from inrcodec.encoder.bases.latent_values import Way
from inrcodec.encoder.facts import Facts
from inrcodec.errors import CorruptFile, InputError, ModelNotFound, UsageError
from inrcodec.layers import resample
from inrcodec.layers.base.av1 import codec, video
from inrcodec.layers.base.latent import codec as grid
from inrcodec.layers.base.latent.stream import values_of, write_stream
from inrcodec.layers.superres.architectures import NAMES, named
from inrcodec.training import dataset, fits, run
from inrcodec.training.dataset import to_unit
from inrcodec.training.fits.network_files import STORED, volume_of
from inrcodec.training.options import AV1_PRESET
from inrcodec.training.trainer import Trainer

DICOM = Path(__file__).parent / "data" / "vhf-head-dicom"


@pytest.fixture
def volumes(tmp_path):
    return written_volumes(tmp_path)


# --- options


@pytest.mark.parametrize("name", NAMES)
def test_every_architecture_has_a_name(name):
    arch = named(name, (1, 4, 4))
    assert arch.dims == 2 and arch.factor == (1, 4, 4)


def test_compact_is_three_dimensional_where_slices_are_brought_back():
    assert [named("compact", f).dims for f in [(1, 2, 2), (2, 2, 2), (4, 4, 4), (2, 4, 4)]] == [2, 3, 3, 3]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arch": "compakt"}, "did you mean 'compact'"),
        ({"arch": "srdensenet-all"}, "in-plane"),
        ({"factor": (1, 1, 1)}, "nothing to up-sample; did you mean 2"),
        ({"av1_qualities": (3,)}, "av1_qualities: 3"),
        ({"latent_rates": (0, 128)}, "latent_rates: 128"),
        ({"factor": (16, 2, 2)}, "from 1 to 8"),
        ({"steps": 0}, "steps: 0"),
        ({"minutes": -1.0}, "minutes"),
        ({"threads": -1}, "threads"),
        ({"seed": -1}, "seed"),
        ({"fits": (1,)}, "fits: 1"),
        ({"model": "../x"}, "small letters"),
        ({"model": "lanczos"}, "not 'auto' or 'lanczos'"),
        ({"modality": "C T!"}, "not a DICOM term"),
        ({"offsets": {"v9.npy": 1.0}}, "none of the volumes"),
        ({"licences": {"v9.npy": "free"}}, "none of the volumes"),
        ({"licences": ["v0.npy"]}, "NAME=VALUE"),
        ({"offsets": ["v0.npy=x"]}, "not a number of HU"),
        ({"patch": (12, 24)}, "patch"),
        ({"modality": "MR", "offsets": {"v0.npy": 1.0}}, "MR has none"),
    ],
)
def test_what_cannot_be_is_refused_before_a_volume_is_read(volumes, tmp_path, changes, words):
    with pytest.raises(UsageError, match=words):
        options(volumes, tmp_path, **changes)


def test_options_are_read_as_the_command_line_and_python_give_them(volumes, tmp_path):
    words = {
        "factor": 2,
        "patch": 9,
        "fits": 0,
        "av1_qualities": 120,
        "latent_rates": 0,
        "offsets": ["v0.npy=-1024"],
        "licences": ["v1.npy=CC BY 4.0"],
    }
    found = options(volumes, tmp_path, **words)
    assert (found.factor, found.patch, found.fits) == ((2, 2, 2), (9, 9, 9), ())
    assert (
        found.av1_qualities == (120,)
        and found.latent_rates == (0,)
        and found.offsets == {"v0.npy": -1024.0}
        and found.licences == {"v1.npy": "CC BY 4.0"}
    )
    assert replace(found, steps=7).offsets == found.offsets and found.threads >= 1


def test_a_volume_is_for_training_or_for_the_report(volumes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for held in (volumes[0], Path("v0.npy"), Path("./sub/../v0.npy")):
        (tmp_path / "sub").mkdir(exist_ok=True)
        with pytest.raises(UsageError, match="named twice"):
            options(volumes, tmp_path, held_out=[held])
    with pytest.raises(UsageError, match="named twice"):
        options([volumes[0], volumes[0]], tmp_path)


def test_one_volume_in_five_is_held_out(tmp_path):
    paths = [tmp_path / f"{k}.npy" for k in range(6)]
    for path in paths:
        path.touch()
    found = options(paths, tmp_path)
    training, kept = found.split()
    assert len(kept) == 2 and sorted([*training, *kept]) == paths
    assert found.split() == (training, kept)
    assert options(paths[:5], tmp_path, held_out=paths[5:]).split() == (paths[:5], paths[5:])


def test_volumes_of_one_file_name_are_told_apart(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder / "CT").mkdir(parents=True)
    paths = [tmp_path / "a" / "CT", tmp_path / "b" / "CT"]
    assert list(options(paths, tmp_path).names.values()) == ["a/CT", "b/CT"]


# --- dataset


def test_material_is_the_volume_in_the_window_of_the_model(volumes, tmp_path):
    (source,) = dataset.read(options(volumes[:1], tmp_path, held_out=volumes[1:])).training
    clean, sharper = source.versions
    assert (clean.version, sharper.version) == ("clean", "sharper")
    hu = (clean.highres.numpy() + 1) * 2047.5 - 1024
    np.testing.assert_allclose(hu, np.load(volumes[0]), atol=1e-3)
    expected = resample.down(lambda z, rows: hu[z, rows].astype(float), hu.shape, FACTOR)
    np.testing.assert_allclose((clean.lowres.numpy() + 1) * 2047.5 - 1024, expected, atol=1e-2)
    assert sharper.highres.std() > clean.highres.std() and not torch.equal(sharper.lowres, clean.lowres)
    error = resample.up(clean.lowres.numpy().astype(float), FACTOR, hu.shape) - clean.highres.numpy()
    assert clean.lanczos_mse == pytest.approx(np.square(error).mean(), rel=0.3)


def test_long_axes_are_scaled_too(tmp_path):
    np.save(tmp_path / "long.npy", texture((8, 12, 200)))
    chosen = options([tmp_path / "long.npy"], tmp_path)
    *_, scaled = dataset.to_train_on("v", dataset.load(tmp_path / "long.npy", chosen), chosen).versions
    assert scaled.version == "scaled" and scaled.highres.shape == (8, 12, 140)


def test_raw_units_are_refused_until_an_offset_brings_them_to_hounsfield(tmp_path):
    path = tmp_path / "raw.npy"
    np.save(path, (texture() + 1024).astype(np.uint16))
    with pytest.raises(InputError, match=r"offsets: .*raw\.npy=HU"):
        dataset.load(path, options([path], tmp_path))
    unit = dataset.load(path, options([path], tmp_path, offsets={"raw.npy": -1024.0}))
    np.testing.assert_allclose((unit + 1) * 2047.5 - 1024, texture(), atol=1e-3)


@pytest.mark.parametrize("slope", [2.0, -2.0])
def test_other_modalities_have_a_window_of_their_own(slope):
    physical = texture().astype(np.float64) + 2000
    volume = Volume(physical / slope, np.eye(4), modality="MR", rescale=(slope, 0.0))
    unit = to_unit(volume)
    assert unit.min() == pytest.approx(-1, abs=1e-5) and 0.5 < unit.max() <= 1
    order = np.argsort(physical, axis=None, kind="stable")
    assert (np.diff(unit.ravel()[order]) >= -1e-6).all()


def test_real_fits_are_what_files_decode_to_and_are_kept_by_content(volumes, tmp_path):
    chosen = options(volumes, tmp_path, fit_steps=100, threads=1)
    chosen.out.mkdir()
    found = fits.lowres(clean_volume().highres.numpy(), 8, chosen)
    stored = np.rint((clean_volume().highres.numpy() + 1) * STORED).astype(np.int16)
    knobs = {"width": 8, "steps": 100, "threads": 1, "sr": "lanczos", "through_sr": False}
    ct = replace(Volume.from_array(stored), modality="CT", rescale=(4095 / 4000, -1024.0))
    decoded = inrcodec.decode(inrcodec.encode(ct, factor=FACTOR, **knobs), lowres=True)
    assert np.abs((found + 1) * STORED - decoded).max() <= 0.51  # of a stored unit: files hold integers
    assert np.array_equal(fits.lowres(clean_volume().highres.numpy(), 8, chosen), found)
    assert len(list(chosen.out.glob("fit-*.npy"))) == 1
    fits.lowres(clean_volume(seed=5).highres.numpy(), 8, chosen)
    assert len(list(chosen.out.glob("fit-*.npy"))) == 2


def test_a_kept_fit_of_another_shape_is_refused(volumes, tmp_path):
    chosen = options(volumes, tmp_path, fit_steps=60, threads=1)
    chosen.out.mkdir()
    fits.lowres(clean_volume().highres.numpy(), 8, chosen)
    (path,) = chosen.out.glob("fit-*.npy")
    np.save(path, np.zeros((2, 2, 2), np.float32))
    with pytest.raises(CorruptFile, match="not a fit"):
        fits.lowres(clean_volume().highres.numpy(), 8, chosen)


def test_av1_versions_are_what_the_streams_decode_to_and_are_kept_by_content(volumes, tmp_path):
    pytest.importorskip("av")
    chosen = options(volumes, tmp_path, threads=1)
    chosen.out.mkdir()
    low = clean_volume().lowres.numpy()
    found = fits.av1(low, 200, chosen)
    nodes = curves.between(-1024.0, 3071.0)  # CT is companded, as in files
    codes = codec.to_codes(low.astype(float), nodes)
    decoded = video.decode(video.encode(codes, 200, AV1_PRESET), codes.shape)
    np.testing.assert_allclose(found, codec.levels(nodes)[decoded], atol=1e-6)
    (path,) = chosen.out.glob("av1-*.obu")
    assert np.array_equal(fits.av1(low, 200, chosen), found)
    fits.av1(low, 40, chosen)
    assert len(list(chosen.out.glob("av1-*.obu"))) == 2
    path.write_bytes(b"junk")
    with pytest.raises(CorruptFile, match="AV1 stream"):
        fits.av1(low, 200, chosen)


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_latent_versions_are_what_files_decode_to_and_are_kept_by_content(
    volumes, tmp_path, modality, few_maps
):
    chosen = options(volumes, tmp_path, threads=1, modality=modality)
    chosen.out.mkdir()
    low = clean_volume().lowres.numpy().clip(-1, 1)
    low.reshape(-1)[:2] = -1.0, 1.0  # the ends of the range, as the encoder sees it
    found = fits.latent(low, 20, chosen)
    facts = Facts.of(volume_of(np.rint((low + 1) * STORED).astype(np.int16), chosen))
    way = Way.of(facts, curves.for_ct(facts))
    decoded = as_latents(low, way)
    assert bool(way.curve) == (modality == "CT")
    assert np.square(found - decoded).mean() < 0.01 * np.square(found - low).mean()
    (path,) = chosen.out.glob("latent-*.latg")
    assert np.array_equal(fits.latent(low, 20, chosen), found)
    fits.latent(low, 90, chosen)
    assert len(list(chosen.out.glob("latent-*.latg"))) == 2
    path.write_bytes(b"junk")
    with pytest.raises(CorruptFile, match="latents"):
        fits.latent(low, 20, chosen)


def as_latents(low, way):
    """What a stream of unit values at rate 20 decodes to."""
    values = grid.from_unit(low.astype(float), way.ends, way.curve)
    _, integers = write_stream(way.model, 20, values)
    return grid.to_unit(values_of(way.model, 20, integers), way.ends, way.curve)


def test_each_version_has_its_turn_of_the_settings_and_what_is_held_out_some(volumes, tmp_path, monkeypatch):
    monkeypatch.setattr(fits, "av1", lambda low, quality, _: low + quality / 1000)
    monkeypatch.setattr(fits, "latent", lambda low, rate, _: low + rate / 10_000)
    chosen = options(
        volumes[:1], tmp_path, held_out=volumes[1:], av1_qualities=(4, 8, 12, 16), latent_rates=(0, 60)
    )
    training, held_out = dataset.read(chosen).volumes(chosen)
    assert [v.version for v in training] == [
        *("clean", "sharper", "av1-4", "av1-16", "latent-0"),
        *("sharper av1-8", "sharper latent-60"),
    ]
    assert [v.version for v in held_out] == ["clean", "av1-4", "av1-16", "latent-0"]
    assert [v.coder for v in held_out] == ["", "av1", "av1", "latent"]
    assert training[3].noise == pytest.approx(0.016, rel=1e-3)


def test_each_width_has_volumes_enough_before_they_take_turns(volumes, tmp_path, monkeypatch):
    monkeypatch.setattr(fits, "lowres", lambda full, *_: np.zeros((12, 16, 18), np.float32))
    chosen = options(volumes[:1], tmp_path, held_out=volumes[1:], fits=(8, 10))
    (source,), held_out = dataset.read(chosen).training, []
    for count, widths in ((5, [8, 10] * 5), (6, [8, 10] * 3)):
        training, _ = dataset.Dataset([source] * count, held_out).volumes(chosen)
        assert [int(v.version[1:]) for v in training if v.coder] == widths


def test_the_middle_of_a_volume_is_a_part_of_it():
    m = clean_volume()
    part = m.middle((4, 99, 6))
    assert torch.equal(part.lowres, m.lowres[4:8, :, 6:12])
    assert torch.equal(part.highres, m.highres[8:16, :, 12:24]) and m.middle((99, 99, 99)) is m
    z, y, x = part.foreground.T
    assert len(z) and (part.lowres[z, y, x] > dataset.EMPTY - 1).all()


def test_every_volume_is_read_before_the_first_is_fitted(volumes, tmp_path, monkeypatch):
    """A volume that cannot be used is not found after minutes of fits of those before it."""
    volumes[1].write_bytes(b"junk")
    chosen = options(volumes[:1], tmp_path, held_out=volumes[1:], fits=(8,))
    monkeypatch.setattr(fits, "lowres", lambda *_: pytest.fail("a fit before all was read"))
    with pytest.raises(InputError):
        run.train(chosen)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"patch": (4, 9, 9)}, UsageError, "at least"),
        ({"start": "ct-3d-x4"}, UsageError, "another architecture"),
        ({"start": "no-such"}, ModelNotFound, "no-such"),
        ({"device": "cuda:999"}, UsageError, "cuda:999"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_the_first_fit(
    volumes, tmp_path, monkeypatch, changes, error, words
):
    monkeypatch.setattr(fits, "lowres", lambda *_: pytest.fail("a fit before the refusal"))
    with pytest.raises(error, match=words):
        run.train(options(volumes, tmp_path, fits=(8,), **changes))


def test_thread_counts_are_the_callers_afterwards(volumes, tmp_path, monkeypatch):
    """The count of a training stayed for the rest of the process."""
    before, seen = torch.get_num_threads(), []
    monkeypatch.setattr(Trainer, "run", lambda *_: seen.append(torch.get_num_threads()))
    monkeypatch.setattr("inrcodec.training.log.scores", lambda *_: [])
    monkeypatch.setattr(run, "scores", lambda *_: [])
    run.train(options(volumes, tmp_path, threads=before + 1))
    assert seen == [before + 1] and torch.get_num_threads() == before


def test_a_volume_that_holds_no_patch_is_refused_before_the_first_fit(volumes, tmp_path, monkeypatch):
    np.save(volumes[0], texture()[:8])
    np.save(volumes[1], texture()[:8])
    monkeypatch.setattr(fits, "lowres", lambda *_: pytest.fail("a fit before the refusal"))
    with pytest.raises(InputError, match="too few for a patch"):
        run.train(options(volumes, tmp_path, fits=(8,)))


def test_another_modality_is_refused(tmp_path):
    with pytest.raises(InputError, match="is CT, the model is for MR"):
        dataset.load(DICOM, options([DICOM], tmp_path, modality="MR"))


@pytest.mark.parametrize(
    ("array", "modality", "words"),
    [
        (np.full((8, 16, 16), -1024, np.int16), "CT", "is empty"),
        (np.full((8, 16, 16), 7, np.int16), "MR", "7 everywhere"),
        (texture()[:1], "CT", "too few for factor"),
    ],
)
def test_volumes_that_teach_nothing_are_refused(tmp_path, array, modality, words):
    np.save(tmp_path / "v.npy", array)
    offsets = {"v.npy": 0.0} if modality == "CT" else {}
    with pytest.raises(InputError, match=words):
        chosen = options([tmp_path / "v.npy"], tmp_path, modality=modality, offsets=offsets)
        dataset.to_train_on("v", dataset.load(tmp_path / "v.npy", chosen), chosen)


def test_the_last_fifth_of_a_single_volume_is_held_out(tmp_path):
    ramp = np.broadcast_to(np.arange(-1000, 1500, 50)[:, None, None], (50, 20, 20)).astype(np.int16)
    np.save(tmp_path / "one.npy", ramp)
    chosen = options([tmp_path / "one.npy"], tmp_path)
    training, held_out = dataset.read(chosen).volumes(chosen)
    assert max(float(v.highres.max()) for v in training) < min(float(v.highres.min()) for v in held_out)
