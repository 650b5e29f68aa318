"""An evaluation of the loop: its row, and, where a signal interrupts it, what is due when the run goes on.

Here too is what the loop needs of a run and of its log.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

from rlgen.core.batch import Batch
from rlgen.core.buffer import Buffer
from rlgen.core.interruption import EvaluationInterrupted, undo_if_interrupted
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
    eval_due: bool  # a signal interrupted the evaluation of this step

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


def evaluate(learner: Learner, source: Source, run: Run, log: Log) -> bool:
    """Evaluate, write the row, and say whether it is the best so far; a signal leaves no row, and it is due."""
    run.eval_due = True
    try:
        with undo_if_interrupted(learner):
            scores = source.evaluate(learner, final=run.step >= run.steps, interrupted=lambda: run.interrupted)
    except EvaluationInterrupted:
        return False
    log.write(run.step, scores, kind="eval")
    run.eval_due = False
    return run.improved(scores)


def catch_up(learner: Learner, source: Source, buffer: Buffer, run: Run, log: Log) -> None:
    """Take the evaluation that is due, of a run that stands where a signal interrupted it."""
    if run.eval_due:
        evaluate(learner, source, run, log)
        if not run.eval_due:
            run.save(learner, source, buffer, log)
        run.raise_if_interrupted()
