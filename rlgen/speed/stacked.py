"""Several seeds trained together: every run is a coroutine that meets the others in its gradient steps.

Each run is an ordinary one, with its own learner, source, buffer, random numbers and directory, in the same loop as
ever. Where a learner takes a gradient step its coroutine waits. Once all of them wait, their parameters, which are rows
of stacked tensors, move in one batched step, and all go on. A run that ends or fails leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from greenlet import GreenletExit, getcurrent, greenlet
from torch import Tensor

from rlgen.core.batch import Batch
from rlgen.core.learner import Learner
from rlgen.core.step import Eager, GradientStep
from rlgen.speed.recorded import Record, Recorded, size_key

CPU_SIZE = 2**16  # numbers in the largest matrix worth stacking on a CPU: 2.7 times as fast at 64 x 64, 1.1 at 256

Result = TypeVar("Result")


class Together:
    """The executor of several learners that take their gradient steps as one.

    Args:
        verify: as of `Recorded`.
        record: as of `Recorded`.

    Attributes:
        record: as of `Recorded`; what is recorded from now on.
        recorded: the executor of the stacked steps.
    """

    def __init__(self, verify: int = 0, record: Record | None = None) -> None:
        self._verify, self.record = verify, record
        self._stacked_learners: list[Learner] = []  # in order of the rows
        self._stacked: dict[str, Tensor] = {}
        self.recorded = Recorded(verify, record)
        self._alone: dict[Learner, Recorded] = {}
        self._scheduler: greenlet | None = None

    def __deepcopy__(self, memo: dict[int, object]) -> Recorded:
        return Recorded(self._verify, self.record)  # a copy of one learner is alone

    def minimize(self, step: GradientStep) -> Batch:
        """Wait until every other run takes a gradient step too; called by a learner, in its coroutine."""
        assert self._scheduler is not None
        metrics = self._scheduler.switch(step)
        return Eager().minimize(step) if metrics is None else metrics

    def run(self, bodies: Sequence[Callable[[], Result]]) -> list[Result | BaseException]:
        """Run them side by side, each in a coroutine, to their ends; what each returned or raised.

        Raises:
            KeyboardInterrupt: once every coroutine has ended.
        """
        results: list[Result | BaseException] = [GreenletExit()] * len(bodies)

        def finish(index: int, body: Callable[[], Result]) -> None:
            try:
                results[index] = body()
            except BaseException as error:
                results[index] = error

        self._scheduler = getcurrent()
        coroutines = [greenlet(partial(finish, index, body)) for index, body in enumerate(bodies)]
        started = {coroutine: coroutine.switch() for coroutine in coroutines}
        waiting: dict[greenlet, GradientStep] = {each: step for each, step in started.items() if not each.dead}
        while waiting:
            metrics = self._minimize_all(list(waiting.values()))
            going_on = {each: each.switch(own) for each, own in zip(waiting, metrics, strict=True)}
            waiting = {each: step for each, step in going_on.items() if not each.dead}
        interrupt = next((error for error in results if isinstance(error, KeyboardInterrupt)), None)
        if interrupt is not None:
            raise interrupt
        return results

    def _minimize_all(self, steps: list[GradientStep]) -> list[Batch | None]:
        """The metrics of each, by one step if all of them take the same; None for a step to be taken eagerly."""
        learners = [step.learner for step in steps]
        same = len({(step.loss.__name__, size_key(step)) for step in steps}) == 1
        if len(steps) > 1 and same and stackable(learners[0]):
            if learners != self._stacked_learners:
                self._stacked_learners, self._stacked = learners, stack(learners)
                self.recorded, refused = Recorded(self._verify, self.record), self.recorded.refused
                self.recorded.refused = refused
            together = self.recorded.minimize_together(steps, self._stacked)
            if together is not None:
                return [*together]
            if steps[0].loss.__name__ not in self.recorded.refused:
                return [None] * len(steps)  # not yet: each takes its first step eagerly
        alone = [self._alone.setdefault(step.learner, Recorded(self._verify, self.record)) for step in steps]
        found = [own.minimize_together([step]) for own, step in zip(alone, steps, strict=True)]
        return [metrics[0] if metrics else None for metrics in found]


def stackable(learner: Learner) -> bool:
    """Whether stacking gains: on a GPU always; on a CPU where Python takes longer than the arithmetic."""
    if learner.device.type == "cuda":
        return True
    return all(param.ndim <= 2 and param.numel() <= CPU_SIZE for param in learner.parameters())


def stack(learners: Sequence[Learner]) -> dict[str, Tensor]:
    """Stack parameters and buffers, [S, ...] each by name, and make those of the learners its rows."""
    stacked: dict[str, Tensor] = {}
    tensors = [dict(learner.named_parameters()) | dict(learner.named_buffers()) for learner in learners]
    for name, first in tensors[0].items():
        whole = first.data.new_empty_strided((len(learners), *first.shape), (first.numel(), *first.stride()))
        for row, own in zip(whole, tensors, strict=True):
            row.copy_(own[name].data)
            own[name].data = row
        stacked[name] = whole
    return stacked
