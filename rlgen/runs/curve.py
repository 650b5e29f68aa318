"""A metric over a run, drawn with characters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rlgen.text import NAME_WIDTH, takes, terminal_width

WIDTH, NARROW = 60, 12  # columns of a curve, at most, and at least where its numbers stand beside it
NUMBERS = 32  # columns that are kept for them; those of all curves begin in the same one
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
        finite = [value for value in self.column_means(WIDTH) if math.isfinite(value)]
        last = f"last {self.points[-1][1]:.4g}"
        if not finite:
            return f"no finite value, {last}"
        low, high = min(finite), max(finite)
        room = terminal_width() - NAME_WIDTH - 1
        width = min(WIDTH, room - NUMBERS)
        width = width if width >= NARROW else min(WIDTH, room)
        lines = self.blocks(self.column_means(width), low, high)
        top, bottom = f" {high:.4g}", f" {low:.4g}, {last}"
        below = []
        if self.height == 1:
            top = bottom = f" {low:.4g} to {high:.4g}, {last}"
        if width + max(len(top), len(bottom)) > room:
            text = f"{low:.4g} to {high:.4g}, {last}"
            below = [text] if len(text) <= room else text.split(", ")
            top = bottom = ""
        lines[0] += top
        lines[-1] += bottom if self.height > 1 else ""
        axis = [f"0{f'{self.last:,} steps':>{width - 1}}"] if self.height > 1 else []
        return "\n".join([*lines, *axis, *below])

    def column_means(self, width: int) -> list[float]:
        """The mean of the finite values of each column; NaN where there are none."""
        columns: list[list[float]] = [[] for _ in range(width)]
        for step, value in self.points:
            if math.isfinite(value):
                columns[min(width - 1, width * step // max(1, self.last))].append(value)
        return [sum(column) / len(column) if column else math.nan for column in columns]

    def blocks(self, means: Sequence[float], low: float, high: float) -> list[str]:
        """The curve from the top line to the bottom one; nothing is drawn behind its last value."""
        marks = BLOCKS if takes(BLOCKS) else ASCII
        steps = len(marks) - 1  # of a line
        lines = [""] * self.height
        level, until = 0, max(index for index, value in enumerate(means) if math.isfinite(value))
        for index, value in enumerate(means):
            if math.isfinite(value):
                share = (value - low) / (high - low) if high - low > ROUNDING * abs(high) else 0.5
                level = 1 + round(min(1.0, max(0.0, share)) * (steps * self.height - 1))
            for line in range(self.height):
                filled = level - steps * (self.height - 1 - line) if index <= until else 0
                lines[line] += marks[min(steps, max(0, filled))]
        return lines
