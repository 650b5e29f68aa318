"""Statistics of a grid of factors: how much each one changes the mean, and which cells are worse than the best one.

A cell is a combination of levels, one of each factor, and has scores, [runs]; higher is better. The effect of a factor
is a mean over the levels of the others, where all of its own levels have scores. Its p-value is of a permutation test
within these (Good 2005, "Permutation, Parametric and Bootstrap Tests of Hypotheses", chapter 7): if the factor changes
nothing, any dealing of scores to its levels is as likely. Two cells are compared by Welch's t-test (Colas et al. 2019,
"A Hitchhiker's Guide to Statistical Comparisons of Reinforcement Learning Algorithms"): five seeds a side have too few
permutations for many comparisons. Intervals are 95 %, stratified bootstrap, not corrected; p-values are, after Holm.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rlgen.metrics import returns
from rlgen.metrics.returns import Interval, Tasks

LEVEL = 0.05  # chance of any false verdict in a table
Cells = Mapping[tuple[str, ...], np.ndarray]  # scores, [runs], by a level of each factor


@dataclass(frozen=True)
class Effect:
    """What a factor changes."""

    levels: dict[str, Interval]  # mean of each
    best: str  # level
    worst: str
    difference: Interval  # of these two
    p: float  # that the levels differ so much by chance; not corrected
    strata: int  # combinations of the other factors that it is a mean over


@dataclass(frozen=True)
class Behind:
    """How far a cell is behind the best one."""

    difference: Interval
    p: float  # not corrected


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm 1979): the chance of any false verdict is that of one."""
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    ascending = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values, dtype=np.float64)[order] * factors))
    corrected = np.empty(len(p_values))
    corrected[order] = ascending
    return corrected.tolist()


def main_effect(cells: Cells, axis: int, resamples: int = returns.RESAMPLES, seed: int = 0) -> Effect | None:
    """The effect of a factor; None where no combination of the others has scores of all of its levels.

    Args:
        cells: those that have scores.
        axis: which factor, as a place in the keys.
        resamples: of the bootstrap, and permutations.
        seed: of both.
    """
    levels = list(dict.fromkeys(key[axis] for key in cells))
    others = dict.fromkeys(key[:axis] + key[axis + 1 :] for key in cells)

    def keys(rest: tuple[str, ...]) -> list[tuple[str, ...]]:
        return [(*rest[:axis], level, *rest[axis:]) for level in levels]

    strata = [[cells[key] for key in keys(rest)] for rest in others if all(key in cells for key in keys(rest))]
    if not strata or len(levels) < 2:
        return None
    of_level = [[stratum[i] for stratum in strata] for i in range(len(levels))]
    means = [returns.bootstrap(tasks, returns.mean, resamples, seed) for tasks in of_level]
    values = [float(interval.value) for interval in means]
    best, worst = int(np.argmax(values)), int(np.argmin(values))
    return Effect(
        levels=dict(zip(levels, means, strict=True)),
        best=levels[best],
        worst=levels[worst],
        difference=_difference(of_level[best], of_level[worst], resamples, seed),
        p=_permuted(strata, resamples, seed),
        strata=len(strata),
    )


def behind_best(
    cells: Cells, resamples: int = returns.RESAMPLES
) -> tuple[tuple[str, ...], dict[tuple[str, ...], Behind]]:
    """The cell with the best mean, and how far each other one is behind it.

    The best is chosen by the same scores. A verdict on another is right all the same, that it is not the best: the
    one that truly is would have to lose one of as many comparisons (Hsu 1984, "Constrained simultaneous confidence
    intervals for multiple comparisons with the best").

    Args:
        cells: one or more that have scores.
        resamples: of the bootstrap.
    """
    best = max(cells, key=lambda key: cells[key].mean())
    others = {key: scores for key, scores in cells.items() if key != best}
    return best, {
        key: Behind(_difference([cells[best]], [scores], resamples, 0), _welch(cells[best], scores))
        for key, scores in others.items()
    }


def _difference(better: Tasks, worse: Tasks, resamples: int, seed: int) -> Interval:
    """Between the means of two lists of cells."""

    def statistic(tasks: Tasks) -> np.ndarray:
        return returns.mean(tasks[: len(better)]) - returns.mean(tasks[len(better) :])

    return returns.bootstrap([*better, *worse], statistic, resamples, seed)


def _permuted(strata: Sequence[Sequence[np.ndarray]], resamples: int, seed: int) -> float:
    """How often the means of the levels are as far apart when scores are dealt out anew within each stratum."""
    rng = np.random.default_rng(seed)
    sums = np.zeros((resamples + 1, len(strata[0])))  # [1 + R, levels]; the first row is what was observed
    for stratum in strata:
        pooled = np.concatenate(stratum)
        dealt = np.concatenate([pooled[None], rng.permuted(np.tile(pooled, (resamples, 1)), axis=1)])
        ends = np.cumsum([0, *map(len, stratum)])
        sums += np.stack([dealt[:, a:b].mean(1) for a, b in itertools.pairwise(ends)], axis=1)
    ranges = np.ptp(sums, axis=1)
    as_far = ranges[1:] >= ranges[0] * (1 - 1e-9)  # sums in another order differ in the last digit
    return float((1 + as_far.sum()) / (resamples + 1))


def _welch(x: np.ndarray, y: np.ndarray) -> float:
    """The two-sided p-value of Welch's t-test; 1 where a side has a single score."""
    if min(len(x), len(y)) < 2 or x.mean() == y.mean():
        return 1.0
    if np.ptp(x) == np.ptp(y) == 0:
        return 0.0
    from scipy import stats

    return float(stats.ttest_ind(x, y, equal_var=False).pvalue)
