"""What is left when a command dies, or the machine has no room, memory or disk for it.

    python benchmarks/deaths.py [--kills 300] [--workers 20] [--full 60] [--errors 60] [--reads 60] …

Every case is a command of the package in a process of its own, that is

- killed (SIGKILL) at a random moment,
- bereft of the processes that it computes with, once or again and again,
- given a file system that is full at some byte (a small tmpfs, which root alone can mount),
- given a disk that fails (EIO) at some write, sync or rename, or at some read,
- given a limit of its address space,
- or run beside another one with the same target.

Then the target is what it was before, or whole; a command that ended by itself has a documented exit code and
left nothing beside its target; and the same command, run again, ends well and leaves nothing either.

Prints a line for each kind of case, and ends with status 1 if anything was lost, partial or left.
"""

import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from death_jobs import BY_WORKERS, JOBS, Job, Old, contents, is_hidden, is_whole, prepared
from failing_disk import failing_disk
from shared import parser_of

from inrcodec.cli import exits

CODES = {code for code, _ in exits.EXITS}


def child(work: Callable[[], int]) -> int:
    """The process ID of a fork that does some work and ends with its exit code."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        code = work()
    finally:
        os._exit(code)


def ended(pid: int) -> int:
    """The exit code of a child; below 0 the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@contextlib.contextmanager
def workplace(where: str | None = None) -> Iterator[Path]:
    """A folder with the inputs."""
    with tempfile.TemporaryDirectory(dir=where) as name:
        folder = Path(name)
        prepared(folder)
        yield folder


class Ledger:
    """Cases, and what was wrong with them."""

    def __init__(self) -> None:
        self.cases, self.wrong = dict[str, int](), list[str]()

    def judge(self, kind: str, name: str, folder: Path, old: Old, code: int) -> None:
        """Look at a folder after a command ended, then run it again and look once more."""
        job = {**JOBS, **BY_WORKERS}[name]
        self.cases[kind] = self.cases.get(kind, 0) + 1
        if sum(self.cases.values()) % 20 == 0:
            print(f"  {sum(self.cases.values())} cases, {len(self.wrong)} wrong", flush=True)
        killed = code < 0
        if not killed and code not in (CODES if kind == "memory" else CODES - {exits.UNEXPECTED}):
            self._note(kind, name, f"exit code {code}")
        for target in job.targets:
            path = folder / target
            there = contents(path) if path.exists() else {}
            if target == "coded" or target == "arrays":
                there = {k: v for k, v in there.items() if not Path(k).name.startswith(".")}
            if old[target] and not there:
                self._note(kind, name, f"{target}: the old one is lost, exit code {code}")
            elif there and there != old[target] and not self._whole(target, path):
                self._note(kind, name, f"{target} is partial, exit code {code}")
            elif there and there == old[target] and code == 0 and not is_whole(target, path):
                self._note(kind, name, f"{target} is not what a success leaves")
        if not killed:
            self._left(kind, name, job, folder, f"exit code {code}")
        if (again := ended(child(lambda: job.run(folder)))) != 0:
            self._note(kind, name, f"run again after {code}, it ends with {again}")
        self._left(kind, name, job, folder, "run again")
        paths = {target: folder / target for target in job.targets}
        if not all(path.exists() and is_whole(target, path) for target, path in paths.items()):
            self._note(kind, name, "run again, it leaves no whole target")

    def _whole(self, target: str, path: Path) -> bool:
        try:
            return is_whole(target, path)
        except Exception:
            return False

    def _left(self, kind: str, name: str, job: Job, folder: Path, when: str) -> None:
        """Note what lies in a folder beside inputs, targets and the manifest."""
        known = {"in.npy", "in.inrv", "many", "stored", *job.targets, *job.unexpected}
        left = {path.name for path in folder.iterdir()} - known
        for target in job.targets:
            if (folder / target).is_dir():
                left |= {p.name for p in (folder / target).rglob("*") if is_hidden(p) and ".part" in p.name}
                left |= {p.name for p in (folder / target).rglob("*.staged*")}
        if left:
            self._note(kind, name, f"{when}: {sorted(left)} is left")

    def _note(self, kind: str, name: str, what: str) -> None:
        self.wrong.append(f"{kind}: {name}: {what}")
        print(f"  {kind}: {name}: {what}", flush=True)


def before(job: Job, folder: Path, *, fresh: bool) -> Old:
    """What the targets hold: nothing, or a whole older output."""
    if not fresh:
        assert ended(child(lambda: job.run(folder))) == 0, job
    return {t: contents(folder / t) if (folder / t).exists() else {} for t in job.targets}


def kills(count: int, rng: random.Random, ledger: Ledger) -> None:
    """SIGKILL at random moments of a command's own time."""
    names, usual = sorted(JOBS), dict[str, float]()
    for number in range(count):
        name = names[number % len(names)]
        job = JOBS[name]
        with workplace() as folder:
            start = time.monotonic()
            if name not in usual:
                assert ended(child(lambda job=job, folder=folder: job.run(folder))) == 0, name
            usual.setdefault(name, time.monotonic() - start)
        with workplace() as folder:
            is_old = number // len(names) % 3 != 0 and not name.startswith("collection")
            old = before(job, folder, fresh=not is_old)
            pid = child(lambda job=job, folder=folder: job.run(folder))
            time.sleep(rng.uniform(0, 1.05 * usual[name]))
            os.killpg(pid, signal.SIGKILL) if _leads(pid) else os.kill(pid, signal.SIGKILL)
            ledger.judge("kill", name, folder, old, ended(pid))


def _leads(pid: int) -> bool:
    """Whether a child has its own group by now, which its own children are in."""
    return os.getpgid(pid) == pid


def workers(count: int, rng: random.Random, ledger: Ledger) -> None:
    """SIGKILL of one or all processes that a command computes with, up to six times."""
    for number in range(count):
        name, job = sorted(BY_WORKERS.items())[number % len(BY_WORKERS)]
        with workplace() as folder:
            old = before(job, folder, fresh=number // len(BY_WORKERS) % 2 == 0 or "collection" in name)
            pid = child(lambda job=job, folder=folder: job.run(folder))
            for _ in range(rng.randint(1, 6)):
                while not (there := _at_work(pid)) and _runs(pid):
                    time.sleep(0.02)
                time.sleep(rng.uniform(0, 0.5))
                for victim in there[: rng.randint(1, len(there))] if there else ():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(victim, signal.SIGKILL)
            ledger.judge("workers", name, folder, old, ended(pid))


def _at_work(pid: int) -> list[int]:
    """The processes that compute for a command by now: those that have loaded what they compute with."""
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for number in children.read_text().split():
                loaded = Path(f"/proc/{number}/maps").read_bytes()
                if b"libtorch" in loaded or b"kernels.library" in loaded:
                    found.append(int(number))
    return found


def _runs(pid: int) -> bool:
    """Whether a child has not ended; it is waited for later."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def full(count: int, rng: random.Random, ledger: Ledger) -> None:
    """A file system that is full at some byte of what a command writes."""
    names = sorted(JOBS)
    for number in range(count):
        name = names[number % len(names)]
        with tempfile.TemporaryDirectory() as mount:
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", mount], check=True)
            try:
                folder = Path(mount)
                prepared(folder)
                old = before(JOBS[name], folder, fresh=number // len(names) % 2 == 0)
                used = 4096 * int(shutil.disk_usage(folder).used / 4096)
                more = 4096 * rng.randint(0, 16)
                subprocess.run(["mount", "-o", f"remount,size={used + more}", mount], check=True)
                code = ended(child(lambda name=name, folder=folder: JOBS[name].run(folder)))
                subprocess.run(["mount", "-o", "remount,size=16m", mount], check=True)
                ledger.judge("full disk", name, folder, old, code)
            finally:
                subprocess.run(["umount", mount], check=True)


def cases(count: int) -> Iterator[tuple[str, Path, Old]]:
    """Commands in turn, each in a folder of its own, with no output or an older one in it."""
    names = sorted(JOBS)
    for number in range(count):
        name = names[number % len(names)]
        with workplace() as folder:
            yield name, folder, before(JOBS[name], folder, fresh=number // len(names) % 2 == 0)


def errors(count: int, rng: random.Random, ledger: Ledger) -> None:
    """EIO at some write, sync or rename below the folder."""
    _failing("EIO", count, rng, ledger, reads=False)


def reads(count: int, rng: random.Random, ledger: Ledger) -> None:
    """EIO at some read below the folder."""
    _failing("EIO of reads", count, rng, ledger, reads=True)


def _failing(kind: str, count: int, rng: random.Random, ledger: Ledger, *, reads: bool) -> None:
    for name, folder, old in cases(count):
        at, for_good = rng.randint(1, 12), rng.random() < 0.5

        def failing(
            job: Job = JOBS[name], folder: Path = folder, at: int = at, for_good: bool = for_good
        ) -> int:
            with failing_disk(folder, at, reads=reads, for_good=for_good):
                return job.run(folder)

        ledger.judge(kind, name, folder, old, ended(child(failing)))


def memory(count: int, rng: random.Random, ledger: Ledger) -> None:
    """A limit of the address space, somewhat above what the process has."""
    for name, folder, old in cases(count):
        room = rng.randint(0, 256) << 18

        def limited(name: str = name, folder: Path = folder, room: int = room) -> int:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + room, used + room))
            return JOBS[name].run(folder)

        ledger.judge("memory", name, folder, old, ended(child(limited)))


def writers(count: int, rng: random.Random, ledger: Ledger) -> None:
    """Two commands with one target at once."""
    names = sorted(name for name in JOBS if "resumed" not in name)
    for number in range(count):
        name = names[number % len(names)]
        job = JOBS[name]
        with workplace() as folder:
            old = before(job, folder, fresh=True)
            pids = [child(lambda job=job, folder=folder: job.run(folder)) for _ in range(2)]
            codes = [ended(pid) for pid in pids]
            if 0 not in codes:
                ledger.wrong.append(f"two writers: {name}: {codes}")
            ledger.judge("two writers", name, folder, old, max(codes))


KINDS = {
    "kills": kills,
    "workers": workers,
    "full": full,
    "errors": errors,
    "reads": reads,
    "memory": memory,
    "writers": writers,
}


def main(words: list[str] | None = None) -> int:
    """Run all cases."""
    parser = parser_of(__doc__)
    usuals = {"kills": 300, "workers": 20, "full": 60, "errors": 60, "reads": 60, "memory": 40, "writers": 20}
    for name, usual in usuals.items():
        parser.add_argument(f"--{name}", type=int, default=usual, help="cases")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(words)
    with workplace() as folder:  # imports all that is needed, so that a fork begins with it
        for job in JOBS.values():
            assert job.run(folder) == 0, job
    ledger = Ledger()
    for name, run in KINDS.items():
        if count := getattr(options, name):
            start = len(ledger.wrong)
            run(count, random.Random(f"{options.seed} {name}"), ledger)
            print(f"{name}: {count} cases, {len(ledger.wrong) - start} wrong", flush=True)
    print(f"{sum(ledger.cases.values())} cases, {len(ledger.wrong)} wrong")
    return 1 if ledger.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
