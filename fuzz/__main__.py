"""Fuzz for some time: ``python -m fuzz --seconds 60``.

In: a time, a seed, the names of targets.  Out: inputs with findings in a folder, and exit code 1 for any.

Without ``--guided`` inputs follow from the seed alone.  With it, atheris (``pip install atheris``) keeps what
reaches new lines of the package.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from hashlib import sha256
from pathlib import Path
from random import Random

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ["INRCODEC_MODELS"] = str(Path(__file__).parents[1] / "spec" / "models")

POOL = 400  # changed inputs that are kept to be changed again


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for all targets together")
    parser.add_argument("--runs", type=int, help="inputs of each target, instead of a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--targets", default="", help="names, with commas; all by default")
    parser.add_argument("--out", type=Path, default=Path("fuzz/out"), help="where findings are written")
    parser.add_argument("--guided", action="store_true", help="one target, by atheris")
    options = parser.parse_args()
    if options.guided:
        import atheris

        atheris.enabled_hooks.add("str")
        with atheris.instrument_imports(include=["inrcodec"], enable_loader_override=False):
            from fuzz.targets import TARGETS
    else:
        from fuzz.targets import TARGETS
    from fuzz.node import is_there

    names = (
        options.targets.split(",")
        if options.targets
        else [n for n in TARGETS if n != "javascript" or is_there()]
    )
    unknown = [name for name in names if name not in TARGETS]
    if unknown:
        parser.error(f"--targets: {', '.join(unknown)} is none of {', '.join(TARGETS)}")
    found = Findings(options.out)
    if options.guided:
        return guided(names[0], options, found)
    for name in names:
        plain(name, options, options.seconds / len(names), found)
    print(
        f"{found.inputs} inputs, {len(found.kinds)} findings, {time.process_time():.0f} s of processor time"
    )
    return 1 if found.kinds else 0


class Findings:
    """Inputs with findings, one for each kind."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.kinds, self.inputs = folder, set[tuple[str, str]](), 0

    def judge(self, name: str, data: bytes, *, is_first: bool = False) -> None:
        """Run an input, and keep it where it is the first of a finding."""
        from fuzz.oracle import judged
        from fuzz.targets import TARGETS

        self.inputs += 1
        if is_first:
            judged(name, TARGETS[name].run, data)
        finding = judged(name, TARGETS[name].run, data)
        if finding is None or (name, finding.kind) in self.kinds:
            return
        self.kinds.add((name, finding.kind))
        self.folder.mkdir(parents=True, exist_ok=True)
        place = self.folder / f"{name}-{sha256(data).hexdigest()[:12]}"
        place.with_suffix(".input").write_bytes(data)
        place.with_suffix(".txt").write_text(f"{finding.kind}\n{finding.text}\n")
        print(f"{name}: {finding.kind}: {place}.input", flush=True)


def plain(name: str, options: argparse.Namespace, seconds: float, found: Findings) -> None:
    """Inputs that follow from the seed."""
    from fuzz.targets import TARGETS

    kind, random = TARGETS[name], Random(f"{name} {options.seed}")
    seeds = kind.seeds()
    pool, end, start, runs = list(seeds), time.monotonic() + seconds, time.process_time(), 0
    for data in seeds:  # twice: the first time imports what it needs
        found.judge(name, data, is_first=True)
    while runs < options.runs if options.runs is not None else time.monotonic() < end:
        data = kind.mutate(random.choice(pool if random.random() < 0.3 else seeds), seeds, random)
        found.judge(name, data)
        runs += 1
        if random.random() < 0.1:
            pool.append(data)
            if len(pool) > POOL:
                pool[len(seeds) + random.randrange(len(pool) - len(seeds))] = pool.pop()
    print(f"{name}: {runs} inputs in {time.process_time() - start:.1f} s of processor time", flush=True)


def guided(name: str, options: argparse.Namespace, found: Findings) -> int:
    """Inputs that atheris finds."""
    import atheris

    from fuzz.targets import TARGETS

    kind = TARGETS[name]
    seeds = kind.seeds()
    folder = options.out / f"corpus-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    for data in seeds:
        (folder / sha256(data).hexdigest()[:16]).write_bytes(data)

    def mutate(data: bytes, longest: int, seed: int) -> bytes:
        made = kind.mutate(data or seeds[0], seeds, Random(seed))
        return made[:longest]

    found.judge(name, seeds[0], is_first=True)

    def one(data: bytes) -> None:
        found.judge(name, data)

    flags = [f"-max_total_time={int(options.seconds)}", f"-seed={options.seed + 1}", "-verbosity=0"]
    flags += ["-timeout=900", "-rss_limit_mb=0", "-max_len=131072", "-handle_int=0", "-reload=0"]
    flags += [f"-artifact_prefix={options.out}/"]
    atheris.Setup([sys.argv[0], *flags, str(folder)], one, custom_mutator=mutate)
    atheris.Fuzz()
    return 1 if found.kinds else 0


if __name__ == "__main__":
    raise SystemExit(main())
