"""The state of a fit in a file, so that an interrupted encoding can be resumed.

In: the tensors of a fit that runs, and a digest of what it is a fit of.  Out: the same tensors, later.
Invariant: a checkpoint is hostile until the name, type and shape of each tensor and the checksum of all
are what this fit has; nothing larger than that is ever read.

The file is in the safetensors format, which is data alone.  It holds weights, the optimiser's moments and
digests of the input: of the patient no more than the weights of an `.inrv` file do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from inrcodec._version import __version__
from inrcodec.errors import CorruptFile, InrvError, UsageError, reason
from inrcodec.io.atomic import atomic_write, check_file

if TYPE_CHECKING:
    from torch import Tensor

State: TypeAlias = "dict[str, Tensor]"

NOTED_EVERY = 1.0  # seconds between two copies in memory: an interrupt finds a step half done, a copy never
WRITTEN_EVERY = 30.0  # seconds
HEADER = 1 << 20  # bytes of the file's header; a fit has less than 200 tensors, of some 100 bytes each
FORMAT = "inrcodec checkpoint 1"
FIELDS = ("format", "version", "first", "fit", "fits", "sum", "head")  # of the metadata
DTYPES = {"torch.float32": "F32", "torch.float64": "F64", "torch.int64": "I64", "torch.uint8": "U8"}
REMEDY = "name another path, or delete it to begin anew"


class Resumable(Protocol):
    """What a checkpoint can hold, as a whole or as a part of it."""

    def tensors(self) -> State:
        """All that it is resumed from; names, types and shapes never change."""

    def restore(self, state: State, /) -> None:
        """Go on from what :meth:`tensors` gave; `ValueError` or `RuntimeError` for values that cannot be."""


class Checkpoint:
    """The checkpoint of one encoding, which may fit more than once.

    A file of a later fit stays as it is until the fits before that one have been done again.

    Parameters
    ----------
    path : the file; it need not exist.
    option : the keyword that errors name.
    """

    def __init__(self, path: str | os.PathLike[str], option: str = "resume") -> None:
        self.path, self.option = Path(path), option
        self._first, self._fit, self._fits = "", "", 0  # digests, and the number of fits so far
        self._source: Resumable | None = None
        self._state: State | None = None
        self._writes = True
        self._noted = self._written = monotonic()

    def check(self, target: str | os.PathLike[str] | None = None) -> None:
        """Refuse at once what could never serve.

        Parameters
        ----------
        target : the file that the encoding itself is written to.

        Raises
        ------
        WriteError
            The file could not be written.
        CorruptFile, UsageError
            There is something that is not a checkpoint, or one of another version; or it is the target.
        """
        if target is not None and os.path.realpath(target) == os.path.realpath(self.path):
            raise self._unusable("is both the output and the checkpoint, name another checkpoint")
        check_file(self.path, force=True)
        self._header()

    def discard(self) -> None:
        """Remove the file of an encoding that is complete."""
        self.path.unlink(missing_ok=True)

    def begin(self, digest: str, fit: Resumable) -> None:
        """Begin a fit, or resume it where the file is of this very one.

        Parameters
        ----------
        digest : of all that the fit depends on.
        fit : is restored from the file, and kept from here on.

        Raises
        ------
        UsageError
            The file is of another input, of other options or of another version.
        CorruptFile
            It is damaged.
        """
        self._fits += 1
        self._first, self._fit = self._first or digest, digest
        self._source, self._state, self._writes = fit, None, True
        self._noted = self._written = monotonic()
        header, size = self._header()
        if header is None:
            return
        kept = header["__metadata__"]
        if kept["first"] != self._first:
            raise self._unusable(
                f"is of another input or other options: its digest is {kept['first'][:12]!r}, "
                f"here it is {self._first[:12]!r}; {REMEDY}"
            )
        if kept["fit"] != digest:
            self._writes = int(kept["fits"]) <= self._fits
            return
        try:
            fit.restore(self._tensors(header, size, fit.tensors()))
        except (ValueError, RuntimeError) as error:
            raise self._corrupt(reason(error)) from error

    def refuse_any(self) -> None:
        """Where there is nothing to fit, no checkpoint can be of this input."""
        if self.path.exists():
            raise self._unusable(f"is of another input, this one has nothing to fit; {REMEDY}")

    def note(self, last: bool = False) -> None:
        """Take a copy of the state where it is time for one, and write it where it is time for that.

        To be called between two steps; ``last`` after the last one, whose state is written in any case.
        """
        now = monotonic()
        if self._source is not None and (last or now - self._noted >= NOTED_EVERY):
            self._state = {
                name: t.detach().to("cpu", copy=True) for name, t in self._source.tensors().items()
            }
            self._noted = monotonic()
        if last or now - self._written >= WRITTEN_EVERY:
            self.write()

    def write(self) -> None:
        """Write the last copy, whole or not at all."""
        if self._state is None or not self._writes:
            return
        from safetensors.torch import save

        state = {name: t.contiguous() for name, t in self._state.items()}
        about = {
            "format": FORMAT,
            "version": __version__,
            "first": self._first,
            "fit": self._fit,
            "fits": str(self._fits),
            "sum": _sum(state),
        }
        about["head"] = digest_of(about)
        atomic_write(self.path, save(state, about), force=True)
        self._written = monotonic()

    def _header(self) -> tuple[dict[str, Any] | None, int]:
        """The file's header, of this version and with sound metadata, and where the data begin."""
        if not self.path.exists():
            return None, 0
        if not self.path.is_file():
            raise self._unusable("is not a regular file, name another checkpoint")
        try:
            with self.path.open("rb") as stream:
                size = int.from_bytes(stream.read(8), "little")
                content = stream.read(min(size, HEADER))
        except OSError as error:
            raise self._corrupt(reason(error)) from error
        if size > HEADER:
            raise self._corrupt(f"a header of {size} bytes")
        try:
            header = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise self._corrupt("no header") from error
        if not _has_metadata(header):
            raise self._corrupt("no metadata of a fit")
        version = header["__metadata__"]["version"]
        if version != __version__:
            words = f"was written by version {version[:20]!r}, this is {__version__!r}; {REMEDY}"
            raise self._unusable(words, version)
        return header, 8 + size

    def _tensors(self, header: dict[str, Any], start: int, like: State) -> State:
        """The tensors of the file, of the names, types and shapes that the fit has."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        for name, t in like.items():
            entry = header.get(name)
            stated = (entry.get("dtype"), entry.get("shape")) if isinstance(entry, dict) else None
            if stated != (DTYPES[str(t.dtype)], list(t.shape)):
                raise self._corrupt(f"{name} is not a tensor of this fit")
        whole = start + sum(t.nbytes for t in like.values())
        with self.path.open("rb") as stream:
            data = stream.read(whole + 1)
        if len(data) != whole:
            raise self._corrupt(f"{self.path.stat().st_size} bytes instead of {whole}")
        try:
            state = load(data)
        except SafetensorError as error:
            raise self._corrupt(reason(error)) from error
        if set(state) != set(like) or _sum(state) != header["__metadata__"]["sum"]:
            raise self._corrupt("its checksum is not that of its tensors")
        return state

    def _unusable(self, words: str, value: str | None = None) -> UsageError:
        return UsageError(f"{self.path} {words}", value=value or str(self.path), option=self.option)

    def _corrupt(self, cause: str) -> CorruptFile:
        return CorruptFile(
            f"{self.path} is not a checkpoint of a fit, or it is damaged: {cause}",
            value=str(self.path),
            remedy=REMEDY,
        )


@contextmanager
def keeping(
    checkpoint: Checkpoint | None, fit: Resumable, digest: Callable[[], str]
) -> Iterator[Callable[[bool], None]]:
    """Keep a fit while it runs; yields :meth:`Checkpoint.note`, or what does nothing.

    Whatever ends the fit but an error of its own, such as Ctrl-C, leaves its state in the file.
    """
    if checkpoint is None:
        yield lambda last: None
        return
    checkpoint.begin(digest(), fit)
    try:
        yield checkpoint.note
    except InrvError:
        raise
    except BaseException:
        checkpoint.write()
        raise


def digest_of(*parts: object) -> str:
    """SHA-256 of arrays, and of anything whose ``repr`` says all of it."""
    import numpy as np

    digest = sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str} {part.shape}\0".encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(f"{part!r}\0".encode())
    return digest.hexdigest()


def prefixed(name: str, tensors: State) -> State:
    """The tensors of a part, under its name."""
    return {f"{name}.{key}": t for key, t in tensors.items()}


def under(name: str, state: State) -> State:
    """What :func:`prefixed` put under a name."""
    return {key.removeprefix(f"{name}."): t for key, t in state.items() if key.startswith(f"{name}.")}


def fill(tensors: State, state: State) -> None:
    """Copy a state into the tensors of a fit, in place: others hold views of them."""
    for name, tensor in tensors.items():
        tensor.copy_(state[name])


def count(tensor: Tensor) -> int:
    """A number of steps; `ValueError` for one below 0."""
    number = int(tensor)
    if number < 0:
        raise ValueError(f"a count is {number}")
    return number


def _sum(tensors: State) -> str:
    """SHA-256 of tensors and their names."""
    return digest_of(*(part for name in sorted(tensors) for part in (name, tensors[name].numpy())))


def _has_metadata(header: Any) -> bool:
    """Whether the metadata of a file's header are just the fields that they should be."""
    about = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(about, dict) or set(about) != set(FIELDS):
        return False
    texts = {name: about[name] for name in FIELDS}  # in the order of the digest
    if not all(isinstance(text, str) for text in texts.values()) or texts.pop("head") != digest_of(texts):
        return False
    number = texts["fits"]
    return texts["format"] == FORMAT and number.isascii() and number.isdigit() and len(number) < 10
