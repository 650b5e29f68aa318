"""An ablation: a full grid of factors, whose cells are trained on final seeds; values tuned for a level come first.

It is a study in two stages. The tuning trials train each level of one factor with each of its values of the tuned
options, the other factors at their first level, on seeds of their own. When all are over, the worker that finds none
left enqueues a final trial for each cell, with the values that were best for its level. Without tuned options there are
final trials only.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rlgen.study.record import FINAL, TUNING, Study
from rlgen.study.space import grid
from rlgen.text import warn

if TYPE_CHECKING:
    import optuna


def tuning_trials(study: Study) -> list[dict[str, Any]]:
    """The values of each tuning trial, as Optuna has them."""
    tuning, first = study.tuning, {factor.name: grid([factor])[0][factor.name] for factor in study.factors}
    return [
        first | {tuning.factor: level} | dict(zip(tried, values, strict=True))
        for level, tried in tuning.tried.items()
        for values in itertools.product(*tried.values())
    ]


def waiting_at_first(study: Study) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The values and the attributes of the trials that a new ablation begins with."""
    if study.tuning.factor:
        return [(values, {"stage": TUNING}) for values in tuning_trials(study)]
    return [(cell, {"stage": FINAL, "cell": label(study, cell)}) for cell in grid(study.factors)]


def every_trial(study: Study) -> list[dict[str, Any]]:
    """The options of each trial that there may be: of tuning, and of each cell with the first values of its level."""
    tuning = study.tuning
    first = {level: {name: texts[0] for name, texts in tried.items()} for level, tried in tuning.tried.items()}
    cells = [cell | first.get(cell.get(tuning.factor), {}) for cell in grid(study.factors)]
    tuned = tuning_trials(study) if tuning.factor else []
    return [study.values(values) | {"no_preset": True} for values in (*tuned, *cells)]


def num_trials(study: Study) -> dict[str, int]:
    """How many there are of each stage."""
    return {TUNING: len(tuning_trials(study)) if study.tuning.factor else 0, FINAL: len(grid(study.factors))}


def chosen(study: Study, rows: Sequence[Mapping[str, Any]]) -> dict[Any, dict[str, Any]]:
    """The tuned options by level: those of the best tuning trial. A level without a finished one is not there.

    Args:
        study: whose.
        rows: its trials, as `show` has them.
    """
    sign = -1 if study.record["direction"] == "maximize" else 1
    finished = [row for row in rows if row["stage"] == TUNING and row["state"] == "finished"]
    best: dict[Any, dict[str, Any]] = {}
    for row in sorted(finished, key=lambda row: (sign * row["score"], row["trial"])):
        values = {each.name: row["params"][each.name] for each in study.tuning.space}
        best.setdefault(row["params"][study.tuning.factor], values)
    return best


def begin_finals(study: Study, found: optuna.Study, rows: Sequence[Mapping[str, Any]]) -> int:
    """Enqueue the final trials that are not there, once every trial is over; returns how many they are.

    Args:
        study: whose lock is held.
        found: its trials.
        rows: the same, as `show` has them.
    """
    if not study.tuning.factor:
        return 0
    there = {trial.user_attrs.get("cell") for trial in found.get_trials(deepcopy=False)}
    best, num = chosen(study, rows), 0
    for cell in grid(study.factors):
        name, values = label(study, cell), best.get(cell[study.tuning.factor])
        if values is not None and name not in there:
            found.enqueue_trial(cell | values, user_attrs={"stage": FINAL, "cell": name})
            num += 1
    for level in study.tuning.tried:
        if level not in best and not there - {None}:
            warn(f"{study.tuning.factor}={level}: no tuning trial finished, so its cells are not trained")
    return num


def label(study: Study, params: Mapping[str, Any]) -> str:
    """A cell in words."""
    return " ".join(f"{factor.name}={params[factor.name]}" for factor in study.factors)
