"""``python -m inrcodec enc|dec|info|…``: the commands where `inrv` is not on the path."""

from __future__ import annotations

import sys

from inrcodec.cli.inrv import main

if __name__ == "__main__":
    sys.exit(main(prog="python -m inrcodec"))
