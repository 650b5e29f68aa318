"""Comparisons of synthetic runs, in one call."""

from pathlib import Path

from synthetic import make_run

from rlgen.compare.collect import collect
from rlgen.compare.comparison import Comparison, compare


def make_pair(runs_dir: Path, seeds: int = 6, **options) -> None:
    """DQN at about 300 and Double DQN at about 400."""
    for seed in range(1, seeds + 1):
        make_run(runs_dir, "dqn", seed, final=300.0 + 5 * seed, **options)
        make_run(runs_dir, "double_dqn", seed, final=400.0 + 5 * seed, **options)


def found(runs_dir: Path, *words: str, **options) -> Comparison:
    """The comparison of the runs that the words fit, with few resamples."""
    filters = {name: options.pop(name) for name in ("algo", "env", "data") if name in options}
    entries = collect(words, str(runs_dir), **filters)
    return compare(entries, resamples=500, left_out=entries.left_out, **options)


def by_group(task: dict) -> dict[str, dict]:
    """The rows of a task by the name of the group."""
    return {row["group"]: row for row in task["groups"]}
