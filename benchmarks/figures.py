"""Figures beside their targets: what the benchmarks of the fit hand back, print and write."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured value; ``least`` or ``most`` is its target where it has one.

    ``value`` is ``None`` where it could not be had, and ``note`` then says why.
    """

    name: str
    value: float | None
    unit: str = ""
    least: float | None = None
    most: float | None = None
    note: str = ""

    @property
    def held(self) -> bool | None:
        """Whether the target is held; ``None`` without a target."""
        if self.least is None and self.most is None:
            return None
        if self.value is None:
            return False
        return (self.least is None or self.value >= self.least) and (
            self.most is None or self.value <= self.most
        )

    @property
    def target(self) -> str:
        bounds = (("≥", self.least), ("≤", self.most))
        return " ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)


@dataclass(frozen=True)
class Section:
    """What one section measured: the figures, and all that they were made of."""

    figures: list[Figure]
    details: dict[str, Any] = field(default_factory=dict)


def print_table(title: str, figures: Sequence[Figure]) -> None:
    """One line a figure: name, value, target, whether it is held, remark."""
    print(f"\n{title}")
    for f in figures:
        value = "-" if f.value is None else f"{f.value:.5g} {f.unit}".rstrip()
        held = {None: "", True: "held", False: "NOT HELD"}[f.held]
        print(f"  {f.name:44s} {value:>16s}   {f.target:>9s}  {held:8s}  {f.note}".rstrip(), flush=True)


def write(path: Path, section: Section, about: Mapping[str, Any]) -> None:
    """A section as JSON."""
    figures = [asdict(f) | {"held": f.held} for f in section.figures]
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {"about": dict(about), "figures": figures, "details": section.details}
    path.write_text(json.dumps(found, indent=2, default=str) + "\n")


def run(
    sections: Mapping[str, Callable[..., Section]],
    material: Any,
    args: Any,
    prefix: str,
    about: Mapping[str, Any],
) -> None:
    """Measure, print and write the sections that ``args.only`` names, each from ``material`` and ``args``."""
    for name in args.only:
        start = monotonic()
        section = sections[name](material, args)
        print_table(f"{name} ({monotonic() - start:.0f} s)", section.figures)
        write(args.out / f"{prefix}-{name}.json", section, about)
