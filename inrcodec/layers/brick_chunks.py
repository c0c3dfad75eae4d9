"""A section that has a chunk for each brick, with an index where there are several bricks; both ways.

In: chunks, or the sections of a file.  Out: the other.
Invariant: of several bricks only those that are asked for are read, and the index is parsed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from inrcodec.format.sections import CHUNKED, Chunk, Sections, index_of
from inrcodec.volume.bricks import Bricks


class BrickChunks:
    """The chunks of a section that is there."""

    def __init__(self, sections: Sections, name: str, bricks: Bricks) -> None:
        self.sections, self.name, self.bricks = sections, name, bricks

    @cached_property
    def _chunks(self) -> Sequence[Chunk]:
        """Of all bricks, where there are several."""
        return self.sections.chunks(self.name)

    def body(self, index: int) -> bytes:
        """The chunk of a brick; raises `CorruptFile`."""
        if len(self.bricks) == 1:
            return self.sections[self.name]
        (body,) = self.sections.bodies(self.name, [self._chunks[index]])
        return body

    def bytes_needed(self, met: Sequence[int]) -> int:
        """Bytes of the section and its index that the chunks of some bricks are read from."""
        if len(self.bricks) == 1:
            return self.sections.lengths[self.name]
        return self.sections.bytes_needed(self.name, [self._chunks[index] for index in met])


def sections_of(name: str, chunks: Sequence[bytes]) -> dict[str, bytes]:
    """The sections of the chunks of all bricks, in raster order; none where all are empty."""
    if not any(chunks):
        return {}
    index = {CHUNKED[name]: index_of(name, chunks)} if len(chunks) > 1 else {}
    return {**index, name: b"".join(chunks)}
