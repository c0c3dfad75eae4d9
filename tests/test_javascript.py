"""The decoder in JavaScript: the specification's vectors, and what both decoders refuse, under Node.

In: the tests of `js/`, and cases from the tests of the format.  Out: what they say.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from contextlib import suppress
from dataclasses import replace
from importlib.resources import files
from itertools import product
from pathlib import Path
from random import Random

import numpy as np
import pytest
import zstandard
from header_cases import BEYOND, FUTURE, HEADERS, NOT_CANONICAL, REFUSED, tree
from test_entropy import MASKS, laplace

import inrcodec
from inrcodec.entropy import laplace as entropy
from inrcodec.entropy import mask as maskcode
from inrcodec.entropy import padding
from inrcodec.errors import CorruptFile, InrvError
from inrcodec.format import container, messagepack
from inrcodec.format.header import Header
from inrcodec.format.limits import check_header
from inrcodec.layers.superres.registry import manifest

FOLDER = Path(__file__).parent.parent / "js"
NODE = shutil.which("node")
OLDEST = 20


def _version() -> int:
    if NODE is None:
        return 0
    told = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=True).stdout
    return int(told.lstrip("v").partition(".")[0])


needs_node = pytest.mark.skipif(_version() < OLDEST, reason=f"no Node.js from {OLDEST} on here")
needs_install = pytest.mark.skipif(
    not (FOLDER / "node_modules" / "esbuild").exists(), reason="js/ is not installed: npm ci --prefix js"
)


def test_both_packages_have_one_version() -> None:
    stated = json.loads((FOLDER / "package.json").read_text())["version"]
    assert stated == inrcodec.__version__.partition(".dev")[0]


def test_the_scripts_of_a_page_are_built_of_these_sources() -> None:
    """As js/build.mjs counts them; "make js" builds them again."""
    names = [
        f"{folder}/{p.name}" for folder in ("src", "viewer") for p in sorted((FOLDER / folder).iterdir())
    ]
    found = hashlib.sha256()
    for name in [*names, "build.mjs", "package-lock.json"]:
        found.update(f"{name}\n".encode() + (FOLDER / name).read_bytes())
    for script in ("viewer", "decoder"):
        text = (files("inrcodec.report.page") / "scripts" / f"{script}.js").read_text(encoding="utf-8")
        assert text.partition("\n")[0].endswith(found.hexdigest()), 'run "make js"'


def node(*arguments: str, **variables: str) -> None:
    done = subprocess.run(
        [str(NODE), *arguments],
        cwd=FOLDER,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def mask_case(name: str) -> dict[str, object]:
    mask = MASKS[name][:8, :12]
    rows = np.packbits(mask.reshape(len(mask), -1), axis=1)
    rows[1:] ^= rows[:-1].copy()
    return {
        "name": name,
        "shape": mask.shape,
        "set": mask.astype(np.uint8).tobytes().hex(),
        "grid": maskcode.encode_mask(mask).hex(),
        "coded": padding.encode_bits(mask).hex(),
        "packed": (b"\0" + zstandard.ZstdCompressor(level=19).compress(rows.tobytes())).hex(),
    }


def weights_case(spread: int) -> dict[str, object]:
    values = np.concatenate([laplace(2 ** ((spread - 72) / 16), 300), [2**31 - 1, -(2**31) + 1, 70_000, 0]])
    stream = entropy.encode_weights([values.astype(np.int32)], [spread])
    return {"spread": spread, "stream": stream.hex(), "values": values.astype(int).tolist()}


def filtered_case() -> dict[str, object]:
    """Networks behind a filter, and what Python decodes."""
    data = (FOLDER.parent / "spec" / "vectors" / "several-tiles" / "input.inrv").read_bytes()
    header, sections = container.read(data)
    made = replace(header, wiener=tuple(9 * k - 60 for k in range(14)))
    rest = [(name, body) for name, body in sections.items() if name != "HEAD"]
    changed = container.pack([("HEAD", made.to_bytes()), *rest])
    expected = inrcodec.decode(changed, sr="lanczos")
    assert not np.array_equal(expected, inrcodec.decode(data, sr="lanczos"))
    return {"name": "filter", "file": changed.hex(), "values": expected.ravel().tolist()}


def superres_case(model: str, shape: tuple[int, int, int], ensemble: int) -> dict[str, object]:
    """Networks that name a model, a filter behind it, and what Python decodes: background has no residual."""
    pytest.importorskip("onnx", reason="models are exported by onnx (extra onnx)")
    from inrcodec.plugins.onnx import exported

    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    array = (300 * np.sin(y / 3 + z / 5) * np.cos(x / 4)).astype(np.int16)
    outside = (y - shape[1] * 0.6) ** 2 + (x - shape[2] * 0.5) ** 2 > (0.4 * shape[1]) ** 2
    array[:, outside[0]] = -1024
    volume = inrcodec.Volume(array, np.eye(4), modality="CT", unit="HU")
    data = inrcodec.encode(
        volume, factor=manifest(model).factor, sr=model, tiles=(1, 1, 1), width=8, steps=5, ensemble=ensemble
    )
    header, sections = container.read(data)
    made = replace(header, sr=model, sr_sha256=bytes.fromhex(manifest(model).sha256))
    made = replace(made, sr_window=(-1024.0, 3071.0), sr_ensemble=ensemble, sr_noise=80, wiener=(20,) * 14)
    rest = [(name, body) for name, body in sections.items() if name != "HEAD"]
    changed = container.pack([("HEAD", made.to_bytes()), *rest])
    return {
        "name": model,
        "file": changed.hex(),
        "model": exported(model).hex(),
        "values": inrcodec.decode(changed).ravel().tolist(),
    }


def frame_cases() -> list[dict[str, object]]:
    """Zstandard frames with every kind of block, as they are and damaged, and what Python makes of them."""
    random, generator = Random(7), np.random.default_rng(7)
    contents = [generator.geometric(0.2, n).astype(np.uint8).tobytes() for n in (1, 31, 32, 45, 600, 2500)]
    contents += [bytes([7]) * 300_000, generator.bytes(900), np.arange(900, dtype="<f4").tobytes()]
    contents += [b"".join(random.choices([b"NaN ", b"infinity", b"-0", b"\0\0"], k=k)) for k in (40, 5000)]
    found: list[dict[str, object]] = []
    for content, level, checksum in product(contents, (1, 19), (False, True)):
        frame = zstandard.ZstdCompressor(level=level, write_checksum=checksum).compress(content)
        size, places = len(content), [*range(14), *random.choices(range(14, max(len(frame), 15)), k=25)]
        for at in [None, *places]:
            data = bytearray(frame)
            if at is not None and at < len(frame):
                data[at] ^= 1 << random.randrange(8)
            inflated = None
            with suppress(CorruptFile):
                inflated = padding.decompress(bytes(data), size).hex()
            found.append({"frame": data.hex(), "size": size, "whole": data == frame, "content": inflated})
    assert 0.2 < np.mean([case["content"] is None for case in found]) < 0.95
    return found


def refusal(data: bytes) -> str:
    with pytest.raises(InrvError) as caught:
        check_header(Header.from_bytes(data), padded=True)
    return type(caught.value).__name__


def cases() -> dict[str, list[dict[str, object]]]:
    accepted = [
        {"name": name, "header": h.to_bytes().hex(), "minor": 0, "shape": h.shape}
        for name, h in HEADERS.items()
    ]
    newer = messagepack.dumps({**tree(), **FUTURE}).hex()
    accepted.append({"name": "newer", "header": newer, "minor": 1, "shape": HEADERS["full"].shape})
    return {
        "refused": [
            {"name": name, "header": data.hex(), "error": error.__name__}
            for name, (data, error) in REFUSED.items()
        ],
        "beyond": [
            {"name": name, "header": (data := make().to_bytes()).hex(), "error": refusal(data)}
            for name, make in BEYOND.items()
        ],
        "accepted": accepted,
        "uncanonical": [{"name": name, "header": data.hex()} for name, data in NOT_CANONICAL.items()],
        "files": [filtered_case()],
        "frames": frame_cases(),
        "superres": [
            superres_case("ct-3d-x2", (8, 24, 44), 8),
            superres_case("ct-2d-x2", (4, 70, 90), 2),
        ],
        "masks": [mask_case(name) for name in MASKS],
        "weights": [weights_case(spread) for spread in (0, 50, 100, 121, 136, 137, 153, 255)],
    }


@needs_node
@needs_install
def test_node_reads_and_refuses_what_python_does(tmp_path: Path) -> None:
    path = tmp_path / "cases.json"
    path.write_text(json.dumps(cases()))
    node("--test", "test/cases.test.js", INRV_CASES=str(path))


@needs_node
@needs_install
@pytest.mark.parametrize("name", ["vectors", "surroundings"])
def test_node_decodes(name: str) -> None:
    node("--test", f"test/{name}.test.js")
