"""The commands that `deaths` lets die, their inputs, and whether what they leave is whole.

In: a folder.  Out: inputs in it; commands that write beside them.
Invariant: a command that ended well, run again, ends well and leaves the same names.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import inrcodec
from inrcodec.cli import dec, enc, info

Old = dict[str, dict[str, bytes]]  # files by target and name
MAINS = {"enc": enc.main, "dec": dec.main, "info": info.main}
FIT = "--base siren --factor 2 --tiles 1,1,1 --width 8 --steps 150 --sr lanczos --threads 1 --seed 1"


@dataclass(frozen=True)
class Job:
    """A command, and the names in its folder that it writes; {} is the folder."""

    words: str
    targets: tuple[str, ...]
    unexpected: tuple[str, ...] = ()  # what a killed one may leave by its nature: a checkpoint

    def run(self, folder: Path) -> int:
        """The exit code, in this process."""
        name, *words = self.words.format(folder).split()
        with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
            return MAINS[name](words)


JOBS = {
    "encode": Job("enc {0}/in.npy {0}/out.inrv --lossless --force --quiet", ("out.inrv",)),
    "encode with networks": Job(f"enc {{0}}/in.npy {{0}}/out.inrv {FIT} --force --quiet", ("out.inrv",)),
    "encode to be resumed": Job(
        f"enc {{0}}/in.npy {{0}}/out.inrv {FIT} --force --quiet --resume {{0}}/fit", ("out.inrv",), ("fit",)
    ),
    "decode to NumPy": Job("dec {0}/in.inrv {0}/out.npy --force --quiet", ("out.npy",)),
    "decode to NIfTI": Job("dec {0}/in.inrv {0}/out.nii.gz --force --quiet", ("out.nii.gz",)),
    "decode to DICOM": Job("dec {0}/in.inrv {0}/series/ --force --quiet", ("series",)),
    "report": Job("info {0}/in.inrv --report {0}/out.html --force --quiet", ("out.html",)),
    "collection": Job("enc -r {0}/many --output-dir-mirror {0}/coded --lossless --quiet", ("coded",)),
    "collection decoded": Job(
        "dec -r {0}/stored --output-dir-mirror {0}/arrays --format .npy --quiet", ("arrays",)
    ),
}
BY_WORKERS = {  # on two processes of Dask
    "volume by workers": Job(
        "enc {0}/in.npy {0}/out.inrv --lossless --brick 8 --jobs 2 --force --quiet", ("out.inrv",)
    ),
    "collection by workers": Job(
        f"enc -r {{0}}/many --output-dir-mirror {{0}}/coded {FIT} --jobs 2 --quiet", ("coded",)
    ),
}


def prepared(folder: Path) -> None:
    """The inputs of all jobs."""
    rng = np.random.default_rng(0)
    ramp = np.add.outer(np.arange(10) * 40, rng.integers(0, 90, (32, 30)))
    for name in ("in.npy", *(f"many/{k}.npy" for k in range(4))):
        (folder / name).parent.mkdir(exist_ok=True)
        np.save(folder / name, (ramp + len(name)).astype(np.int16))
    coded = inrcodec.encode(ramp.astype(np.int16), lossless=True, spacing=(2, 1, 1))
    (folder / "stored").mkdir()
    for name in ("in.inrv", "stored/a.inrv", "stored/b.inrv"):
        (folder / name).write_bytes(coded)


def contents(path: Path) -> dict[str, bytes]:
    """All files below a path, by name; UIDs of a written series are new each time."""
    if path.is_file():
        return {"": path.read_bytes()}
    found = (file for file in sorted(path.rglob("*")) if file.is_file())
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in found}


def is_whole(name: str, path: Path) -> bool:
    """Whether a target can be used as if nothing had happened."""
    if name.endswith(".inrv"):
        return bool(inrcodec.verify(path)["ok"])
    if name == "coded":
        return all(inrcodec.verify(file)["ok"] for file in _shown(path, "*.inrv"))
    if name == "arrays":
        return all(np.load(file).shape == (10, 32, 30) for file in path.rglob("*.npy") if not is_hidden(file))
    if name == "out.html":
        return path.read_bytes().rstrip().endswith(b"</html>")
    return inrcodec.io.read(path).shape == (10, 32, 30)


def _shown(path: Path, pattern: str) -> list[Path]:
    return [file for file in path.rglob(pattern) if not is_hidden(file)]


def is_hidden(path: Path) -> bool:
    """Whether a file is on its way, or was when its command died."""
    return path.name.startswith(".")
