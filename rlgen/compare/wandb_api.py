"""The public API of wandb, or one line that says why it cannot be asked. wandb is imported when it is."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

from rlgen.errors import UsageError
from rlgen.runs.wandb_account import first_line, why_offline


def connect(doing: str) -> Any:
    """The public API. It never prompts.

    Args:
        doing: what an error begins with.

    Raises:
        UsageError: no account, no network, or another key; within 5 s.
    """
    wandb = importlib.import_module("wandb")
    if reason := why_offline(wandb.setup().settings):
        raise UsageError(f"{doing}: {reason}")
    with errors_in_one_line(doing):
        wandb.Api(timeout=4)  # the key is looked at
        return wandb.Api(timeout=30)


@contextlib.contextmanager
def errors_in_one_line(doing: str) -> Iterator[None]:
    """Turn whatever wandb raises into a UsageError: `doing`, and the first line of the error."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{doing}: {first_line(error)}") from None
