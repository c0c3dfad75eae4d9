"""Which super-resolution model to try, and the header fields that name it.

In: facts of a volume, a factor and the options.  Out: an ID, and header fields.
Invariant: a model is only tried; decoding decides what is kept (`measure`).  Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from inrcodec.encoder.facts import Facts
from inrcodec.encoder.options import ResolvedOptions
from inrcodec.errors import UsageError
from inrcodec.layers.superres import registry
from inrcodec.validate import ENSEMBLES
from inrcodec.volume.box import Shape, lowres_shape
from inrcodec.volume.value_range import window_of

PLAIN: Mapping[str, Any] = {
    "sr": registry.LANCZOS,
    "sr_sha256": b"",
    "sr_window": (-1.0, 1.0),
    "sr_noise": 0,
    "sr_ensemble": 1,
}


def model_for(facts: Facts, factor: Shape, options: ResolvedOptions) -> tuple[str, list[str]]:
    """The super-resolution model to try, and what the user should know about the choice."""
    modality = facts.volume.modality
    if options.sr == registry.LANCZOS or facts.is_constant:
        return registry.LANCZOS, []
    if options.sr is not None and options.sr_given:
        return _requested_model(options.sr, facts, factor), []
    model = registry.choose(modality, factor, options.sr)
    known = registry.manifests().get(model)
    if known and _is_out_of_window(known, facts):
        notice = f"the values are not of the kind that model {model!r} was trained on: Lanczos is used"
        return registry.LANCZOS, [notice]
    if options.sr not in (None, model):
        notice = (
            f"model {options.sr!r} does not serve {modality or 'no stated modality'} at factor "
            f"{factor}: {model!r} takes its place"
        )
        return model, [notice]
    if model == registry.LANCZOS:
        notice = (
            f"Lanczos interpolation restores factor {' x '.join(map(str, factor))}: the super-resolution "
            f"models are for other grids or modalities than this ({modality or 'modality unknown'})"
        )
        return model, [notice]
    return model, []


def _requested_model(name: str, facts: Facts, factor: Shape) -> str:
    """The model that the user named, if it can serve."""
    found = registry.manifest(name)
    if found.factor != factor:
        raise UsageError(
            f"model {found.id!r} restores factor {found.factor}, the volume is reduced by {factor}; "
            f"did you mean factor {','.join(map(str, found.factor))}?",
            value=found.id,
            option="sr",
        )
    if _is_out_of_window(found, facts):
        raise UsageError(
            f"model {found.id!r} was trained on values of {found.window}, the volume's are of another kind; "
            "leave it out",
            value=found.id,
            option="sr",
        )
    return found.id


def _is_out_of_window(model: registry.Manifest, facts: Facts) -> bool:
    """Whether the model's window means nothing among the volume's values."""
    return model.window is not None and not facts.span.can_see(model.window, facts.volume.rescale)


def fields_of(name: str, facts: Facts, options: ResolvedOptions) -> Mapping[str, Any]:
    """The header's fields of a model; Lanczos needs none but its name."""
    if name == registry.LANCZOS:
        return PLAIN
    known = registry.manifest(name)
    ensemble = ensemble_of(known, options)
    known.check_work(lowres_shape(facts.volume.shape, known.factor), ensemble)
    return {
        "sr": name,
        "sr_sha256": bytes.fromhex(known.sha256),
        "sr_window": known.window or window_of(facts.volume),
        "sr_ensemble": ensemble,
    }


def ensemble_of(known: registry.Manifest, options: ResolvedOptions) -> int:
    """Mirror images for a model: as many as requested, else as many as the preset's work for a voxel allows.

    Along z there is nothing to mirror for a model that works slice by slice.
    """
    serving = [n for n in ENSEMBLES if n < 8 or known.architecture.dims != 2]
    each = known.architecture.multiply_adds / prod(known.factor)  # for a full-res voxel
    most = options.ensemble or options.work / each
    return max([n for n in serving if n <= most], default=1)
