"""The smallest file of a base alone that reaches a PSNR: a search over grids.

In: facts of a volume, options with a PSNR, and grids.  Out: the smallest `Measured` found that reaches it.
Invariant: grids are tried in their order, until one reaches the PSNR; of a small volume all are.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from time import monotonic

from inrcodec.encoder import grid_tries, planner
from inrcodec.encoder.bases.table import BASES
from inrcodec.encoder.facts import Facts
from inrcodec.encoder.grid_search import Choice
from inrcodec.encoder.measured import Measured
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.encoder.psnr.by_error import SearchByError
from inrcodec.encoder.psnr.by_size import SearchBySize
from inrcodec.errors import TargetNotReached
from inrcodec.progress import Progress


def smallest(
    facts: Facts, options: ResolvedOptions, grids: Sequence[Choice], most: float, progress: Progress | None
) -> Measured:
    """The smallest file found; not sought further where the base needs over ``most`` bytes.

    Raises
    ------
    TargetNotReached
        No grid reaches the PSNR.
    """
    best, limit = -inf, options.time_budget
    deadline = inf if limit is None else monotonic() + limit
    way = SearchByError if BASES[options.coder].aims else SearchBySize
    reaching: list[Measured] = []
    for grid in grids:
        search = way(planner.on_grid(facts, options, grid, progress), deadline, progress)
        found = search.run(most)
        best = max(best, search.best)
        reaching += [] if found is None else [found]
        if reaching and not grid_tries.is_small(facts, options):
            break
    if reaching:
        return min(reaching, key=lambda m: m.size)
    raise TargetNotReached(
        f"{options.psnr:g} dB were requested, {best:.2f} dB is the most that was reached; "
        "request less, or allow a finer factor or more steps",
        value=best,
        option="psnr",
    )
