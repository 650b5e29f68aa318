"""`rlgen fork RUN`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Options:
    """Begin a new run where a checkpoint of another stands, with other options."""

    run: str  # a name, a directory, a unique prefix, or last
    set: tuple[str, ...] = ()  # options that change: lr=1e-4 gamma=0.98
    steps: int | None = None  # length of the new run, from the parent's beginning (None: the parent's); in [1, 10**12]
    name: str | None = None  # of the new run
    checkpoint: str = "last"  # last, best, or a step
    runs_dir: str = "runs"  # where the run is, and the new one goes


def run(options: Options) -> None:
    """Train the new run."""
    changes: dict[str, Any] = dict(word.partition("=")[::2] for word in options.set)
    changes = {name.replace("-", "_"): value for name, value in changes.items()}
    if options.steps is not None:
        changes["steps"] = options.steps
    from rlgen import experiment

    command = ["rlgen", *sys.argv[1:]]
    experiment.fork(options.run, changes, options.runs_dir, options.name, options.checkpoint, command)
