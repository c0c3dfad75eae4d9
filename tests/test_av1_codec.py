"""AV1 as the coder of the low-res volume: files of one stream and of several, and what is refused."""

from __future__ import annotations

import io
import pickle
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import inrcodec
from inrcodec.errors import CorruptFile, LimitExceeded, MissingExtra, UsageError
from inrcodec.file import InrvFile
from inrcodec.format import container, limits
from inrcodec.format.header import AV1, Header
from inrcodec.layers.base import companding, streams
from inrcodec.layers.base.av1 import codec, video
from inrcodec.layers.superres import registry
from inrcodec.report.page import html_report
from inrcodec.volume.affine import moved
from inrcodec.volume.box import Box, Shape

pytest.importorskip("av")

SHAPE = (9, 24, 40)  # low-res
CURVE = companding.curve(-0.5, -0.3)
MODEL = {"sr": "ct-3d-x4", "sr_window": (-1024.0, 3071.0), "sr_noise": 40}


def lowres() -> np.ndarray:
    """An ellipsoid of smooth texture in a flat background."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    inside = z**2 + (2 * y) ** 2 + (1.5 * x) ** 2 < 1
    return np.where(inside, 0.4 * np.sin(3 * x + 2 * z) * np.cos(4 * y), -1.0)


def file_of(
    slices: int = 0,
    nodes: companding.Nodes = (),
    factor: Shape = (2, 3, 4),
    flat: bool = True,
    **model: Any,
) -> bytes:
    """A file whose low-res volume is `lowres`."""
    sections = codec.encode(codec.to_codes(lowres(), nodes), slices, 80, 8)
    header = Header(
        shape=tuple(n * f - f + 1 for n, f in zip(SHAPE, factor, strict=True)),  # type: ignore[arg-type]
        dtype="int16",
        affine=np.eye(4),
        low=-1000.0,
        high=3000.0,
        coder=AV1,
        factor=factor,
        companding=nodes,
        av1_slices=slices,
        av1_flat=codec.flat_codes(-1.0, 0.03, nodes) if flat else (),
        **model,
    )
    if model:
        header = replace(header, sr_sha256=bytes.fromhex(registry.manifests()[header.sr].sha256))
    return container.pack([("HEAD", header.to_bytes()), *sections.items()])


@pytest.mark.parametrize("slices", [0, 4])
@pytest.mark.parametrize("nodes", [(), CURVE])
def test_the_low_res_volume_is_what_was_coded(slices: int, nodes: companding.Nodes) -> None:
    file = inrcodec.open(file_of(slices, nodes))
    values = file.lowres()
    assert values.shape == SHAPE and np.abs(values - lowres()).max() < 0.5
    assert set(np.unique(values)) <= set(codec.levels(nodes))
    assert file.read().shape == file.shape


def opened(*args: object, **words: object) -> InrvFile:
    return inrcodec.open(file_of(*args, **words))  # type: ignore[arg-type]


@pytest.mark.parametrize("slices", [0, 4])
@pytest.mark.parametrize("model", [{}, MODEL])
def test_a_box_has_the_voxels_of_the_whole(slices: int, model: dict[str, Any]) -> None:
    file = opened(slices, factor=(4, 4, 4), **model)
    whole, low = file.read(), file.lowres()
    for box in (Box((3, 0, 5), (9, 40, 31)), Box((17, 30, 90), (18, 31, 91))):
        fresh = opened(slices, factor=(4, 4, 4), **model)
        assert np.array_equal(fresh.read(box), whole[box.slices])
    assert np.array_equal(opened(slices).lowres((slice(3, 6), slice(9))), low[3:6, :9])
    assert np.array_equal(np.concatenate([slab.stored for slab in file.slabs()]), whole)
    assert np.array_equal(np.stack(list(file.volume(late=True).array)), whole)


def test_a_box_decodes_the_streams_that_it_crosses(monkeypatch: pytest.MonkeyPatch) -> None:
    data, decoded, decode = file_of(2, flat=False), [], video.decode

    def counted(stream: bytes, shape: Shape) -> np.ndarray:
        decoded.append(shape)
        return decode(stream, shape)

    monkeypatch.setattr(codec.video, "decode", counted)
    file = inrcodec.open(data)
    index, each = file.sections["AIDX"], [chunk.length for chunk in file.sections.chunks("AV1S")]
    assert file.decoder.base is not None and len(each) == 5
    assert file.decoder.base.bytes_needed(Box((3, 0, 0), (5, 1, 1))) == len(index) + sum(each[1:3])
    file.lowres(slice(3, 5))
    file.lowres(slice(2, 6))
    assert decoded == [(2, *SHAPE[1:])] * 2
    file.lowres(slice(8, 9))
    assert decoded[2:] == [(1, *SHAPE[1:])]


def test_damage_in_a_stream_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(file_of(4))
    whole = inrcodec.open(bytes(data)).lowres()
    data[-9] ^= 1
    file = inrcodec.open(bytes(data))
    assert np.array_equal(file.lowres(slice(0, 8)), whole[:8])
    with pytest.raises(CorruptFile, match="wrong checksum"):
        file.lowres(slice(8, 9))


def test_other_values_than_the_encoder_saw_are_refused() -> None:
    header, sections = container.read(file_of())
    body = sections["AV1S"]
    changed = {**sections, "AV1S": bytes([body[0] ^ 1]) + body[1:]}
    with pytest.raises(CorruptFile, match="other values than the encoder saw"):
        InrvFile.from_sections(header, changed).lowres()


def test_active_are_cells_that_hold_more_than_background() -> None:
    codes = np.full((3, 5, 6), 7, np.uint16)
    codes[2, 3, 0], codes[0, 0, 5] = 9, 5
    expected = np.zeros(codes.shape, bool)
    expected[2:, 2:4, :2] = expected[:2, :2, 4:] = True
    assert np.array_equal(~streams.flat_cells((codes >= 6) & (codes <= 8)), expected)
    assert streams.flat_cells((codes >= 5) & (codes <= 9)).all()


@pytest.mark.parametrize("slices", [0, 3])
def test_active_slices_are_those_of_the_whole(slices: int) -> None:
    base = opened(slices).decoder.require_base()
    whole = np.asarray(base.active)
    assert 0 < whole.mean() < 0.7 and len(base.active) == SHAPE[0] and base.active.shape == SHAPE
    for part in (slice(0, 4), slice(3, 5), slice(7, 99), slice(5, 5)):
        assert np.array_equal(base.active[part], whole[part])
    assert opened(flat=False).decoder.require_base().active[:].all()


@pytest.mark.parametrize("nodes", [(), CURVE])
def test_codes_are_nearest_to_their_values(nodes: companding.Nodes) -> None:
    values = codec.levels(nodes)
    assert values[0] == -1 and values[-1] == 1 and (np.diff(values) > 0).all()
    assert np.array_equal(codec.to_codes(values, nodes), np.arange(1024))
    assert codec.to_codes(np.array([-7.0, 7.0]), nodes).tolist() == [0, 1023]
    low, high = codec.flat_codes(-0.4, 0.1, nodes)
    assert np.abs(values[low : high + 1] + 0.4).max() <= 0.1 + (values[high + 1] - values[low - 1])


def test_a_file_of_av1_is_no_continuous_field() -> None:
    file = opened()
    with pytest.raises(UsageError, match="no continuous field: interpolate its voxels"):
        file.as_module()
    points = moved(np.array([[40.0, 30.0, 8.0], [41.5, 30.0, 8.0]]), file.affine)
    values, gradients = file.sample(points, gradient=True)
    linear, _ = file.sample(points, 1, gradient=True)
    assert np.array_equal(values, linear) and gradients.shape == (2, 3)
    assert values[0] == file.sample(points, 3)[0] == file.read()[8, 30, 40]


def test_what_is_not_reduced_is_no_level_of_its_own() -> None:
    file = opened(factor=(1, 1, 1))
    assert [level.kind for level in file.levels] == ["full"]
    assert np.array_equal(file.lowres_volume().array, file.read())
    assert [level.kind for level in opened(factor=(1, 1, 2)).levels] == ["full", "lowres"]


def test_a_file_tells_what_it_is_without_being_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = file_of(4)
    monkeypatch.setattr(codec.video, "decode", None)
    facts = inrcodec.info(data)
    assert facts["codec"]["base"] == "av1" and facts["codec"]["streams"] == 3
    assert facts["codec"].keys().isdisjoint({"tiles", "layers", "width"})
    assert facts["bytes"]["base"] == sum(len(inrcodec.open(data).sections[name]) for name in ("AIDX", "AV1S"))
    assert facts["cost"]["multiply_adds"] == 0 and facts["cost"]["lowres_bytes"] == 8 * 4 * 24 * 40


def test_without_pyav_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    file = opened()
    monkeypatch.setitem(sys.modules, "av", None)
    assert file.shape == (17, 70, 157)
    with pytest.raises(MissingExtra) as caught:
        file.read()
    assert caught.value.extra == "av1"


def test_a_file_can_be_sent_and_cut() -> None:
    data = file_of(4)
    file = inrcodec.open(data)
    whole = file.read()
    assert np.array_equal(pickle.loads(pickle.dumps(file)).read(), whole)
    front = inrcodec.open(data, max_bytes=len(data) - 1)
    assert front.header.coder == AV1
    with pytest.raises(UsageError, match="has no low-res volume: read more bytes") as caught:
        front.read()
    assert caught.value.option == "max_bytes"
    assert file.preview().dtype == np.uint8


def test_sections_are_those_of_the_coder() -> None:
    header, sections = container.read(file_of(4))
    wrong = (
        {"AV1S": sections["AV1S"]},
        {"AIDX": sections["AIDX"]},
        {**sections, "MASK": b"?"},
        {**sections, "INDX": bytes(4), "WGHT": b""},
        {**sections, "AIDX": sections["AIDX"] + bytes(8)},
    )
    for bodies in wrong:
        rest = {name: body for name, body in bodies.items() if name != "HEAD"}
        with pytest.raises(CorruptFile):
            container.read(container.pack([("HEAD", header.to_bytes()), *rest.items()]))


def test_large_volumes_come_in_several_streams() -> None:
    header, _ = container.read(file_of())
    huge = replace(header, shape=(1000, 512, 512), factor=(1, 1, 1))
    with pytest.raises(LimitExceeded, match="voxels of a stream"):
        limits.check_header(huge)
    slices = codec.slices_of(huge.lowres_shape)
    assert slices == 256 and codec.slices_of((256, 512, 512)) == 0
    limits.check_header(replace(huge, av1_slices=slices), masked=False)
    with pytest.raises(LimitExceeded, match="low-res voxels"):
        limits.check_header(replace(huge, shape=(65_000, 512, 512), av1_slices=slices), masked=False)


def test_bytes_needed_are_those_that_are_read() -> None:
    class Counting(io.BytesIO):
        total = 0

        def read(self, size: int | None = -1, /) -> bytes:
            found = super().read(size)
            self.total += len(found)
            return found

    for slices, model in ((0, {}), (2, {}), (2, MODEL)):
        source = Counting(file_of(slices, factor=(4, 4, 4), **model))
        file, box = inrcodec.open(source), (slice(20, 24), slice(8), slice(8))
        needed = inrcodec.open(file_of(slices, factor=(4, 4, 4), **model)).bytes_needed(box)
        source.total = 0
        file.read(box)
        assert source.total == needed


def test_a_page_and_a_check_of_a_file() -> None:
    data = file_of(4)
    page = html_report(data)
    assert "av1" in page and "digest differs" in page
    header, sections = container.read(data)
    stated = replace(header, digest=inrcodec.open(data).digest())
    rest = [(name, body) for name, body in sections.items() if name != "HEAD"]
    assert inrcodec.verify(container.pack([("HEAD", stated.to_bytes()), *rest]))["ok"]
    assert not inrcodec.verify(data)["ok"]
