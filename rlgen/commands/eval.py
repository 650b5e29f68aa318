"""`rlgen eval RUN`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Options:
    """Play greedy episodes with a trained agent, or score a generative model on held-out images."""

    run: str  # a name, a directory, a unique prefix, or last
    episodes: int = 100  # whole episodes an agent plays; in [1, 100000]
    seed: int | None = None  # of the episodes (None: the run's evaluation seed); in [0, 2**63)
    checkpoint: str = "last"  # last, best, or a step
    video: bool = False  # record the first episode as a gif in the run's directory
    json: bool = False  # one JSON document on stdout
    runs_dir: str = "runs"  # where runs are looked for


def run(options: Options) -> dict[str, Any]:
    """The episodes or the metrics."""
    from rlgen import experiment

    return experiment.evaluate(
        options.run, options.runs_dir, options.episodes, options.seed, options.checkpoint, options.video
    )
