"""What the bytes are worth: measurements that a user takes of a CT, from files of equal size.

    python benchmarks/tasks.py VOLUME [VOLUME ...] [--crop z0:z1,y0:y1,x0:x1] [--ratios 64 256 1000]
        [--base siren av1] [--out DIR]

In: CT volumes.  Out: for each codec and ratio, how far measurements of the decoded volume are from those of
the source.  Invariant: every codec has at most the bytes of its ratio, and a measurement is one function of
an array, the same for all.

emphysema  share of the lung below -950 HU (%LAA-950), in points of per cent
Dice, HD95 of the masks of lung, bone and body; HD95 is the 95th percentile of the distances of either
           surface from the other, in mm

Ratios are of stored bytes (two a voxel) to those of the file.  Needs the extras ``inrcodec[bench,itk]``.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av1
import numpy as np
import peer_codecs
import SimpleITK
from numpy.typing import NDArray
from scipy import ndimage
from shared import RESULTS, parsed_region
from stacks import Stack, from_bits, stack_of, to_bits

from inrcodec import Volume, api

Bool = NDArray[np.bool_]
Row = dict[str, Any]

EMPHYSEMA = -950.0  # HU
AIR, BONE = -400.0, 200.0  # HU
SMALLEST = 1000  # voxels of a part of a mask: less is noise
STEPS = 8  # of the search for a level that fits the bytes


def masks(hounsfield: NDArray[Any]) -> dict[str, Bool]:
    """Masks of body, lung and bone, each of its parts that are not noise."""
    smooth = ndimage.median_filter(hounsfield, 3)
    dense = smooth > AIR
    body = np.stack([ndimage.binary_fill_holes(plane) for plane in _large(dense)])
    return {"body": body, "lung": _large(body & ~dense), "bone": _large(smooth > BONE)}


def _large(mask: Bool) -> Bool:
    labels, count = ndimage.label(mask)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    return (sizes >= SMALLEST)[labels]


def emphysema(hounsfield: NDArray[Any], lung: Bool) -> float:
    """Per cent of the lung below `EMPHYSEMA`; NaN without a lung."""
    return 100 * float((hounsfield[lung] < EMPHYSEMA).mean()) if lung.any() else float("nan")


def dice(first: Bool, second: Bool) -> float:
    """Overlap of two masks, 0 to 1; NaN where both are empty."""
    both = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / both if both else float("nan")


def hd95(first: Bool, second: Bool, spacing: Sequence[float]) -> float:
    """95th percentile of the distances of either surface from the other, in mm; NaN for an empty mask."""
    if not (first.any() and second.any()):
        return float("nan")
    distances, edges = [], []
    for mask in (first, second):
        image = SimpleITK.GetImageFromArray(mask.astype(np.uint8))
        image.SetSpacing([float(edge) for edge in spacing[::-1]])
        edge = SimpleITK.LabelContour(image)
        away = SimpleITK.SignedMaurerDistanceMap(edge, squaredDistance=False, useImageSpacing=True)
        distances.append(np.abs(SimpleITK.GetArrayViewFromImage(away)))
        edges.append(SimpleITK.GetArrayViewFromImage(edge).astype(bool))
    found = [distances[0][edges[1]], distances[1][edges[0]]]
    return float(np.percentile(np.concatenate(found), 95))


def measured(source: Volume, decoded: NDArray[Any], known: dict[str, Bool]) -> Row:
    """What a decoded array differs by from its source; ``known`` are the masks of that."""
    slope, intercept = source.rescale
    before, after = (array * np.float32(slope) + np.float32(intercept) for array in (source.array, decoded))
    found = masks(after)
    row: Row = {"emphysema": emphysema(before, known["lung"]), "decoded": emphysema(after, found["lung"])}
    for name, mask in known.items():
        row |= {
            f"dice_{name}": dice(mask, found[name]),
            f"hd95_{name}": hd95(mask, found[name], source.spacing),
        }
    return row


def fitting(encode: Callable[[float], list[bytes]], low: float, high: float, size: int) -> list[bytes] | None:
    """The streams of the largest level whose bytes fit; ``None`` where those of the lowest do not."""
    best = None
    for step in range(STEPS):
        level = low if step == 0 else (low + high) / 2
        streams = encode(level)
        if sum(map(len, streams)) <= size:
            best, low = streams, level
        else:
            if step == 0:
                return None
            high = level
    return best


def _svt(stack: Stack, size: int) -> NDArray[Any] | None:
    coder = av1.CODERS["svt"]
    coded = to_bits(stack, coder.bits)
    found = fitting(lambda level: [coder.encode(coded, -level, 4)], -70, -1, size)  # type: ignore[arg-type]
    return None if found is None else from_bits(coder.decode(found[0], stack.shape), stack, coder.bits)


def _peer(name: str, low: float, high: float) -> Callable[[Stack, int], NDArray[Any] | None]:
    peer = peer_codecs.peers()[name]

    def decoded(stack: Stack, size: int) -> NDArray[Any] | None:
        found = fitting(lambda level: peer.encode(stack, level), low, high, size)
        return None if found is None else peer.back(found, stack)

    return decoded


def rows_of(volume: Volume, ratios: Sequence[float], bases: Sequence[str], options: Row) -> list[Row]:
    """A row for each codec and ratio."""
    stack, low = stack_of(volume)
    slope, intercept = volume.rescale
    known = masks(volume.array * np.float32(slope) + np.float32(intercept))
    peers = {
        "AV1 (svt, 10 bits)": _svt,
        "JPEG 2000": _peer("JPEG 2000", 10, 80),
        "SPERR": _peer("SPERR", 1, 60),
    }
    found = []
    for ratio in ratios:
        size = int(2 * stack.size / ratio)
        for base in bases:
            blob = api.encode(volume, size=size, base=base, **options)
            row = {"codec": f"inrv, {base}", "ratio": ratio, "bytes": len(blob)}
            found.append(row | measured(volume, api.decode(blob), known))
            print(line(found[-1]), flush=True)
        for name, codec in peers.items():
            back = codec(stack, size)
            row = {"codec": name, "ratio": ratio}
            row |= (
                {"too_large": True} if back is None else measured(volume, back.astype(np.int32) + low, known)
            )
            found.append(row)
            print(line(row), flush=True)
    return found


def line(row: Row) -> str:
    """A row of a table in Markdown."""
    cells = [f"{row['ratio']:g}:1", row["codec"]]
    if row.get("too_large"):
        return f"| {' | '.join(cells)} | does not get that small |"
    cells.append(f"{row['emphysema']:.2f} → {row['decoded']:.2f} %")
    cells += [f"{row[f'dice_{n}']:.4f} / {row[f'hd95_{n}']:.2f}" for n in ("lung", "bone", "body")]
    return f"| {' | '.join(cells)} |"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("volumes", nargs="+")
    parser.add_argument("--crop", type=parsed_region)
    parser.add_argument("--ratios", type=float, nargs="+", default=[64, 256, 1000])
    parser.add_argument("--base", nargs="+", default=["siren", "av1"])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    for path in args.volumes:
        volume, name = av1.read(path, args.crop), Path(path).name.partition(".")[0]
        print(f"{name}, {' x '.join(map(str, volume.shape))}", flush=True)
        found = rows_of(volume, args.ratios, args.base, {"threads": args.threads})
        (args.out / f"tasks-{name}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
