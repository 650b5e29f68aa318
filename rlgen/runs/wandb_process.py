"""wandb's own process, wandb-core: it cannot keep ours, whatever it does.

wandb starts it as a child, and when Python ends a hook of wandb's waits for it without a limit. So a hook of ours runs
before that one. It does what wandb's would do (`wandb.teardown`, which also takes wandb's hook away) in a thread, and
waits for that thread with a limit. Beyond it the child is killed by its pid, stopped or not: nothing is left to wait
for. What wandb raises over a child that died is dropped there.

In a notebook the process goes on after a run. There the child is killed at the end of a run that it did not finish in
time, if it was started for our runs, and the next run starts another. One that was there before belongs to the
notebook: it is left alone until the process ends, and then too, unless it hangs.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from pathlib import Path

NAME = "wandb-core"
END_SECONDS = 45.0  # from the moment that a run is to end until wandb is gone
HUNG_SECONDS = 3.0  # that one gets which has not answered before
KILLED_SECONDS = 2.0  # that wandb gets to notice that its process was killed


class Service:
    """wandb's process as the runs of this process share it."""

    def __init__(self) -> None:
        self._runs = 0  # that use it now
        self._foreign: set[int] = set()  # pids that were there before any run of ours
        self._hung: set[int] = set()  # pids that did not answer in time
        self._told = False  # that it died or hangs, by one of the runs that use it now
        self._used = 0.0  # seconds of END_SECONDS that the last run took to end
        self._begun, self._ended = threading.Event(), threading.Event()
        self._pid = 0  # of the process that has the thread

    def use(self) -> None:
        """A run is about to use it."""
        if self._pid != os.getpid():  # now: when Python ends, no thread starts any more
            threading.Thread(target=self._work, name="wandb-exit", daemon=True).start()
            self._pid, self._foreign = os.getpid(), children()
        self._runs += 1

    def leave(self, seconds: float) -> None:
        """A run has ended, which took so long; from now on the end of the process is bounded."""
        self._runs -= 1
        self._used = seconds
        self._told = self._told and self._runs > 0
        atexit.unregister(self.exit)
        atexit.register(self.exit)  # hooks run in the reverse order, and wandb's is older

    def hangs(self) -> bool:
        """Whether it is known not to answer."""
        return bool(self._hung & children())

    def give_up(self) -> None:
        """It did not answer in time: kill it, if it is ours, and let wandb forget it."""
        self._hung |= children()
        if ours := self._hung - self._foreign:
            kill(ours)
            thread = threading.Thread(target=teardown, name="wandb-teardown", daemon=True)
            thread.start()
            thread.join(KILLED_SECONDS)

    def tell(self) -> bool:
        """Whether a run should say that it died or hangs: one of all that use it does."""
        first = not self._told
        self._told = bool(children())
        return first

    def exit(self) -> None:
        """The hook: end it, by force after a time, or at once where Ctrl-C asks for it."""
        there = children()
        if os.getpid() != self._pid or (there and there <= self._foreign - self._hung):
            return  # a fork, without the thread; or a notebook's own, which may have much to send
        limit = HUNG_SECONDS if there & self._hung else max(HUNG_SECONDS, END_SECONDS - self._used)
        self._begun.set()
        with contextlib.suppress(KeyboardInterrupt):
            self._ended.wait(limit)
        kill(there)  # also one that wandb has forgotten, as it did not start in time
        with contextlib.suppress(KeyboardInterrupt):
            self._ended.wait(KILLED_SECONDS)

    def _work(self) -> None:
        self._begun.wait()
        teardown()
        self._ended.set()


service = Service()


def teardown() -> None:
    """Let wandb end its process and wait for it, without a word."""
    wandb = sys.modules.get("wandb")
    if wandb is not None:
        with contextlib.suppress(Exception, SystemExit):  # it exits where its process ended badly
            wandb.teardown()


def children() -> set[int]:
    """The pids of wandb's processes that are children of this one; none where the system has no /proc."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            name, _, rest = path.read_text(errors="replace").partition(" (")[2].rpartition(") ")
            if name == NAME and int(rest.split()[1]) == os.getpid():
                found.add(int(path.parent.name))
    return found


def kill(pids: set[int]) -> None:
    """Kill those that are wandb's processes and children of this one still."""
    for pid in pids & children():
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
