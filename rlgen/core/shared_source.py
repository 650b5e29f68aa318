"""A source of one rank: its steps count for all ranks, and rank 0 evaluates for all of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np

from rlgen.core.buffer import Buffer
from rlgen.core.interruption import EvaluationInterrupted, never
from rlgen.core.ranks import Ranks


class SharedSource:
    """What a source does otherwise where it is one of several; `shared` puts it before the source's own class."""

    ranks: Ranks
    agree: Callable[[], None]  # on whether to stop, once a turn
    asked: Callable[[], bool]  # whether this rank was asked to stop
    _finished: list[Any]

    def fill(self, buffer: Buffer, learner: Any) -> int:
        """As the source does; returns the ticks of all ranks."""
        ticks: int = super().fill(buffer, learner)  # type: ignore[misc]
        self.agree()
        return ticks * self.ranks.size

    def metrics(self) -> dict[str, float]:
        """Of the episodes of all ranks."""
        envs: Any = getattr(self, "envs", None)
        if envs is not None:
            found = self.ranks.gather((self._finished, envs.successes))
            self._finished = [episode for finished, _ in found for episode in finished]
            envs.successes = [success for _, successes in found for success in successes]
        return super().metrics()  # type: ignore[misc, no-any-return]

    def evaluate(self, learner: Any, final: bool = False, interrupted: Callable[[], bool] = never) -> dict[str, Any]:
        """What rank 0 finds; pictures and videos are its alone."""
        scores: dict[str, Any] | None = None
        if not self.ranks.rank:
            with contextlib.suppress(EvaluationInterrupted):
                scores = super().evaluate(learner, final, self.asked)  # type: ignore[misc]
        numbers = scores and {name: float(value) for name, value in scores.items() if is_number(value)}
        if (numbers := self.ranks.first(numbers)) is None:
            self.agree()
            raise EvaluationInterrupted
        return numbers if scores is None else scores


def is_number(value: Any) -> bool:
    """Whether a score is one: pictures, videos and texts are not."""
    return isinstance(value, (int, float, np.number)) or getattr(value, "ndim", 1) == 0


def shared(source: Any, ranks: Ranks, agree: Callable[[], None], asked: Callable[[], bool]) -> Any:
    """The source as that of a rank; the one that was given is used no more."""
    kind: Any = type(f"Shared{type(source).__name__}", (SharedSource, type(source)), {})
    made = kind.__new__(kind)
    vars(made).update(vars(source) | {"ranks": ranks, "agree": agree, "asked": asked})
    return made
