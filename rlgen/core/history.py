"""What the rows of a run have said so far of the metrics that are watched: means in parts, and whether they changed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

PARTS = 200  # of a run: metrics are kept as their mean in each
WINDOW = 0.1  # of a run: what a mean is taken over, to tell a change from noise
FEW = 3  # values, below which nothing is said of their spread
LAST = 3  # evaluations that are judged together


class History:
    """What the rows of a run have said of some metrics.

    Args:
        names: of the metrics.
        steps: the run's length.

    Attributes:
        share: of the run behind the newest row.
    """

    def __init__(self, names: Sequence[str], steps: int) -> None:
        self._steps, self.share = steps, 0.0
        self._values: dict[str, list[float]] = {name: [] for name in names}
        self._parts: dict[str, list[tuple[int, float, int]]] = {name: [] for name in names}  # part, sum, count

    def add(self, row: Mapping[str, Any]) -> set[str]:
        """Count a row in; returns which of the metrics it has."""
        self.share = min(1.0, row["step"] / self._steps)
        part, found = int(PARTS * self.share), row.keys() & self._values.keys()
        for name in found:
            value, parts = float(row[name]), self._parts[name]
            self._values[name] = [*self._values[name], value][-LAST:]
            _, total, count = parts.pop() if parts and parts[-1][0] == part else (part, 0.0, 0)
            parts.append((part, total + value, count + 1))
        return found

    def last(self, name: str) -> float:
        """The newest value; NaN without one."""
        return self._values[name][-1] if self._values[name] else math.nan

    def latest(self, name: str) -> float:
        """The median of the newest few; NaN without as many."""
        return median(self._values[name]) if len(self._values[name]) == LAST else math.nan

    def means(self, name: str) -> list[tuple[float, float]]:
        """The mean in each part that has one, with the share of the run where the part begins."""
        return [(part / PARTS, total / count) for part, total, count in self._parts[name]]

    def largest(self, names: Sequence[str]) -> float:
        """The largest absolute mean of these metrics in any part; 0 without one."""
        return max((abs(mean) for name in names for _, mean in self.means(name)), default=0.0)

    def gain(self, name: str, sign: int) -> float:
        """How clearly a metric has ever left its beginning: the larger of two statistics, each in standard deviations.

        One is the difference of the mean over the first `WINDOW` of the run that has the metric and over a later one.
        The other is Kendall's rank correlation with time, up to any moment so far (Mann 1945). It is infinite where a
        few values in a row differ from the first one by more than its own size. 0 where there are too few values.

        Args:
            name: of the metric.
            sign: 1 where more is better, -1 where less is, 0 where any change counts.
        """
        points = self.means(name)
        if len(points) < 2 * FEW:
            return 0.0
        share, value = np.array(points).T
        best = [max(_shift(share, each), _trend(each), _leap(each)) for each in (value, -value)]
        return {1: best[0], -1: best[1], 0: max(best)}[sign]


def _shift(share: np.ndarray, value: np.ndarray) -> float:
    """How far a mean over a later window lies above that over the first one, in standard errors, at the most."""
    num_first = max(FEW, int((share < share[0] + WINDOW).sum()))
    level, variance = value[:num_first].mean(), value[:num_first].var(ddof=1)
    later = value[num_first:] - level
    totals, squares = (np.concatenate([[0.0], each.cumsum()]) for each in (later, later**2))
    end = np.arange(1, len(later) + 1)
    start = np.searchsorted(share[num_first:], share[num_first:] - WINDOW, side="right")  # the window's first value
    start = np.minimum(start, end - FEW)
    end, start = end[start >= 0], start[start >= 0]
    if not len(end):
        return 0.0
    num = end - start
    change = (totals[end] - totals[start]) / num
    own = np.maximum(0.0, (squares[end] - squares[start]) / num - change**2) * num / (num - 1)
    error = np.sqrt(variance / num_first + own / num)
    return float((change / np.maximum(error, max(1e-6 * abs(level), 1e-12))).max())


def _trend(value: np.ndarray) -> float:
    """Kendall's statistic of the values up to each one, over its deviation where there is no trend: the largest."""
    pairs = np.triu(np.sign(value[None, :] - value[:, None])).sum(0).cumsum()[1:]  # later values above less below
    num = np.arange(2, len(value) + 1)
    return float((pairs / np.sqrt(num * (num - 1) * (2 * num + 5) / 18)).max())


def _leap(value: np.ndarray) -> float:
    """Infinite where `FEW` values in a row lie above the first by more than its size, else 0."""
    above = value > value[0] + abs(value[0])
    in_a_row = np.convolve(above, np.ones(FEW, int), "valid").max() if value[0] else 0
    return math.inf if in_a_row == FEW else 0.0
