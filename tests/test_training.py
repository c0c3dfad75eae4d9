"""Training of super-resolution models: nothing leaks, a run that goes on is the same run, cards are true."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from inrcodec import Volume
from inrcodec.errors import CorruptFile, FitFailed, InputError, UsageError
from inrcodec.layers import resample
from inrcodec.layers.superres.architectures import NAMES, named
from inrcodec.layers.superres.network import Architecture, SRDenseNet
from inrcodec.training import evaluate
from inrcodec.training.dataset import Loader, Material, material_of, unit_of
from inrcodec.training.degrade import imitate
from inrcodec.training.options import TrainOptions
from inrcodec.training.patches import Batch, Patches
from inrcodec.training.trainer import Training

FACTOR = (2, 2, 2)
TINY = Architecture(features=8, blocks=1, layers=2, growth=8, bottleneck=16, factor=FACTOR)
FLAT = replace(TINY, dims=2, factor=(1, 2, 2))
SIZE = (9, 10, 10)
DICOM = Path(__file__).parent / "data" / "vhf-head-dicom"


def texture(shape=(24, 32, 36), seed=0):
    """Blobs and edges in HU, int16; air in one corner."""
    rng = np.random.default_rng(seed)
    low = rng.normal(size=[-(-n // 4) for n in shape])
    smooth = resample.up(low, (4, 4, 4), shape)
    found = (np.where(smooth > 0.2, 800, -700) + 60 * smooth).astype(np.int16)
    found[:4, :4, :4] = -1000
    return found


@pytest.fixture
def volumes(tmp_path):
    paths = []
    for k in range(2):
        paths.append(tmp_path / f"v{k}.npy")
        np.save(paths[-1], texture(seed=k))
    return paths


def options(volumes, tmp_path, **changes):
    usual = {
        "modality": "CT",
        "factor": FACTOR,
        "out": tmp_path / "out",
        "fits": (),
        "batch": 2,
        "rate": 1e-3,
    }
    return TrainOptions(**{"volumes": volumes, "patch": SIZE} | usual | changes)


def material(seed=0, error=None):
    full = (texture(seed=seed).astype(np.float32) + 1024) / 2047.5 - 1
    return replace(material_of("v", "clean", full, FACTOR), error=error)


# --- wishes


@pytest.mark.parametrize("name", NAMES)
def test_every_architecture_has_a_name(name):
    arch = Architecture(**named(name, (1, 4, 4)))
    assert arch.dims == 2 and arch.factor == (1, 4, 4)


def test_compact_is_three_dimensional_where_slices_are_brought_back():
    assert [named("compact", f)["dims"] for f in [(1, 2, 2), (2, 2, 2), (4, 4, 4), (2, 4, 4)]] == [2, 3, 3, 3]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arch": "compakt"}, "did you mean 'compact'"),
        ({"arch": "srdensenet-all"}, "in-plane"),
        ({"factor": (1, 1, 1)}, "nothing to bring back"),
        ({"factor": (16, 2, 2)}, "from 1 to 8"),
        ({"steps": 0}, "steps: 0"),
        ({"minutes": -1.0}, "minutes"),
        ({"threads": -1}, "threads"),
        ({"seed": -1}, "seed"),
        ({"fits": (1,)}, "fits 1"),
        ({"model": "../x"}, "small letters"),
        ({"model": "lanczos"}, "not 'auto' or 'lanczos'"),
        ({"modality": "C T!"}, "not a DICOM term"),
        ({"offsets": {"v9.npy": 1.0}}, "none of the volumes"),
        ({"licences": {"v9.npy": "free"}}, "none of the volumes"),
        ({"modality": "MR", "offsets": {"v0.npy": 1.0}}, "MR has not"),
    ],
)
def test_what_cannot_be_is_refused_before_a_volume_is_read(volumes, tmp_path, changes, words):
    with pytest.raises(UsageError, match=words):
        options(volumes, tmp_path, **changes)


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


# --- material


def test_material_is_the_volume_in_the_window_of_the_model(volumes, tmp_path):
    clean, sharper = Loader(options(volumes, tmp_path)).varied(volumes[0])
    assert (clean.version, sharper.version) == ("clean", "sharper")
    hu = (clean.full.numpy() + 1) * 2047.5 - 1024
    np.testing.assert_allclose(hu, np.load(volumes[0]), atol=1e-3)
    expected = resample.down(lambda z, rows: hu[z, rows].astype(float), hu.shape, FACTOR)
    np.testing.assert_allclose((clean.low.numpy() + 1) * 2047.5 - 1024, expected, atol=1e-2)
    assert sharper.full.std() > clean.full.std() and not torch.equal(sharper.low, clean.low)
    error = resample.up(clean.low.numpy().astype(float), FACTOR, hu.shape) - clean.full.numpy()
    assert clean.ceiling == pytest.approx(np.square(error).mean(), rel=0.3)


def test_long_axes_are_scaled_too(tmp_path):
    np.save(tmp_path / "long.npy", texture((8, 12, 200)))
    *_, scaled = Loader(options([tmp_path / "long.npy"], tmp_path)).varied(tmp_path / "long.npy")
    assert scaled.version == "scaled" and scaled.full.shape == (8, 12, 140)


def test_raw_units_are_refused_until_an_offset_brings_them_to_hounsfield(tmp_path):
    path = tmp_path / "raw.npy"
    np.save(path, (texture() + 1024).astype(np.uint16))
    with pytest.raises(InputError, match=r"offset: .*raw\.npy=HU"):
        Loader(options([path], tmp_path)).plain(path)
    raw = Loader(options([path], tmp_path, offsets={"raw.npy": -1024.0})).plain(path)[0]
    np.testing.assert_allclose((raw.full.numpy() + 1) * 2047.5 - 1024, texture(), atol=1e-3)


@pytest.mark.parametrize("slope", [2.0, -2.0])
def test_other_modalities_have_a_window_of_their_own(slope):
    physical = texture().astype(np.float64) + 2000
    volume = Volume(physical / slope, np.eye(4), modality="MR", rescale=(slope, 0.0))
    unit = unit_of(volume)
    assert unit.min() == pytest.approx(-1, abs=1e-5) and 0.5 < unit.max() <= 1
    order = np.argsort(physical, axis=None, kind="stable")
    assert (np.diff(unit.ravel()[order]) >= -1e-6).all()


def test_real_fits_are_what_files_decode_to_and_are_kept_by_content(volumes, tmp_path):
    found = Loader(options(volumes, tmp_path, fits=(12,), fit_steps=300))
    (tmp_path / "out").mkdir()
    clean, fitted = found.plain(volumes[0])
    assert clean.error is None and fitted.version == "w12"
    assert 0 < float(fitted.error.square().mean()) < 0.5 * float(fitted.low.var())
    assert torch.equal(found.plain(volumes[0])[1].error, fitted.error)
    assert len(list((tmp_path / "out").glob("fit-*.npy"))) == 1
    np.save(volumes[0], texture(seed=5))
    found.plain(volumes[0])
    assert len(list((tmp_path / "out").glob("fit-*.npy"))) == 2


def test_another_modality_is_refused(tmp_path):
    with pytest.raises(InputError, match="is CT, the model is for MR"):
        Loader(options([DICOM], tmp_path, modality="MR")).plain(DICOM)


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
        Loader(options([tmp_path / "v.npy"], tmp_path, modality=modality, offsets=offsets)).varied(
            tmp_path / "v.npy"
        )


def test_the_last_fifth_of_a_single_volume_is_held_out(tmp_path):
    ramp = np.broadcast_to(np.arange(-1000, 1500, 50)[:, None, None], (50, 20, 20)).astype(np.int16)
    np.save(tmp_path / "one.npy", ramp)
    training, reporting = Loader(options([tmp_path / "one.npy"], tmp_path)).all()
    assert max(float(m.full.max()) for m in training) < min(float(m.full.min()) for m in reporting)


# --- patches


def test_a_patch_holds_what_lanczos_lacks():
    """Of an unturned, clean patch: exactly the residual at the place that it was cut from."""
    m = material()
    up = resample.up(m.low.numpy().astype(float), FACTOR, m.full.shape).astype(np.float32)
    residual = m.full.numpy() - up
    patches = Patches([m], TINY, (5, 6, 7), seed=0)  # not square: never turned
    found = 0
    for step in range(60):
        low, target, *_ = patches.draw(step, 1)
        for z, y, x in np.ndindex(*(n - k + 1 for n, k in zip(m.low.shape, patches.size, strict=True))):
            if np.array_equal(low[0, 0], m.low[z : z + 5, y : y + 6, x : x + 7].clamp(-1, 1)):
                place = residual[2 * z : 2 * z + 10, 2 * y : 2 * y + 12, 2 * x : 2 * x + 14]
                inside = (slice(4, -4),) * 3
                np.testing.assert_allclose(target[0, 0].numpy()[inside], place[inside], atol=1e-5)
                found += 1
    assert found


def test_patches_follow_from_seed_and_step():
    patches, again = (Patches([material()], TINY, SIZE, seed=1) for _ in range(2))
    for k in (0, 7):
        for a, b in zip(patches.draw(k, 2), again.draw(k, 2), strict=True):
            assert torch.equal(a, b)
    assert not torch.equal(patches.draw(0, 2).low, patches.draw(1, 2).low)
    assert not torch.equal(patches.draw(0, 2).low, Patches([material()], TINY, SIZE, seed=2).draw(0, 2).low)


def test_a_patch_weighs_the_more_the_less_lanczos_is_expected_to_err():
    m = material()
    coarse = replace(m, error=torch.full(m.low.shape, 0.3))
    found = Patches([m, coarse], TINY, SIZE, seed=0)
    weights = torch.cat([found.draw(step, 2).weight for step in range(40)])
    assert weights.max() == pytest.approx((m.ceiling + 1e-6) ** -0.5)
    assert weights.min() < 0.9 * weights.max()


def test_patches_shrink_to_the_smallest_volume_and_refuse_less():
    assert Patches([material()], TINY, (99, 99, 99), seed=0).size == (10, 14, 16)
    small = material()
    small = replace(small, low=small.low[:2], full=small.full[:4])
    with pytest.raises(InputError, match="too few"):
        Patches([small], TINY, SIZE, seed=0)
    with pytest.raises(UsageError, match="patch"):
        Patches([material()], TINY, (4, 9, 9), seed=0)


def test_a_single_slice_is_enough_in_the_plane():
    full = (texture((1, 32, 36)).astype(np.float32) + 1024) / 2047.5 - 1
    batch = Patches([material_of("v", "clean", full, FLAT.factor)], FLAT, (4, 8, 8), seed=0).draw(0, 2)
    assert batch.low.shape == (2, 1, 1, 8, 8) and batch.target.shape == (2, 1, 1, 16, 16)


def test_the_imitated_fit_errs_by_its_level_at_most():
    generator = torch.Generator().manual_seed(0)
    low = torch.randn(12, 12, 12, generator=generator)
    fine, coarse = (float(imitate(low, level, generator).square().mean()) for level in (1e-3, 1e-1))
    assert 0.8e-3 < fine < 1.1e-3 and 0.05 < coarse < 0.11
    assert imitate(low[:5, :7, :3], 1e-3, generator).shape == (5, 7, 3)


def test_the_imitated_fit_loses_what_is_below_its_level():
    generator = torch.Generator().manual_seed(0)
    faint = 1e-3 * torch.randn(6, 6, 6, generator=generator)
    torch.testing.assert_close(imitate(faint, 1e-3, generator), -faint)


# --- the loop


@pytest.fixture
def wishes(volumes, tmp_path):
    return options(volumes, tmp_path, steps=6, report=100)


def trained(wishes, steps):
    torch.manual_seed(wishes.seed)
    run = Training(TINY, wishes, "about")
    patches = Patches([material()], TINY, SIZE, wishes.seed)
    for _ in range(steps):
        run.step(patches.draw(run.steps, 2))
    return run, patches


@pytest.mark.parametrize("loss", ["mse", "l1"])
def test_training_brings_more_than_lanczos(wishes, loss):
    run, _ = trained(replace(wishes, steps=400, rate=1e-2, loss=loss), 400)
    before = evaluate.measured(SRDenseNet(TINY), [material()], 1)[0]
    after = evaluate.measured(run.averaged(), [material()], 1)[0]
    assert after.lanczos == pytest.approx(before.lanczos) and after.model > max(before.model, after.lanczos)


def test_two_dimensions_train_slice_by_slice(wishes):
    run = Training(FLAT, wishes)
    run.step(Batch(torch.randn(2, 1, 3, 8, 8), torch.randn(2, 1, 3, 16, 16), torch.ones(2), torch.zeros(2)))
    assert run.steps == 1 and np.isfinite(run.loss)


def test_a_run_that_goes_on_is_the_same_run(wishes, tmp_path):
    whole, _ = trained(wishes, 6)
    half, patches = trained(wishes, 3)
    half.save(tmp_path / "c.safetensors")
    torch.manual_seed(99)
    rest = Training(TINY, wishes, "about")
    rest.resume(tmp_path / "c.safetensors")
    rest.run(patches, tmp_path / "c.safetensors", lambda: None)
    assert rest.steps == 6
    for name, value in whole.average.items():
        torch.testing.assert_close(rest.average[name], value, rtol=0, atol=1e-7)


def test_other_checkpoints_are_refused(wishes, tmp_path):
    path = tmp_path / "c.safetensors"
    trained(wishes, 1)[0].save(path)
    with pytest.raises(UsageError, match="other volumes"):
        Training(TINY, wishes, "about something else").resume(path)
    with pytest.raises(CorruptFile, match="damaged"):
        Training(replace(TINY, features=12), wishes, "about").resume(path)
    for junk in (b"", b"junk" * 100):
        path.write_bytes(junk)
        with pytest.raises(CorruptFile, match="no checkpoint"):
            Training(TINY, wishes, "about").resume(path)


def test_a_training_that_diverges_is_an_error_and_leaves_no_checkpoint(wishes, tmp_path):
    run, patches = trained(wishes, 0)
    for p in run.network.parameters():
        p.data.fill_(torch.nan)
    with pytest.raises(FitFailed, match="smaller rate"):
        run.run(patches, tmp_path / "c.safetensors", lambda: None)
    assert not (tmp_path / "c.safetensors").exists()


def test_material_is_typed(volumes, tmp_path):
    """What is handed on is float32 on the CPU, whatever the source's type."""
    np.save(volumes[0], texture().astype(np.float64))
    found = Loader(options(volumes, tmp_path)).plain(volumes[0])[0]
    assert isinstance(found, Material) and {found.full.dtype, found.low.dtype} == {torch.float32}
