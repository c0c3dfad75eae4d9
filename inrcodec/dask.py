"""Volumes on a Dask cluster: encoded by its workers, decoded as an array of Dask (extra ``dask``).

In: an array of Dask or any source of :func:`inrcodec.encode`; or a file.  Out: a file; or an array of Dask.
Invariant: the file is that of one process, byte for byte.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from os import PathLike
from typing import TYPE_CHECKING, Any, Unpack

from inrcodec import api
from inrcodec.encoder.ledger import EncodeReport
from inrcodec.encoder.options import EncodeKeywords, EncodeOptions
from inrcodec.encoder.source_options import SourceOptions
from inrcodec.errors import MissingExtra
from inrcodec.layers.decode_options import DecodeKeywords, DecodeOptions
from inrcodec.plugins.dask import cluster, distributed_package
from inrcodec.plugins.dask_tasks import Blocks, Workers, chunks
from inrcodec.progress import Progress
from inrcodec.validate.rows import lists_keywords

if TYPE_CHECKING:
    import dask.array as da
    from distributed import Client


@lists_keywords(SourceOptions, EncodeOptions)
def encode(
    source: api.Source,
    target: str | PathLike[str] | api.Writable,
    client: Client | None = None,
    *,
    force: bool = False,
    options: EncodeOptions | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[EncodeKeywords],
) -> EncodeReport:
    """Encode a volume on a cluster, a task for each of its bricks, to a file that is whole or not there.

    Parameters
    ----------
    source : as for :func:`inrcodec.encode`
        Arrays of Dask are computed by the workers, brick by brick. Files that are read lazily are read by
        the workers too, which have to see them under the same path. Blocks of all else are sent to them.
    target, force, options, progress : as for :func:`inrcodec.encode_file`.
    client : distributed.Client, optional
        Of the cluster. By default the client that Dask has at present, or else a cluster of processes of
        this machine, for this encoding alone.
    {keywords}

    Raises
    ------
    InrvError
        See :mod:`inrcodec.errors` for the kinds; `MissingExtra` where Dask is not installed.
    """
    threads = keywords.get("threads", None if options is None else options.threads)
    with _client(client) as found:
        return api.encode_file(
            _lazy(source, found),
            target,
            force=force,
            options=options,
            progress=progress,
            tasks=Workers(found, threads),
            **keywords,
        )


@lists_keywords(DecodeOptions)
def open(source: api.File, level: int = 0, **keywords: Unpack[DecodeKeywords]) -> da.Array:
    """A file's volume as an array of Dask, each chunk of which is decoded when it is computed.

    Parameters
    ----------
    source : path, bytes, URL or UPath
        Workers of other machines have to see the same path.
    level : int
        A number of the file's levels, see :attr:`inrcodec.InrvFile.levels`.
    {keywords}
        By default a chunk is decoded on one thread: Dask computes several at a time.

    Returns
    -------
    dask.array.Array, (z, y, x), of the file's dtype, a chunk for each brick.

    Raises
    ------
    InrvError
        See :mod:`inrcodec.errors` for the kinds; `MissingExtra` where Dask is not installed.
    """
    try:
        import dask.array as da
        from dask.base import tokenize
    except ImportError as error:
        raise MissingExtra("Dask is not installed", extra="dask") from error
    keywords.setdefault("threads", 1)
    file, options = api.open(source), DecodeOptions.of(None, keywords)
    array = file.volume(level=level, late=True, options=options).array
    name = f"inrv-{tokenize(file.header.digest, file.header.to_bytes(), level, options)}"
    found: da.Array = da.from_array(array, chunks=chunks(file.header, array.shape), name=name, asarray=True)
    return found


def _client(client: Client | None) -> AbstractContextManager[Client]:
    """A client that is there, or of a new cluster."""
    distributed = distributed_package()
    try:
        return nullcontext(client or distributed.default_client())
    except ValueError:  # there is none
        return cluster()


def _lazy(source: Any, client: Client) -> Any:
    """What is encoded: an array of Dask block by block, if it is one volume."""
    import dask.array as da

    return Blocks(source, client) if isinstance(source, da.Array) and source.ndim == 3 else source
