"""Statistics of scores over seeds and tasks (Agarwal et al. 2021, "Deep RL at the edge of the statistical precipice").

Scores come as one array a task, each [runs]: tasks may have different numbers of runs. An aggregate maps them to one
number, along the last axis, so that all bootstrap resamples [R, runs] go through it at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.95  # of every interval
Tasks = Sequence[np.ndarray]  # one [..., runs] a task


class Interval(NamedTuple):
    """An estimate and its confidence interval; both ends are NaN where a task has a single run."""

    value: np.ndarray | float
    low: np.ndarray | float
    high: np.ndarray | float


def iqm(scores: Sequence[float] | np.ndarray) -> float:
    """Interquartile mean: the mean of the middle half of the scores (Agarwal et al. 2021, section 4.3).

    A quarter of them, rounded down, is dropped at each end, as `scipy.stats.trim_mean(scores, 0.25)` does.

    Raises:
        ValueError: there are none.
    """
    scores = np.asarray(scores, dtype=np.float64).ravel()
    if scores.size == 0:
        raise ValueError("the interquartile mean of no scores is not defined")
    return float(pooled_iqm([scores]))


def pooled_iqm(tasks: Tasks) -> np.ndarray:
    """Interquartile mean over the runs of all tasks together: [..., runs] a task -> [...]."""
    ordered = np.sort(np.concatenate(tasks, axis=-1), axis=-1)
    size = ordered.shape[-1]
    return ordered[..., size // 4 : size - size // 4].mean(-1)


def mean(tasks: Tasks) -> np.ndarray:
    """Mean over tasks of the mean over runs."""
    return np.mean([task.mean(-1) for task in tasks], axis=0)


def median(tasks: Tasks) -> np.ndarray:
    """Median over tasks of the mean over runs, as the literature reports; over the runs where there is one task."""
    return np.median(tasks[0], axis=-1) if len(tasks) == 1 else np.median([task.mean(-1) for task in tasks], axis=0)


def optimality_gap(tasks: Tasks, target: float = 1.0) -> np.ndarray:
    """How far scores fall short of `target`, beyond which nothing more is gained; lower is better."""
    return target - np.mean([np.minimum(task, target).mean(-1) for task in tasks], axis=0)


def normalise(scores: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scores with `low` at 0 and `high` at 1; where lower is better, `low` is the larger one."""
    return (np.asarray(scores, dtype=np.float64) - low) / (high - low) if high != low else np.ones_like(scores)


def bootstrap(
    tasks: Tasks, statistic: Callable[[Tasks], np.ndarray] = pooled_iqm, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Stratified bootstrap: runs are drawn with replacement within each task; a 95 % percentile interval.

    The order of the runs does not change the answer.

    Args:
        tasks: scores, [..., runs] a task; leading axes, the points of a curve, share the draws.
        statistic: one of the aggregates above.
        resamples: how often; the paper takes 2,000 to 50,000.
        seed: of the draws.
    """
    tasks = [np.sort(np.asarray(task, dtype=np.float64), axis=-1) for task in tasks]
    value = statistic(tasks)
    if min(task.shape[-1] for task in tasks) < 2:
        return Interval(value, value * np.nan, value * np.nan)
    rng = np.random.default_rng(seed)
    draws = [rng.integers(task.shape[-1], size=(resamples, task.shape[-1])) for task in tasks]  # [R, runs] each
    points = [task.reshape(-1, task.shape[-1]) for task in tasks]  # [points, runs] each
    tails = [50 * (1 - LEVEL), 50 * (1 + LEVEL)]
    ends = [  # a point at a time: a curve's resamples would not fit in memory at once
        np.percentile(statistic([task[i][draw] for task, draw in zip(points, draws, strict=True)]), tails)
        for i in range(len(points[0]))
    ]
    low, high = np.array(ends).T.reshape(2, *np.shape(value))
    return Interval(value, low[()], high[()])


def probability_of_improvement(x: Tasks, y: Tasks, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """P(X > Y) for a run each of two algorithms on the same task, averaged over tasks; ties count one half.

    The Mann-Whitney U statistic over its maximum (Agarwal et al. 2021, section 4.3, "average probability of
    improvement"). Both sides are resampled independently, within each task.

    Args:
        x: scores of one algorithm, [runs] a task; larger is better.
        y: of the other, on the same tasks in the same order; it may have other numbers of runs.
        resamples: how often.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    values, resampled = [], []
    for scores_x, scores_y in zip(x, y, strict=True):
        a, b = np.sort(scores_x)[:, None], np.sort(scores_y)[None, :]
        wins = (a > b) + 0.5 * (a == b)  # [runs of x, runs of y]
        # a resample is how often each run was drawn: two products instead of a comparison of every pair again
        times_x, times_y = (rng.multinomial(n, np.full(n, 1 / n), size=resamples) for n in wins.shape)  # [R, runs]
        values.append(wins.mean())
        resampled.append(((times_x @ wins) * times_y).sum(-1) / wins.size)  # [R]
    value = float(np.mean(values))
    if min(map(len, (*x, *y))) < 2:
        return Interval(value, np.nan, np.nan)
    low, high = np.percentile(np.mean(resampled, axis=0), [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return Interval(value, float(low), float(high))


def performance_profile(tasks: Tasks, thresholds: np.ndarray, resamples: int = 2_000, seed: int = 0) -> Interval:
    """Share of runs that score above each threshold, mean over tasks: [thresholds], with pointwise intervals."""
    above = [(np.asarray(task) > np.asarray(thresholds)[:, None]).astype(np.float64) for task in tasks]  # [K, runs]
    return bootstrap(above, mean, resamples, seed)


def area_under_curve(steps: np.ndarray, values: np.ndarray, end: float) -> float:
    """Mean height of a learning curve from 0 to `end`, trapezoids between its points, level before and after them."""
    inside = (steps > 0) & (steps < end)
    x = np.concatenate(([0.0], steps[inside], [end]))
    y = np.interp(x, steps, values)
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1])) / 2 / end)


def first_reaching(at: np.ndarray, values: np.ndarray, threshold: float, direction: int = 1) -> float:
    """Where, in steps or seconds, a curve first is as good as `threshold`; infinity if it never is.

    Args:
        at: position of each value, ascending.
        values: of the curve.
        threshold: to be reached.
        direction: 1 if higher is better, -1 if lower.
    """
    reached = np.flatnonzero(direction * values >= direction * threshold)
    return float(at[reached[0]]) if len(reached) else float("inf")
