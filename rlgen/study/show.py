"""The trials of a study as a table: how each ended, its score and its values; which one is best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlgen.errors import UsageError
from rlgen.study import storage
from rlgen.study.record import TUNING, Study
from rlgen.text import cell, fitted, table

if TYPE_CHECKING:
    import optuna

WORDS = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "training", "WAITING": "waiting"}
SILENT = "its worker ended without a word"


def rows(study: Study) -> list[dict[str, Any]]:
    """A dictionary a trial that has begun: number, state, score, rung, scores by seed, params, stage, reason."""
    with storage.opened(study) as found:
        trials = found.get_trials(deepcopy=False)
    again = {number for trial in trials for number in trial.system_attrs.get("retry_history", ())}
    return [
        described(study, trial, trial.number in again) for trial in trials if trial.params or trial.state.is_finished()
    ]


def described(study: Study, trial: optuna.trial.FrozenTrial, again: bool = False) -> dict[str, Any]:
    """A trial as in `rows`; `again` says that it was given to another number."""
    state = "again" if again else WORDS[trial.state.name]
    reason = trial.user_attrs.get("reason", "") if trial.state.name == "FAIL" else ""
    return {
        "trial": trial.number,
        "state": state,
        "score": _score(trial),
        "parameters": trial.user_attrs.get("parameters"),
        "rung": trial.last_step or 0,
        "scores": trial.user_attrs.get("scores", {}),
        "params": trial.params,
        "stage": trial.user_attrs.get("stage", ""),
        "runs": [study.run_path(trial.params, seed).name for seed in study.seeds(trial.user_attrs)]
        if len(trial.params) == len(study.space)
        else [],
        "reason": reason or (SILENT if trial.state.name == "FAIL" else ""),
    }


def _score(trial: optuna.trial.FrozenTrial) -> float | None:
    """The final score; of a trial that was pruned, or is being trained, the one at its last rung."""
    if trial.state.name == "RUNNING" and trial.last_step is not None:
        return trial.intermediate_values[trial.last_step]
    return trial.values[0] if trial.state.name in ("COMPLETE", "PRUNED") and trial.values else None


def shown(study: Study, as_json: bool) -> Any:
    """All trials, the best first among those that are over."""
    found = rows(study)
    if as_json:
        return {"study": study.name, "record": dict(study.record), "trials": found}
    sign = -1 if study.record["direction"] == "maximize" else 1
    order = ["finished", "pruned", "failed", "training", "waiting", "again"]
    found.sort(key=lambda row: (order.index(row["state"]), sign * (row["score"] or 0.0), row["trial"]))
    names = [parameter.name for parameter in study.space]
    rungs = study.record["rungs"]
    second: list[str] = [study.record["second"]] if "second" in study.record else []
    columns = ["trial", "state", *(["rung"] if rungs > 1 else []), "score", *second, *names]
    cells = [[cell(value) for value in _cells(row, names, rungs, second)] for row in found]
    lines = fitted(columns, cells) if cells else [columns]
    counts = ", ".join(
        f"{number} {state}" for state in order if (number := sum(row["state"] == state for row in found))
    )
    waiting = study.record["trials"] - sum(row["state"] not in ("again", "waiting") for row in found)
    begun = f"{counts or 'none has begun'}; {waiting} of {study.record['trials']} not begun"
    metric = f"{study.record['metric']}, mean of seeds {' '.join(map(str, study.record['seeds']))}"
    reasons: dict[str, list[str]] = {}
    for row in found:
        if row["reason"]:
            reasons.setdefault(f"{row['state']}: {row['reason']}", []).append(str(row["trial"]))
    why = [f"trial{'s' * (len(each) > 1)} {', '.join(each)} {reason}" for reason, each in reasons.items()]
    return "\n".join([f"study {study.name}: {metric}", begun, "", table(lines[0], lines[1:]), *why])


def _cells(row: dict[str, Any], names: list[str], rungs: int, second: list[str]) -> list[Any]:
    rung = [f"{row['rung']} of {rungs}"] if rungs > 1 else []
    tried = (row["params"].get(name) for name in names)
    return [row["trial"], row["state"], *rung, row["score"], *(row[name] for name in second), *tried]


def best(study: Study) -> dict[str, Any]:
    """The trial with the best mean of final scores.

    Raises:
        UsageError: none is finished.
    """
    found = [row for row in rows(study) if row["state"] == "finished" and row["stage"] != TUNING]
    if not found:
        raise UsageError(f"study {study.name} has no finished trial yet; rlgen study show {study.name} says why")
    choose = max if study.record["direction"] == "maximize" else min
    return choose(found, key=lambda row: row["score"])


def best_line(study: Study) -> str:
    """The best trial in a line."""
    found = best(study)
    tried = ", ".join(f"{name} {cell(value)}" for name, value in found["params"].items())
    return f"best: trial {found['trial']}, {study.record['metric']} {cell(found['score'])}: {tried}"
