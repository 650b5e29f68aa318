"""`rlgen show RUN`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Options:
    """Show a run: configuration, progress, curves, last metrics, checkpoints, and the commands for it."""

    run: str  # a name, a directory, a unique prefix, or last
    json: bool = False  # one JSON document on stdout
    runs_dir: str = "runs"  # where runs are looked for


def run(options: Options) -> dict[str, Any]:
    """Everything about the run."""
    from rlgen.runs.show import show

    return show(options.run, options.runs_dir)
