"""Golden files: laid down once, and from then on decoded to the same voxels by every version."""

from __future__ import annotations

import json
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

import inrcodec
from inrcodec.format.header import DTYPES

FOLDER = Path(__file__).parent / "golden"
sys.path.insert(0, str(FOLDER))

from make import cases, voxels_digest  # noqa: E402

DIGESTS = json.loads((FOLDER / "digests.json").read_text())
FLOATS = 1e-5  # of the range, for floating-point volumes


pytestmark = pytest.mark.usefixtures("small_model")


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_a_golden_file_decodes_to_its_voxels(name: str) -> None:
    path, known = FOLDER / f"{name}.inrv", DIGESTS[name]
    assert sha256(path.read_bytes()).hexdigest() == known["file"], "a golden file is never written again"
    if path.name.startswith(("av1", "behind-av1")):
        pytest.importorskip("av", reason="the low-res volume is AV1")
    decoded = inrcodec.decode(path, threads=1)
    if "voxels" in known:
        assert voxels_digest(decoded) == known["voxels"]
        assert inrcodec.verify(path, threads=1)["ok"]
        return
    expected = FOLDER / f"{name}.npz"
    assert sha256(expected.read_bytes()).hexdigest() == known["npz"], "nor is what it decodes to"
    with np.load(expected) as arrays:
        voxels = arrays["voxels"]
    assert decoded.dtype == voxels.dtype and decoded.shape == voxels.shape
    header = inrcodec.open(path).header
    allowed = 1 if voxels.dtype.kind in "iu" else FLOATS * (header.high - header.low)
    assert np.abs(decoded.astype(np.float64) - voxels.astype(np.float64)).max() <= allowed


def test_there_is_a_file_for_every_case_and_no_other() -> None:
    names = [name for _, (name, *_) in cases()]
    assert len(names) == len(set(names)) >= 60 and set(names) == set(DIGESTS)
    assert {path.stem for path in FOLDER.glob("*.inrv")} == set(names)
    assert {path.stem for path in FOLDER.glob("*.npz")} == {n for n, row in DIGESTS.items() if "npz" in row}
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) <= 2 << 20


def test_golden_files_go_over_every_type_and_every_section() -> None:
    opened = [inrcodec.open(FOLDER / f"{name}.inrv") for name in DIGESTS]
    assert {file.header.dtype for file in opened if file.header.bound == 0} == set(DTYPES)
    assert {file.header.coder for file in opened} == {"none", "siren", "av1", "latent"}
    sections = {name for file in opened for name in file.sections}
    assert sections >= {
        "HEAD",
        "PIDX",
        "PADM",
        "SIDX",
        "SPCL",
        "INDX",
        "WGHT",
        "AV1S",
        "LATG",
        "LIDX",
        "LATT",
    }
    assert {len(file.header.sr) > 7 for file in opened} == {True, False}  # with a model, and by Lanczos
    assert any(file.header.wiener for file in opened) and any(file.header.companding for file in opened)
    assert any(file.header.slice_rescale for file in opened)
