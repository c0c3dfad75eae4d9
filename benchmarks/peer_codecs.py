"""The peers: other codecs behind one interface, each called as its authors intend.

In: a stack, uint16 (z, y, x), contiguous, from 0 on.  Out: its bytes, and the stack that they decode to.
Invariant: a peer gets what it needs to do well (its bit depth, contiguous planes, the third axis where it
has one), and its result is rounded, clipped and compared: see ``tests/test_peers.py``.

imagecodecs has all of them but x265 and libsvtav1, which are PyAV's, tomoz, and TTHRESH, which
numcodecs-wasm-tthresh has as WebAssembly: 4 GiB at most, and slower than it is natively; all are in the extra
``inrcodec[bench]``.  AV1 at 12 bits needs ``aomenc`` and ``aomdec`` (Debian's aom-tools); without them it is
left out.
Not ideal: JPEG-LS codes 12 bits as 16 (its thresholds are the same), with some 80 bytes of header a slice.
"""

import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from shutil import which
from typing import Any, TypeAlias

import av1
import numpy as np
from numpy.typing import NDArray
from stacks import Stack, bits_of

Shape: TypeAlias = tuple[int, ...]

EFFORT = 7  # of JPEG XL: its default
HEVC: dict[str, dict[str, str]] = {  # x265 as it comes, and as good as it gets by PSNR
    "x265": {"preset": "medium"},
    "x265 veryslow": {"preset": "veryslow", "tune": "psnr"},
}
HALF = 0.49  # integers that are rounded may be off by so much more than a bound

try:
    import imagecodecs
except ImportError:
    imagecodecs = None
try:
    import av
except ImportError:
    av = None
try:
    import tomoz
except ImportError:
    tomoz = None
try:
    from numcodecs_wasm_tthresh import Tthresh
except ImportError:
    Tthresh = None


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A codec.

    Attributes
    ----------
    name : as its makers write it.
    encode : (stack, level) to its streams: one of the volume, or one a slice.
    decode : (streams, shape) to the values, as floats or integers.
    levels : rungs of a ladder, from few bytes to many.
    meaning : of a level.
    """

    name: str
    encode: Callable[[Stack, float], list[bytes]]
    decode: Callable[[list[bytes], Shape], NDArray[Any]]
    levels: Sequence[float]
    meaning: str

    def back(self, streams: list[bytes], stack: Stack) -> Stack:
        """The stack that streams decode to, rounded and clipped to the values that the source has."""
        found = np.asarray(self.decode(streams, stack.shape))
        if found.shape != stack.shape:
            raise AssertionError(f"{self.name} gave back {found.shape} for {stack.shape}")
        return np.rint(found).clip(stack.min(), stack.max()).astype(np.uint16)


def require() -> None:
    """End with a word where a peer's package is missing."""
    missing = [name for name, module in (("imagecodecs", imagecodecs), ("av", av)) if module is None]
    if missing:
        sys.exit(f"the peers need {' and '.join(missing)}: pip install 'inrcodec[bench]'")


def peers() -> dict[str, Peer]:
    """All peers by name."""
    require()
    found = [
        *(
            Peer(
                name=name,
                encode=lambda s, crf, how=how: [hevc_encode(s, crf, **how)],
                decode=lambda b, shape: hevc_decode(b[0]),
                levels=(44, 40, 36, 32, 28, 24, 20, 14, 8),
                meaning="CRF",
            )
            for name, how in HEVC.items()
        ),
        *_av1(),
        Peer(
            name="SPERR",
            encode=lambda s, db: [sperr_encode(s, "PSNR", db)],
            decode=lambda b, shape: imagecodecs.sperr_decode(b[0]).reshape(shape),
            levels=(6, 10, 14, 18, 22, 26, 30, 34, 38, 44, 50),
            meaning="PSNR of its own range",
        ),
        Peer(
            name="JPEG XL",
            encode=lambda s, d: _planes(
                s, lambda p: imagecodecs.jpegxl_encode(p, distance=d, effort=EFFORT, bitspersample=bits_of(s))
            ),
            decode=lambda b, shape: np.stack([imagecodecs.jpegxl_decode(p) for p in b]),
            levels=(25, 12, 6, 3, 1.5, 0.7),
            meaning="distance",
        ),
        Peer(
            name="JPEG 2000",
            encode=lambda s, db: _planes(
                s,
                lambda p: imagecodecs.jpeg2k_encode(
                    p, db, bitspersample=bits_of(s), reversible=False, codecformat="j2k"
                ),
            ),
            decode=lambda b, shape: np.stack([imagecodecs.jpeg2k_decode(p) for p in b]),
            levels=(26, 30, 34, 38, 42, 46, 52),
            meaning="PSNR of a slice",
        ),
        Peer(
            name="HTJ2K",
            encode=lambda s, q: _planes(s, lambda p: imagecodecs.htj2k_encode(p, q, reversible=False)),
            decode=lambda b, shape: np.stack([imagecodecs.htj2k_decode(p) for p in b]),
            levels=tuple(q * 2**-4 for q in (0.64, 0.32, 0.16, 0.08, 0.04, 0.02, 0.01)),
            meaning="quantisation step",
        ),
        Peer(
            name="JPEG-LS",
            encode=lambda s, bound: jpegls(s, int(bound)),
            decode=lambda b, shape: np.stack([imagecodecs.jpegls_decode(p) for p in b]),
            levels=(200, 120, 64, 32, 16, 8, 4),
            meaning="largest error",
        ),
        Peer(
            name="SZ3",
            encode=lambda s, bound: [sz3_encode(s, bound)],
            decode=lambda b, shape: imagecodecs.sz3_decode(b[0], shape=shape, dtype=np.float32),
            levels=(1000, 600, 300, 150, 64, 32, 16, 8),
            meaning="largest error",
        ),
        Peer(
            name="zfp",
            encode=lambda s, bound: [
                imagecodecs.zfp_encode(
                    s.astype(np.float32), bound, mode=imagecodecs.ZFP.MODE.FIXED_ACCURACY
                )
            ],
            decode=lambda b, shape: imagecodecs.zfp_decode(b[0]),
            levels=(16384, 8192, 4096, 2048, 1024, 512, 256, 128),
            meaning="tolerance",
        ),
        *_tthresh(),
    ]  # fmt: skip
    return {peer.name: peer for peer in found}


def _av1() -> list[Peer]:
    """AV1 by both encoders: libaom at 12 bits as fast as is usual and as slow as it gets, libsvtav1 at 10."""
    about = {"svt-av1 10 bits": ("svt", -1, (63, 55, 47, 39, 31, 23, 15, 8, 1))}
    if which("aomenc") and which("aomdec"):
        levels = (63, 58, 52, 46, 40, 34, 28, 22, 16, 10, 4)
        about |= {f"AV1 12 bits, cpu-used {speed}": ("aomenc", speed, levels) for speed in (4, 1)}
    return [
        Peer(
            name=name,
            encode=partial(_av1_encode, av1.CODERS[coder], speed),
            decode=partial(_av1_decode, av1.CODERS[coder]),
            levels=levels,
            meaning="CRF" if coder == "svt" else "cq-level",
        )
        for name, (coder, speed, levels) in about.items()
    ]


def _av1_encode(coder: av1.Coder, speed: int, stack: Stack, level: float) -> list[bytes]:
    """One stream, behind a byte for the shift that a header would hold."""
    shift = coder.bits - bits_of(stack)
    stream = coder.encode(av1.to_bits(stack, coder.bits), int(level), speed)
    return [shift.to_bytes(1, "big", signed=True) + stream]


def _av1_decode(coder: av1.Coder, streams: list[bytes], shape: Shape) -> NDArray[Any]:
    shift = int.from_bytes(streams[0][:1], "big", signed=True)
    return coder.decode(streams[0][1:], shape) * 2.0**-shift


def _tthresh() -> list[Peer]:
    """TTHRESH, where its package is.

    Below some 13 dB its files get no smaller, and on a small smooth volume it is up to 18 dB off its level.
    """
    if Tthresh is None:
        return []
    return [
        Peer(
            name="TTHRESH",
            encode=lambda s, db: [tthresh_encode(s, db)],
            decode=lambda b, shape: tthresh_decode(b[0]),
            levels=(13, 16, 19, 22, 26, 30, 34, 38, 44, 50, 60),
            meaning="PSNR of half its own range",
        )
    ]


def tthresh_encode(stack: Stack, level: float) -> bytes:
    """Of the volume, at a PSNR of half its own range."""
    with _silent():
        return bytes(Tthresh(eb_mode="psnr", eb_psnr=float(level)).encode(stack.astype(np.float32)))


def tthresh_decode(data: bytes) -> NDArray[Any]:
    """The volume of :func:`tthresh_encode`."""
    with _silent():
        return np.asarray(Tthresh(eb_mode="psnr", eb_psnr=0.0).decode(np.frombuffer(data, np.uint8)))


@contextmanager
def _silent() -> Iterator[None]:
    """Nothing on standard output, not even of WebAssembly, which Python's ``sys.stdout`` does not catch."""
    sys.stdout.flush()
    kept = os.dup(1)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def tomoz_lossless(stack: Stack) -> list[bytes]:
    """One stream, by learned networks of integers."""
    return [tomoz.encode(stack)]


def jpegxl_lossless(stack: Stack) -> list[bytes]:
    """A stream a slice."""
    return _planes(stack, lambda p: imagecodecs.jpegxl_encode(p, lossless=True, effort=EFFORT))


def jpegls(stack: Stack, bound: int = 0) -> list[bytes]:
    """A stream a slice, no value off by more than ``bound``; what exceeds half the range is no JPEG-LS."""
    most = min(bound, ((1 << bits_of(stack)) - 1) // 2)
    return _planes(stack, lambda p: imagecodecs.jpegls_encode(p, most))


def jpegxl_plane(data: bytes) -> Stack:
    """A slice of :func:`jpegxl_lossless`."""
    return imagecodecs.jpegxl_decode(data, numthreads=1)


def jpegls_plane(data: bytes) -> Stack:
    """A slice of :func:`jpegls`."""
    return imagecodecs.jpegls_decode(data)


def sz3_encode(stack: Stack, bound: float) -> bytes:
    """Of the volume, no value off by more than ``bound``."""
    return bytes(imagecodecs.sz3_encode(stack.astype(np.float32), mode=imagecodecs.SZ3.MODE.ABS, abs=bound))


def sperr_encode(stack: Stack, mode: str, level: float) -> bytes:
    """Of the volume: mode "PSNR" in dB of its own range, or "PWE", the largest error.

    One slice goes in as an image: of a volume of one it aborts.
    """
    values = stack.astype(np.float32)
    values = values[0] if len(values) == 1 else values
    return bytes(imagecodecs.sperr_encode(values, mode=getattr(imagecodecs.SPERR.MODE, mode), level=level))


def hevc_encode(stack: Stack, crf: float, preset: str = "medium", **options: str) -> bytes:
    """The slices as frames of a grey video of 12 bits: a raw HEVC stream.

    Parameters
    ----------
    options : of libx265, such as ``tune="psnr"``: without it bits go where eyes look.

    Raises
    ------
    ValueError
        Values of more than 12 bits, or slices smaller than x265 takes.
    """
    if stack.max() >= 1 << 12:
        raise ValueError(f"x265 takes 12 bits, the values reach {stack.max()}")
    out = io.BytesIO()
    # Values of 8 bits use the upper ones: the quantiser's steps are for the whole range.
    shift = 12 - bits_of(stack)
    with av.open(out, "w", format="hevc") as container:
        stream = container.add_stream("libx265", rate=25)
        stream.height, stream.width = stack.shape[1:]
        stream.pix_fmt = "gray12le"
        stream.options = {"preset": preset, "crf": f"{crf:g}", "x265-params": "log-level=none", **options}
        for plane in stack:
            container.mux(stream.encode(_frame(plane << shift)))
        container.mux(stream.encode())
    return out.getvalue() + bytes([shift])


def hevc_decode(blob: bytes) -> Stack:
    """The slices of what :func:`hevc_encode` made; its last byte is the shift, which a header would hold."""
    with av.open(io.BytesIO(blob[:-1]), format="hevc") as container:
        planes = [_plane(frame) for frame in container.decode(video=0)]
    half = (1 << blob[-1]) >> 1
    return (np.stack(planes) + np.uint16(half)) >> blob[-1]


def _frame(plane: Stack) -> Any:
    frame = av.VideoFrame(plane.shape[1], plane.shape[0], "gray12le")
    padded = np.zeros((plane.shape[0], frame.planes[0].line_size // 2), np.uint16)
    padded[:, : plane.shape[1]] = plane
    frame.planes[0].update(padded)
    return frame


def _plane(frame: Any) -> Stack:
    if frame.format.name != "gray12le":
        raise AssertionError(f"x265 should give 12 bits of grey, but gave {frame.format.name}")
    rows = np.frombuffer(frame.planes[0], np.uint16).reshape(frame.height, -1)
    return rows[:, : frame.width].copy()


def _planes(stack: Stack, encode: Callable[[Stack], Any]) -> list[bytes]:
    """Each slice by itself, of contiguous memory and of bytes where they hold the values."""
    kind = np.uint8 if stack.max() < 1 << 8 else np.uint16
    return [bytes(encode(np.ascontiguousarray(plane, kind))) for plane in stack]
