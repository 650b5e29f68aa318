"""What an ablation found: which factor matters, the mean of each level, how far each cell is behind the best one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rlgen.compare.cells import range_cell
from rlgen.compare.rules import FEW_SEEDS
from rlgen.errors import UsageError
from rlgen.metrics.factorial import LEVEL, Effect, behind_best, holm, main_effect
from rlgen.runs.records import read_status
from rlgen.study import ablation
from rlgen.study.record import FINAL, TUNING, Study
from rlgen.study.show import rows
from rlgen.study.space import grid
from rlgen.text import fitted, table

NOTE = (
    "Means of the last evaluation; intervals: 95 %, bootstrap over seeds. p: by chance as far apart, a permutation\n"
    "test of a factor, Welch's t-test of a cell; corrected for the comparisons of its table (Holm)."
)


def found(study: Study) -> dict[str, Any]:
    """Everything that the trials say so far, as plain values for JSON.

    Raises:
        UsageError: the study is no ablation.
    """
    if not study.is_ablation:
        raise UsageError(
            f"study {study.name} is no ablation; rlgen study show {study.name}, or study ablate ALGO --over"
        )
    every = rows(study)
    cells = _cells(study, every)
    sign = 1 if study.record["direction"] == "maximize" else -1
    scores = {
        tuple(map(str, cell["levels"].values())): sign * np.array(cell["scores"]) for cell in cells if cell["scores"]
    }
    _compare_cells(cells, scores, sign)
    return {
        "study": study.name,
        "metric": study.record["metric"],
        "direction": study.record["direction"],
        "seeds": study.record["seeds"],
        "tuning": _tuned(study, every),
        "factors": _factors(study, scores, sign),
        "cells": cells,
    }


def _cells(study: Study, every: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A dictionary a cell, those without scores too."""
    row_of = {
        ablation.label(study, row["params"]): row for row in every if row["stage"] == FINAL and row["state"] != "again"
    }
    tuned = ablation.chosen(study, every) if study.tuning.factor else {}
    cells = []
    for levels in grid(study.factors):
        row = row_of.get(ablation.label(study, levels), {})
        num = sum(read_status(study.runs_dir / name) == "finished" for name in row.get("runs", ()))
        cells.append(
            {
                "levels": levels,
                "tuned": tuned.get(levels.get(study.tuning.factor), {}),
                "state": row.get("state", "waiting"),
                "seeds": num,
                "scores": [*row["scores"].values()] if row.get("state") == "finished" else [],
                "reason": row.get("reason", ""),
            }
        )
    return cells


def _compare_cells(cells: list[dict[str, Any]], scores: Mapping[tuple[str, ...], np.ndarray], sign: int) -> None:
    """Add to each cell that has scores its mean, and how far it is behind the best one."""
    if not scores:
        return
    from rlgen.metrics import returns

    best, behind = behind_best(scores)
    corrected = dict(zip(behind, holm([each.p for each in behind.values()]), strict=True))
    for cell in cells:
        key = tuple(map(str, cell["levels"].values()))
        if key not in scores:
            continue
        cell["mean"] = _ends(returns.bootstrap([scores[key]], returns.mean), sign)
        cell["best"] = key == best
        if key != best:
            cell["behind"] = _ends(behind[key].difference, 1)
            cell["p"] = corrected[key]


def _factors(study: Study, scores: Mapping[tuple[str, ...], np.ndarray], sign: int) -> list[dict[str, Any]]:
    """A dictionary a factor, that with the smallest p first; those that cannot be judged yet come last."""
    names = [factor.name for factor in study.factors]
    effects = {name: main_effect(scores, axis) for axis, name in enumerate(names)}
    judged = {name: effect for name, effect in effects.items() if effect}
    corrected = dict(zip(judged, holm([effect.p for effect in judged.values()]), strict=True))
    described = [_factor(name, effects[name], corrected.get(name), sign) for name in names]
    return sorted(described, key=lambda each: (each["p"] is None, each["p"], -(each["difference"] or [0])[0]))


def _factor(name: str, effect: Effect | None, p: float | None, sign: int) -> dict[str, Any]:
    if effect is None:
        return {"factor": name, "p": None, "difference": None, "levels": {}, "of": 0}
    return {
        "factor": name,
        "best": effect.best,
        "worst": effect.worst,
        "difference": _ends(effect.difference, 1),
        "p": p,
        "levels": {level: _ends(interval, sign) for level, interval in effect.levels.items()},
        "of": effect.strata,
    }


def _ends(interval: Any, sign: int) -> list[float | None]:
    """Value, low and high; None where there is no interval. `sign` is -1 where lower is better."""
    value, *ends = (sign * float(each) for each in interval)
    return [value, *(None if np.isnan(each) else each for each in ends[::sign])]


def _tuned(study: Study, every: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A dictionary a tuning trial."""
    factor = study.tuning.factor
    best = ablation.chosen(study, every) if factor else {}
    found = []
    for row in every:
        if row["stage"] == TUNING and row["state"] != "again" and row["runs"]:
            values = {each.name: row["params"][each.name] for each in study.tuning.space}
            level = row["params"][factor]
            shared = {"state": row["state"], "score": row["score"], "chosen": best.get(level) == values}
            found.append({factor: level} | values | shared)
    return found


def shown(study: Study) -> str:
    """The same as tables."""
    all_of_it = found(study)
    cells, seeds = all_of_it["cells"], " ".join(map(str, all_of_it["seeds"]))
    with_scores = sum(bool(cell["scores"]) for cell in cells)
    head = (
        f"ablation {study.name}: {study.record['metric']}, seeds {seeds}; {with_scores} of {len(cells)} cells finished"
    )
    lines = [head]
    left_out = "are left out of the means, with all that they are set against"
    if num_failed := sum(cell["state"] == "failed" for cell in cells):
        again = f"rlgen study work {study.name} --retry-failed"
        lines.append(f"{num_failed} failed: they {left_out}. Again: {again}")
    if with_scores + num_failed < len(cells):
        lines.append(f"Not final: cells that are not finished {left_out}.")
    if (num := len(study.record["seeds"])) < FEW_SEEDS:
        lines.append(f"Only {num} seed{'s' * (num > 1)} a cell: take {FEW_SEEDS} or more before believing it.")
    parts = [
        _factor_table(all_of_it),
        _level_table(all_of_it),
        _cell_table(study, cells),
        _tuning_table(study, all_of_it),
    ]
    return "\n\n".join(["\n".join(lines), *filter(None, parts), NOTE])


def _factor_table(all_of_it: dict[str, Any]) -> str:
    factors = all_of_it["factors"]
    num = sum(each["p"] is not None for each in factors)
    columns = ["factor", "best", "worst", "apart by", f"p, of {num}", ""]
    lines = [
        [each["factor"], each["best"], each["worst"], _written(each["difference"]), _p(each["p"]), _verdict(each["p"])]
        if each["p"] is not None
        else [each["factor"], "-", "-", "-", "-", "no scores yet"]
        for each in factors
    ]
    return _table(columns, lines)


def _verdict(p: float) -> str:
    return "matters" if p < LEVEL else "not settled"


def _level_table(all_of_it: dict[str, Any]) -> str:
    lines = [
        [f"{each['factor']}={level}", _written(ends), str(each["of"])]
        for each in all_of_it["factors"]
        for level, ends in each["levels"].items()
    ]
    return _table(["level", "mean", "cells"], lines)


def _cell_table(study: Study, cells: list[dict[str, Any]]) -> str:
    sign = 1 if study.record["direction"] == "maximize" else -1
    ordered = sorted(cells, key=lambda cell: ("mean" not in cell, -sign * cell.get("mean", [0.0])[0]))
    num = sum("p" in cell for cell in cells)
    names = [*(factor.name for factor in study.factors), *(each.name for each in study.tuning.space)]
    columns = [*names, "mean", "behind by", f"p, of {num}", ""]
    lines = []
    for cell in ordered:
        values = cell["levels"] | cell["tuned"]
        line = [str(values.get(name, "-")) for name in names]
        if "mean" not in cell:
            of = f", {cell['seeds']} of {len(study.record['seeds'])} seeds" if cell["state"] == "training" else ""
            lines.append([*line, "-", "-", "-", cell["state"] + of])
        elif cell["best"]:
            lines.append([*line, _written(cell["mean"]), "-", "-", "best"])
        else:
            verdict = "worse" if cell["p"] < LEVEL else "not settled"
            lines.append([*line, _written(cell["mean"]), _written(cell["behind"]), _p(cell["p"]), verdict])
    reasons = [f"{ablation.label(study, cell['levels'])}: {cell['reason']}" for cell in cells if cell["reason"]]
    return "\n".join([_table(columns, lines), *reasons])


def _tuning_table(study: Study, all_of_it: dict[str, Any]) -> str:
    tuned = all_of_it["tuning"]
    if not tuned:
        return ""
    names = [study.tuning.factor, *(each.name for each in study.tuning.space)]
    seeds = " ".join(map(str, study.record["tuning_seeds"]))
    lines = [
        [
            *(str(each[name]) for name in names),
            "-" if each["score"] is None else _short(each["score"]),
            "chosen" if each["chosen"] else "" if each["state"] == "finished" else each["state"],
        ]
        for each in tuned
    ]
    return f"Tuned on seeds {seeds}, the other factors at their first level:\n" + _table([*names, "mean", ""], lines)


def _written(ends: list[float | None]) -> str:
    value, low, high = ends
    cell = range_cell(value, low, high, _short)
    return cell[0] if isinstance(cell, tuple) else cell


def _short(value: float) -> str:
    """Three digits, so that a row fits a terminal, or all of those before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _table(columns: list[str], lines: list[list[str]]) -> str:
    if not lines:
        return ""
    first, *rest = fitted(columns, lines)
    return table(first, rest)
