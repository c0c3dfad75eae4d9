"""Training of super-resolution models: nothing leaks, a run that goes on is the same run, cards are true."""

import json
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch

import inrcodec
from inrcodec import lanczos
from inrcodec.cli import train as command
from inrcodec.errors import CorruptFile, InputError, ModelNotFound, UsageError
from inrcodec.superres import registry
from inrcodec.superres.architectures import NAMES, named
from inrcodec.superres.network import Architecture, SRDenseNet
from inrcodec.superres.training import held_out
from inrcodec.superres.training.degrade import imitate
from inrcodec.superres.training.material import Loader, Material
from inrcodec.superres.training.patches import Batch, Patches
from inrcodec.superres.training.train import Wishes, split
from inrcodec.superres.training.trainer import Settings, Training

FACTOR = (2, 2, 2)
TINY = Architecture(features=8, blocks=1, layers=2, growth=8, bottleneck=16, factor=FACTOR)
SETTINGS = Settings(steps=6, minutes=60.0, batch=2, rate=1e-3, loss="mse", report=100)
SIZE = (9, 10, 10)


def texture(shape=(24, 32, 36), seed=0):
    """Blobs and edges in HU, int16."""
    rng = np.random.default_rng(seed)
    low = rng.normal(size=[-(-n // 4) for n in shape])
    smooth = lanczos.up(low, (4, 4, 4), shape)
    return (np.where(smooth > 0.2, 800, -700) + 60 * smooth).astype(np.int16)


@pytest.fixture
def volumes(tmp_path):
    paths = []
    for k in range(2):
        paths.append(tmp_path / f"v{k}.npy")
        np.save(paths[-1], texture(seed=k))
    return paths


def loader(tmp_path, **changes):
    return replace(Loader(FACTOR, "CT", tmp_path, (), 100), **changes)


def material(name="v", seed=0, error=None):
    full = (texture(seed=seed).astype(np.float32) + 1024) / 2047.5 - 1
    low = lanczos.down(lambda z, rows: full[z, rows].astype(float), full.shape, FACTOR).astype(np.float32)
    tensors = torch.from_numpy(full), torch.from_numpy(low)
    return Material(name, "clean", *tensors, error, torch.from_numpy(np.argwhere(low > -2)), 1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_every_architecture_has_a_name(name):
    arch = Architecture(**named(name, (1, 4, 4)))
    assert arch.dims == 2 and arch.factor == (1, 4, 4)


def test_compact_is_three_dimensional_where_slices_are_brought_back():
    assert [named("compact", f)["dims"] for f in [(1, 2, 2), (2, 2, 2), (4, 4, 4), (2, 4, 4)]] == [2, 3, 3, 3]


@pytest.mark.parametrize(
    ("name", "factor", "words"),
    [
        ("compakt", (2, 2, 2), "did you mean 'compact'"),
        ("srdensenet-all", (4, 4, 4), "in-plane"),
        ("compact", (1, 1, 1), "nothing to bring back"),
    ],
)
def test_architectures_that_cannot_be_are_refused(name, factor, words):
    with pytest.raises(UsageError, match=words):
        named(name, factor)


def test_material_is_the_volume_in_the_window_of_the_model(volumes, tmp_path):
    clean, sharper, scaled = loader(tmp_path).varied(volumes[0])
    assert (clean.version, sharper.version, scaled.version) == ("clean", "sharper", "scaled")
    hu = (clean.full.numpy() + 1) * 2047.5 - 1024
    np.testing.assert_allclose(hu, np.load(volumes[0]), atol=1e-3)
    expected = lanczos.down(lambda z, rows: hu[z, rows].astype(float), hu.shape, FACTOR)
    np.testing.assert_allclose((clean.low.numpy() + 1) * 2047.5 - 1024, expected, atol=1e-2)
    assert sharper.full.std() > clean.full.std() and not torch.equal(sharper.low, clean.low)


def test_an_offset_brings_raw_units_to_hounsfield(tmp_path):
    np.save(tmp_path / "raw.npy", (texture() + 1024).astype(np.uint16))
    raw = loader(tmp_path, offsets={"raw.npy": -1024.0}).plain(tmp_path / "raw.npy")[0]
    np.testing.assert_allclose((raw.full.numpy() + 1) * 2047.5 - 1024, texture(), atol=1e-3)


def test_real_fits_are_what_files_decode_to_and_are_kept(volumes, tmp_path):
    found = loader(tmp_path, widths=(12,), steps=300)
    clean, fitted = found.plain(volumes[0])
    assert clean.error is None and fitted.version == "w12" and fitted.error is not None
    error = float(fitted.error.square().mean())
    assert 0 < error < float(fitted.low.var())
    again = found.plain(volumes[0])[1]
    assert len(list(tmp_path.glob("v0.npy.*.npy"))) == 1 and torch.equal(again.error, fitted.error)


def test_another_modality_is_refused(volumes, tmp_path):
    with pytest.raises(InputError, match=r"v0\.npy is CT"):
        loader(tmp_path, modality="MR").plain(volumes[0])


def test_what_is_empty_is_refused(tmp_path):
    np.save(tmp_path / "air.npy", np.full((8, 16, 16), -1024, np.int16))
    with pytest.raises(InputError, match=r"air\.npy is empty"):
        loader(tmp_path).plain(tmp_path / "air.npy")


def test_no_voxel_is_for_training_and_for_reporting(tmp_path):
    np.save(
        tmp_path / "one.npy",
        np.broadcast_to(np.arange(50)[:, None, None] * 30, (50, 20, 20)).astype(np.int16),
    )
    training, reporting = loader(tmp_path).split(tmp_path / "one.npy")
    assert training[0].full.max() < reporting[0].full.min()


def test_one_volume_in_five_is_held_out(tmp_path):
    wishes = Wishes(
        volumes=[Path(str(k)) for k in range(6)], held_out=[], arch="compact", factor=FACTOR, modality="CT",
        model="m", out=tmp_path, settings=SETTINGS,
    )  # fmt: skip
    training, kept = split(wishes)
    assert len(kept) == 2 and sorted([*training, *kept]) == sorted(wishes.volumes)
    assert split(wishes) == (training, kept)
    named_one = replace(wishes, held_out=[Path("3")])
    assert Path("3") not in split(named_one)[0] and split(named_one)[1] == [Path("3")]


def test_a_patch_holds_what_lanczos_lacks():
    m = material()
    patches = Patches([m], TINY, SIZE, seed=0)
    up = lanczos.up(m.low.numpy().astype(float), FACTOR, m.full.shape).astype(np.float32)
    residual = np.round(m.full.numpy() - up, 3)
    near = np.unique([np.round(residual + d, 3) for d in (-1e-3, 0, 1e-3)])
    found = 0
    for step in range(20):
        low, target, _ = patches.draw(step, 1)
        if not np.isin(np.round(low.numpy(), 5), np.round(m.low.numpy(), 5)).all():
            continue  # degraded
        inner = target[0, 0, 4:-4, 4:-4, 4:-4]  # nearer to the rim Lanczos sees what the patch does not hold
        assert np.isin(np.round(inner.numpy(), 3), near).all()
        found += 1
    assert found


def test_patches_follow_from_seed_and_step():
    patches, again = (Patches([material()], TINY, SIZE, seed=1) for _ in range(2))
    for k in (0, 7):
        for a, b in zip(patches.draw(k, 2), again.draw(k, 2), strict=True):
            assert torch.equal(a, b)
    assert not torch.equal(patches.draw(0, 2)[0], patches.draw(1, 2)[0])
    assert not torch.equal(patches.draw(0, 2)[0], Patches([material()], TINY, SIZE, seed=2).draw(0, 2)[0])


def test_a_patch_weighs_as_much_as_lanczos_is_expected_to_err_less():
    m = replace(material(), error=torch.full((12, 16, 18), 0.1))
    found = Patches([material(), m], TINY, SIZE, seed=0)
    weights = torch.cat([found.draw(step, 2).weight for step in range(20)])
    assert weights.max() == pytest.approx(1 / (1e-3 + 1e-6)) and weights.min() >= 1 / (1e-3 + 1e-6 + 0.125**2)
    assert weights.min() < 0.2 * weights.max()


def test_patches_shrink_to_the_smallest_volume_and_refuse_less():
    assert Patches([material()], TINY, (99, 99, 99), seed=0).size == (10, 14, 16)
    small = material()
    small = replace(small, low=small.low[:2], full=small.full[:4])
    with pytest.raises(InputError, match="too few"):
        Patches([small], TINY, SIZE, seed=0)


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


def trained(steps, seed=0, settings=SETTINGS):
    torch.manual_seed(seed)
    run = Training(TINY, settings)
    patches = Patches([material()], TINY, SIZE, seed)
    for _ in range(steps):
        run.step(patches.draw(run.steps, 2))
    return run, patches


@pytest.mark.parametrize("loss", ["mse", "l1"])
def test_training_brings_the_error_down(loss):
    settings = replace(SETTINGS, steps=200, rate=1e-2, loss=loss)
    run, _ = trained(200, settings=settings)
    before = held_out.measured(SRDenseNet(TINY), [material()], 1)[0]
    after = held_out.measured(run.averaged(), [material()], 1)[0]
    assert after.lanczos == pytest.approx(before.lanczos) and after.model > before.model
    assert after.model > after.lanczos


def test_two_dimensions_train_slice_by_slice():
    torch.manual_seed(0)
    flat = replace(TINY, dims=2, factor=(1, 2, 2))
    run = Training(flat, SETTINGS)
    low = torch.randn(2, 1, 3, 8, 8)
    run.step(Batch(low, torch.randn(2, 1, 3, 16, 16), torch.ones(2)))
    assert run.steps == 1 and np.isfinite(run.loss)


def test_a_run_that_goes_on_is_the_same_run(tmp_path):
    whole, _ = trained(6)
    half, patches = trained(3)
    half.save(tmp_path / "c.safetensors")
    torch.manual_seed(99)
    rest = Training(TINY, SETTINGS)
    rest.resume(tmp_path / "c.safetensors")
    rest.run(patches, tmp_path / "c.safetensors", lambda: None)
    assert rest.steps == 6
    for name, value in whole.average.items():
        torch.testing.assert_close(rest.average[name], value, rtol=0, atol=1e-7)


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path):
    trained(1)[0].save(tmp_path / "c.safetensors")
    other = Training(replace(TINY, features=12), SETTINGS)
    with pytest.raises(CorruptFile, match="another --out"):
        other.resume(tmp_path / "c.safetensors")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with a model that was trained for a moment."""
    folder = tmp_path_factory.mktemp("model")
    volume = folder / "v.npy"
    np.save(volume, texture((40, 48, 48)))
    words = ["--factor", "2", "--out", str(folder / "out"), "--steps", "3", "--fits", "0", "--patch", "5,8,8"]
    words += ["--curve", "--report", "2", "--batch", "1", "--licence", "v.npy=none", "--id", "my-model", "-q"]
    assert command.main([str(volume), *words]) == 0
    return folder / "out"


def test_the_card_is_true_of_the_weights_beside_it(model):
    card = json.loads((model / "my-model.json").read_text())
    assert card["sha256"] == sha256((model / "my-model.safetensors").read_bytes()).hexdigest()
    assert card["trained_on"] == [{"name": "v.npy", "licence": "none"}]
    assert card["training"]["steps"] == 3 and card["held_out"][0]["volume"] == "v.npy (last fifth)"
    assert (model / "my-model.log.csv").read_text().startswith("step,seconds,loss,v.npy (last fifth) clean")


def test_the_curve_is_a_picture(model):
    assert (model / "my-model.curve.png").read_bytes()[:4] == b"\x89PNG"


def test_a_run_that_goes_on_goes_on_with_its_log(model):
    words = [str(model.parent / "v.npy"), "--factor", "2", "--out", str(model), "--id", "my-model", "--force"]
    words += ["--steps", "5", "--fits", "0", "--patch", "5,8,8", "--report", "2", "--batch", "1", "-q"]
    assert command.main(words) == 0
    lines = (model / "my-model.log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["step", "2", "4"]
    assert json.loads((model / "my-model.json").read_text())["training"]["steps"] == 5


def test_an_interrupt_keeps_what_was_learnt(tmp_path, capsys, monkeypatch):
    np.save(tmp_path / "v.npy", texture((40, 48, 48)))

    def interrupted(self, batch):
        raise KeyboardInterrupt

    monkeypatch.setattr(Training, "step", interrupted)
    words = [str(tmp_path / "v.npy"), "--factor", "2", "--out", str(tmp_path / "out"), "--fits", "0"]
    assert command.main(words) == 130
    assert "goes on with it" in capsys.readouterr().err
    assert list((tmp_path / "out").glob("*")) == [tmp_path / "out" / "ct-3d-x2.checkpoint.safetensors"]


def test_a_curve_needs_its_extra(tmp_path, monkeypatch, capsys):
    np.save(tmp_path / "v.npy", texture((40, 48, 48)))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    words = [str(tmp_path / "v.npy"), "--factor", "2", "--out", str(tmp_path / "out"), "--curve"]
    assert command.main(words) == 3
    assert "inrcodec[plots]" in capsys.readouterr().err


def test_a_model_of_ones_own_encodes_and_decodes(model, monkeypatch):
    knobs = {"factor": 2, "steps": 200, "width": 12, "through_sr": False}
    monkeypatch.setenv(registry.OWN, str(model))
    blob, report = inrcodec.api.encode_report(texture(), sr="my-model", modality="CT", **knobs)
    decoded = inrcodec.decode(blob)
    assert decoded.shape == texture().shape
    assert report.sr in ("my-model", "lanczos")  # three steps need not beat Lanczos
    assert registry.choose("CT", FACTOR) == "my-model"
    monkeypatch.delenv(registry.OWN)
    with pytest.raises(ModelNotFound):
        registry.manifest("my-model")


def test_a_folder_of_models_that_is_none_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv(registry.OWN, str(tmp_path / "nowhere"))
    with pytest.raises(ModelNotFound, match="no folder"):
        registry.manifests()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.json").write_text("{}")
    monkeypatch.setenv(registry.OWN, str(tmp_path / "bad"))
    with pytest.raises(ModelNotFound, match="no model card"):
        registry.manifests()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["nowhere.npy", "--factor", "2"], 3),
        (["v.npy", "--factor", "1"], 2),
        (["v.npy", "--factor", "2,2"], 2),
        (["v.npy", "--factor", "2", "--arch", "resnet"], 2),
        (["v.npy", "--factor", "2", "--steps", "0"], 2),
        (["v.npy", "--factor", "2", "--id", "../x"], 2),
        (["v.npy", "--factor", "2", "--offset", "v.npy"], 2),
        (["v.npy", "--factor", "2", "--held-out", "v.npy"], 2),
        (["v.npy", "--factor", "2", "--device", "tpu"], 2),
    ],
)
def test_wrong_words_are_refused_before_any_work(words, code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("v.npy", texture())
    assert command.main([*words, "--out", "out"]) == code
    assert capsys.readouterr().err.startswith("inrv-train: error: ")
    assert not Path("out").exists()


def test_a_model_that_is_there_is_not_replaced_without_force(model, capsys):
    words = [str(model.parent / "v.npy"), "--factor", "2", "--out", str(model), "--id", "my-model"]
    assert command.main(words) == 7
    assert "--force" in capsys.readouterr().err
