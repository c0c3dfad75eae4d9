"""Golden files with one byte changed, and cut anywhere: refused, or decoded to the very same voxels.

    python benchmarks/damage.py [--files '*'] [--every 1] [--decoded 8] [--seed 0]

Of each file of ``tests/golden``, one byte of so many is changed to another value, and the file is cut in
front of it.  What reads all of a file has to refuse both.  One in ``--decoded`` is also decoded, whole
and in part: what a decoder does not read may be damaged, and then nothing that it gives differs.  Of the
beginning of a file, read on purpose, comes a volume of the right shape or an error.

Prints a line for each file, and ends with status 1 if anything was neither refused nor equal.
"""

import os
import random
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

from shared import parser_of

import inrcodec
from inrcodec.errors import InrvError

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
MODELS = {"INRCODEC_MODELS": str(ROOT / "spec" / "models")}  # that golden files of latents name
Reads = tuple[bytes, ...]


def reads(data: bytes) -> Iterator[Callable[[], bytes]]:
    """Ways to read a file, each to what it gives: whole, a box, and each coarser level."""
    opened = inrcodec.open(data)
    box = tuple(slice(n // 3, n // 3 + max(1, n // 2)) for n in opened.header.shape)
    yield lambda: inrcodec.decode(data, threads=1).tobytes()
    yield lambda: inrcodec.open(data).read(box, threads=1).tobytes()
    for level in range(1, len(opened.levels)):
        yield lambda level=level: inrcodec.open(data).read(None, level, threads=1).tobytes()


def outcomes(data: bytes, whole: Reads) -> Iterator[str]:
    """What comes of each way to read a damaged file."""
    try:
        for work, expected in zip(reads(data), whole, strict=True):
            with suppress(InrvError):
                yield "equal" if work() == expected else "other voxels"
                continue
            yield "refused"
    except InrvError:  # it cannot be opened
        yield "refused"


def checked(data: bytes) -> str:
    """What comes of a look at all bytes."""
    with suppress(InrvError):
        inrcodec.open(data).sections.check()
        return "not seen"
    return "refused"


def begun(data: bytes, length: int, shape: tuple[int, ...]) -> str:
    """What comes of the beginning of a file, where no more is wanted."""
    with suppress(InrvError):
        return "shown" if inrcodec.decode(data, max_bytes=length, threads=1).shape == shape else "other shape"
    return "refused"


def of_file(data: bytes, places: range, decoded: int, rng: random.Random) -> Counter[str]:
    """How often a damaged file ended in each way."""
    found = Counter[str]()
    whole = tuple(work() for work in reads(data))
    shape = inrcodec.decode(data, threads=1).shape
    first = rng.randrange(decoded)
    for number, place in enumerate(places):
        changed = data[:place] + bytes([data[place] ^ rng.randint(1, 255)]) + data[place + 1 :]
        for damaged in (changed, data[:place]):
            found[checked(damaged)] += 1
            if number % decoded == first:
                found.update(outcomes(damaged, whole))
        if number % decoded == first:
            found[begun(data, place + 1, shape)] += 1
    return found


def main(words: list[str] | None = None) -> int:
    """Damage all files."""
    parser = parser_of(__doc__)
    parser.add_argument("--files", default="*", help="pattern of their names")
    parser.add_argument("--every", type=int, default=1, help="one byte of so many")
    parser.add_argument("--decoded", type=int, default=8, help="one of so many is also decoded")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(words)
    warnings.simplefilter("error")
    total, damaged = Counter[str](), 0
    for path in sorted(GOLDEN.glob(f"{options.files}.inrv")):
        data, rng = path.read_bytes(), random.Random(f"{options.seed} {path.name}")
        places = range(rng.randrange(min(options.every, len(data))), len(data), options.every)
        with patch.dict(os.environ, MODELS):
            found = of_file(data, places, options.decoded, rng)
        damaged += 2 * len(places)
        total += found
        print(f"{path.name}: {len(places)} bytes of {len(data)}: {dict(sorted(found.items()))}", flush=True)
    wrong = sum(count for end, count in total.items() if end not in ("refused", "equal", "shown"))
    print(f"{damaged} damaged files, {wrong} wrong: {dict(sorted(total.items()))}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
