"""Cells of a table: how a number is written, and what it sorts by."""

from __future__ import annotations

import math
from collections.abc import Callable

from rlgen import text

Cell = str | tuple[str, float]  # text, or text and what it sorts by


MISSING: Cell = ("\N{EN DASH}", math.inf)  # sorts last


def number(value: float) -> str:
    """Four digits, or all of those before the point; a power of ten where they are too many to be read."""
    size = abs(value)
    if size >= 1e12:
        return f"{value:.3e}"
    return f"{value:,.0f}" if size >= 10_000 else f"{value:.1f}" if size >= 100 else f"{value:#.4g}"


def whole(value: float) -> str:
    """Without digits after the point."""
    return f"{value:,.0f}" if abs(value) < 1e12 else f"{value:.3e}"


def duration(seconds: float) -> str:
    """Seconds, or hours, minutes and seconds."""
    return f"{seconds:.1f} s" if seconds < 100 else text.duration(seconds)


def number_cell(value: float | None, write: Callable[[float], str] = number) -> Cell:
    """A number. What is missing is a dash and sorts last; what is infinite was never reached."""
    if value is None or math.isnan(value):
        return MISSING
    return ("not reached", value) if math.isinf(value) else (write(value), value)


def range_cell(
    value: float | None, low: float | None, high: float | None, write: Callable[[float], str] = number
) -> Cell:
    """An estimate and its interval, where there is one."""
    ends = "" if low is None or high is None else f" [{write(low)}, {write(high)}]"
    return number_cell(value, lambda value: write(value) + ends)


def count_cell(value: int) -> Cell:
    """A count."""
    return str(value), value
