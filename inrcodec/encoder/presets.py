"""Presets, and what the encoder works with once one is filled in.

In: a name.  Out: a value for every option that is not given, and what the preset fixes.
Invariant: a default has its reason beside it.  Imports neither torch nor NumPy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from inrcodec.validate import Triple
from inrcodec.volume.windows import Focus

if TYPE_CHECKING:
    from inrcodec.encoder.fit.checkpoint import Checkpoint
    from inrcodec.encoder.tasks import Tasks

AUTO = "auto"
CODERS = ("siren", "av1", "latent")  # of the low-res volume
BASES = (*CODERS, AUTO)

__all__ = [
    "AUTO",
    "BASES",
    "CODERS",
    "PRESETS",
    "Preset",
    "ResolvedOptions",
    "Settings",
    "Triple",
    "by_preset",
]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a preset decides for the encoder; None leaves the choice to a rule of the encoder."""

    steps: int
    batch_per_tile: int = 2048  # activations of a tile stay in the L2 cache
    omega: float | None = None  # of the sine layers; by rule from the content, see `encoder.omega`
    layers: int = 4  # hidden layers; at equal bytes 4 x 32 beat shallower and wider tiles
    voxels_per_tile: int = 27_000  # active low-res voxels; below ~24 wide tiles lose quality, above 60 time
    width: int | None = None
    usual_width: int = 30  # of a full tile, where nothing else says; the head comes to 16 kB
    # Without a target: fits beside the first that flat tissue may take (`encoder.tissue.search`), where a fit
    # takes minutes; without a number nothing is aimed at. A head got four times the bytes for 0.3 dB by one.
    tissue_fits: int | None = None
    companded: bool = True  # where values have a meaning that says which of them matter, see `encoder.curves`
    rate: float = 1.0  # weight of bits against error; 1.0 is lambda 5e-9 on the head
    optimizer: Literal["soap", "adam"] = "soap"
    learning_rate: float | None = None  # of adam; soap has rates of its own, scaled to the tensors
    factor: Triple | None = None
    tiles: Triple | None = None
    sr: str | None = None
    through_sr: bool = False  # the time of three forward passes of the model, and 1 % more bytes
    rounded: bool = False  # that in bfloat16, where the processor has it: half its time, 1 % more bytes
    effort: int = 0  # of AV1, from -1 on: at equal PSNR 1.00, 1.07, 1.12, 1.17, 1.25, 1.31 times the bytes
    # Multiply-adds for a voxel that an ensemble's images may take together; one image is always there.
    work: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Preset(Settings):
    """A preset.

    Attributes
    ----------
    fixed : option -> the values that may be given for it; none where it may not be given.
    """

    fixed: Mapping[str, tuple[object, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ResolvedOptions(Settings):
    """`EncodeOptions` with the preset's values filled in.

    None still means "by rule": `factor` from the voxel spacing, `tiles` from the number of active voxels,
    `sr` from the modality, `ensemble` from the `work` that the preset allows. `sr_given` is False where the
    user named no model; such a choice may fall back, with a notice.
    """

    preset: str
    steps_given: bool
    sr_given: bool
    ensemble: int | None
    ratio: float | None
    size: int | None
    psnr: float | None
    max_error: float | None
    base: str | None
    i_know_lossy: bool
    brick: Triple | None
    focus: Focus
    seed: int
    device: str
    threads: int | None
    time_budget: float | None
    checkpoint: Checkpoint | None
    tasks: Tasks  # where the parts of the volume are computed
    scratch: str | None = None  # folder for what is too large for memory; without one, memory must do

    @property
    def coder(self) -> str:
        """The coder of the low-res volume."""
        return self.base or CODERS[0]

    @property
    def limits_bytes(self) -> str | None:
        """The option that limits the bytes of the file, if one was given."""
        return next((name for name in ("ratio", "size") if getattr(self, name) is not None), None)

    @property
    def more_bytes(self) -> str:
        """What to request for a file that may have more bytes."""
        return {"ratio": "a smaller ratio", "size": "a larger size"}.get(
            self.limits_bytes or "", "more bytes"
        )


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "fast": Preset(steps=1200, usual_width=28, effort=4),
        # Two mirror images of a model where four bring 0.07 dB more, and take twice the time to decode.
        "balanced": Preset(steps=6000, through_sr=True, rounded=True, work=16e3, tissue_fits=0),
        "best": Preset(steps=30_000, through_sr=True, effort=-1, work=256e3, tissue_fits=3),
        # One network for the whole volume, as the paper has it (sections 3.3 and 4.2); only its depth varies.
        "paper": Preset(
            steps=50_000,
            batch_per_tile=65_536,
            width=128,
            omega=30.0,
            optimizer="adam",
            learning_rate=0.0015,
            factor=(4, 4, 4),
            tiles=(1, 1, 1),
            sr="srdensenet-all",
            companded=False,
            fixed={
                "base": ("siren",),
                "factor": ((4, 4, 4), 4),
                "tiles": ((1, 1, 1),),
                "width": (128,),
                "layers": (2, 3, 4),
                "through_sr": (False,),
                "ensemble": (1,),
                "ratio": (),
                "size": (),
                "psnr": (),
                "focus": (),
            },
        ),
    }
)


def by_preset(setting: str) -> str:
    """The values of a setting as text, such as "no (fast, paper), yes (balanced, best)"."""
    found: dict[object, list[str]] = {}
    for name, preset in PRESETS.items():
        found.setdefault(getattr(preset, setting), []).append(name)
    words = {value: _word(value) for value in found if value is not None}
    if len(found) == 1:
        return "".join(words.values())
    return ", ".join(f"{word} ({', '.join(found[value])})" for value, word in words.items())


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
