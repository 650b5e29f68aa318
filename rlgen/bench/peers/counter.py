"""A block of work that counts what it does."""

from __future__ import annotations

from collections.abc import Callable

from rlgen.bench.measure import Costs, per, repeat


class Counter:
    """A block that calls `step` again and again.

    Args:
        step: does some work, and returns how many of `unit` that was; it adds its gradient steps to `updates`.
        unit: env_step, image or update.
        device: where it works.
        warm: units that are worked off at once, before anything is timed.

    Attributes:
        updates: gradient steps so far.
    """

    def __init__(self, step: Callable[[Counter], int], unit: str, device: str, warm: int = 0) -> None:
        self.step, self.unit, self.device, self.updates = step, unit, device, 0
        while warm > 0:
            warm -= step(self)

    def __call__(self, seconds: float) -> Costs:
        before = self.updates
        count, took = repeat(seconds, lambda: self.step(self), self.device)
        return per(took, **{self.unit: count, "update": self.updates - before})
