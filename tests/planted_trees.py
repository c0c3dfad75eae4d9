"""A tree of volumes, encoded, and what came of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from dicom_maker import AXIAL, dataset, ramp, save, write_series

import inrcodec
from inrcodec.collection.manifest import NAME

CODE = {"lossless": True, "threads": 1}


def hounsfield(array):
    """What a series of `dicom_maker` with these stored values holds."""
    return array - 1024


def put_npy(path: Path, array=None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, ramp() if array is None else array)
    return path


def encode(tree, out, **options):
    return inrcodec.encode_tree(tree, out, **CODE | options)


def rows_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / NAME).read_text().splitlines()]


def outputs(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != NAME
    }


def planted(folder: Path) -> Path:
    """Two files and a series in a folder."""
    put_npy(folder / "a.npy")
    put_npy(folder / "sub" / "b.npy")
    write_series(folder / "sub" / "series", ramp(4))
    return folder


def damage_output(tree, out):
    blob = bytearray((out / "a.inrv").read_bytes())
    blob[-9] ^= 1
    (out / "a.inrv").write_bytes(blob)


def broken_series(folder: Path, kind: int) -> None:
    paths = write_series(folder, ramp(4))
    if kind == 0:
        paths[1].unlink()  # a gap
    elif kind == 1:
        paths[2].write_bytes(paths[2].read_bytes()[:-20])
    else:
        save(dataset(ramp(1)[0], (0, 0, 0), SamplesPerPixel=3, ImageOrientationPatient=list(AXIAL)), paths[0])
