"""Which of several images at each position belong together as one volume.

In: planes in order.  Out: those of one volume, and what each volume is.
Invariant: volumes are told apart by what the headers state, never by names or the order of files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from inrcodec.errors import IncompleteSeries, InputError
from inrcodec.io.choice import chosen_volume
from inrcodec.io.dicom.frames import Frame
from inrcodec.io.dicom.geometry import levels_of
from inrcodec.io.dicom.labels import LABELS, NUMBER, TIMES, Label, dimensions_of

Group = list[int]  # numbers of planes


def one_volume(frames: list[Frame], requested: int | None, source: Path) -> tuple[list[Frame], str]:
    """The planes of the volume that is meant, in order, and a line on it ("" where there is only one).

    Raises
    ------
    InputError
        There are several and none was requested, or the one that was is not there; or nothing tells the
        images at one position apart.
    IncompleteSeries
        The requested one has fewer slices than the others.
    """
    images = _Images(frames)
    depths, count = {len(level) for level in images.stacks}, len(images.stacks)
    groups = []
    if frames[0].window is not None:  # every file is a mosaic, which is a volume
        groups = images.by_file()
    elif max(depths) > 1 and not images.repeats():
        groups = images.partition() if len(depths) == 1 else images.incomplete()
        if not groups and len(depths) == 1:
            depth = depths.pop()
            raise InputError(
                f"4-D series: {depth} images at each of {count} positions, and no attribute tells which of "
                "them belong together: pass one volume at a time in a folder of its own",
                value=depth,
            )
    several = sum(len(stack) > 1 for stack in images.stacks)
    if not groups and len(depths) > 1 and 2 * several > count and (names := images.differing()):
        raise IncompleteSeries(
            f"4-D series with images missing: {min(depths)} to {max(depths)} at each of {count} positions, "
            f"which differ in {names}: find the missing files, or pass one volume in a folder of its own",
            value=sorted(depths),
        )
    if len(groups) < 2:  # one volume, or duplicates, which are refused with their places
        chosen_volume(requested, 1, source)
        return frames, ""
    groups.sort(key=images.rank)
    lines = images.lines(groups)
    index = chosen_volume(requested, len(groups), source, lines)
    if len(groups[index]) < (usual := max(map(len, groups))):
        cause = f"volume {index} has {len(groups[index])} of {usual} slices: choose a whole one"
        raise IncompleteSeries(cause, value=index, option="volume")
    return [frames[i] for i in groups[index]], f"volume {index} of {len(groups)}: {lines[index]}"


class _Images:
    """Planes in order, their positions, and their attributes, each looked up once."""

    def __init__(self, frames: list[Frame]) -> None:
        self.frames = frames
        self.levels: list[int] = levels_of(frames).tolist()
        self.stacks = self.by_level(range(len(frames)))  # planes at each position
        self.labels = (*LABELS, *dimensions_of(frames[0]))
        self._values: dict[Label, list[Hashable]] = {}

    def values(self, label: Label) -> list[Hashable]:
        """An attribute of every plane."""
        if label not in self._values:
            self._values[label] = [label.of(frame) for frame in self.frames]
        return self._values[label]

    def by_level(self, group: Iterable[int]) -> list[Group]:
        """Planes of a group by position."""
        ordered = sorted(group, key=lambda i: (self.levels[i], i))
        return [list(stack) for _, stack in groupby(ordered, key=lambda i: self.levels[i])]

    def by_file(self) -> list[Group]:
        """Planes by the file that they are in; those of a copy or a file without a number are left as one."""
        files: dict[Path, Group] = {}
        for i, frame in enumerate(self.frames):
            files.setdefault(frame.path, []).append(i)
        groups = list(files.values())
        return groups if len(set(self.lines(groups))) == len(groups) else []

    def depth(self, group: Iterable[int]) -> int:
        """Most planes of a group at one position."""
        return max(Counter(self.levels[i] for i in group).values())

    def repeats(self) -> bool:
        """Whether one instance is there twice, which is not a matter of volumes."""
        named = (
            (level, str(frame.header.get("SOPInstanceUID") or frame.path), frame.index)
            for frame, level in zip(self.frames, self.levels, strict=True)
        )
        return max(Counter(named).values()) > 1

    def partition(self) -> list[Group]:
        """Groups of one plane at each position; none if the headers do not tell."""
        groups = [list(range(len(self.frames)))]
        for label in self.labels:
            groups = [part for group in groups for part in self.split(group, label)]
        for label in TIMES:
            groups = [part for group in groups for part in self.split_by_time(group, label)]
        # Slices of a mosaic have one number; those of single files each their own.
        groups = [part for group in groups for part in self.split(group, NUMBER)]
        groups = [part for group in groups for part in self.split_by_number(group)]
        return groups if all(self.depth(group) == 1 for group in groups) and self.are_pure(groups) else []

    def split(self, group: Group, label: Label) -> list[Group]:
        """Parts by an attribute, each at all positions equally often; else the group itself."""
        if self.depth(group) == 1:
            return [group]
        values = self.values(label)
        parts: dict[Hashable, Group] = {}
        for i in group:
            parts.setdefault(values[i], []).append(i)
        everywhere = len({self.levels[i] for i in group})
        for part in parts.values():
            counts = Counter(self.levels[i] for i in part)
            if len(counts) < everywhere or len(set(counts.values())) > 1:
                return [group]
        return list(parts.values())

    def split_by_time(self, group: Group, label: Label) -> list[Group]:
        """The first, second ... plane at each position, if all times at one position differ."""
        stacks, times = self.by_level(group), self.values(label)
        kinds = {str if isinstance(times[i], str) else isinstance(times[i], (int, float)) for i in group}
        if len(stacks[0]) == 1 or len(kinds) > 1 or False in kinds:
            return [group]
        if any(len({times[i] for i in stack}) < len(stack) for stack in stacks):
            return [group]
        order: Any = times.__getitem__
        return [list(part) for part in zip(*(sorted(stack, key=order) for stack in stacks), strict=True)]

    def split_by_number(self, group: Group) -> list[Group]:
        """Runs of instance numbers that each hold every position once, or that have one position each."""
        depth, numbers = self.depth(group), self.values(NUMBER)
        named = {numbers[i] for i in group}
        if depth == 1 or len(named) < len(group) or not all(isinstance(number, int) for number in named):
            return [group]
        order: Any = numbers.__getitem__
        ordered, size = sorted(group, key=order), len(group) // depth
        volumes = [ordered[start : start + size] for start in range(0, len(group), size)]
        if all(self.depth(part) == 1 for part in volumes):
            return [sorted(part) for part in volumes]
        stacks = [ordered[start : start + depth] for start in range(0, len(group), depth)]
        if all(len({self.levels[i] for i in stack}) == 1 for stack in stacks):
            return [sorted(part) for part in zip(*stacks, strict=True)]
        return [group]

    def incomplete(self) -> list[Group]:
        """Groups where positions have different numbers of planes: a scan that was stopped; else none."""
        labels = [label for label in LABELS if self.varies_at_one_place(label)]
        groups: dict[Hashable, Group] = {}
        for i in range(len(self.frames)):
            groups.setdefault(tuple(self.values(label)[i] for label in labels), []).append(i)
        found = list(groups.values())
        whole = sum(len(group) == len(self.stacks) for group in found)
        return found if whole >= 2 and all(self.depth(group) == 1 for group in found) else []

    def differing(self) -> str:
        """Names of what differs between planes at one position."""
        names = [label.name for label in self.labels if self.varies_at_one_place(label)]
        return ", ".join(dict.fromkeys(names))

    def varies_at_one_place(self, label: Label) -> bool:
        """Whether planes at one position differ in an attribute."""
        values = self.values(label)
        return any(len({values[i] for i in stack}) > 1 for stack in self.stacks)

    def are_pure(self, groups: list[Group]) -> bool:
        """Whether what differs between planes at one position is the same all over each volume."""
        differing = [label for label in LABELS if label.physical and self.varies_at_one_place(label)]
        return all(
            len({self.values(label)[i] for i in group}) == 1 for label in differing for group in groups
        )

    def rank(self, group: Group) -> tuple[Any, ...]:
        """Place of a volume in the list: by instance number, or by frame in a file of many."""
        numbers = [n for n in (self.values(NUMBER)[i] for i in group) if isinstance(n, int)]
        first = min(numbers, default=0), min(self.frames[i].index for i in group)
        return *first, [_sortable(self.values(label)[group[0]]) for label in (*self.labels, *TIMES)]

    def lines(self, groups: list[Group]) -> list[str]:
        """What each volume is: the attributes by which it differs from others."""
        lines: list[list[str]] = [[] for _ in groups]
        for label in (*self.labels, *TIMES, NUMBER):
            # Of what differs from slice to slice too, such as times, the value of the first slice.
            values = [self.values(label)[group[0]] for group in groups]
            is_last_resort = label is NUMBER or label in TIMES
            if len(set(values)) == 1 or (is_last_resort and len(set(map(tuple, lines))) == len(lines)):
                continue
            for line, value in zip(lines, values, strict=True):
                line.append(label.text(value))
        for line, group in zip(lines, groups, strict=True):
            if len(group) < (usual := max(map(len, groups))):
                line.append(f"{len(group)} of {usual} slices")
        return [", ".join(line) for line in lines]


def _sortable(value: Hashable) -> tuple[float, str]:
    return (float(value), "") if isinstance(value, (int, float)) else (0.0, str(value))
