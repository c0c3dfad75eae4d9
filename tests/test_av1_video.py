"""Stacks of slices as AV1: what is coded comes back, and what a stream may do to a reader."""

from __future__ import annotations

import os
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inrcodec.errors import CorruptFile, InrvError
from inrcodec.layers.base.av1 import video
from inrcodec.volume.box import Shape

pytest.importorskip("av", reason="AV1 is coded by PyAV (extra av1)")


def stack(shape: Shape) -> np.ndarray:
    """A smooth texture of 10 bits."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    return (512 + 400 * np.sin(x / 9 + z / 5) * np.cos(y / 7)).astype(np.uint16)


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (1, 64, 64), (2, 5, 130), (5, 65, 8), (3, 63, 129), (17, 40, 72)], ids=str
)
def test_a_stack_comes_back_in_its_shape(shape: Shape) -> None:
    slices = stack(shape)
    found = video.decode(video.encode(slices, 40, 8), shape)
    assert found.shape == shape and found.dtype == np.uint16
    assert np.abs(found.astype(int) - slices).mean() < 20


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="Linux has policies of scheduling")
def test_coding_leaves_the_thread_scheduled_as_it_was() -> None:
    before = os.sched_getscheduler(0)
    video.encode(stack((2, 64, 64)), 100, 9)
    assert os.sched_getscheduler(0) == before  # as root libsvtav1 leaves a real-time thread


@pytest.mark.parametrize("preset", [4, 9])
def test_threads_change_no_byte(preset: int) -> None:
    slices = stack((9, 130, 200))
    one = video.encode(slices, 100, preset, threads=1)
    assert video.encode(slices, 100, preset, threads=3) == one == video.encode(slices, 100, preset)


STREAM = video.encode(stack((6, 70, 80)), 120, 8)
SHAPE = (6, 70, 80)
OBUS = [obu for _, obu in video._obus(STREAM)]


def test_a_stream_is_made_of_frames_alone() -> None:
    kinds = [kind for kind, _ in video._obus(STREAM)]
    assert kinds[0] == video.SEQUENCE and set(kinds) <= set(video.KINDS)
    assert b"".join(OBUS) == STREAM


OTHER = {
    "nothing": b"",
    "fewer frames": b"".join(OBUS[:-1]),
    "more frames": STREAM + video.encode(stack((1, 70, 80)), 120, 8),
    "another size": video.encode(stack((6, 70, 81)), 120, 8),
    "larger frames": video.encode(stack((6, 700, 800)), 120, 8),
    "a sequence header behind the last frame": STREAM + OBUS[0],
    "a temporal delimiter": b"\x12\x00" + STREAM,
    "a frame again and again": STREAM + 20 * OBUS[1],
    "an OBU of a layer": bytes([STREAM[0] | 4, 0]) + STREAM[1:],
    "an OBU without a size": bytes([STREAM[0] & ~2]) + STREAM[1:],
    "an OBU that is cut": STREAM[:-1],
    "a size without end": STREAM[:1] + b"\x80" * 9,
}


@pytest.mark.parametrize("case", OTHER)
def test_a_stream_of_something_else_is_refused(case: str) -> None:
    with pytest.raises(CorruptFile):
        video.decode(OTHER[case], SHAPE)


def test_frames_that_are_not_shown_are_few() -> None:
    """A reader's work is bounded by the slices that the header states."""
    hidden = OBUS[0] + OBUS[1] * (video.MOST * SHAPE[0] + 1)
    with pytest.raises(CorruptFile, match="over 12 frames"):
        video.decode(hidden, SHAPE)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(st.integers(0, len(STREAM) - 1), st.integers(0, 7)), max_size=5),
    st.permutations(range(len(OBUS))) | st.lists(st.integers(0, len(OBUS) - 1), max_size=20),
    st.integers(0, len(STREAM)),
)
def test_no_damage_does_anything_but_fail(flips: list[tuple[int, int]], order: list[int], end: int) -> None:
    for whole in (STREAM, b"".join(OBUS[number] for number in order)):
        damaged = bytearray(whole[:end] if len(flips) % 2 else whole)
        for place, bit in flips:
            if place < len(damaged):
                damaged[place] ^= 1 << bit
        with suppress(InrvError):
            assert video.decode(bytes(damaged), SHAPE).shape == SHAPE
