"""A child of Node that decodes files with js/src; one is kept, and started anew where it does not answer.

In: the bytes of a file.  Out: the error's name, or the digest of the voxels.
"""

from __future__ import annotations

import atexit
import json
import select
import shutil
import subprocess
from pathlib import Path
from struct import pack
from typing import Any

SCRIPT = Path(__file__).with_name("node.mjs")
DOCUMENTED = ("InrvError", "CorruptFile", "UnsupportedFile", "LimitExceeded", "UsageError")
SECONDS = 200.0  # of the clock, on a busy machine
_child: subprocess.Popen[bytes] | None = None


def is_there() -> bool:
    """Whether there is Node, and what js/src needs."""
    installed = SCRIPT.parents[1] / "js" / "node_modules"
    return shutil.which("node") is not None and installed.exists()


@atexit.register
def _stop() -> None:
    global _child
    if _child is not None:
        _child.kill()
        _child.communicate()
        _child = None


def decode(data: bytes) -> dict[str, Any]:
    """What Node makes of a file; a child that does not answer is an error of its own."""
    global _child
    if _child is None or _child.poll() is not None:
        _child = subprocess.Popen(
            ["node", "--max-old-space-size=1024", str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    assert _child.stdin is not None and _child.stdout is not None
    try:
        _child.stdin.write(pack("<I", len(data)) + data)
        _child.stdin.flush()
        ready, _, _ = select.select([_child.stdout], [], [], SECONDS)
        line = _child.stdout.readline() if ready else b""
    except BrokenPipeError:
        line = b""
    if not line:
        _stop()
        return {"error": "NoAnswer", "message": "a hang or a crash", "digest": None}
    found: dict[str, Any] = json.loads(line)
    return found
