"""The specification says what the code does, and a second decoder that knows only the text agrees."""

from __future__ import annotations

import ast
import json
import math
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from header_cases import FULL, FUTURE, PLAIN, REFUSED, UNFIT_FOR_ANY_MINOR, tree
from test_entropy import MASKS, laplace

import inrcodec
from inrcodec.entropy import laplace as entropy
from inrcodec.entropy import mask as maskcode
from inrcodec.entropy import padding
from inrcodec.errors import CorruptFile
from inrcodec.format import container, limits, messagepack
from inrcodec.format.fields import Kind
from inrcodec.format.header import DEFAULTS, DTYPES, FIELDS, Header
from inrcodec.layers.base.av1 import codec
from inrcodec.layers.base.siren import weights
from inrcodec.volume.box import Box

SPEC = Path(__file__).parent.parent / "spec"
sys.path.insert(0, str(SPEC))
reference: Any = import_module("reference_decoder")
coders: Any = import_module("reference_coders")
make_example: Any = import_module("make_example")
make_vectors: Any = import_module("make_vectors")

pytestmark = pytest.mark.usefixtures("small_model")

TEXT = (SPEC / "inrv-1.md").read_text(encoding="utf-8")
VECTORS = sorted(folder.name for folder in (SPEC / "vectors").iterdir())
MODELS = {path.stem: path.read_bytes() for path in sorted((SPEC / "models").glob("*.safetensors"))}


def table(heading: str) -> list[list[str]]:
    """Rows of the tables of a chapter, cell by cell."""
    chapter = re.split(rf"^#+ {re.escape(heading)}$", TEXT, maxsplit=1, flags=re.MULTILINE)[1]
    chapter = re.split(r"^## ", chapter, maxsplit=1, flags=re.MULTILINE)[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in chapter.splitlines()
        if line[:1] == "|"
    ]


def numbers(text: str) -> list[int]:
    return [int(word) for word in re.findall(r"-?\d+", text)]


def indented(first: int) -> list[int]:
    """The block of numbers that begins with ``first``."""
    (block,) = re.findall(rf"(?:^    {first} .*\n)(?:^    [\d ]+\n)*", TEXT, re.MULTILINE)
    whole = TEXT[TEXT.index(block) :]
    return numbers(re.match(r"(?:    [\d ]+\n)+", whole)[0])  # type: ignore[index]


# -- the text and the code


def default_as_text(attribute: str, kind: Kind) -> str:
    if attribute not in DEFAULTS:
        return ""
    default = DEFAULTS[attribute]
    if default is None:
        return "none"
    if default == math.inf:
        return "infinite"
    if default == bytes(16):
        return "zeros"
    if not default and kind.name not in ("integer", "number"):
        return "empty"
    emitted = kind.emit(default)
    return (
        ", ".join(f"{v:g}" for v in emitted) if isinstance(emitted, list) else str(emitted).removesuffix(".0")
    )


def test_header_table_is_the_schema() -> None:
    rows = {row[0].strip("`"): row for row in table("Header") if row[0].startswith("`")}
    assert list(rows) == [".".join(name) for name in FIELDS]
    for name, (attribute, kind) in FIELDS.items():
        _, stated_type, default, _ = rows[".".join(name)]
        assert stated_type == kind.name
        assert default.strip("`").replace("−", "-") == default_as_text(attribute, kind)


def test_limits_table_is_the_code() -> None:
    stated = {row[0]: row[1].replace(" ", "").replace("^", "**") for row in table("Limits")[2:]}
    assert {name: eval(value) for name, value in stated.items()} == {
        "bytes of the file": limits.FILE,
        "sections": limits.SECTIONS,
        "bytes of a section without chunks, or of a chunk, stored or decoded": limits.SECTION,
        "bytes of `HEAD`": limits.HEADER,
        "keys and values in `HEAD`": limits.VALUES,
        "maps and arrays inside each other": limits.DEPTH,
        "voxels": limits.VOXELS,
        "voxels of a slice": limits.SLICE,
        "voxels of a brick, where there is padding or a refinement": limits.BRICK,
        "voxels along an axis": limits.AXIS,
        "low-res voxels, with the coder `siren`": limits.LOWRES,
        "low-res voxels, with the coder `av1` or `latent`": limits.STREAMED,
        "low-res voxels of a stream of AV1": limits.STREAM,
        "low-res voxels of a stream of latents": limits.LATENT_STREAM,
        "tiles": limits.TILES,
        "hidden layers": limits.LAYERS,
        "width": limits.WIDTH,
        "weights of all tiles": limits.WEIGHTS,
        "cells of `MASK`": limits.CELLS,
        "voxels of the first lattice of a brick of a refinement": limits.FIRST,
        "chunks of a section that has one for each brick": limits.CHUNKS,
        "low-res voxels × weights of a network": limits.WORK,
        "bytes of the integers of a brick of a refinement: voxels × 4, or × 8 where K can be beyond 31 "
        "bits": limits.INTEGERS,
        "multiply-adds of the super-resolution: low-res voxels × `sr.ensemble` × those of the model for a "
        "low-res voxel": limits.SUPERRES_WORK,
    }


def test_layout_tables_are_the_code() -> None:
    rows = table("File")
    assert bytes.fromhex(rows[2][2].strip("`")) == container.MAGIC
    size = {"u16": 2, "u32": 4, "u64": 8, "8": 8, "4": 4}
    names = [row[0].strip("`") for row in rows]
    first = {row[0].strip("`"): size[row[1]] for row in rows[2:7]}
    assert list(first) == ["magic", "major", "minor", "count", "total"]
    assert sum(first.values()) == container.PREFIX.size
    start = names.index("id")
    assert sum(size[row[1]] for row in rows[start : start + 3]) == container.ENTRY.size
    assert tuple(name for name in names if name.isupper()) == container.KNOWN


def test_coding_tables_are_the_code() -> None:
    assert tuple(indented(entropy.SURVIVALS[0])) == entropy.SURVIVALS
    assert tuple(indented(maskcode.LOGISTIC[0])) == maskcode.LOGISTIC
    lists = {
        row[0]: re.findall(r"\(([^)]*)\)", row[1]) for row in table("Activity (`MASK`)") if len(row[0]) == 1
    }
    offsets = {
        name: [tuple(int(n.replace("−", "-")) for n in o.split(",")) for o in v] for name, v in lists.items()
    }
    assert offsets["N"] == list(maskcode.NEAREST) and offsets["C"] == list(maskcode.CURRENT)
    assert offsets["A"] == list(maskcode.AROUND) and offsets["P"] == list(maskcode.PREVIOUS)


def test_steps_are_the_code() -> None:
    factors = {int(k): float(f) for k, f in (row for row in table("Sections") if re.fullmatch(r"\d", row[0]))}
    for code in range(256):
        octave, part = divmod(code - 192, 8)
        assert weights.step_of(code) == factors[part] * 2.0**octave


# -- the example


def test_example_is_the_one_that_the_script_writes() -> None:
    assert (
        TEXT.split(make_example.BEGIN)[1].split(make_example.END)[0].strip() == make_example.chapter().strip()
    )


def test_example_decodes_to_what_the_text_says() -> None:
    rows = [row for row in table("Example") if re.fullmatch(r"`[0-9a-f ]+`", row[1])]
    data = bytes.fromhex("".join(row[1].strip("`") for row in rows))
    assert data == make_example.example()
    lowres, stored = reference.decode(data)
    decoded = [row for row in table("Example") if row[0].startswith("row ")]
    assert [[float(u) for u in row[1].split()] for row in decoded] == np.round(lowres[0], 6).tolist()
    assert [[int(v) for v in row[2].split()] for row in decoded] == stored[0].tolist()
    assert np.array_equal(inrcodec.decode(data), stored[0])


# -- the second decoder


def vector(name: str) -> tuple[bytes, dict[str, Any], dict[str, Any]]:
    folder = SPEC / "vectors" / name
    with np.load(folder / "expected.npz", allow_pickle=False) as expected:
        arrays = dict(expected)
    return (folder / "input.inrv").read_bytes(), arrays, json.loads((folder / "case.json").read_text())


def far(decoded: np.ndarray, expected: np.ndarray) -> float:
    assert (decoded.dtype, decoded.shape) == (expected.dtype, expected.shape)
    finite = np.isfinite(expected)
    assert decoded[~finite].tobytes() == expected[~finite].tobytes()
    difference = decoded[finite].astype(np.float64) - expected[finite].astype(np.float64)
    return float(np.abs(difference).max(initial=0))


def decode_with_package(data: bytes) -> tuple[np.ndarray | None, np.ndarray]:
    file = inrcodec.open(data)
    stored = inrcodec.decode_volume(data, sr="lanczos").array
    return file.lowres(threads=1) if file.header.has_lowres else None, stored


def decode_with_reference(data: bytes) -> tuple[np.ndarray | None, np.ndarray]:
    found: tuple[np.ndarray | None, np.ndarray] = reference.decode(data, list(MODELS.values()))
    return found


DECODERS = {"reference": decode_with_reference, "package": decode_with_package}


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.parametrize("decoder", DECODERS)
def test_vector_decodes_within_its_tolerance(decoder: str, name: str) -> None:
    data, expected, case = vector(name)
    if name.startswith("av1"):
        pytest.importorskip("av", reason="AV1 is decoded by PyAV (extra av1)")
    lowres, lanczos = DECODERS[decoder](data)
    assert (lowres is None) == ("lowres" not in expected)
    if lowres is not None:
        assert far(lowres, expected["lowres"]) <= case["lowres_tolerance"]
    assert far(lanczos, expected["lanczos"]) <= case["lanczos_tolerance"]


def with_streams(name: str, streams: list[bytes]) -> bytes:
    """A vector whose tiles have other streams."""
    sections = container.unpack(vector(name)[0])
    index = np.array([len(s) for s in streams], dtype="<u4").tobytes()
    return container.pack(list({**sections, "INDX": index, "WGHT": b"".join(streams)}.items()))


STREAMS_AND_VOXELS = {
    "a stream for nothing": lambda: with_streams(
        "constant", [container.unpack(vector("one-tile")[0])["WGHT"]]
    ),
    "nothing for a tile": lambda: with_streams("one-tile", [b""]),
}


@pytest.mark.parametrize("case", STREAMS_AND_VOXELS)
def test_a_tile_has_a_stream_if_and_only_if_it_has_active_voxels(case: str) -> None:
    data = STREAMS_AND_VOXELS[case]()
    with pytest.raises(CorruptFile):
        decode_with_package(data)
    with pytest.raises(coders.Invalid):
        reference.decode(data)


# No matter for the voxels, so the second decoder does not look; or (cuts) found with the tiles.
LEFT_TO_READERS = {
    case for case in REFUSED if re.search(r"affine|description|digest|31 bytes|error|cut|an empty box", case)
}


@pytest.mark.parametrize("case", sorted(REFUSED.keys() - LEFT_TO_READERS))
def test_both_decoders_refuse_the_same_headers(case: str) -> None:
    data, error = REFUSED[case]
    with pytest.raises(error):
        Header.from_bytes(data)
    with pytest.raises(coders.Invalid):
        reference.read_header(data, 0)


@pytest.mark.parametrize("case", UNFIT_FOR_ANY_MINOR)
def test_both_decoders_want_newer_headers_to_be_canonical(case: str) -> None:
    with pytest.raises(coders.Invalid):
        reference.read_header(messagepack.dumps({**tree(), **UNFIT_FOR_ANY_MINOR[case]}), 1)


def test_both_decoders_read_what_is_not_refused() -> None:
    for header in (PLAIN, FULL):
        assert reference.read_header(header.to_bytes(), 0)["net.tiles"] == list(header.tiles)
    newer = messagepack.dumps({**tree(), **FUTURE})
    assert reference.read_header(newer, 1)["net.tiles"] == list(Header.from_bytes(newer, 1).tiles)


SCRIPTS = [f"reference_{part}" for part in ("decoder", "header", "coders", "lattice", "av1", "latent")]


@pytest.mark.parametrize("script", SCRIPTS)
def test_reference_decoder_stands_alone(script: str) -> None:
    tree = ast.parse((SPEC / f"{script}.py").read_text(encoding="utf-8"))
    imported = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    others = {"numpy", "msgpack", "zstandard", "av", *SCRIPTS}
    assert {name.split(".")[0] for name in imported} - others <= set(sys.stdlib_module_names)


def test_every_case_of_the_script_is_there() -> None:
    assert set(make_vectors.cases()) == set(VECTORS)


def test_vectors_cover_what_they_are_for() -> None:
    read = {name: container.read(vector(name)[0]) for name in VECTORS}
    tiles = {name: math.prod(header.tiles) for name, (header, _) in read.items()}
    assert {name for name, (_, sections) in read.items() if "PADM" in sections} == {
        "padding-mask",
        "lossless",
        "bricks",
        "bricks-with-holes",
        "av1-padding",
        "latent-finest",
        "special-in-bricks",
        "quantised-filter",
    }
    refined = {name: header for name, (header, _) in read.items() if header.refine_steps}
    assert {h.refine_unit for h in refined.values()} > {0.0, 1.0} and refined[
        "bounded-behind-networks"
    ].bound == 4
    scaled = refined["scales-of-slices"]
    assert len(scaled.slice_rescale) == scaled.shape[0] and 0 not in scaled.refine_axes
    assert {len(h.bricks) for h in refined.values()} >= {1, 8, 40}
    assert len(set(refined["quantised"].refine_steps)) > 2 and read["rare-values"][0].dtype == "uint32"
    assert {"ct-int16-mask", "several-tiles"} <= {
        name for name, (_, sections) in read.items() if "MASK" in sections
    }
    assert {"one-tile", "float32"} <= {name for name, (_, sections) in read.items() if "MASK" not in sections}
    assert tiles["one-tile"] == 1 and tiles["several-tiles"] == 8
    assert read["image-2d"][0].ndim == 2
    assert read["anisotropic"][0].factor == (1, 2, 4) and read["factor-1"][0].factor == (1, 1, 1)
    assert {header.dtype for header, _ in read.values()} == set(DTYPES) and len(read) >= 30
    assert {header.coder for header, _ in read.values()} == {"siren", "av1", "latent", "none"}
    latents = {name: header for name, (header, _) in read.items() if header.coder == "latent"}
    assert all(name.startswith("latent") for name in latents)
    assert {header.streams for header in latents.values()} == {1, 2} and latents["latent-streams"].companding
    assert {0, 127} < {header.latent_rate for header in latents.values()}
    assert {header.latent_model for header in latents.values()} == set(MODELS)
    video = {name: header for name, (header, _) in read.items() if header.coder == "av1"}
    assert all(name.startswith("av1") for name in video) and video["av1-padding"].factor == (1, 1, 1)
    assert {header.streams for header in video.values()} == {1, 4} and video["av1-streams"].companding
    assert {header.sr for header in video.values()} == {"lanczos", "ct-3d-x4"}
    assert read["lossless-image"][0].axes == "yx" and not read["lossless-image"][0].has_lowres
    assert {name: len(header.bricks) for name, (header, sections) in read.items() if "SPCL" in sections} == {
        "special-values": 1,
        "special-in-bricks": 18,
        "lossless-float64": 8,
    }
    chunks = {name: sections.chunks("WGHT") for name, (_, sections) in read.items()}
    assert [name for name, found in chunks.items() if found and found[0].crc is not None] == ["many-weights"]
    holes = [chunk.length > 0 for chunk in read["bricks-with-holes"][1].chunks("PADM")]
    assert len(set(holes)) == 2 and read["model-named"][0].sr != "lanczos"
    assert read["constant"][0].low == read["constant"][0].high and read["constant"][1]["WGHT"] == b""


@pytest.mark.parametrize("spread", [0, 50, 100, 121, 136, 137, 153, 255])
def test_second_decoder_reads_any_weights(spread: int) -> None:
    values = np.concatenate([laplace(2 ** ((spread - 72) / 16), 300), [2**31 - 1, -(2**31) + 1, 70_000, 0]])
    reader = coders.Rans(entropy.encode_weights([values.astype(np.int32)], [spread]))
    assert reader.integers(len(values), spread) == values.tolist()
    reader.finish()


@pytest.mark.parametrize("name", MASKS)
def test_second_decoder_reads_any_mask(name: str) -> None:
    mask = MASKS[name][:8, :12]
    assert np.array_equal(coders.decode_grid(maskcode.encode_mask(mask), mask.shape), mask)
    assert np.array_equal(coders.read_padding(padding.encode_bits(mask), mask.shape), mask)
    rows = np.packbits(mask.reshape(len(mask), -1), axis=1)
    rows[1:] ^= rows[:-1].copy()
    plain = b"\0" + zstandard.ZstdCompressor(level=19).compress(rows.tobytes())
    assert np.array_equal(coders.read_padding(plain, mask.shape), mask)


@pytest.mark.parametrize("name", ["av1", "av1-streams"])
def test_both_decoders_say_where_a_model_has_a_residual(name: str) -> None:
    pytest.importorskip("av", reason="AV1 is decoded by PyAV (extra av1)")
    base = inrcodec.open(vector(name)[0]).decoder.require_base()
    assert isinstance(base, codec.Av1Slices)
    codes, flat = base.integers(Box((0, 0, 0), base.shape)), base.header.av1_flat
    expected = import_module("reference_av1").active(codes, list(flat))
    assert np.array_equal(base.active[:], expected) and 0 < expected.mean() < 1


@pytest.mark.parametrize("name", ["several-tiles", "padding-mask", "bounded-float32", "latent-coarsest"])
def test_second_decoder_sees_damage(name: str) -> None:
    data, _, _ = vector(name)
    for offset in range(0, len(data), 3):
        flipped = bytearray(data)
        flipped[offset] ^= 0x10
        for damaged in (data[:offset], bytes(flipped)):
            if damaged != data[: len(damaged)] or len(damaged) < len(data):
                with pytest.raises(coders.Invalid):
                    decode_with_reference(damaged)
