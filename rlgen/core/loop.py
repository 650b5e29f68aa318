"""The training loop: the same few lines for a Q-learner, a policy gradient, a VAE and a GAN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

from rlgen.core.batch import Batch
from rlgen.core.buffer import Buffer
from rlgen.core.learner import Learner
from rlgen.core.source import Source


class Log(Protocol):
    """Where metrics go."""

    def add(self, metrics: Batch) -> None:
        """Count one update's metrics in: 0-d tensors, which stay on their device."""

    def write(self, step: int, metrics: dict[str, Any] | None = None, kind: Literal["train", "eval"] = "train") -> Any:
        """Write a row: the means of what was added (training rows only), and `metrics`."""


class Run(Protocol):
    """Where the run stands, and what is due now."""

    step: int
    steps: int

    @property
    def interrupted(self) -> bool:
        """Whether a signal asked the run to stop."""

    def due(self, what: Literal["log", "eval", "checkpoint"], last_step: int) -> bool:
        """Whether a multiple of the period lies in (last_step, step]."""

    def improved(self, metrics: dict[str, Any]) -> bool:
        """Whether this evaluation is the best so far."""

    def save(self, learner: Learner, source: Source, buffer: Buffer, log: Any) -> None:
        """Save a checkpoint of everything."""

    def raise_if_interrupted(self) -> None:
        """Stop, after the state was saved, if a signal asked for it."""


def turn(learner: Learner, source: Source, buffer: Buffer, log: Callable[[Batch], None]) -> int:
    """Fill the buffer and learn from it once; returns how many steps of the clock that took."""
    ticks = source.fill(buffer, learner)

    for batch in learner.batches(buffer):
        log(learner.learn(batch))

    return ticks


def train(learner: Learner, source: Source, buffer: Buffer, run: Run, log: Log) -> None:
    """Take turns, and log, evaluate and save when due, until `run.steps`.

    One clock: `step` counts what was taken from the source, environment steps over all environments or training images.
    A resumed run enters with `run.step` > 0 and goes on as if it had never stopped.
    """
    while run.step < run.steps:
        learner.progress = run.step / run.steps
        last_step, run.step = run.step, run.step + turn(learner, source, buffer, log.add)

        finished, best = run.step >= run.steps, False
        if run.due("log", last_step) or finished:
            log.write(run.step, source.metrics() | learner.schedules())
        if run.due("eval", last_step) or finished:
            scores = source.evaluate(learner, final=finished)
            log.write(run.step, scores, kind="eval")
            best = run.improved(scores)
        if run.due("checkpoint", last_step) or finished or best or run.interrupted:
            run.save(learner, source, buffer, log)
        run.raise_if_interrupted()
