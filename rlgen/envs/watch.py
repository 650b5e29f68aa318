"""A watch over the calls of environments, which may hang: one that does not come back is ended.

Python cannot interrupt itself where C code keeps the interpreter's lock. So the watchdog is a process of its own,
`watchdog.py`. It shares a counter with this one, which is odd while an environment is called, and acts in two steps:

1. It sends `SOFT`, whose handler raises `Overdue` in the call. That ends what waits in Python or in a system call.
2. Ten seconds later it says itself what happened, and sends `HARD`. For that signal the handler is not Python's but the
   C library's `_exit`, which takes the signal's number as the exit code, and needs no lock. A thread that only waits
   takes it where the main one lets no signal through.

After a signal that asks to stop it waits ten seconds only. It hears of signals by the wakeup file descriptor, where the
C part of Python's handlers writes them, whatever the main thread does.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlgen.errors import StuckEnvError

STOPPING = [  # signals that ask to stop: Ctrl-C, a scheduler, a terminal that is gone, Ctrl-\, warnings before a kill
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGXCPU")
    if hasattr(signal, name)
]
SOFT = getattr(signal, "SIGRTMIN", 30) + 7
HARD = StuckEnvError.exit_code  # 16 is SIGSTKFLT on Linux, which nothing sends
WATCHDOG = Path(__file__).with_name("watchdog.py")

calls: Any = [0, 0]  # how often a call began or ended; for how many seconds the one that is overdue has lasted
_watchdog: subprocess.Popen[bytes] | None = None


class Overdue(BaseException):
    """The watchdog has waited for long enough; no `Exception`, which an environment might take for its own."""


@contextlib.contextmanager
def call(what: str) -> Iterator[None]:
    """A call of environments that is not a step: making, drawing, closing.

    Raises:
        StuckEnvError: it does not come back.
    """
    calls[0] += 1
    try:
        yield
    except Overdue as error:
        raise StuckEnvError(f"{what} has not come back for {calls[1]} s; --step-timeout allows more") from error
    finally:
        calls[0] += 1


@contextlib.contextmanager
def watching(timeout: float) -> Iterator[None]:
    """Have calls ended that last longer than `timeout` seconds; 0 is for ever. Only in the main thread."""
    global calls, _watchdog
    if not timeout or _watchdog is not None:
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            soft = signal.signal(SOFT, _raise_overdue)
        except ValueError:  # not the main thread, which alone gets signals
            yield
            return
        stack.callback(signal.signal, SOFT, soft)
        with contextlib.suppress(OSError):  # no memory for one more process: unwatched, as with 0
            _watchdog, calls = _start(timeout, stack)
        try:
            yield
        finally:
            if _watchdog is not None:
                _watchdog.kill()
                _watchdog.communicate()
            _watchdog, calls = None, [0, 0]


def tell(run: Path, steps: int, go_on: str) -> None:
    """Tell the watchdog of a run, for what it has to say and to write at a hard end.

    Args:
        run: its directory.
        steps: its length.
        go_on: the line that goes on.
    """
    if _watchdog is not None and _watchdog.stdin is not None:
        with contextlib.suppress(OSError):
            _watchdog.stdin.write(json.dumps([str(run.resolve()), [steps, go_on]]).encode() + b"\n")
            _watchdog.stdin.flush()


def _start(timeout: float, stack: contextlib.ExitStack) -> tuple[subprocess.Popen[bytes], Any]:
    file = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    file.truncate(16)
    shared = memoryview(mmap.mmap(file.fileno(), 16)).cast("Q")
    readable, writable = os.pipe()
    stack.callback(os.close, writable)
    os.set_blocking(writable, False)
    words = [sys.executable, "-I", "-S", str(WATCHDOG)]
    numbers = [os.getpid(), file.fileno(), readable, SOFT, HARD, timeout]
    try:
        watchdog = subprocess.Popen(
            [*words, *map(str, numbers)],
            stdin=subprocess.PIPE,
            pass_fds=(file.fileno(), readable),
            start_new_session=True,  # Ctrl-C is not for it
        )
    finally:
        os.close(readable)
    before = signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    stack.callback(signal.set_wakeup_fd, before)
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    libc.signal(HARD, ctypes.cast(libc._exit, ctypes.c_void_p))
    stack.callback(signal.signal, HARD, signal.SIG_DFL)
    stack.enter_context(_waiting_thread(libc))
    return watchdog, shared


@contextlib.contextmanager
def _waiting_thread(libc: Any) -> Iterator[None]:
    """A thread that takes no lock of Python's and no signal but HARD: an environment may block all of its own."""
    mutex, thread = ctypes.create_string_buffer(64), ctypes.c_void_p()
    libc.pthread_mutex_lock(mutex)
    before = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals() - {HARD})  # which it inherits
    refused = libc.pthread_create(ctypes.byref(thread), None, libc.pthread_mutex_lock, mutex)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        yield
    finally:
        libc.pthread_mutex_unlock(mutex)
        if not refused:
            libc.pthread_join(thread, None)


def _raise_overdue(signum: int, frame: Any) -> None:
    if calls[0] % 2:  # else it has just come back
        raise Overdue
