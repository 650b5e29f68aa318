"""What one of several ranks has of a run's options: flags are of the whole run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from rlgen.errors import UsageError
from rlgen.options.fields import Option


def share(config: dict[str, Any], options: Mapping[str, Option], size: int) -> dict[str, Any]:
    """The flat configuration of one of `size` ranks.

    Raises:
        UsageError: an option cannot be divided so.
    """
    own = dict(config)
    for name in [name for name, option in options.items() if option.divided and name in config]:
        value = config[name]
        if isinstance(value, int) and value % size:
            near = max(1, round(value / size)) * size
            raise UsageError(f"{name} {value} cannot be divided by {size} ranks; try --{name.replace('_', '-')} {near}")
        own[name] = value // size if isinstance(value, int) else value / size
    return own


def number() -> int:
    """How many ranks `torchrun` has started; 1 without it."""
    size = os.environ.get("WORLD_SIZE", "1") if "RANK" in os.environ else "1"
    if not size.isdecimal():
        raise UsageError(f"WORLD_SIZE is {size!r}: torchrun sets it to the number of processes")
    return int(size)
