"""What a study found: a preset of the best trial, its scores on fresh seeds; and room on the disk."""

from __future__ import annotations

import contextlib
import shutil
import signal
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np

from rlgen.errors import InterruptedRunError, UsageError
from rlgen.files import write_whole, writing
from rlgen.metrics.returns import bootstrap, mean
from rlgen.options import algorithms, config
from rlgen.runs import lock, stopping
from rlgen.runs.table import size
from rlgen.study import cost, pareto, seeds
from rlgen.study.record import TUNING, Study, to_toml
from rlgen.study.show import best, rows
from rlgen.text import Bytes, cell


def preset(study: Study, row: dict[str, Any]) -> Path:
    """Write the values of a trial as a table of presets, as they lie beside an algorithm.

    Raises:
        DiskError: it cannot be written.
    """
    algorithm = algorithms.find(study.record["algo"])
    known, target = config.options(algorithm), config.TARGET[algorithm.kind]
    values = study.values(row["params"])
    judged = {name for name, option in known.items() if option.learns_the_same or option.other_scores}
    tuned = {name: value for name, value in values.items() if name not in judged | {target}}
    used = " ".join(map(str, study.record["seeds"]))
    about = (
        f"# Study {study.name}, trial {row['trial']}: {study.record['metric']} {cell(row['score'])}, seeds {used}.\n"
    )
    path = study.path / "best.toml"
    write_whole(path, about + to_toml({values[target]: tuned}))
    return path


def evaluate(study: Study, row: dict[str, Any], num_seeds: int, jobs: int) -> dict[int, float]:
    """The final scores of a trial's values on seeds 0, 1, ...; a seed that is finished is not trained again.

    Args:
        study: whose.
        row: of the trial.
        num_seeds: how many.
        jobs: seeds that train at a time.

    Raises:
        UsageError: a seed was tuned on.
        InterruptedRunError: a signal asked to stop; the runs are saved.
    """
    final, told = range(num_seeds), set[int]()
    if tuned := sorted({*final} & {*study.record["seeds"]}):
        raise UsageError(f"--evaluate {num_seeds}: seed {tuned[0]} was tuned on, so its score is no fresh one")

    def look() -> None:
        if signum := stopping.asked():
            raise InterruptedRunError(
                f"stopped by {signal.Signals(signum).name}; go on with: rlgen study best {study.name} "
                f"--evaluate {num_seeds}",
                signum,
            )
        for run in runs:
            if run.seed not in told and run.finished:
                told.add(run.seed)
                print(f"seed {run.seed}: {run.score(None):.6g}", file=sys.stderr, flush=True)

    runs = seeds.seed_runs(study, row["params"], final)
    if left := [run for run in runs if not run.finished]:
        begin = f"{len(left)} of {num_seeds} seeds are to be trained with the values of trial {row['trial']}"
        print(f"{begin}{cost.of_seeds(study, len(left), jobs)}", file=sys.stderr, flush=True)
    with stopping.handling(quiet=True):
        seeds.advance(runs, None, jobs, look)
    return {run.seed: run.score(None) for run in runs}


def both(study: Study, row: dict[str, Any], final: dict[int, float]) -> dict[str, Any]:
    """The mean on the seeds that were tuned on beside that on fresh ones, and how much too high the first one is.

    The interval is that of the mean on fresh seeds, by the bootstrap over them, NaN of a single one.
    """
    tuned, fresh = row["score"], statistics.fmean(final.values())
    _, low, high = bootstrap([np.array([*final.values()])], mean)
    better = 1 if study.record["direction"] == "maximize" else -1
    return {
        "tuned on seeds": " ".join(row["scores"]),
        "their mean": tuned,
        "fresh seeds": " ".join(map(str, final)),
        "mean of these": fresh,
        "its 95 % interval": [float(low), float(high)],
        "each of these": list(final.values()),
        "their runs": [str(study.run_path(row["params"], seed)) for seed in final],
        "optimism of tuning": better * (tuned - fresh),
    }


def clean(study: Study, dry: bool) -> tuple[int, Bytes]:
    """Remove the checkpoints, with their buffers, of runs of trials that lost; rows stay, so `compare` reads them.

    Args:
        study: whose.
        dry: only count.

    Returns:
        How many runs have or had any, and their size.

    Raises:
        DiskError: they cannot be removed.
    """
    found = rows(study)
    kept = {name for row in found if row["state"] in ("training", "waiting") for name in row["runs"]}
    with contextlib.suppress(UsageError):  # none is finished
        kept |= {*best(study)["runs"]}
        if "second" in study.record:
            kept |= {name for row in pareto.front(study) for name in row["runs"]}
    num, total = 0, 0
    for name in sorted({name for row in found for name in row["runs"]} - kept):
        run, checkpoints = study.runs_dir / name, study.runs_dir / name / "checkpoints"
        if not checkpoints.is_dir() or lock.is_held(run):
            continue
        num, total = num + 1, total + size(checkpoints)
        if not dry:
            with lock.hold(run, owned=False), writing(checkpoints):
                shutil.rmtree(checkpoints)
    return num, Bytes(total)


def leaders(study: Study, top: int) -> list[Path]:
    """The runs of the best finished trials, of each set of values once.

    Raises:
        UsageError: none is finished, or a run is gone.
    """
    best(study)
    sign = -1 if study.record["direction"] == "maximize" else 1
    finished = [row for row in rows(study) if row["state"] == "finished" and row["stage"] != TUNING]
    found = sorted(finished, key=lambda row: sign * row["score"])
    sets = list(dict.fromkeys(tuple(row["runs"]) for row in found))[:top]
    paths = [study.runs_dir / name for names in sets for name in names]
    if gone := [path for path in paths if not (path / "config.json").exists()]:
        raise UsageError(f"run {gone[0].name} of study {study.name} is gone: {gone[0]}")
    return paths
