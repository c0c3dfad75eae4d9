"""The word that was probably meant.

In: a word that is not known, and those that are.  Out: a hint for the end of a message.
The one law: without a near word there is no hint.
"""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """``", did you mean 'tiles'?"``, or nothing; capitals, and "-" for "_", are no mistakes."""
    plain = {name.replace("-", "_"): name for name in known}
    near = get_close_matches(str(word).lower().replace("-", "_"), list(plain), n=1, cutoff=0.6)
    return f", did you mean {plain[near[0]]!r}?" if near else ""
