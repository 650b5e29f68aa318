"""`rlgen fork RUN`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlgen import commands
from rlgen.errors import UsageError
from rlgen.options import config
from rlgen.options.shares import check_alone


@dataclass(frozen=True)
class Options:
    """Begin a new run where a checkpoint of another stands, with other options."""

    run: str  # a name, a directory, a unique prefix, or last
    set: tuple[str, ...] = ()  # options that change: lr=1e-4 gamma=0.98
    steps: int | None = None  # length of the new run, from the parent's beginning (None: the parent's); in [1, 10**12]
    name: str | None = None  # of the new run
    checkpoint: str = "last"  # last, best, or a step
    runs_dir: str = "runs"  # where the run is, and the new one goes


def parse(words: Sequence[str]) -> Options:
    """The options; that of an algorithm belongs behind `--set`."""
    names = [name for name in config.every_option() if name not in commands.options_of("fork")]
    return Options(**commands.parse("fork", words, {name: f"type: --set {name}=VALUE" for name in names}))


def changes_of(words: Sequence[str]) -> dict[str, Any]:
    """The options that change, by name, as text.

    Raises:
        UsageError: one has no value, or is given twice.
    """
    changes: dict[str, Any] = {}
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        name = name.lstrip("-").replace("-", "_")
        if not equals:
            follows = words[place + 1] if words[place + 1 :] and "=" not in words[place + 1] else "VALUE"
            raise UsageError(f"--set {word}: type: --set {name}={follows}")
        if name in changes:
            raise UsageError(f"--set {word}: {name} is given twice")
        changes[name] = value
    return changes


def run(options: Options) -> None:
    """Train the new run."""
    check_alone("fork")
    changes = changes_of(options.set)
    if options.steps is not None:
        changes["steps"] = options.steps
    from rlgen import experiment

    command = ["rlgen", *sys.argv[1:]]
    experiment.fork(options.run, changes, options.runs_dir, options.name, options.checkpoint, command)
