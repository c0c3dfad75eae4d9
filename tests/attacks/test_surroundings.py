"""Surroundings: neither locale, time zone, clock, hash seed nor umask changes a byte, nor stops a command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

WORK = """
import itertools, os, sys, time
back = itertools.count(4_000_000_000, -1000)  # a clock that goes backwards, from the year 2096
if sys.argv[1] == "odd":
    time.time = lambda: float(next(back))
    time.time_ns = lambda: 10**9 * next(back)
    os.umask(0o077)
from inrcodec.cli import dec, enc, info
folder = sys.argv[2]
fit = "--base siren --factor 2 --tiles 1,1,1 --width 8 --steps 40 --sr lanczos --threads 1".split()
assert enc.main([f"{folder}/in.npy", f"{folder}/a.inrv", "--lossless", "-q"]) == 0
assert enc.main([f"{folder}/in.npy", f"{folder}/b.inrv", *fit, "-q"]) == 0
assert dec.main([f"{folder}/a.inrv", f"{folder}/a.nii.gz", "-q"]) == 0
assert info.main([f"{folder}/a.inrv", "--verify", "-q"]) == 0
"""


def test_neither_locale_nor_clock_changes_a_byte(tmp_path: Path) -> None:
    made = []
    plain = {"LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "0"}
    odd = {"LC_ALL": "tr_TR.ISO-8859-9", "LANG": "de_DE", "TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "77"}
    odd |= {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TMPDIR": str(tmp_path), "COLUMNS": "1"}
    for name, words in (("plain", plain), ("odd", odd)):
        folder = tmp_path / f"{name} ü"
        folder.mkdir()
        np.save(
            folder / "in.npy", np.add.outer(np.arange(8) * 50, np.arange(240).reshape(12, 20)).astype("<i2")
        )
        done = subprocess.run(
            [sys.executable, "-c", WORK, name, os.fspath(folder)],
            env=os.environ | words,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        made.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert made[0] == made[1] and len(made[0]) == 4
