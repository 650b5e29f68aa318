"""What a study costs: seconds and bytes of a run, how much that is in all, and when a worker is through."""

from __future__ import annotations

import datetime
import json
import statistics
from pathlib import Path
from typing import cast

from rlgen.errors import UsageError
from rlgen.options import config
from rlgen.runs.records import read_status
from rlgen.study import ablation
from rlgen.study.plan import ends
from rlgen.study.record import Cost, Study
from rlgen.text import Bytes, cell, duration, warn

STARTING = 5.0  # seconds in which a process of a run begins


def expected(study: Study) -> Cost:
    """What a run is expected to cost with the last values: training for some seconds says it.

    Raises:
        RlgenError: it would be refused, or has no such metric.
    """
    from rlgen import experiment
    from rlgen.bench.estimate import estimate

    own = {"seed": study.record["seeds"][0], "runs_dir": str(study.path.parent.parent)}
    first, last = (config.resolve(study.record["algo"], values | own).config for values in ends(study))
    with experiment.built(first, first["runs_dir"]):  # is refused now, not by half of the trials
        pass
    found = estimate(last)
    metric, judged = study.record["metric"], [name for name in found.judged if name.startswith("eval/")]
    if metric.startswith("eval/") and judged and metric not in judged:
        algo = study.record["algo"]
        raise UsageError(f"--metric {metric}: {algo} has {', '.join(judged)}; give one of these, as NAME:higher")
    return {"seconds": round(found.parts["total"].about + _starting(study), 1), "disk": found.needs.disk}


def whole(study: Study, cost: Cost, jobs: int) -> str:
    """What all trials cost: lines for a terminal.

    Args:
        study: whose.
        cost: of a run.
        jobs: runs that are trained at a time.
    """
    from rlgen.runs import preflight

    trials, seeds, steps = study.record["trials"], len(study.record["seeds"]), study.record["options"]["steps"]
    num = trials * seeds
    of = f"{trials}, of {seeds} seeds each"
    if study.is_ablation:
        tuning, cells = ablation.num_trials(study).values()
        num = tuning * len(study.record["tuning_seeds"]) + cells * seeds
        of = f"{cells} cells, of {seeds} seeds each"
        of += f", after {tuning} of {len(study.record['tuning_seeds'])} tuning seeds" if tuning else ""
    disk, free = Bytes(num * cost["disk"]), Bytes(preflight.free(study.path.parent.parent))
    if disk > free:
        warn(f"the runs may need {disk}, and {free} are free; rlgen study clean NAME removes checkpoints of losers")
    run = f"{num} runs of {steps:,} steps, about {duration(cost['seconds'])} each"
    lines = {
        "trials": f"{of}: {run}",
        "disk": f"{disk} at most, {free} are free",
        "worker": when(study, cost, trials, jobs) + "; with K workers a K-th of it",
    }
    if "first" in study.record:
        lines["trial 0"] = ", ".join(f"{name} {cell(value)}" for name, value in study.record["first"].items())
        lines["trial 0"] += ", as without a study"
    return "\n".join(f"{name:7} {line}" for name, line in lines.items())


def now(study: Study) -> Cost | None:
    """What a run costs: what the finished ones took, or else what was expected of one; None of a study without that."""
    if "cost" not in study.record:
        return None
    took = [seconds for path in study.runs_dir.glob("*/summary.json") if (seconds := _seconds(path.parent))]
    starting = _starting(study)
    return study.record["cost"] | ({"seconds": round(statistics.fmean(took) + starting, 1)} if took else {})


def _seconds(run: Path) -> float | None:
    """That training it took, if it is finished."""
    if read_status(run) != "finished":
        return None
    return cast("float | None", json.loads((run / "summary.json").read_text()).get("time"))


def _starting(study: Study) -> float:
    """Seconds in which the processes of a run begin, one a rung."""
    return STARTING * (study.record["rungs"] - study.record.get("prune_from", 1) + 1)


def of_seeds(study: Study, num: int, jobs: int) -> str:
    """How long so many runs take, in words."""
    cost = now(study)
    return f"; about {duration(-(-num // jobs) * cost['seconds'])}" if cost else ""


def when(study: Study, cost: Cost, trials: int, jobs: int) -> str:
    """How long a worker takes for so many trials, and when it is through; arguments as of `whole`."""
    seeds = len(study.record["seeds"])
    at_a_time = min(jobs, seeds)
    seconds = trials * -(-seeds // at_a_time) * cost["seconds"]
    end = datetime.datetime.now() + datetime.timedelta(seconds=seconds)
    pruned = "" if study.record["prune"] == "none" else ", sooner where trials are pruned"
    return f"{duration(seconds)} with --jobs {at_a_time}, so until {end:%a %d %b %H:%M}{pruned}"
