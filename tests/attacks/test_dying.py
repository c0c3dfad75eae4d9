"""Deaths: a command that is killed or starved leaves the old output, or a whole new one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "deaths.py"


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="its cases are forks")
def test_nothing_is_lost_partial_or_left_by_a_command_that_dies() -> None:
    counts = "--kills 5 --workers 0 --full 0 --errors 5 --reads 2 --memory 2 --writers 1".split()
    done = subprocess.run([sys.executable, str(SCRIPT), *counts], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "15 cases, 0 wrong" in done.stdout, done.stdout + done.stderr
