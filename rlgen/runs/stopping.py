"""Stopping by a signal: the step ends, the state is saved, and the process goes."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any, Protocol


class Stoppable(Protocol):
    """What a signal asks to stop: a run."""

    @property
    def interrupted(self) -> bool:
        """Whether it was asked already."""

    def interrupt(self, signum: int) -> None:
        """Ask it."""


_listening: list[Stoppable] = []  # with --seeds more than one
_handlers: dict[signal.Signals, Any] = {}  # those of before the first of them


@contextlib.contextmanager
def listening(run: Stoppable) -> Iterator[None]:
    """Let SIGINT and SIGTERM interrupt `run`; where all were interrupted already, a further SIGINT aborts at once."""
    if not _listening:
        with contextlib.suppress(ValueError):  # not the main thread, a notebook's for one: signals stay as they are
            for signum in (signal.SIGINT, signal.SIGTERM):
                _handlers[signum] = signal.signal(signum, _on_signal)
    _listening.append(run)
    try:
        yield
    finally:
        _listening.remove(run)
        if not _listening:
            for signum, handler in _handlers.items():
                signal.signal(signum, handler)
            _handlers.clear()


def _on_signal(signum: int, frame: Any) -> None:
    waiting = [run for run in _listening if not run.interrupted]
    if not waiting and signum == signal.SIGINT:
        raise KeyboardInterrupt
    if waiting:  # os.write: print is not safe where it may interrupt another print
        os.write(2, b"\nstopping: the step ends and the state is saved (Ctrl-C again to abort without saving)\n")
        for run in waiting:
            run.interrupt(signum)
