"""`rlgen resume RUN`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """Continue a run from its last good checkpoint, as if it had never stopped."""

    run: str  # a name, a directory, a unique prefix, or last
    steps: int | None = None  # a new length (None: the run's own); in [1, 10**12]
    runs_dir: str = "runs"  # where runs are looked for


def run(options: Options) -> None:
    """Train on."""
    from rlgen import experiment

    experiment.resume(options.run, options.runs_dir, options.steps)
