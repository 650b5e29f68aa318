"""A metric over a run, drawn with characters."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Sequence
from typing import Any

WIDTH = 60  # columns of a curve at most
BESIDE = 63  # columns that the names and the numbers beside a curve take
BLOCKS, ASCII = " ▁▂▃▄▅▆▇█", " ..::--=#"  # from empty to full, and where the terminal has no blocks
MOST_POINTS = 1000  # of a curve in JSON
ROUNDING = 1e-9  # a range of less than this share of its top is no range


class Curve:
    """A metric over the run as text, `height` lines of blocks: the mean of each column, held where nothing was logged.

    Args:
        points: (step, value), in order.
        last: step at the right edge.
        height: lines; above one, a line with the steps is added.
    """

    def __init__(self, points: Sequence[tuple[int, float]], last: int, height: int = 1) -> None:
        self.points, self.last, self.height = points, last, height

    def tolist(self) -> list[list[Any]]:
        """At most a thousand points, for JSON: [step, value] each."""
        stride = -(-len(self.points) // MOST_POINTS)
        return [list(point) for point in self.points[::-stride][::-1]] if self.points else []

    def __str__(self) -> str:
        means = self.column_means(min(WIDTH, max(20, shutil.get_terminal_size((WIDTH + BESIDE, 24)).columns - BESIDE)))
        finite = [value for value in means if math.isfinite(value)]
        end = f"{self.points[-1][1]:.4g}"
        if not finite:
            return f"no finite value, last {end}"
        low, high = min(finite), max(finite)
        lines = self.blocks(means, low, high)
        if self.height == 1:
            return f"{lines[0]} {low:.4g} to {high:.4g}, last {end}"
        lines[0] += f" {high:.4g}"
        lines[-1] += f" {low:.4g}, last {end}"
        return "\n".join([*lines, f"0{f'{self.last:,} steps':>{len(means) - 1}}"])

    def column_means(self, width: int) -> list[float]:
        """The mean of the finite values of each column; NaN where there are none."""
        columns: list[list[float]] = [[] for _ in range(width)]
        for step, value in self.points:
            if math.isfinite(value):
                columns[min(width - 1, width * step // max(1, self.last))].append(value)
        return [sum(column) / len(column) if column else math.nan for column in columns]

    def blocks(self, means: Sequence[float], low: float, high: float) -> list[str]:
        """The curve from the top line to the bottom one; nothing is drawn behind its last value."""
        encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
        marks = BLOCKS if encoding.startswith("utf") else ASCII
        steps = len(marks) - 1  # of a line
        lines = [""] * self.height
        level, until = 0, max(index for index, value in enumerate(means) if math.isfinite(value))
        for index, value in enumerate(means):
            if math.isfinite(value):
                share = (value - low) / (high - low) if high - low > ROUNDING * abs(high) else 0.5
                level = 1 + round(share * (steps * self.height - 1))
            for line in range(self.height):
                filled = level - steps * (self.height - 1 - line) if index <= until else 0
                lines[line] += marks[min(steps, max(0, filled))]
        return lines
