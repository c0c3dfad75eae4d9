"""The library's messages in the words of the command line.

In: a message that names keywords of Python.  Out: the same with the flags that a person types.
The one law: only names change; what a message says stays.
"""

from __future__ import annotations

import re

__all__ = ["in_flags"]

KNOBS = (
    *("ratio", "size", "psnr", "factor", "tiles", "layers", "width", "steps", "seed", "time_budget", "focus"),
    *("preset", "sr", "ensemble", "through_sr", "device", "threads", "spacing", "series"),
    *("template", "modality"),
)
_NAMES = "|".join(KNOBS)
# Both ways of asking for the same are named where the library cannot know who asks.
_ASIDE = re.compile(r" \((?:force=True|series=UID|Volume\.modality)\)")
_KEYWORD = re.compile(rf"(?<![\w-])({_NAMES})=(?:'([^']*)'|(\w+))")
# A knob that is refused, before its value; and one that is fixed, contradicts or would serve.
_FIRST = re.compile(rf"^((?:unknown )?)({_NAMES})(?= ['(\d-]| \S+ \(| has no meaning)")
_LATER = re.compile(rf"( (?:and|with|mean|fixes) )({_NAMES})(?= ['(\d]| at |[?;,]|$)")


def in_flags(message: str) -> str:
    """The message with flags for keywords.

    Examples
    --------
    >>> in_flags("out.inrv exists, use --force (force=True) to replace it")
    'out.inrv exists, use --force to replace it'
    >>> in_flags("time_budget -1 is not possible, allowed: a number above 0")
    '--time-budget -1 is not possible, allowed: a number above 0'
    >>> in_flags("preset 'paper' fixes width at 128, got 64; did you mean preset 'balanced' with width?")
    "--preset 'paper' fixes --width at 128, got 64; did you mean --preset 'balanced' with --width?"
    """
    message = _ASIDE.sub("", message)
    message = _KEYWORD.sub(lambda found: f"{_flag(found[1])} {found[2] or found[3]}", message)
    for pattern in (_FIRST, _LATER):
        message = pattern.sub(lambda found: found[1] + _flag(found[2]), message)
    return message


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
