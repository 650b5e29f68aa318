"""What one of several ranks has of a run's options: flags are of the whole run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from rlgen.errors import CheckpointError, InterruptedRunError, UsageError
from rlgen.options.fields import Option


def share(config: dict[str, Any], options: Mapping[str, Option], size: int) -> dict[str, Any]:
    """The flat configuration of one of `size` ranks.

    Raises:
        UsageError: an option cannot be divided so.
    """
    values = {name: config[name] for name, option in options.items() if option.divided and name in config}
    odd = {name: value for name, value in values.items() if isinstance(value, int) and value % size}
    if odd:
        what = ", ".join(f"{name} {value}" for name, value in odd.items())
        near = [f"--{name.replace('_', '-')} {max(1, round(value / size)) * size}" for name, value in odd.items()]
        raise UsageError(f"{what} cannot be divided by {size} ranks; try {' '.join(near)}")
    return config | {name: value // size if isinstance(value, int) else value / size for name, value in values.items()}


have_met = False  # until then the processes of a machine find the same mistakes


def is_first() -> bool:
    """Whether this process speaks for those of this machine, as one without `torchrun` does."""
    return "RANK" not in os.environ or os.environ.get("LOCAL_RANK", "0") == "0"


def is_echo(error: BaseException) -> bool:
    """Whether the first process of this machine says the same.

    Ranks agree on stopping and on where they go on. Before they meet, they make the same mistakes.
    """
    is_common = isinstance(error, (InterruptedRunError, CheckpointError))
    return not is_first() and (is_common or (isinstance(error, UsageError) and not have_met))


def check_alone(command: str) -> None:
    """Refuse what every process that `torchrun` starts would do once more.

    Raises:
        UsageError: there are several.
    """
    if number() > 1:
        raise UsageError(f"torchrun trains one run, by train or resume: start rlgen {command} without it")


def number() -> int:
    """How many ranks `torchrun` has started; 1 without it."""
    size = os.environ.get("WORLD_SIZE", "1") if "RANK" in os.environ else "1"
    if not size.isdecimal():
        raise UsageError(f"WORLD_SIZE is {size!r}: torchrun sets it to the number of processes")
    return int(size)
