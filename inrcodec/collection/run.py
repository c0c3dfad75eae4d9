"""A collection, done: what is left to do, here or on a cluster, and what came of it.

In: tasks.  Out: outputs, rows of the manifest, and a `Summary`.
Invariant: a row is on disk before its output has its name, so that a run that is killed at any moment is
continued by the next: nothing is done twice, and nothing is there by half.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inrcodec.collection.manifest import Manifest, Row, opened
from inrcodec.collection.tasks import Task, digest_of, failure, files_of, run, stamp_of
from inrcodec.errors import WriteError
from inrcodec.io.scratch import clear
from inrcodec.plugins.dask import cluster, finished
from inrcodec.plugins.dask import is_requested as is_requested
from inrcodec.progress import Progress
from inrcodec.validate import MAX_THREADS, integer


@dataclass
class Summary:
    """What came of a collection.

    Attributes
    ----------
    done, skipped, failed : rows of what was done now, was done before and is intact, and could not be done.
    notices : what the user should know.
    manifest : path of the manifest; "" where none is kept.
    """

    done: list[Row] = field(default_factory=list)
    skipped: list[Row] = field(default_factory=list)
    failed: list[Row] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    manifest: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return {
            "done": self.done,
            "skipped": self.skipped,
            "failed": self.failed,
            "notices": self.notices,
            "manifest": self.manifest,
        }


def collect(
    tasks: Sequence[Task],
    notices: Sequence[str],
    *,
    manifest: Path | None,
    force: bool = False,
    jobs: int | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Do what is not done yet.

    Parameters
    ----------
    manifest : path; None where the tasks write nothing.
    force : replace outputs that are there and not of this manifest.
    jobs, scheduler : of `plugins.dask.cluster`; with neither, or one job, all is done in this process.
    progress : called with "check", then the command, and the fraction that is done.
    """
    jobs = None if jobs is None else integer("jobs", jobs, 1, MAX_THREADS)
    summary = Summary(notices=list(notices), manifest="" if manifest is None else str(manifest))
    report = progress or (lambda stage, fraction: None)
    with ExitStack() as stack:
        kept = None if manifest is None else stack.enter_context(opened(manifest))
        if kept is not None and kept.torn:
            summary.notices.append(
                f"the last line of {kept.path} was cut off by an interrupt: its source is done again"
            )
        ready = list(tasks) if kept is None else list(_to_do(tasks, kept, force, summary, report))
        count = len(summary.skipped) + len(summary.failed)
        left = set(ready)
        try:
            with closing(_rows(ready, jobs, scheduler)) as rows:
                for task, row in rows:
                    left.remove(task)  # first: with its row, what it staged is of worth
                    _keep(task, row, kept, summary)
                    count += 1
                    report(task.command, count / len(tasks))
        finally:
            for task in left:
                _discard(task)
            _prune(ready)  # now that no task makes a folder
    return summary


def _to_do(
    tasks: Sequence[Task], manifest: Manifest, force: bool, summary: Summary, report: Progress
) -> Iterator[Task]:
    """Tasks that are neither done nor refused; the others go to the summary."""
    for number, task in enumerate(tasks, 1):
        row = _done_before(task, manifest)
        if row is not None:
            summary.skipped.append(row)
        elif refused := _refusal(task, manifest, force):
            _keep(task, task.row | _NOTHING | failure(refused), manifest, summary)
        else:
            yield task
        report("check", number / len(tasks))


_NOTHING = {"source_stamp": "", "source_digest": "", "output_bytes": 0, "output_digest": "", "seconds": 0.0}


def _rows(
    tasks: Sequence[Task], jobs: int | None, scheduler: str | None
) -> Generator[tuple[Task, Row], None, None]:
    """Tasks and their rows as they are done."""
    if not tasks:
        return
    if not is_requested(jobs, scheduler):
        for task in tasks:
            yield task, run(task)
        return
    with cluster(None if jobs is None else min(jobs, len(tasks)), scheduler) as client:
        for task, row in finished(client, run, tasks):
            if isinstance(row, BaseException):  # its worker died several times
                row = task.row | _NOTHING | failure(row)
            yield task, row


def _done_before(task: Task, manifest: Manifest) -> Row | None:
    """The row of a task that needs not be done again; an output that lacks only its name is given it."""
    row = manifest.rows.get((task.command, task.output))
    if row is None or row["exit_code"] or task.source.error:
        return None
    if any(row.get(name) != value for name, value in task.row.items()):
        return None
    with suppress(OSError):
        files = task.source.files
        if stamp_of(files) != row["source_stamp"] and digest_of(files) != row["source_digest"]:
            return None
        if _holds(task.target, row):
            if task.staged.exists():  # of a run that was killed
                _discard(task)
            return row
        if _holds(task.staged, row):
            _publish(task)
            return row
    return None


def _holds(path: Path, row: Row) -> bool:
    """Whether a file or folder is the output that a row is about; not if it cannot be read."""
    with suppress(OSError):
        return path.exists() and digest_of(files_of(path)) == row["output_digest"]
    return False


def _refusal(task: Task, manifest: Manifest, force: bool) -> WriteError | None:
    """Why an output may not be replaced: it is neither of this manifest nor forced."""
    if not os.path.lexists(task.target):
        return None
    if task.target.is_dir() != task.folder:
        kind = "folder" if task.target.is_dir() else "file"
        return WriteError(f"{task.target} is a {kind}, move it away", value=str(task.target))
    row = manifest.rows.get((task.command, task.output))
    if task.folder and (row is None or not _holds(task.target, row)):
        empty = not any(task.target.iterdir())
        cause = f"{task.target} holds something else than was written there, move it away"
        return None if empty else WriteError(cause, value=str(task.target))
    if row is None and not force:
        cause = f"needed to replace {task.target}, which exists and is not of this manifest"
        return WriteError(cause, value=str(task.target), option="force")
    return None


def _keep(task: Task, row: Row, manifest: Manifest | None, summary: Summary) -> None:
    """Keep a row, then give the output its name."""
    if manifest is not None and not row["exit_code"]:
        try:
            manifest.append(row)
        except WriteError:
            _discard(task)
            raise
        try:
            _publish(task)
        except OSError as error:
            row |= failure(WriteError.of_system(error, str(task.target)))
    if row["exit_code"]:
        if manifest is not None:
            _discard(task)  # first: the disk may refuse the row, too
            if not _is_known(row, manifest):
                manifest.append(row)
        summary.failed.append(row)
    else:
        summary.done.append(row)


def _is_known(row: Row, manifest: Manifest) -> bool:
    """Whether the same has failed before for the same reason."""
    before = manifest.rows.get((row["command"], row["output"]), {})
    return before | {"seconds": None} == row | {"manifest": before.get("manifest"), "seconds": None}


def _publish(task: Task) -> None:
    """Put the output in its place; a folder that is there was found to be the one that was written."""
    if not task.folder:
        os.replace(task.staged, task.target)
        return
    old = task.staged.with_name(task.staged.name + ".old")
    shutil.rmtree(old, ignore_errors=True)  # of a run that was killed
    with suppress(FileNotFoundError):
        os.rename(task.target, old)
    os.rename(task.staged, task.target)
    shutil.rmtree(old, ignore_errors=True)


def _discard(task: Task) -> None:
    """Remove what a task left."""
    if not task.output:
        return
    clear(task.staged)
    if task.staged.is_dir():
        shutil.rmtree(task.staged, ignore_errors=True)
    else:
        with suppress(OSError):  # such as a file in the place of its folder
            task.staged.unlink()


def _prune(tasks: Sequence[Task]) -> None:
    """Remove the folders that hold no output in the end."""
    for task in tasks:
        folder = task.target.parent
        with suppress(OSError):
            while task.output and folder != task.out:
                folder.rmdir()  # not where something is in it
                folder = folder.parent
