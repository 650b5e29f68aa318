"""The best evaluation of a run: one metric, compared on the same images every time."""

from __future__ import annotations

import math
from typing import Any

from rlgen.metrics import SUBSET

SCORES = {"eval/episodic_return": 1, "eval/nll": -1, "eval/elbo": 1} | {  # 1: higher is better
    f"eval/{name}": -1 for name in ("fd_lenet", "fd_random", "kid_lenet", "kid_random", "fd")
}


def compared(metrics: dict[str, Any], metric: str) -> Any:
    """The value of a metric that can be compared with those of other evaluations; None without one."""
    parts = (name for name in metrics if SUBSET.match(name) and SUBSET.sub("eval/", name) == metric)
    return metrics.get(next(parts, metric))


def better(metrics: dict[str, Any], best: dict[str, Any] | None, step: int) -> dict[str, Any] | None:
    """The evaluation `metrics` at `step` as metric, value and step, if it is better than `best`; else None.

    The metric is the first of `SCORES` found, and stays the one that was compared first.
    """
    metric = best["metric"] if best else next((name for name in SCORES if name in metrics), None)
    found = compared(metrics, metric) if metric else None
    if metric is None or found is None or not math.isfinite(found):
        return None
    value = float(found)
    if best and SCORES.get(metric, 0) * (value - best["value"]) <= 0:
        return None
    return {"metric": metric, "value": value, "step": step}


def final(metrics: dict[str, Any], metric: str | None) -> dict[str, Any] | None:
    """The score in the last evaluation, a row of metrics, as metric, value and step; None without one.

    Args:
        metrics: the row.
        metric: that the best was chosen by; None takes the first of `SCORES`.
    """
    found = next((name for name in ([metric] if metric else SCORES) if name in metrics), None)
    return {"metric": found, "value": metrics[found], "step": metrics["step"]} if found else None
