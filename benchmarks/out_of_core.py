"""Volumes larger than memory: seconds, peak memory of each process, ratios, and workers that are killed.

    python benchmarks/out_of_core.py DICOM_FOLDER_OR_NIFTI [--edge 1024] [--jobs 1 2] [--kills 10]
        [--kill-edge 256] [--only lossless fast] [--options JSON] [--folder DIR] [--out DIR]

The source is tiled, every other copy mirrored, to a cube of int16 in a `.npy` file.  It is encoded without
loss and with the preset ``fast``, by this process alone and by local workers (``--jobs``: 1 is one process
with all threads, from 2 on they are those of a cluster), and decoded again, each in a process of its own.

Prints a line for each run: seconds, the peak of the largest process and of which kind it is, bytes a second,
ratio, and whether the file is that of the first run, byte for byte.  ``--kills`` encodes a smaller cube
without loss as often, kills one of two workers at a random moment, and says how often the file came out the
same.  Writes ``DIR/out-of-core.json``.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from filecmp import cmp
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
from shared import RESULTS, parser_of, skipped

from inrcodec import io

MOST = 1.5 * 2**30  # bytes that no process may take
EVERY = 0.1  # seconds between two looks at the processes
PROMISES: dict[str, dict[str, Any]] = {"lossless": {"lossless": True}, "fast": {"preset": "fast"}}
ENCODE = """
import json, sys, inrcodec
source, target, jobs, options = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
if jobs == 1:
    report = inrcodec.encode_file(source, target, force=True, **options)
else:
    import inrcodec.dask
    from inrcodec.plugins.dask import cluster
    with cluster(jobs) as client:
        report = inrcodec.dask.encode(source, target, client, force=True, **options)
print(json.dumps({"ratio": report.ratio, "psnr": report.psnr, "seconds": report.seconds}))
"""
DECODE = "import sys; from inrcodec.cli import dec; sys.exit(dec.main(sys.argv[1:]))"


def tiled(array: np.ndarray, edge: int, path: Path) -> None:
    """Write a cube of copies of an array, mirrored in turn, slice by slice."""
    z, y, x = (_mirrored(n, edge) for n in array.shape)
    found = np.lib.format.open_memmap(path, "w+", array.dtype, (edge, edge, edge))
    for k, plane in enumerate(z):
        found[k] = array[plane][np.ix_(y, x)]
    found.flush()


def _mirrored(n: int, length: int) -> np.ndarray:
    """Indices 0 … n - 1, back again, and so on."""
    place = np.arange(length) % (2 * n)
    return np.minimum(place, 2 * n - 1 - place)


class Watched:
    """A process and all that it starts: how much memory each held at its peak."""

    def __init__(self, code: str, *words: object) -> None:
        self.peaks: dict[int, int] = {}
        self.kinds: dict[int, str] = {}
        self.start = monotonic()
        command = [sys.executable, "-c", code, *map(str, words)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def pids(self) -> list[int]:
        """Itself and all below it."""
        found = [self.process.pid]
        for pid in found:
            found += _children(pid)
        return found

    def look(self) -> None:
        """Note what each process holds, and held before."""
        for pid in self.pids():
            peak, name = _peak(pid)
            if peak > self.peaks.get(pid, 0):
                self.peaks[pid] = peak
                self.kinds[pid] = "driver" if pid == self.process.pid else name

    def wait(self) -> tuple[float, str]:
        """Seconds, and what it printed."""
        while self.process.poll() is None:
            self.look()
            sleep(EVERY)
        seconds = monotonic() - self.start
        assert self.process.stdout is not None
        output = self.process.stdout.read()
        if self.process.returncode:
            raise RuntimeError(f"ended with {self.process.returncode}: {output}")
        return seconds, output


def _children(pid: int) -> list[int]:
    try:
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:  # it has ended
        return []


def _peak(pid: int) -> tuple[int, str]:
    """The most that a process ever held, in bytes, and its kind."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return 0, ""
    held = [int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")]
    return max(held, default=0), "worker" if b"spawn_main" in command else "helper"


def encoded(source: Path, target: Path, jobs: int, options: dict[str, Any]) -> dict[str, Any]:
    """One encoding: seconds, peaks, ratio."""
    run = Watched(ENCODE, source, target, jobs, json.dumps(options))
    seconds, output = run.wait()
    return {"jobs": jobs, "seconds": seconds, **_peaks(run), "report": json.loads(output.splitlines()[-1])}


def _peaks(run: Watched) -> dict[str, Any]:
    largest = max(run.peaks, key=run.peaks.__getitem__)
    workers = [peak for pid, peak in run.peaks.items() if run.kinds[pid] == "worker"]
    return {
        "peak_MiB": run.peaks[largest] / 2**20,
        "largest": run.kinds[largest],
        "driver_MiB": run.peaks[run.process.pid] / 2**20,
        "worker_MiB": max(workers, default=0) / 2**20,
    }


def decoded(target: Path, back: Path) -> dict[str, Any]:
    """One decoding to a `.npy` file."""
    run = Watched(DECODE, target, back, "--force", "-q")
    seconds, _ = run.wait()
    return {"seconds": seconds, **_peaks(run)}


def killed(source: Path, target: Path, options: dict[str, Any], most: float, rng: random.Random) -> bool:
    """Encode with two workers, one of which is killed; whether there was one to kill."""
    run, after = Watched(ENCODE, source, target, 2, json.dumps(options)), rng.uniform(0.2, 0.9) * most
    struck = False
    while run.process.poll() is None:
        run.look()
        workers = [pid for pid in run.pids() if run.kinds.get(pid) == "worker"]
        if not struck and monotonic() - run.start > after and workers:
            os.kill(rng.choice(workers), signal.SIGKILL)
            struck = True
        sleep(EVERY)
    run.wait()
    return struck


def same(one: Path, other: Path) -> bool:
    """Whether two `.npy` files hold the same values, slice by slice."""
    arrays = np.load(one, mmap_mode="r"), np.load(other, mmap_mode="r")
    return arrays[0].shape == arrays[1].shape and all(map(np.array_equal, *arrays))


def runs(source: Path, args: argparse.Namespace, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every encoding and decoding of one cube."""
    voxel_bytes = np.load(source, mmap_mode="r").nbytes
    for name in args.only:
        first = args.folder / f"{name}-{args.jobs[0]}.inrv"
        for jobs in args.jobs:
            target = args.folder / f"{name}-{jobs}.inrv"
            found = encoded(source, target, jobs, {**PROMISES[name], **options})
            equal = cmp(first, target, shallow=False)
            yield {
                "run": f"encode {name}",
                **found,
                "MB_s": voxel_bytes / found["seconds"] / 1e6,
                "equal": equal,
            }
        back = args.folder / "back.npy"
        found = decoded(first, back)
        equal = name != "lossless" or same(source, back)
        yield {"run": f"decode {name}", **found, "MB_s": voxel_bytes / found["seconds"] / 1e6, "equal": equal}


def line(row: dict[str, Any]) -> str:
    """A run in words."""
    about = f"{row['run']:16s} jobs {row.get('jobs', 1)}  {row['seconds']:8.1f} s  {row['MB_s']:6.2f} MB/s"
    verdict = "held" if row["peak_MiB"] * 2**20 <= MOST else "NOT HELD"
    memory = f"driver {row['driver_MiB']:6.0f} MiB, worker {row['worker_MiB']:6.0f} MiB ({verdict})"
    report = row.get("report")
    ratio = f"  {report['ratio']:8.2f} : 1, {report['psnr']:.2f} dB" if report else ""
    return f"{about}  {memory}{ratio}  {'equal' if row['equal'] else 'NOT EQUAL'}"


def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("--edge", type=int, default=1024, help="voxels along each axis")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", nargs="*", choices=PROMISES, default=list(PROMISES))
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--kill-edge", type=int, default=256)
    parser.add_argument("--options", type=json.loads, default={}, help="of the encoder, as JSON")
    parser.add_argument("--folder", type=Path, help="for volumes and files, which take some gigabytes")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    if skipped(args.source):
        return
    args.out.mkdir(parents=True, exist_ok=True)
    array, found = io.read(args.source).array, []
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        args.folder = Path(folder)
        if args.only:
            tiled(array, args.edge, cube := args.folder / "cube.npy")
            for row in runs(cube, args, args.options):
                found.append(row)
                print(line(row), flush=True)
        survived = kills(array, args) if args.kills else None
    result = {"edge": args.edge, "runs": found, "kills": survived}
    (args.out / "out-of-core.json").write_text(json.dumps(result, indent=2) + "\n")


def kills(array: np.ndarray, args: argparse.Namespace) -> dict[str, int]:
    """How often the file came out the same though a worker was killed."""
    cube, whole, target = (args.folder / name for name in ("small.npy", "whole.inrv", "killed.inrv"))
    tiled(array, args.kill_edge, cube)
    options, rng = {**PROMISES["lossless"], **args.options}, random.Random(0)
    most = encoded(cube, whole, 2, options)["seconds"]
    equal = struck = 0
    for _ in range(args.kills):
        struck += killed(cube, target, options, most, rng)
        equal += cmp(whole, target, shallow=False)
    print(f"workers killed in {struck} of {args.kills} runs, {equal} files equal", flush=True)
    return {"runs": args.kills, "killed": struck, "equal": equal}


if __name__ == "__main__":
    main()
