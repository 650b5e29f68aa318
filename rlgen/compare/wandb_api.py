"""The public API of wandb, or one line that says why it cannot be asked. wandb is imported when it is.

wandb waits for its own process without a limit, while a history is read and when Python ends. Here both have one.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from rlgen.errors import UsageError
from rlgen.runs.wandb_account import first_line, why_offline
from rlgen.runs.wandb_process import service

SILENT_SECONDS = 60.0  # without an answer, after which wandb is given up
T = TypeVar("T")


def connect(doing: str) -> Any:
    """The public API. It never prompts.

    Args:
        doing: what an error begins with.

    Raises:
        UsageError: no account, no network, or another key; within 5 s.
    """
    service.use()
    try:
        wandb = importlib.import_module("wandb")
        if reason := why_offline(wandb.setup().settings):
            raise UsageError(f"{doing}: {reason}")
        with errors_in_one_line(doing):
            wandb.Api(timeout=4)  # the key is looked at
            return wandb.Api(timeout=30)
    finally:  # its process has begun, and there is nothing to send when Python ends
        service.leave(math.inf)


def answers(ask: Callable[[], Iterable[T]]) -> Iterator[T]:
    """What wandb answers, one after the other.

    Args:
        ask: gives the answers; it runs in a thread, which is left behind when it hangs.

    Raises:
        TimeoutError: `SILENT_SECONDS` without an answer.
        Exception: what `ask` raises.
    """
    given: queue.SimpleQueue[tuple[T] | Exception | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            for each in ask():
                given.put((each,))
            given.put(None)
        except Exception as error:
            given.put(error)

    threading.Thread(target=work, name="wandb-answers", daemon=True).start()
    while True:
        try:
            answer = given.get(timeout=SILENT_SECONDS)
        except queue.Empty:
            raise TimeoutError(f"no answer for {SILENT_SECONDS:g} s") from None
        if answer is None:
            return
        if isinstance(answer, Exception):
            raise answer
        yield answer[0]


@contextlib.contextmanager
def errors_in_one_line(doing: str) -> Iterator[None]:
    """Turn whatever wandb raises into a UsageError: `doing`, and the first line of the error."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{doing}: {first_line(error)}") from None
