"""Stopping by a signal, or since the directory was moved: the step ends, the state is saved, and the process goes."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlgen.envs.watch import STOPPING
from rlgen.errors import DiskError, InterruptedRunError, MovedRunError, RlgenError, UsageError
from rlgen.options.shares import is_first
from rlgen.runs import checkpoint
from rlgen.runs.files import check_own
from rlgen.runs.place import Place

ONE_PRESS = 0.5  # seconds: some launchers pass on a Ctrl-C that the whole group has had already
NOTICE = b"\nstopping: the step ends and the state is saved (Ctrl-C again to abort without saving)\n"


class Stoppable:
    """What a run is to signals, and to those who move its directory.

    Attributes:
        eval_due: the evaluation of this step has still to be taken: a signal interrupted it.
        restoring: it goes back to where its checkpoint is, so that nothing is new yet.
        place: of its directory, while it goes on.
        moved: its directory was moved, which stops it too.
    """

    name: str
    path: Path
    checkpoints: Path
    step: int
    steps: int
    saved: int
    eval_due = False
    restoring = False
    place: Place | None = None
    moved = False
    _signum = 0

    @property
    def interrupted(self) -> bool:
        """A signal, or a move, asked the run to stop: it saves at the end of this step."""
        return self._signum != 0 or self.moved

    def look(self) -> bool:
        """Look whether the directory was moved since the last look: the run then goes on there, and stops once saved.

        Raises:
            DiskError: a link has come where something of the run is written, which would lead out of its directory.
            MovedRunError: it was removed.
        """
        found = self.place.find(self.path) if self.place else self.path
        try:
            check_own(found)
        except UsageError as error:
            raise DiskError(str(error)) from error
        if self.place is None or found == self.path:
            return False
        self.path, self.checkpoints = found, found / "checkpoints"
        if found == self.place.path:
            return False
        self.name, self.moved = found.name, True
        return True

    def interrupt(self, signum: int) -> None:
        """Ask the run to stop, as a signal does."""
        self._signum = signum
        if self.restoring:
            raise self._interruption()

    def raise_if_interrupted(self) -> None:
        """Stop once the state is saved, unless the run has just ended anyway."""
        if self.interrupted and self.saved == self.step and (self.step < self.steps or self.eval_due):
            raise self._interruption()

    def give_up(self) -> None:
        """Stop without saving where a signal asked to stop: in the middle of a step there is nothing whole to save."""
        if self.interrupted:
            raise self._interruption()

    def _interruption(self) -> RlgenError:
        saved = f"saved at step {self.saved:,}; go on with: {self.command('resume')}"
        if not self.saved:
            saved = "before anything was saved; train again"
        if self.moved:
            return MovedRunError(f"stopped, as the run was moved to {self.path} while it trained, {saved}")
        return InterruptedRunError(f"stopped by {signal.Signals(self._signum).name}, {saved}", self._signum)

    def usable(self) -> list[int]:
        """Steps that a resume can go back to, in order."""
        return checkpoint.steps(self.checkpoints)

    def command(self, verb: str, *options: str) -> str:
        """The line that does something with this run."""
        raise NotImplementedError


@dataclass
class _Listening:
    """Who listens, and what came."""

    depth: int = 0  # of `handling`
    runs: list[Stoppable] = field(default_factory=list)  # with --seeds more than one
    handlers: dict[int, Any] = field(default_factory=dict)  # those of before
    asked: int = 0  # the first signal that came
    pressed: float = math.inf  # when Ctrl-C first was
    quiet: bool = False  # no notice


_now = _Listening()


@contextlib.contextmanager
def handling(quiet: bool = False) -> Iterator[None]:
    """Take signals, also between the runs that listen; one that was ignored at the start stays ignored (nohup).

    Args:
        quiet: no notice: somebody else gives it.
    """
    if not _now.depth:
        _now.asked, _now.pressed, _now.quiet = 0, math.inf, quiet
        with contextlib.suppress(ValueError):  # not the main thread, a notebook's for one: signals stay as they are
            for signum in STOPPING:
                if signal.getsignal(signum) not in (signal.SIG_IGN, None):  # None: a handler that is not Python's
                    _now.handlers[signum] = signal.signal(signum, _on_signal)
    _now.depth += 1
    try:
        yield
    finally:
        _now.depth -= 1
        if not _now.depth:
            for signum, handler in _now.handlers.items():
                signal.signal(signum, handler)
            _now.handlers.clear()


@contextlib.contextmanager
def listening(run: Stoppable) -> Iterator[None]:
    """Let signals interrupt `run`, one that came before it among them; a second SIGINT aborts at once."""
    with handling():
        _now.runs.append(run)
        try:
            if _now.asked:
                run.interrupt(_now.asked)
            yield
        finally:
            _now.runs.remove(run)


def asked() -> int:
    """The first signal that came inside `handling`; 0 is none."""
    return _now.asked if _now.depth else 0


def check() -> None:
    """Do not begin what a signal asked to stop.

    Raises:
        InterruptedRunError: one did, inside `handling`.
    """
    if asked():
        raise InterruptedRunError(f"stopped by {signal.Signals(_now.asked).name} before it began", _now.asked)


def _on_signal(signum: int, frame: Any) -> None:
    if signum == signal.SIGINT:
        if time.monotonic() - _now.pressed > ONE_PRESS:
            raise KeyboardInterrupt
        _now.pressed = min(_now.pressed, time.monotonic())
    if signum == signal.SIGHUP:
        _leave_dead_terminal()
    waiting = [run for run in _now.runs if not run.interrupted]
    if (waiting or not _now.asked or signum == signal.SIGINT) and not _now.quiet and is_first():
        with contextlib.suppress(OSError):
            os.write(2, NOTICE)  # print is not safe where it may interrupt another print
    _now.asked = _now.asked or signum
    for run in waiting:
        run.interrupt(signum)


def _leave_dead_terminal() -> None:
    """What is printed to a terminal that is gone goes nowhere: writing to it is an error, which would end the run."""
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
