"""How a file is to be decoded.

In: options by name, from Python or the command line.  Out: a frozen `DecodeOptions`.
The one law: what is impossible is refused here.  Imports neither torch nor numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from inrcodec import validate
from inrcodec.errors import UsageError

Precision: TypeAlias = Literal["float32", "bfloat16"]


Quality: TypeAlias = Literal["full", "base", "preview"]


QUALITIES: tuple[Quality, ...] = get_args(Quality)


PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True, kw_only=True)
class DecodeOptions:
    """What the user asks of the decoder.

    Parameters
    ----------
    lowres : bool
        Stop before the up-sampling.
    sr : str, optional
        "lanczos" brings the resolution back without the model that the file names.
    device : str
        "cpu", "cuda" or "cuda:N", of the super-resolution.
    threads : int, optional
        1..1024; one a core without it.  Threads change no voxel.
    quality : {"full", "base", "preview"}
        "full" is all that the file holds; "base" leaves the refinement out; "preview" is the fastest look:
        the networks without their model, or a coarse version of the refinement where there are none.
    precision : {"float32", "bfloat16"}
        Of the super-resolution network.  "float32" is the reference; "bfloat16" is faster where a processor
        has it, within 0.05 dB of the reference.
    ensemble : {1, 2, 4, 8}, optional
        Mirror images that the model's result is averaged over.  By default as many as the file says: that is
        the reference; fewer are faster.

    Raises
    ------
    UsageError
        For a value outside its range; whether the device is there says `allowed.check_device`.
    """

    lowres: bool = False
    sr: str | None = None
    device: str = "cpu"
    threads: int | None = None
    quality: Quality = "full"
    precision: Precision = "float32"
    ensemble: int | None = None

    def __post_init__(self) -> None:
        validate.check_model_id(self.sr)
        validate.check_device_name(self.device)
        validate.check_ensemble(self.ensemble)
        validate.require(self.precision in PRECISIONS, "precision", self.precision, " or ".join(PRECISIONS))
        validate.require(self.quality in QUALITIES, "quality", self.quality, ", ".join(QUALITIES))
        if self.lowres and self.quality != "full":
            raise UsageError(
                f"{self.quality!r} has no meaning for the low-res volume: leave it out",
                value=self.quality,
                option="quality",
            )
        for name in ("sr", "ensemble"):
            value = getattr(self, name)
            if self.lowres and value is not None:
                raise UsageError(
                    f"{value!r} has no meaning for the low-res volume: leave it out",
                    value=value,
                    option=name,
                )
        if self.threads is not None:
            validate.integer("threads", self.threads, 1, validate.MAX_THREADS)


REFERENCE = DecodeOptions()  # what a file is measured by
