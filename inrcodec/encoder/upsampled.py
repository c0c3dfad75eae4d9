"""Both ways to bring the resolution back, by the plan's model and by Lanczos alone, compared with the source.

In: a plan, the masks of its file, and a low-res volume.  Out: errors and digests.
Invariant: it is the decoder that up-samples (`layers.upsample`).
"""

from __future__ import annotations

from collections.abc import Mapping

from inrcodec.encoder.measured import squared_error
from inrcodec.encoder.outcome import Outcome, Sum
from inrcodec.encoder.plan import Plan
from inrcodec.format.digest import Digest
from inrcodec.format.header import LANCZOS, Header
from inrcodec.format.sections import Sections
from inrcodec.layers.decode_options import DecodeOptions
from inrcodec.layers.upsample import Padding, Upsampling, with_noise
from inrcodec.progress import Progress
from inrcodec.volume.arrays import Float


def both_ways(
    plan: Plan, sections: Mapping[str, bytes], lowres: Float, progress: Progress | None = None
) -> tuple[Header, Sum, Sum | None]:
    """The header that states the low-res error, and both ways to bring the resolution back."""
    active, array = plan.lowres.active, plan.facts.volume.array
    header = with_noise(plan.header, squared_error(lowres, plan.lowres.target, active))
    nothing = Outcome.nothing(plan.facts.volume, plan.facts.span, plan.options.focus)
    digests, outcomes = (Digest(header.bricks), Digest(header.bricks)), [nothing, nothing]
    how = DecodeOptions(threads=plan.options.threads)
    upsampling = Upsampling(header, active, Padding.of(header, Sections(sections)))
    for slab in upsampling.slabs(lowres, how, plain=True):
        source = array[slab.start : slab.stop]
        for way, decoded in enumerate((slab.plain, slab.stored)[: 1 + (header.sr != LANCZOS)]):
            outcomes[way] += nothing.of(source, decoded)
            digests[way].add(decoded)
        if progress:
            progress("verify", slab.stop / header.shape[0])
    lanczos, model = (Sum(outcome, found.value) for outcome, found in zip(outcomes, digests, strict=True))
    return header, lanczos, None if header.sr == LANCZOS else model
