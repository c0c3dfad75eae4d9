"""The compiled kernels: what the plain path in NumPy gives, bit for bit, and nothing beyond their arrays."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from time import monotonic

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import inrcodec
from inrcodec.entropy import laplace, logistic, mask
from inrcodec.entropy.adaptive import context_of
from inrcodec.errors import CorruptFile
from inrcodec.layers.base.latent.convolution import Convolution
from inrcodec.layers.lattice import codec, compiled, scan
from inrcodec.layers.lattice.codec import Lattice, Source
from inrcodec.layers.lattice.predictor import Predictor
from inrcodec.native import build, library
from inrcodec.native.library import SWITCH, Place
from inrcodec.training.latent.tables import tables

CHECKS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1", "-w")


@pytest.fixture(scope="module", autouse=True)
def _kernels(tmp_path_factory):
    """The kernels, built for these tests where the package was not installed with them."""
    if library.kernels() is None:
        target = tmp_path_factory.mktemp("kernels") / build.LIBRARY
        if shutil.which("cc") is None or not build.compiled(target):
            pytest.skip("no C compiler")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(library, "LIBRARY", target)
            yield
    else:
        yield


def both_ways(work):
    """Results of the plain path and of the kernels; an error is its message."""
    results = []
    for switch in ("0", "1"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(SWITCH, switch)
            assert (library.kernels() is None) == (switch == "0")
            try:
                results.append(work())
            except CorruptFile as error:
                results.append(str(error))
    return results


@st.composite
def sources(draw):
    """Volumes of any kind: thin, flat in parts, smooth or not, up to 32 bits, with padding."""
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 40), st.integers(1, 150)).map(tuple))
    shape = tuple(draw(st.permutations(shape)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    most = draw(st.sampled_from([1, 255, 4095, 65_535, 2**24, 2**31 - 1, 2**32 - 1]))
    smooth = np.cumsum(rng.normal(size=shape), draw(st.integers(0, 2)))
    smooth *= draw(st.sampled_from([0.0, 0.001, 0.1])) * most
    noise = rng.normal(size=shape) * draw(st.sampled_from([0.0, 0.5, 20.0, most / 4]))
    values = (most / 3 + smooth + noise).clip(0, most).astype(np.int64)
    if draw(st.booleans()):
        values[:, values.shape[1] // 2 :] = draw(st.sampled_from([0, most // 2, most]))
    free = rng.random(shape) < 0.3 if draw(st.booleans()) else None
    step = draw(st.sampled_from([1, 1, 2, 3, 17, 1000, 2**21 + 1]))
    axes = scan.axes_for(shape, draw(st.permutations([1.0, 1.5, 3.0])))
    lattice = Lattice(axes=axes, steps=(min(step, most),) * (len(axes) + 1), most=most)
    trade = draw(st.sampled_from([0, 26, 255]))
    return Source(values=values.astype(lattice.dtype), lattice=lattice, trade=trade, dont_care=free)


@given(sources())
@settings(max_examples=40)
def test_kernels_give_the_bytes_and_the_voxels_of_the_plain_path(source):
    plain, fast = both_ways(lambda: codec.encode(source))
    assert plain[0] == fast[0] and np.array_equal(plain[1], fast[1])
    for streams in (plain[0], plain[0][:-2] or plain[0]):
        found = both_ways(lambda part=streams: codec.decode(part, source.values.shape, source.lattice))
        assert np.array_equal(*found)
        assert streams is not plain[0] or np.array_equal(found[1], plain[1])


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int32", "float16", "float32"])
@pytest.mark.parametrize("options", [{"lossless": True}, {"max_error": 3}])
def test_files_are_the_same(dtype, options):
    rng = np.random.default_rng(0)
    array = (np.cumsum(rng.normal(size=(9, 30, 34)), 2) * 9).astype(dtype)
    array[:, :4] = array.min()
    plain, fast = both_ways(lambda: inrcodec.encode(array, brick=(8, 16, 16), threads=2, **options))
    assert plain == fast
    assert np.array_equal(*both_ways(lambda: inrcodec.decode(fast)))


@given(
    st.lists(st.integers(0, 1 << 45) | st.integers(-9, 300), min_size=1, max_size=50),
    st.integers(-64, 64),
    st.integers(1, 1 << 32),
)
def test_whole_sums_reach_a_context_where_rounded_quotients_do(sums, exponent, step):
    scales, weights = np.ones(20, np.int64), np.zeros((1, 20), np.int64)
    model = Predictor(scales, exponent, np.empty(0, np.int64), weights)
    thresholds = compiled.weights_of(model, step, (1 << 32) - 1).thresholds
    near = [t + k for t in thresholds[1:].tolist() if t < 1 << 45 for k in (-1, 0, 1)]
    sums = np.array(sums + near, np.int64)
    expected = context_of(sums.astype(np.float64) * 2.0**exponent / step)
    assert np.array_equal(np.searchsorted(thresholds[1:], sums, side="right"), expected)


@given(st.data())
@settings(max_examples=60)
def test_damaged_streams_are_the_same_error_or_the_same_voxels(data):
    streams, shape, lattice = _sound()
    damaged = [bytearray(stream) for stream in streams]
    for _ in range(data.draw(st.integers(1, 3))):
        stream = damaged[data.draw(st.integers(0, len(damaged) - 1))]
        place = data.draw(st.integers(0, len(stream) - 1))
        stream[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        stream = damaged[data.draw(st.integers(0, len(damaged) - 1))]
        del stream[data.draw(st.integers(0, len(stream) - 1)) :]
    plain, fast = both_ways(lambda: codec.decode([bytes(s) for s in damaged], shape, lattice))
    assert plain == fast if isinstance(plain, str) else np.array_equal(plain, fast)


@given(
    st.tuples(st.integers(1, 5), st.integers(1, 24), st.integers(1, 24)),
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.01, 0.5]),
    st.binary(max_size=2),
)
def test_masks_are_the_same_bytes_and_the_same_damage_is_seen(shape, seed, noise, flips):
    rng = np.random.default_rng(seed)
    z, y, x = np.ogrid[tuple(slice(0, n) for n in shape)]
    cells = (z - 1) ** 2 + (y - shape[1] / 2) ** 2 + (x - shape[2] / 2) ** 2 < rng.integers(1, 200)
    cells ^= rng.random(shape) < noise
    plain, fast = both_ways(lambda: mask.encode_mask(cells))
    assert plain == fast
    damaged = bytearray(plain)
    for flip in flips[: len(damaged)]:
        damaged[flip % len(damaged)] ^= 1 << flip % 8
    for data in (plain, bytes(damaged), plain[:-1]):
        first, second = both_ways(lambda data=data: mask.decode_mask(data, shape))
        assert first == second if isinstance(first, str) else np.array_equal(first, second)


@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(0, 40)), min_size=1, max_size=4),
    st.integers(0, 2**32),
    st.binary(max_size=2),
)
def test_weights_are_the_same_and_the_same_damage_is_seen(tensors, seed, flips):
    rng = np.random.default_rng(seed)
    spreads, counts = zip(*tensors, strict=True)
    scales = [2.0 ** ((spread - 72) / 16) * rng.choice([0.1, 1, 40]) for spread in spreads]
    values = [
        np.rint(rng.laplace(size=n) * s).clip(-(2**31) + 1, 2**31 - 1).astype(np.int32)
        for n, s in zip(counts, scales, strict=True)
    ]
    sound = laplace.encode_weights(values, spreads)
    damaged = bytearray(sound)
    for flip in flips:
        damaged[flip % len(damaged)] ^= 1 << flip % 8
    for data in (sound, bytes(damaged), sound[:-1], sound + b"\0"):
        first, second = both_ways(lambda data=data: laplace.decode_weights(data, counts, spreads))
        same = first == second if isinstance(first, str) else all(map(np.array_equal, first, second))
        assert same and (data is not sound or all(map(np.array_equal, second, values)))


def test_arrays_that_do_not_fit_reach_no_kernel():
    kernels = library.kernels()
    tables, contexts = kernels.new_tables(np.ones(library.TABLES, np.int64) * 99), np.zeros(5, np.uint8)
    values, states = np.zeros(5, np.int32), np.ones(1, np.uint64)
    nothing, known = np.empty(0, np.uint8), np.zeros((3, 4, 5), np.int32)
    block = (nothing, nothing, nothing)
    for wrong in (
        lambda: kernels.read(values[:4], contexts, 1, 9, block, states, tables),
        lambda: kernels.read(values, contexts, 1, 9, block, states, tables[8:]),
        lambda: kernels.read(values.astype(np.int16), contexts, 1, 9, block, states, tables),
        lambda: kernels.read(np.zeros(10, np.int32)[::2], contexts, 1, 9, block, states, tables),
        lambda: kernels.push(states, np.ones(4, np.uint16), np.ones(3, np.uint16)),
        lambda: kernels.around(Place(known, known[:, :, 1:].copy(), 2, 0), np.array([999])),
        lambda: kernels.around(Place(known, known[:, 1:].copy(), 2, 0), np.array([0])),
        lambda: kernels.around(Place(known, known[:, :, 1:], 2, 0), np.array([0])),
    ):
        with pytest.raises(ValueError, match="do not fit"):
            wrong()


def test_a_library_of_other_sources_is_not_used(tmp_path, monkeypatch):
    assert library.kernels() is not None
    monkeypatch.setattr(library, "LIBRARY", tmp_path / "none.so")
    assert library.kernels() is None
    shutil.copy(Path(library.__file__), tmp_path / "text.so")
    monkeypatch.setattr(library, "LIBRARY", tmp_path / "text.so")
    assert library.kernels() is None
    target = tmp_path / "other.so"
    monkeypatch.setattr(build, "crc32", lambda data: 1)
    assert build.compiled(target)
    monkeypatch.setattr(library, "LIBRARY", target)
    assert library.kernels() is None


def test_any_instructions_give_the_same_bytes(tmp_path, monkeypatch):
    """AVX2 is used where the processor has it; elsewhere what the compiler makes of plain loops."""
    target = tmp_path / build.LIBRARY
    assert build.compiled(target, "-DNO_VECTORS")
    known, shape, lattice = _sound()
    values = codec.decode(known, shape, lattice)
    monkeypatch.setattr(library, "LIBRARY", target)
    source = Source(values=values, lattice=lattice)
    assert library.kernels() is not None and codec.encode(source)[0] == known
    assert np.array_equal(codec.decode(known, shape, lattice), values)


def test_without_a_compiler_there_is_no_library_and_no_error(tmp_path, monkeypatch):
    target = tmp_path / "kernels.so"
    target.write_bytes(b"old")
    monkeypatch.setenv("CC", str(tmp_path / "none"))
    assert not build.compiled(target) and not target.exists()


def test_a_kernel_holds_no_lock_of_pythons():
    """Another thread counts on while a kernel runs: bricks are decoded side by side."""
    kernels = library.kernels()
    count = 1 << 23
    symbols, states = np.full(count, 3, np.uint16), np.full(1, 1 << 31, np.uint64)
    done, counted, start = threading.Event(), 0, threading.Event()

    def push():
        start.set()
        kernels.push(states, symbols, symbols)
        done.set()

    worker = threading.Thread(target=push)
    worker.start()
    start.wait()
    while not done.is_set():
        counted += 1
    worker.join()
    assert counted > 1000


SCRIPT = """
import sys
from pathlib import Path
from inrcodec.native import library
library.LIBRARY = Path(sys.argv[1])
sys.path.insert(0, sys.argv[2])
import test_kernels
assert library.kernels() is not None
test_kernels.mutate(float(sys.argv[3]))
print("whole")
"""


def test_damaged_streams_read_and_write_nothing_beyond_their_arrays(tmp_path):
    """Under sanitizers of addresses and undefined behaviour, on streams that checksums would refuse."""
    target, cc = tmp_path / "checked.so", shutil.which("cc")
    found = (
        subprocess.run([cc or "cc", "-print-file-name=libasan.so"], capture_output=True, text=True)
        if cc
        else None
    )
    if not found or not Path(found.stdout.strip()).is_absolute() or not build.compiled(target, *CHECKS):
        pytest.skip("no sanitizers")
    seconds = os.environ.get("INRCODEC_FUZZ_SECONDS", "2")
    sanitized = {"ASAN_OPTIONS": "detect_leaks=0", "PYTHONMALLOC": "malloc"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(target), str(Path(__file__).parent), seconds],
        env=os.environ | sanitized | {"LD_PRELOAD": found.stdout.strip()},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.split() == ["whole"], done.stderr[-2000:]


def mutate(seconds):
    """Encode and decode volumes, then damaged streams of them, for so long, but of four at least."""
    rng, begin, done = np.random.default_rng(), monotonic(), 0
    while done < 4 or monotonic() < begin + seconds:
        done += 1
        shape = tuple(
            int(n) for n in rng.permutation([rng.integers(1, 5), rng.integers(1, 9), rng.integers(1, 300)])
        )
        most = int(rng.choice([1, 4095, 65_535, 2**31 - 1, 2**32 - 1]))
        values = (rng.random(shape) ** rng.integers(1, 9) * most).astype(np.int64)
        values[:, : shape[1] // 2] //= 100
        axes = scan.axes_for(shape, (1.0, 1.0, 1.0))
        step = int(rng.choice([1, 2, 9, 2**21]))
        lattice = Lattice(axes=axes, steps=(step,) * (len(axes) + 1), most=most)
        source = Source(values=values.astype(lattice.dtype), lattice=lattice)
        streams, known = codec.encode(source)
        assert np.array_equal(codec.decode(streams, shape, lattice), known)
        for _ in range(40):
            damaged = [bytearray(stream) for stream in streams]
            stream = damaged[rng.integers(len(damaged))]
            for _ in range(rng.integers(1, 6)):
                stream[rng.integers(len(stream))] = rng.choice([0, 1, 127, 255, rng.integers(256)])
            with suppress(CorruptFile):
                codec.decode([bytes(s) for s in damaged], shape, lattice)
        weights = np.rint(rng.laplace(size=99) * 10.0 ** rng.integers(9)).astype(np.int32)
        spread = laplace.best_spread(weights)
        data = bytearray(laplace.encode_weights([weights], [spread]))
        data[rng.integers(len(data) + 1) :] = rng.bytes(rng.integers(60))
        with suppress(CorruptFile):
            laplace.decode_weights(bytes(data), [99], [spread])
        cells = rng.random(shape) < rng.choice([0.1, 0.9])
        data = bytearray(mask.encode_mask(cells))
        assert np.array_equal(mask.decode_mask(bytes(data), shape), cells)
        data[rng.integers(len(data) + 1) :] = rng.bytes(rng.integers(9))
        with suppress(CorruptFile):
            mask.decode_mask(bytes(data), shape)
        mutate_latents(rng)


def mutate_latents(rng):
    """Steps, damaged streams of them, and layers of any size."""
    coding = tables()
    index = rng.integers(0, 80, rng.integers(1, 300)).astype(np.uint8)
    steps = np.rint(rng.laplace(size=len(index)) * 10.0 ** rng.integers(6)).astype(np.int32)
    writer = logistic.Writer(coding)
    writer.put(steps, index)
    data = bytearray(writer.bytes())
    assert np.array_equal(logistic.Reader(coding, bytes(data)).get(index), steps)
    data[rng.integers(len(data)) :] = rng.bytes(rng.integers(60))
    with suppress(CorruptFile):
        logistic.Reader(coding, bytes(data)).get(index)
    shape, outputs = rng.integers(1, 9, 4), int(rng.integers(1, 60))
    x = rng.integers(-(2**15), 2**15, shape).astype(np.int16)
    weight = rng.integers(-(2**15), 2**15, (outputs, shape[3], rng.choice([1, 27]))).astype(np.int16)
    bias = rng.integers(-(2**31), 2**31, outputs).astype(np.int32)
    layer = Convolution(weight, bias, 12)
    sums = layer.maps(x)
    assert np.array_equal(layer.rounded(x, 3), ((sums.astype(np.int64) + 4) >> 3).clip(-32767, 32767))
    assert np.array_equal(layer.exact(x.astype(np.int32)).astype(np.int32), sums)


def _sound():
    """Streams of a small volume that has all kinds of tokens, made once."""
    if not _made:
        rng = np.random.default_rng(0)
        values = np.cumsum(rng.normal(size=(6, 14, 40)) * 20, 2).astype(np.int32)
        values[2:4] *= 90
        values -= values.min()
        axes = scan.axes_for(values.shape, (1.0, 1.0, 1.0))
        lattice = Lattice(axes=axes, steps=(1,) * (len(axes) + 1), most=int(values.max()))
        streams, _ = codec.encode(Source(values=values, lattice=lattice))
        _made.append((streams, values.shape, lattice))
    return _made[0]


_made = []
