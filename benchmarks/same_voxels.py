"""The same voxels everywhere: all golden files and vectors decoded as other machines and processes would.

    python benchmarks/same_voxels.py [--interpreters PATH …] [--every 1]

Each variant is a process of its own with other instruction sets for torch, oneDNN and OpenBLAS, another
number of threads, the plain path in place of the compiled kernels, another interpreter with other versions of
NumPy and torch, or forked, spawned and threaded workers.  It decodes each file of ``tests/golden`` and
``spec/vectors``, and what it gives is compared: exact files bit for bit, others within the specification's
tolerance, and bit for bit among numbers of threads and kinds of workers.

Prints a table, and ends with status 1 if anything differs more than it may.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from shared import parser_of

Found = dict[int, np.ndarray]  # voxels by the number of the file
ROOT = Path(__file__).parents[1]
MODELS = ROOT / "spec" / "models"  # that golden files and vectors of latents name
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
VARIANTS: dict[str, dict[str, str]] = {
    "as it is, 1 thread": {"WAY": "plain", "COUNT": "1"},
    "2 threads": {"WAY": "plain", "COUNT": "2"},
    "4 threads": {"WAY": "plain", "COUNT": "4"},
    "8 threads of Python at once": {"WAY": "threads", "COUNT": "1"},
    "forked": {"WAY": "fork", "COUNT": "1"},
    "spawned": {"WAY": "spawn", "COUNT": "1"},
    "plain path, no compiled kernels": {"WAY": "plain", "COUNT": "1", "INRCODEC_KERNELS": "0"},
    "torch: default": {"WAY": "plain", "COUNT": "1", "ATEN_CPU_CAPABILITY": "default"},
    "torch: avx2": {"WAY": "plain", "COUNT": "1", "ATEN_CPU_CAPABILITY": "avx2"},
    "torch: avx512": {"WAY": "plain", "COUNT": "1", "ATEN_CPU_CAPABILITY": "avx512"},
    "oneDNN: SSE41": {"WAY": "plain", "COUNT": "1", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    "oneDNN: AVX2": {"WAY": "plain", "COUNT": "1", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "oneDNN: AVX512_CORE": {"WAY": "plain", "COUNT": "1", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "OpenBLAS: Prescott": {"WAY": "plain", "COUNT": "1", "OPENBLAS_CORETYPE": "Prescott"},
    "OpenBLAS: Haswell": {"WAY": "plain", "COUNT": "1", "OPENBLAS_CORETYPE": "Haswell"},
    "OpenBLAS: Zen": {"WAY": "plain", "COUNT": "1", "OPENBLAS_CORETYPE": "Zen"},
    "OpenBLAS: SkylakeX": {"WAY": "plain", "COUNT": "1", "OPENBLAS_CORETYPE": "SkylakeX"},
}
BITWISE = ("2 threads", "4 threads", "8 threads of Python at once", "forked", "spawned")  # with the first
BITWISE += ("plain path, no compiled kernels",)
SLOW = 20_000  # voxels of a refinement, beyond which the plain path is left out
FLOATS = 1e-5  # of the range, for floating-point volumes

WORKER = """
import json, os, sys
import numpy as np

def decoded(path):
    import inrcodec
    try:
        return inrcodec.decode(path, threads=int(os.environ["COUNT"]))
    except (inrcodec.errors.MissingExtra, ModuleNotFoundError):  # PyAV, or torch for a model
        return None

if __name__ == "__main__":
    paths = json.loads(sys.argv[1])
    way = os.environ["WAY"]
    if way == "plain":
        found = [decoded(path) for path in paths]
    elif way == "threads":
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(decoded, paths))
    else:
        from multiprocessing import get_context
        with get_context(way).Pool(2) as pool:
            found = pool.map(decoded, paths)
    kept = {str(k): array for k, array in enumerate(found) if array is not None}
    np.savez(sys.argv[2], **kept)
    from importlib.metadata import PackageNotFoundError, version
    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = "is not there"
    print(f"Python {sys.version.split()[0]}, NumPy {np.__version__}, torch {torch}")
"""


def files(every: int) -> list[Path]:
    """All golden files and vectors, or some of them."""
    golden = sorted((ROOT / "tests" / "golden").glob("*.inrv"))
    return [*golden, *sorted((ROOT / "spec" / "vectors").glob("*/input.inrv"))][::every]


def run(
    python: str, words: dict[str, str], paths: list[Path], folder: Path
) -> tuple[str, dict[int, np.ndarray]]:
    """What a variant decodes, by the number of the file; and what it ran on."""
    script, out = folder / "worker.py", folder / "out.npz"
    script.write_text(WORKER)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "INRCODEC_MODELS": str(MODELS), **words}
    environment |= dict.fromkeys(THREADS, words["COUNT"])
    named = json.dumps([str(path) for path in paths])
    done = subprocess.run(
        [python, str(script), named, str(out)], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    with np.load(out) as arrays:
        return done.stdout.strip(), {int(k): arrays[k] for k in arrays.files}


def allowed(path: Path) -> float | None:
    """How far a voxel may be off, in stored units; None for bit for bit."""
    import inrcodec

    header = inrcodec.open(path).header
    if header.refine_steps:
        return None
    return 1.0 if np.dtype(header.dtype).kind in "iu" else FLOATS * (header.high - header.low)


def compared(
    first: Found, second: Found, limits: list[float | None], *, bitwise: bool
) -> tuple[int, int, int, float]:
    """Files that are compared, equal, wrong; and the largest difference in units of what is allowed."""
    equal = wrong = 0
    most = 0.0
    for k, array in second.items():
        other, limit = first[k], limits[k]
        if array.tobytes() == other.tobytes() and array.dtype == other.dtype:
            equal += 1
            continue
        if limit is None or bitwise:
            wrong += 1
            continue
        off = float(np.abs(array.astype(np.float64) - other.astype(np.float64)).max()) / limit
        most = max(most, off)
        wrong += off > 1
    return len(second), equal, wrong, most


def main(words: list[str] | None = None) -> int:
    """Decode by all variants, and compare with the first."""
    parser: argparse.ArgumentParser = parser_of(__doc__)
    parser.add_argument("--interpreters", nargs="*", default=[], help="of other environments")
    parser.add_argument("--every", type=int, default=1, help="one file of so many")
    options = parser.parse_args(words)
    paths = files(options.every)
    limits = [allowed(path) for path in paths]
    small = [k for k, path in enumerate(paths) if path.stat().st_size < SLOW]
    runs = [(name, sys.executable, words) for name, words in VARIANTS.items()]
    plain = VARIANTS["as it is, 1 thread"]
    runs += [(f"environment {k}", path, plain) for k, path in enumerate(options.interpreters, 1)]
    first: Found = {}
    bad = 0
    print("| decoded | files | equal bit for bit | beyond what is allowed | largest, in units of that | |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, python, changes in runs:
        chosen = small if "INRCODEC_KERNELS" in changes else list(range(len(paths)))
        with tempfile.TemporaryDirectory() as folder:
            versions, found = run(python, changes, [paths[k] for k in chosen], Path(folder))
        found = {chosen[k]: array for k, array in found.items()}
        first = first or found
        count, equal, wrong, most = compared(first, found, limits, bitwise=name in BITWISE)
        bad += wrong
        print(f"| {name} | {count} | {equal} | {wrong} | {most:.3g} | {versions} |", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
