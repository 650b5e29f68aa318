"""`rlgen eval RUN...`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rlgen.errors import InterruptedRunError, RlgenError
from rlgen.options import algorithms
from rlgen.text import Rows


@dataclass(frozen=True)
class Options:
    """Play greedy episodes (epsilon 0) with agents, or score models on held-out images."""

    run: tuple[str, ...]  # names, directories, unique prefixes, globs as 'dqn-*', or last
    episodes: int | None = None  # whole episodes an agent plays (None: 100); in [1, 100000]
    seed: int | None = None  # of the episodes (None: the run's evaluation seed; fresh ones for best); in [0, 2**63)
    checkpoint: str = "last"  # last, best, or a step
    video: bool = False  # record the first episode as a gif in the run's directory
    split: Literal["auto", "val", "test"] = "auto"  # images a model is judged on; auto is those of its evaluations
    samples: int | None = None  # of a model, compared with held-out images (None: as at the run's end); in [0, 10**6]
    max_memory: str | None = None  # that reading images may take, as 8GB or 500MiB (None: what is at hand)
    device: Literal["same", "auto", "cpu", "cuda"] = "same"  # same is where it trained; the CPU, if that is not here
    json: bool = False  # one JSON document on stdout
    runs_dir: str = "runs"  # where runs are looked for


def run(options: Options) -> dict[str, Any] | Rows:
    """The episodes or the metrics; of several runs a row each."""
    from rlgen import inference
    from rlgen.runs.find import find_group

    found = [path for word in options.run for path in find_group(word, options.runs_dir)]
    paths = list({path.resolve(): path for path in found}.values())
    rows, problems, kinds = Rows(), [], [kind(path) for path in paths]
    device = None if options.device == "same" else options.device
    of_agents: dict[str, Any] = {"episodes": options.episodes, "seed": options.seed, "video": options.video}
    split = None if options.split == "auto" else options.split
    of_models: dict[str, Any] = {"split": split, "max_memory": options.max_memory, "samples": options.samples}
    for path, own in zip(paths, kinds, strict=True):
        both = len({*kinds} - {""}) < 2  # what concerns none of the runs is refused
        how = (of_agents if both or own == "agent" else {}) | (of_models if both or own != "agent" else {})
        try:
            rows.append(inference.evaluate(path, options.runs_dir, checkpoint=options.checkpoint, device=device, **how))
        except RlgenError as error:
            if len(paths) == 1 or isinstance(error, InterruptedRunError):
                raise
            problems.append(f"run {path.name}: {error}")
    if len(paths) == 1:
        return rows[0]
    rows.problems = problems
    rows.shown = [shown(row) for row in rows]
    columns = list(dict.fromkeys(name for row in rows.shown for name in row))  # agents beside models
    rows.shown = [{name: row.get(name) for name in columns} for row in rows.shown]
    return rows


def kind(path: Path) -> str:
    """What learned in a run, `agent` or `generative`; empty where that cannot be read."""
    from rlgen.runs.records import read_config

    with contextlib.suppress(RlgenError):
        return algorithms.find(read_config(path)[0]["config"]["algo"]).kind
    return ""


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """What was found of one of several runs, in one row: scores, and not what all have in common."""
    score = row.get("episodic_return")
    if score is None:
        return {name: value for name, value in row.items() if name not in ("algo", "data", "images")}
    about = {name: row[name] for name in ("run", "step")}
    rate = {name: row[name] for name in ("success_rate",) if name in row}
    return about | {"mean": score["mean"], "std": score["std"], "worst": min(score["values"])} | rate
