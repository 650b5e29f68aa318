"""Many seeds in one process: every seed is an ordinary run, and all of them meet in `minimize`.

Each run trains in a coroutine of its own (a greenlet), with its own learner, source, buffer, random numbers and run
directory, in the same loop as ever. Where a learner takes a gradient step its coroutine waits; once all do, their
parameters, which are rows of stacked tensors, move in one batched step, and all go on. A run that ends or fails leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from greenlet import GreenletExit, getcurrent, greenlet
from torch import Tensor

from rlgen.core.learner import Batch, Learner
from rlgen.speed.recorded import Replay, Work

CPU_SIZE = 2**16  # numbers in the largest matrix worth stacking on a CPU: 2.7 times as fast at 64 x 64, 1.1 at 256

Result = TypeVar("Result")


class Together:
    """The gradient steps of several learners, taken as one; stands where each has its `Replay`.

    Args:
        verify: as in `Replay`.
    """

    def __init__(self, verify: int = 0) -> None:
        self._verify = verify
        self._members: list[Learner] = []  # those whose parameters are stacked, in order of the rows
        self._stacked: dict[str, Tensor] = {}
        self._replay = Replay(verify)
        self._alone: dict[Learner, Replay] = {}
        self._hub: greenlet | None = None

    def minimize(self, works: Sequence[Work]) -> list[Batch] | None:
        """Wait until every other run takes a gradient step too; called by a learner, in its coroutine."""
        assert self._hub is not None
        return self._hub.switch(works[0])

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

        self._hub = getcurrent()
        answers: dict[greenlet, list[Batch] | None] = {
            greenlet(partial(finish, index, body)): None for index, body in enumerate(bodies)
        }
        works: dict[greenlet, Work] = {}
        while answers:
            for coroutine, answer in answers.items():
                work = coroutine.switch(answer) if coroutine in works else coroutine.switch()
                works.pop(coroutine, None)
                if not coroutine.dead:
                    works[coroutine] = work
            answers = dict(zip(works, self._minimize(list(works.values())), strict=True))
        interrupt = next((error for error in results if isinstance(error, KeyboardInterrupt)), None)
        if interrupt is not None:
            raise interrupt
        return results

    def _minimize(self, works: list[Work]) -> list[list[Batch] | None]:
        """The step of each, in one if all of them take the same."""
        learners = [work.learner for work in works]
        if len(works) > 1 and len({work.kind for work in works}) == 1 and self._stackable(learners[0]):
            if learners != self._members:
                self._members, self._stacked = learners, stack(learners)
                self._replay, refused = Replay(self._verify), self._replay.refused
                self._replay.refused = refused
            metrics = self._replay.minimize(works, self._stacked)
            if metrics is not None:
                return [[row] for row in metrics]
            if works[0].loss.__name__ not in self._replay.refused:
                return [None] * len(works)  # not yet: each takes its first step as it is
        return [self._alone.setdefault(work.learner, Replay(self._verify)).minimize([work]) for work in works]

    @staticmethod
    def _stackable(learner: Learner) -> bool:
        """A GPU is waited for less often; a CPU gains only where Python takes longer than the arithmetic."""
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
