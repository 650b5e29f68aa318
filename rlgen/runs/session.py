"""A session: a process holds a run's directory, from tidying it up to saying how to go on after a full disk."""

from __future__ import annotations

import contextlib
import shutil
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from rlgen.envs import watch
from rlgen.errors import (
    CheckpointError,
    DiskError,
    InterruptedRunError,
    LostEnvError,
    MovedRunError,
    NoMemoryError,
    RankLostError,
    RlgenError,
    is_out_of_memory,
    out_of_memory,
)
from rlgen.files import write_whole, writing
from rlgen.runs import checkpoint, lock, rows
from rlgen.runs.files import check_own, read_json, remove_stale, write_json
from rlgen.runs.place import Place, held
from rlgen.secret import scrubbed

FOLDERS = ("", "samples", "videos")  # that a killed process may have left something half-written in


class Held(Protocol):
    """What a session needs of a run."""

    path: Path
    info: dict[str, Any]
    steps: int
    is_new: bool
    place: Place | None

    def look(self) -> bool:
        """Look whether the directory was moved."""

    def usable(self) -> list[int]:
        """Steps that can be gone back to."""

    def command(self, verb: str) -> str:
        """The line that does something with the run."""


@contextlib.contextmanager
def error_file(run: Held) -> Iterator[None]:
    """Write the whole traceback of what ends the session to error.txt, without secrets; a good end removes it.

    An error that nobody foresaw gets a note that names the file.
    """
    try:
        yield
    except (InterruptedRunError, MovedRunError):  # the latter's directory is gone, or another's
        raise
    except Exception as error:
        with contextlib.suppress(DiskError, MovedRunError):
            run.look()  # another directory may have its name by now
            path = run.path / "error.txt"
            write_whole(path, scrubbed("".join(traceback.format_exception(error))))
            if not isinstance(error, RlgenError):
                error.add_note(f"the whole traceback is in {path}")
        raise
    with contextlib.suppress(OSError):
        (run.path / "error.txt").unlink(missing_ok=True)


@contextlib.contextmanager
def last_end(run: Held) -> Iterator[None]:
    """Leave how the session before ended as it is said, where this one finds no checkpoint to go on from."""
    paths = [run.path / name for name in ("summary.json", "error.txt")]
    before = {}
    for path in paths:
        with contextlib.suppress(OSError):  # not there, or not for this user to read
            before[path] = path.read_bytes()
    try:
        yield
    except CheckpointError:
        for path in paths:
            if path in before:
                write_whole(path, before[path])
            else:
                with writing(run.path):
                    path.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def session(run: Held) -> Iterator[None]:
    """Hold the run's lock, with config.json up to date and nothing left of how an earlier session ended.

    Raises:
        UsageError: another process holds the lock, or a link would lead what is written elsewhere.
        DiskError: something could not be written; a new run that has nothing yet is removed.
        LostEnvError, RankLostError: an environment ended or hangs, or a rank; the line that goes on is added.
        NoMemoryError: memory ran out, whoever says so; the line that goes on is added.
        MovedRunError: the directory was moved or removed.
    """
    check_own(run.path)
    try:
        with lock.hold(run.path), held(run), last_end(run), error_file(run):
            for folder in FOLDERS:
                remove_stale(run.path / folder)
            checkpoint.tidy(run.path / "checkpoints")
            if read_json(run.path / "config.json") != run.info:
                write_json(run.path / "config.json", run.info)
            with writing(run.path):
                (run.path / "summary.json").unlink(missing_ok=True)
            watch.tell(run.path, run.steps, run.command("resume"))
            try:
                yield
            except DiskError:
                run.look()  # there is no room to make in a directory that is gone
                raise
    except (LostEnvError, RankLostError) as error:
        raise type(error)(f"{error}; {_go_on(run)}") from error
    except DiskError as error:
        saved = run.usable()
        if run.is_new and not (saved or rows.last_step(run.path / "metrics.jsonl")):
            shutil.rmtree(run.path, ignore_errors=True)
        go_on = f"then: {run.command('resume')}" if saved else "then train again"
        raise DiskError(f"{error}, {go_on}") from error
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise NoMemoryError(f"{out_of_memory(error)}; {_go_on(run)}") from error


def _go_on(run: Held) -> str:
    saved = run.usable()
    return f"step {saved[-1]:,} is saved; go on with: {run.command('resume')}" if saved else "nothing is saved"
