"""Volumes larger than memory on their way out: decoded and written a row of bricks at a time."""

from __future__ import annotations

import pickle
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import inrcodec
from inrcodec import io
from inrcodec.cli.dec import main
from inrcodec.errors import UsageError
from inrcodec.file import InrvFile
from inrcodec.file.decoder import Decoder
from inrcodec.format import container
from inrcodec.layers import upsample
from inrcodec.layers.base.siren.codec import SirenTiles
from inrcodec.layers.decode_options import DecodeOptions
from inrcodec.layers.lattice.layer import Refinement
from inrcodec.layers.superres import registry
from inrcodec.volume.box import Box
from inrcodec.volume.bricks import Bricks
from inrcodec.volume.lazy import Changed, LazyArray
from inrcodec.volume.volume import Volume

TILTED = np.array([[0.5, 0, 0, -10], [0, 0.5, 0.3, 20], [0, 0, 2, 30], [0, 0, 0, 1]])
SCAN = np.random.default_rng(3).integers(-1000, 2000, (21, 18, 17)).astype(np.int16)
SCAN[:, :3] = -2000
CT = Volume(SCAN, TILTED, modality="CT", unit="HU", padding=-2000, description={"position": "HFS"})


@pytest.fixture(scope="module")
def bricked():
    """A lossless file of 3 x 2 x 2 bricks."""
    return inrcodec.encode(CT, lossless=True, brick=(8, 16, 16))


@pytest.fixture(scope="module")
def networks():
    return inrcodec.encode(CT, steps=20)


class Held(LazyArray):
    """An array in memory that counts the slices that are read of it at a time."""

    def __init__(self, array, thickness):
        super().__init__(array.shape, array.dtype, thickness=thickness)
        self.array, self.most = array, 0

    def read(self, box):
        self.most = max(self.most, box.shape[0])
        return self.array[box.slices].copy()


@given(
    edges=st.tuples(*[st.integers(1, 9)] * 3),
    low=st.tuples(*[st.integers(0, 8)] * 3),
    size=st.tuples(*[st.integers(1, 9)] * 3),
    least=st.integers(1, 9),
)
def test_rows_of_bricks_are_a_box_in_order(edges, low, size, least):
    bricks = Bricks.of((20, 20, 20), edges)
    z, y, x = (a + n for a, n in zip(low, size, strict=True))
    rows = list(bricks.rows(Box(low, (z, y, x)), least))
    assert rows[0].low == low
    assert rows[-1].high == (z, y, x)
    for row, following in pairwise(rows):
        assert row.high[0] == following.low[0]
        assert row.high[0] % bricks.edges[0] == 0
        assert len(bricks.meeting(row)) >= least or row in (rows[0], rows[-1])
    assert len({(row.low[1:], row.high[1:]) for row in rows}) == 1


@pytest.mark.parametrize("threads", [1, 3, 8])
def test_slabs_are_decoded_by_rows_of_bricks(bricked, threads, monkeypatch):
    seen = []
    read = Refinement.read
    monkeypatch.setattr(
        Refinement, "read", lambda self, box, **o: (seen.append(box), read(self, box, **o))[1]
    )
    slabs = list(inrcodec.open(bricked).slabs(threads=threads))
    np.testing.assert_array_equal(np.concatenate([slab.stored for slab in slabs]), SCAN)
    assert [box.shape[0] for box in seen] == {1: [8, 8, 5], 3: [8, 8, 5], 8: [16, 5]}[threads]


def test_progress_of_slabs_rises_to_one(bricked):
    seen = []
    list(inrcodec.open(bricked).slabs(threads=1, progress=lambda stage, part: seen.append((stage, part))))
    assert {stage for stage, _ in seen} == {"refine"}
    assert [part for _, part in seen] == sorted(part for _, part in seen)
    assert seen[-1][1] == pytest.approx(1)


@pytest.fixture(scope="module")
def layered():
    """A file of four layers of blocks that names a super-resolution model."""
    ramp = np.add.outer(np.arange(200), np.add.outer(np.arange(40), np.arange(36))).astype(np.int16) * 9
    header, sections = container.read(inrcodec.encode(ramp - 900, factor=4, steps=5, sr="lanczos"))
    model = registry.manifest("ct-3d-x4")
    fields = {"sr": model.id, "sr_sha256": bytes.fromhex(model.sha256), "sr_window": model.window}
    return InrvFile.from_sections(replace(header, **fields), sections)


@pytest.mark.parametrize("sr", [None, "lanczos"])
@pytest.mark.parametrize("box", [None, (slice(5, 190), slice(7, 30), slice(3, 20))], ids=["all", "box"])
def test_networks_are_evaluated_in_parts(sr, box, layered, monkeypatch):
    whole, read, seen, said = layered.read(box, sr=sr), SirenTiles.read, [], []
    monkeypatch.setattr(SirenTiles, "read", lambda self, b, **o: (seen.append(b), read(self, b, **o))[1])
    monkeypatch.setattr(upsample, "PART", 13 * 10 * 9)
    slabs = list(layered.slabs(box, sr=sr, progress=lambda stage, part: said.append((stage, part))))
    np.testing.assert_array_equal(np.concatenate([slab.stored for slab in slabs]), whole)
    assert len(seen) == 4
    assert max(part.shape[0] for part in seen) <= 13 + 2 * 3  # and what it sees around it
    assert [part for _, part in said] == sorted(part for _, part in said)
    assert said[-1][1] == 1


@pytest.mark.parametrize("box", [None, slice(3, 15), (slice(7, 19), slice(2, 9), slice(1, -1))], ids=repr)
@pytest.mark.parametrize("which", ["bricked", "networks"])
def test_a_late_volume_is_the_same(which, box, request):
    file = inrcodec.open(request.getfixturevalue(which))
    eager, late = (file.volume(box, late=late) for late in (False, True))
    assert isinstance(late.array, LazyArray)
    for array in (late.array, np.stack(list(late.array)), pickle.loads(pickle.dumps(late.array))):
        np.testing.assert_array_equal(array, eager.array)
    np.testing.assert_array_equal(late.array[2:9, ::3, 4], eager.array[2:9, ::3, 4])
    for name in ("shape", "spacing", "rescale", "padding", "modality", "description"):
        assert getattr(late, name) == getattr(eager, name)
    np.testing.assert_array_equal(late.affine, eager.affine)


def test_so_is_the_low_res_one(networks):
    file = inrcodec.open(networks)
    eager, late = (file.volume(lowres=True, late=late) for late in (False, True))
    np.testing.assert_array_equal(late.array, eager.array)


@pytest.mark.parametrize("rescale", [(1.0, 24.0), (2.0, -1024.0), (40.0, 0.0)])
def test_the_type_of_scaled_values_is_known_before_any_is_decoded(rescale, monkeypatch):
    blob = inrcodec.encode(replace(CT, rescale=rescale), lossless=True, brick=(8, 16, 16))
    eager, late = inrcodec.decode_volume(blob), inrcodec.open(blob).volume(late=True)
    with monkeypatch.context() as patch:
        patch.setattr(type(late.array), "__iter__", None)
        patch.setattr(type(late.array), "read", None)
        found, part = late.values(), late.part(slice(3, 9)).values()
    for array, expected in ((found, eager.values()), (part, eager.values()[3:9])):
        assert array.dtype == expected.dtype == ("int32" if rescale[0] == 40 else "int16")
        assert np.array_equal(np.asarray(array), expected)


def test_steps_are_refused(bricked):
    with pytest.raises(UsageError, match="contiguous"):
        inrcodec.open(bricked).volume(slice(None, None, 2), late=True)


# --- writing

ENDINGS = [".nii", ".nii.gz", ".npy", ".nrrd", ".mha", ".mgz", ".tif"]
OTHERS = {
    "rescaled": Volume(SCAN, TILTED, rescale=(2.0, -1024.0)),
    "fractions": Volume(SCAN, TILTED, rescale=(0.5, 10.0)),
    "halves": Volume(SCAN.astype(np.float16), TILTED),
    "slices": Volume(SCAN, TILTED, slice_rescale=np.array([[k + 0.5, 1 - k] for k in range(len(SCAN))])),
}


def held(volume, thickness=4):
    scales = {} if volume.slice_rescale is None else {"rescale": (1.0, 0.0)}
    return Volume(
        Held(volume.array, thickness),
        volume.affine,
        **({"rescale": volume.rescale} | scales),
        slice_rescale=volume.slice_rescale,
        modality=volume.modality,
        unit=volume.unit,
        padding=volume.padding,
        description=volume.description,
    )


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("volume", [CT, *OTHERS.values()], ids=["scan", *OTHERS])
def test_a_late_volume_is_written_to_the_same_bytes(volume, ending, tmp_path):
    io.write(volume, tmp_path / f"eager{ending}")
    io.write(held(volume), tmp_path / f"late{ending}")
    eager, late = ((tmp_path / f"{name}{ending}").read_bytes() for name in ("eager", "late"))
    if ending == ".tif":  # which holds its own name
        eager = eager.replace(b"eager.tif", b"late.tif")
    assert late == eager


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".npy", ".nrrd", ".mha", ".mgz", "_dicom"])
def test_it_is_never_held_whole(ending, tmp_path):
    volume = held(CT)
    io.write(volume, tmp_path / f"late{ending}")
    assert volume.array.most == 4


@pytest.mark.parametrize("dtype", ["int16", "uint8", "int32", "float32"])
def test_a_late_volume_is_written_to_the_same_dicom(dtype, tmp_path):
    volume = Volume(np.abs(SCAN // 8).astype(dtype) + np.array(0.25, dtype), TILTED, modality="MR")
    for name, written in (("eager", volume), ("late", held(volume))):
        io.write(written, tmp_path / name)
    eager, late = (io.read(tmp_path / name) for name in ("eager", "late"))
    np.testing.assert_array_equal(late.array, eager.array)
    assert late.rescale == eager.rescale
    np.testing.assert_array_equal(late.affine, eager.affine)


@pytest.mark.parametrize("ending", [".nii.gz", ".npy"])
@pytest.mark.parametrize("which", ["bricked", "networks"])
def test_inrv_dec_writes_the_same_file_slab_by_slab(which, ending, request, tmp_path, monkeypatch):
    source = tmp_path / "scan.inrv"
    source.write_bytes(request.getfixturevalue(which))
    volume = InrvFile.volume
    with monkeypatch.context() as patch:
        patch.setattr(InrvFile, "volume", lambda *place, late, **rest: volume(*place, **rest))
        assert main([str(source), str(tmp_path / f"eager{ending}"), "-q"]) == 0
    monkeypatch.setattr(LazyArray, "__array__", None)  # it is passed over, never held
    assert main([str(source), str(tmp_path / f"late{ending}"), "-q"]) == 0
    eager, late = ((tmp_path / f"{name}{ending}").read_bytes() for name in ("eager", "late"))
    assert late == eager


@pytest.mark.parametrize("ending", [".nrrd", ".mgz", ".nii"])
@pytest.mark.parametrize("slope", [1.0, 2.0])
def test_no_slice_is_decoded_twice(slope, ending, tmp_path, monkeypatch):
    seen, slabs = [], Decoder._slabs
    monkeypatch.setattr(Decoder, "_slabs", lambda self, *rest: (seen.append(1), slabs(self, *rest))[1])
    blob = inrcodec.encode(replace(CT, rescale=(slope, 0.0), padding=None), lossless=True)
    (tmp_path / "scan.inrv").write_bytes(blob)
    seen.clear()
    assert main([str(tmp_path / "scan.inrv"), str(tmp_path / f"scan{ending}"), "-q"]) == 0
    assert len(seen) == 1


def test_what_fails_on_the_way_leaves_nothing(tmp_path):
    def fails(values, first):
        if first > 9:
            raise inrcodec.CorruptFile("a brick is damaged")
        return values

    broken = Volume(Changed(Held(SCAN, 4), SCAN.dtype, fails), TILTED)
    for name in ("scan.nii.gz", "scan.npy", "scan"):
        with pytest.raises(inrcodec.CorruptFile):
            io.write(broken, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_plug_in_is_given_an_ndarray(tmp_path, monkeypatch):
    given = []
    form = io.Format(
        "XYZ", type("Module", (), {"write": lambda v, p, **o: given.append(v.array)}), plugin="x"
    )
    monkeypatch.setattr("inrcodec.io.formats._sink_format", lambda path: form)
    io.write(held(CT), tmp_path / "scan.xyz")
    assert type(given[0]) is np.ndarray


def test_options_of_decoding_are_kept(networks):
    file = inrcodec.open(networks)
    options = DecodeOptions(quality="preview")
    late = file.volume(options=options, late=True)
    np.testing.assert_array_equal(late.array, file.read(options=options))
