"""A session: a process holds a run's directory, from tidying it up to saying how to go on after a full disk."""

from __future__ import annotations

import contextlib
import shutil
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from rlgen.envs import watch
from rlgen.errors import DiskError, InterruptedRunError, LostEnvError, RlgenError
from rlgen.files import write_whole, writing
from rlgen.runs import checkpoint, lock, rows
from rlgen.runs.files import check_own, read_json, remove_stale, write_json
from rlgen.secret import scrubbed

FOLDERS = ("", "checkpoints", "samples", "videos")  # that a killed process may have left something half-written in


class Held(Protocol):
    """What a session needs of a run."""

    path: Path
    info: dict[str, Any]
    is_new: bool

    def command(self, verb: str) -> str:
        """The line that does something with the run."""


@contextlib.contextmanager
def error_file(path: Path) -> Iterator[None]:
    """Write the whole traceback of what ends the session to a file, without secrets; a good end removes it.

    An error that nobody foresaw gets a note that names the file.
    """
    try:
        yield
    except InterruptedRunError:
        raise
    except Exception as error:
        with contextlib.suppress(DiskError):
            write_whole(path, scrubbed("".join(traceback.format_exception(error))))
            if not isinstance(error, RlgenError):
                error.add_note(f"the whole traceback is in {path}")
        raise
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def session(run: Held) -> Iterator[None]:
    """Hold the run's lock, with config.json up to date and nothing left of how an earlier session ended.

    Raises:
        UsageError: another process holds the lock, or a link would lead what is written elsewhere.
        DiskError: something could not be written; a new run that has nothing yet is removed.
    """
    check_own(run.path)
    try:
        with lock.hold(run.path), error_file(run.path / "error.txt"):
            for folder in FOLDERS:
                remove_stale(run.path / folder)
            if read_json(run.path / "config.json") != run.info:
                write_json(run.path / "config.json", run.info)
            with writing(run.path):
                (run.path / "summary.json").unlink(missing_ok=True)
            watch.tell(run.path, run.command("resume"))
            yield
    except LostEnvError as error:
        saved = checkpoint.steps(run.path / "checkpoints")
        go_on = f"step {saved[-1]:,} is saved; go on with: {run.command('resume')}" if saved else "nothing is saved"
        raise type(error)(f"{error}; {go_on}") from error
    except DiskError as error:
        saved = checkpoint.steps(run.path / "checkpoints")
        if run.is_new and not (saved or rows.last_step(run.path / "metrics.jsonl")):
            shutil.rmtree(run.path, ignore_errors=True)
        go_on = f"then: {run.command('resume')}" if saved else "then train again"
        raise DiskError(f"{error}, {go_on}") from error
