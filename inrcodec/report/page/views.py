"""The planes of a volume along the patient's axes, for a page that draws them.

Invariant: head up, front up, the patient's right on the left, where the affine says where these are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from nibabel import orientations

from inrcodec.volume.affine import PLANES, Affine, is_placed

WAYS = ("RL", "AP", "FH")  # where the patient's axes L, P and S come from and run to
S, P, L = 0, 1, 2  # the patient's axes in the order of planes


def planes(affine: Affine, shape: tuple[int, int, int], description: Any) -> list[dict[str, Any]]:
    """What the page has to know of each plane, in plain types; an image has one.

    Returns
    -------
    list of dict
        ``name``; ``across``, the axis (z, y, x: 0, 1, 2) that a slice is of; ``down`` and ``right``, each
        with the ``axis`` of rows or columns, whether it is to ``flip``, and what its ``ends`` are called.
    """
    orient: Any = orientations.io_orientation  # nibabel is typed in parts only
    nearest = orient(affine).astype(int)  # of x, y and z: index and sign among L, P and S
    order = [2 - int(k) for k in np.argsort(nearest[:, 0])[::-1]]  # the array's axes along S, P and L
    rising = [bool(nearest[2 - axis, 1] > 0) for axis in order]
    thin = [way for way in (S, P, L) if shape[order[way]] == 1]
    placed = is_placed(affine, description)

    def side(way: int, up: bool) -> dict[str, Any]:
        letter = "zyx"[order[way]]
        ends = list(WAYS[2 - way]) if placed else [f"{end} {letter}" for end in ("first", "last")]
        flip = rising[way] == up
        if placed:
            return {"axis": order[way], "flip": flip, "ends": ends[::-1] if up else ends}
        return {"axis": order[way], "flip": flip, "ends": ends[::-1] if flip else ends}

    return [
        {
            "name": PLANES[2 - way] if placed else f"across-{'zyx'[order[way]]}",
            "across": order[way],
            "down": side(min({S, P, L} - {way}), up=way != S),
            "right": side(max({S, P, L} - {way}), up=False),
        }
        for way in thin[:1] or (S, P, L)
    ]
