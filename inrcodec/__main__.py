"""``python -m inrcodec enc|dec|info|train``: the commands by one name."""

from __future__ import annotations

import sys
from importlib import import_module

from inrcodec._version import __version__

COMMANDS = {
    "enc": "compress a volume",
    "dec": "decompress a file",
    "info": "show what is in a file",
    "train": "train a super-resolution model",
}
HELP = "\n".join(
    [
        "usage: python -m inrcodec COMMAND [options] …",
        "",
        "Compress CT and MR volumes as implicit neural representations.",
        "",
        *(f"  {name:<6} {what} (also installed as inrv-{name})" for name, what in COMMANDS.items()),
        "",
        "python -m inrcodec COMMAND --help shows the options of a command.",
    ]
)


def main() -> int:
    """Run one of the commands and return its exit code."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in COMMANDS:
        del sys.argv[1]
        command = import_module(f"inrcodec.cli.{name}")
        return int(command.main())
    if name in ("-h", "--help", "--version"):
        print(f"inrcodec {__version__}" if name == "--version" else HELP)
        return 0
    cause = f"unknown command {name!r}" if name else "no command"
    print(f"inrcodec: error: {cause}, there are {', '.join(COMMANDS)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
