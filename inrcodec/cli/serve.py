"""`inrv serve`: volumes for programs that know OME-Zarr and not `.inrv`.

In: a file or a folder.  Out: answers over HTTP until Ctrl-C.
Invariant: other machines are let in only where an address is named for them, with a warning.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from threading import Thread

from inrcodec.cli.arguments import Parser, given
from inrcodec.cli.exits import run
from inrcodec.cli.stdio import put_json, say
from inrcodec.layers.decode_options import OPTIONS
from inrcodec.validate import BYTES, byte_count

MACHINE = {"threads": OPTIONS["threads"]}
PORT, MEMORY = 8765, "256MB"
LISTED = 20  # files whose addresses are printed, and that are looked into at the start
OPEN_DOOR = (
    "warning: {host} can be reached from other machines, by anyone and without encryption. A volume "
    "identifies its patient by the voxels alone: serve only what everyone there may see"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `inrv serve` and return its exit code."""
    return run(parser(), _serve, argv)


def parser() -> Parser:
    """The parser of `inrv serve`."""
    made = Parser("inrv-serve", "Serve .inrv files over HTTP as OME-Zarr images, decoded on request.")
    made.add("input", metavar="FILE|DIR", help="file, or folder with all files below it")
    add = partial(made.add, group="server", main=True)
    add("--port", type=_port, metavar="N", default=PORT, help=f"port, 0 for a free one (default {PORT})")
    host = "address to listen at; 0.0.0.0 lets other machines in (default 127.0.0.1)"
    add("--host", metavar="ADDRESS", default="127.0.0.1", help=host)
    origin = "page that may read answers, such as https://neuroglancer-demo.appspot.com, or '*'"
    add("--allow-origin", metavar="ORIGIN", help=origin)
    memory = f"bytes of decoded chunks that are kept (default {MEMORY})"
    add("--memory", type=BYTES.parse, metavar="BYTES", default=MEMORY, help=memory)
    made.add_rows(MACHINE)
    made.add_manners(force="")
    return made


def _serve(args: argparse.Namespace) -> None:
    from inrcodec.plugins.serve import Server, Volumes

    volumes = Volumes(args.input, byte_count("memory", args.memory), **given(args, MACHINE))
    log = say if args.verbose else None
    with Server(volumes, args.host, args.port, origin=args.allow_origin, log=log, warn=say) as server:
        if not server.is_local:
            say(OPEN_DOOR.format(host=args.host))
        names = volumes.names()
        urls = [server.url_of(name) for name in names]
        if args.json:
            put_json({"url": server.url, "volumes": urls})
        elif not args.quiet:
            print(f"{server.url}: {len(names)} file{'s' * (len(names) != 1)}, until Ctrl-C")
            print("\n".join(f"  {url}" for url in urls[:LISTED]), flush=True)
        Thread(target=volumes.warm, args=(names[:LISTED],), daemon=True).start()
        with suppress(KeyboardInterrupt):  # the way to end it
            server.serve_forever()


def _port(word: str) -> int:
    number = int(word)
    if not 0 <= number <= 65535:
        raise ValueError(word)
    return number
