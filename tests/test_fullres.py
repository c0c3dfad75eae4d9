"""Full resolution: the same voxels whatever the slab, the band of rows and the threads."""

import numpy as np
import pytest

from inrcodec.entropy import padding as padcode
from inrcodec.format.header import Header
from inrcodec.format.sections import Sections
from inrcodec.layers import resample, upsample
from inrcodec.layers.decode_options import DecodeOptions
from inrcodec.layers.padding import Padding
from inrcodec.layers.superres import registry
from inrcodec.layers.upsample import Upsampling
from inrcodec.volume.box import lowres_shape

RNG = np.random.default_rng(0)
SHAPE = (37, 30, 41)
LOWRES = RNG.uniform(-1, 1, SHAPE)
PADDING = RNG.random(SHAPE) < 0.1


def factor(sr):
    return (4, 4, 4) if sr == "lanczos" else registry.manifest(sr).factor


def low(sr="lanczos"):
    return LOWRES[tuple(slice(n) for n in lowres_shape(SHAPE, factor(sr)))]


def header(sr="lanczos", **changes):
    model = {} if sr == "lanczos" else {"sr": sr, "sr_sha256": bytes.fromhex(registry.manifest(sr).sha256)}
    window = {} if sr == "lanczos" else {"sr_window": registry.manifest(sr).window or (-900.0, 2000.0)}
    fields = {"shape": SHAPE, "dtype": "int16", "affine": np.eye(4), "low": -1024.0, "high": 3071.0}
    fields |= {
        "factor": factor(sr),
        "layers": 1,
        "width": 1,
        "tiles": (1, 1, 1),
        "cuts": (),
        "padding": -3024.0,
    }
    return Header(**fields | model | window | changes)


def decoded(model="lanczos", plain=False, sr_ensemble=1, **how):
    head = header(model, sr_ensemble=sr_ensemble)
    padding = Padding(head, Sections({"PADM": padcode.encode_bits(PADDING)}))
    whole = Upsampling(head, np.ones(low(model).shape, bool), padding)
    return list(whole.slabs(low(model), DecodeOptions(**{"threads": 2} | how), plain=plain))


def joined(slabs):
    return np.concatenate([slab.stored for slab in slabs])


@pytest.mark.parametrize("sr", sorted(registry.manifests().keys() | {"lanczos"}))
def test_slabs_bands_and_threads_change_no_voxel(sr, monkeypatch):
    expected = joined(decoded(sr, threads=1))
    monkeypatch.setattr(upsample, "SLAB", 5)
    monkeypatch.setattr(resample, "BAND", 150)
    resample._bands_up.cache_clear()
    assert np.array_equal(joined(decoded(sr, threads=3)), expected)
    resample._bands_up.cache_clear()


@pytest.mark.parametrize("sr", ["ct-3d-x2", "ct-2d-x4"])
def test_the_file_states_the_ensemble_and_an_option_overrides_it(sr):
    alone, four = (joined(decoded(sr, ensemble=n)) for n in (1, 4))
    assert not np.array_equal(alone, four)
    assert np.array_equal(joined(decoded(sr)), alone)
    assert np.array_equal(joined(decoded(sr, sr_ensemble=4)), four)
    assert np.array_equal(joined(decoded(sr, sr_ensemble=4, threads=1)), four)
    assert np.array_equal(joined(decoded(sr, sr_ensemble=4, ensemble=1)), alone)


def test_slabs_are_the_formula_of_the_specification():
    unit = resample.up(low(), factor("lanczos"), SHAPE)
    stored = np.rint(np.clip(-1024 + (unit + 1) * (4095 / 2), -1024, 3071)).astype(np.int16)
    stored[PADDING] = -3024
    assert np.array_equal(joined(decoded()), stored)


@pytest.mark.parametrize("sr", registry.manifests())
def test_plain_is_lanczos_alone_and_only_on_request(sr):
    slabs = decoded(sr, plain=True)
    assert np.array_equal(np.concatenate([slab.plain for slab in slabs]), joined(decoded(sr, sr="lanczos")))
    assert not np.array_equal(joined(slabs), joined(decoded(sr, sr="lanczos")))
    assert all(slab.plain is slab.stored for slab in [*decoded(sr), *decoded(plain=True)])


@pytest.mark.parametrize("sr", registry.manifests())
def test_bfloat16_is_near_the_reference(sr):
    reference, fast, plain = (
        joined(decoded(sr, **how)).astype(float) for how in ({}, {"precision": "bfloat16"}, {"sr": "lanczos"})
    )
    apart = np.square(fast - reference).mean()
    assert 0 < apart < 0.02 * np.square(reference - plain).mean()


@pytest.mark.parametrize("sr", registry.manifests())
def test_an_abandoned_generator_stops(sr):
    whole = Upsampling(header(sr), np.ones(low(sr).shape, bool), None)
    slabs = whole.slabs(low(sr), DecodeOptions(threads=2))
    next(slabs)
    slabs.close()  # a pool that is not shut down would hang here


def test_an_error_in_a_thread_is_raised(monkeypatch):
    def broken(*_):
        raise MemoryError("as it happens")

    monkeypatch.setattr(resample, "up_slice", broken)
    with pytest.raises(MemoryError, match="as it happens"):
        decoded()
