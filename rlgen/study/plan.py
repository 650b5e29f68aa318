"""A new study: what was asked for is checked, and its folder is made whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from rlgen.errors import UsageError
from rlgen.files import write_whole, writing
from rlgen.options import config
from rlgen.options.checks import shown
from rlgen.options.seeds import parse_seeds
from rlgen.runs.best import SCORES
from rlgen.runs.new import directory
from rlgen.study import ablation, record, storage
from rlgen.study.factors import spelled_out
from rlgen.study.flags import Ablate, Create
from rlgen.study.record import FORMAT, Cost, Record, Study, as_in_file
from rlgen.study.space import Parameter, grid, parse_space

TRIALS, RUNGS = 20, 5  # where nothing is said
GRID = {"trials": None, "sampler": "grid", "prune": "none", "rungs": None}  # of an ablation
OWN = ("seed", "name", "runs_dir")  # options of each run


@dataclass(frozen=True)
class Asked:
    """How a study is to be made."""

    over: tuple[str, ...]
    seeds: str
    trials: int | None
    sampler: Literal["tpe", "random", "grid", "cmaes"]
    prune: Literal["none", "median"]
    rungs: int | None
    metric: str | None
    trial_minutes: float | None
    heartbeat: int
    storage: str | None
    prune_from: int = 1  # the first rung that is judged
    second: Literal["none", "parameters"] = "none"  # objective
    tune: tuple[str, ...] | None = None  # of an ablation
    tuning_seeds: str = ""  # of an ablation


def asked(own: Create | Ablate) -> Asked:
    """How a study is to be made, by its flags.

    Raises:
        UsageError: a flag is of no use here.
    """
    given = asdict(own) | {"seeds": " ".join(own.seeds)}
    if isinstance(own, Ablate):
        if own.json:
            raise UsageError("--json is for the tables of an ablation; leave it out with --over")
        given |= {"tuning_seeds": " ".join(own.tuning_seeds)} | GRID
    return Asked(**{field.name: given[field.name] for field in fields(Asked) if field.name in given})


def plan(name: str, runs_dir: str, resolved: config.Resolved, asked: Asked) -> Study:
    """The study that is asked for; nothing of it is written.

    Raises:
        UsageError: something in it cannot be.
    """
    path = record.folder(name, runs_dir)
    if path.exists() and not (path / "study.toml").exists():
        raise UsageError(f"{path} is there and is no study; remove it, or give another name")
    if path.exists():
        raise _taken(path)
    if resolved.values["steps"] is None:
        raise UsageError("--epochs: the length of a study's runs is --steps")
    algorithm = resolved.algorithm
    known, command = config.options(algorithm), "study create" if asked.tune is None else "study ablate"
    space = parse_space(asked.over if asked.tune is None else spelled_out(asked.over, known), known, command)
    options = {
        name: as_in_file(value)
        for name, value in resolved.values.items()
        if resolved.origin[name] != "default" and name not in OWN
    }
    target = config.TARGET[algorithm.kind]
    options |= {target: resolved.values[target], "steps": resolved.values["steps"]}
    if resolved.origin["threads"] == "default":
        options["threads"] = 1  # beside other runs
    if resolved.origin["wandb_group"] == "default":
        options["wandb_group"] = name
    rungs = _rungs(asked)
    metric, direction = _metric(asked.metric, algorithm.kind)
    trials = _trials(asked, [*grid(space)] if asked.sampler == "grid" else None)
    found: Record = {
        "format": FORMAT,
        "algo": algorithm.name,
        "over": {parameter.name: parameter.text for parameter in space},
        "options": options,
        "seeds": parse_seeds(asked.seeds),
        "trials": trials,
        "directory": str(Path.cwd()),
        "metric": metric,
        "direction": direction,
        "sampler": asked.sampler,
        "prune": asked.prune,
        "rungs": rungs,
        "heartbeat": asked.heartbeat,
    }
    _check_together(asked, space)
    if asked.prune_from > 1:
        found["prune_from"] = asked.prune_from
    if asked.second != "none":
        found["second"] = asked.second
    if asked.trial_minutes is not None:
        found["trial_minutes"] = asked.trial_minutes
    if asked.tune is not None:
        found |= {"tune": list(asked.tune), "tuning_seeds": parse_seeds(asked.tuning_seeds, "--tuning-seeds")}
        if both := {*found["seeds"]} & {*found["tuning_seeds"]}:
            raise UsageError(f"--tuning-seeds {asked.tuning_seeds}: seed {min(both)} is a final one of --seeds too")
    if asked.storage is not None:
        found["storage"] = storage.checked_url(asked.storage)
    study = Study(path, found)
    first = _first(study, resolved)
    for parameter in study.space:
        options.pop(parameter.name, None)
    if asked.sampler != "grid" and found["trials"] > 1 and None not in first.values():
        found["first"] = first
    if study.is_ablation:
        found["trials"] = sum(ablation.num_trials(study).values())
    evaluations = resolved.values["steps"] // resolved.values["eval_every"]
    if found["rungs"] > max(1, evaluations):
        raise UsageError(f"--rungs {rungs}: a run has {evaluations} evaluations; lower it, or --eval-every")
    for each in ablation.every_trial(study) if study.is_ablation else ends(study):
        config.resolve(algorithm.name, each)  # what cannot go together is said now, not by every trial
    return study


def ends(study: Study) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of trials that have the first, and the last, value of everything that is tried."""
    firsts, lasts = ({each.name: as_in_file(each.ends[i]) for each in study.space} for i in (0, 1))
    common = study.record["options"] | {"no_preset": True}
    return common | firsts, common | lasts


def create(study: Study, cost: Cost) -> Study:
    """Make the folder of a study: it is there whole, or not at all.

    Raises:
        UsageError: it is there already.
        DiskError: it cannot be written.
    """
    new = Study(study.path, study.record | {"cost": cost})  # type: ignore[operator]
    with writing(study.path, "free space, or give another --runs-dir"):
        study.path.parent.mkdir(parents=True, exist_ok=True)
    trials: list[tuple[dict[str, Any], dict[str, Any]]] = [({}, {})] * study.record["trials"]
    if study.is_ablation:
        trials = ablation.waiting_at_first(study)
    elif study.record["sampler"] == "grid":
        trials = [(values, {}) for values in grid(study.space)]
    elif "first" in study.record:
        trials[0] = (study.record["first"], {})
    try:
        with directory(study.path) as temporary:
            write_whole(temporary / "study.toml", record.to_toml(new.record))
            storage.create(new, temporary, trials)
    except UsageError as error:
        raise (_taken(study.path) if (study.path / "study.toml").exists() else error) from error
    return new


def _taken(path: Path) -> UsageError:
    return UsageError(f"study {path.name} exists in {path.parent}; give another name, or rlgen study work {path.name}")


def _metric(text: str | None, kind: str) -> tuple[str, Literal["maximize", "minimize"]]:
    name, _, way = (text or ("eval/episodic_return" if kind == "agent" else "eval/nll")).partition(":")
    if not name or way not in ("", "higher", "lower") or not (way or name in SCORES):
        raise UsageError(f"--metric {text}: say which is better, as {(name := name or 'NAME')}:higher or {name}:lower")
    return name, "maximize" if way == "higher" or (not way and SCORES[name] > 0) else "minimize"


def _trials(asked: Asked, points: list[dict[str, Any]] | None) -> int:
    if points is None:
        return asked.trials or TRIALS
    if asked.trials not in (None, len(points)):
        raise UsageError(f"--trials {asked.trials} with --sampler grid: the grid has {len(points)}; leave it out")
    return len(points)


def _rungs(asked: Asked) -> int:
    """Parts of a run."""
    if asked.prune == "none":
        if asked.rungs is not None or asked.prune_from > 1:
            flag = f"--rungs {asked.rungs}" if asked.rungs is not None else f"--prune-from {asked.prune_from}"
            raise UsageError(f"{flag} needs --prune median")
        return 1
    rungs = asked.rungs or RUNGS
    if asked.prune_from >= rungs:
        said = f"--prune-from {asked.prune_from} of --rungs {rungs}" if asked.prune_from > 1 else f"--rungs {rungs}"
        mend = "lower it" if asked.prune_from > 1 else "raise it"
        raise UsageError(f"{said}: no rung would be judged, as the last one is the end; {mend}")
    return rungs


def _first(study: Study, resolved: config.Resolved) -> dict[str, Any]:
    """What a run without a study would have, as Optuna has it; None for what is not among the values that are tried.

    Raises:
        UsageError: it was given as a flag, and is not: so it would be of no use.
    """
    found = {each.name: each.suggested(resolved.values[each.name]) for each in study.space}
    for each in study.space:
        if resolved.origin[each.name] == "flag" and (found[each.name] is None or study.record["sampler"] == "grid"):
            flag = shown(each.name)
            raise UsageError(f"{flag} with --over {each.name}={each.text}: it is tried; leave {flag} out")
    return found


def _check_together(asked: Asked, space: Sequence[Parameter]) -> None:
    """Refuse a sampler, pruning and objectives that do not go together."""
    if asked.second != "none" and asked.prune != "none":
        raise UsageError(f"--second {asked.second} with --prune {asked.prune}: pruning judges one score; leave one out")
    if asked.sampler != "cmaes":
        return
    if asked.second != "none":
        raise UsageError(
            f"--second {asked.second} with --sampler cmaes: CMA-ES has one objective; --sampler tpe has two"
        )
    if choices := [parameter for parameter in space if parameter.choices]:
        word = f"{choices[0].name}={choices[0].text}"
        raise UsageError(f"--sampler cmaes with {word}: CMA-ES is over ranges of numbers; give A:B, or --sampler tpe")
    if len(space) < 2:
        raise UsageError(
            f"--sampler cmaes with {space[0].name} alone: it takes two ranges or more; --sampler tpe does it"
        )
