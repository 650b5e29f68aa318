"""An evaluation of the loop: its row, and, where a signal interrupts it, what is due when the run goes on.

Here too is what the loop needs of a source, of a run and of its log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

from rlgen.core.batch import Batch
from rlgen.core.buffer import Buffer
from rlgen.core.interruption import EvaluationInterrupted, never, undo_if_interrupted
from rlgen.core.learner import Learner
from rlgen.core.vital import SIZE, gradients, weights


class Source(Protocol):
    """What the loop and the run directory need of a source."""

    restores: str  # what is equal after a resume: exact, tried exact, approximate
    restores_why: str  # what was tried, or why it is no better
    streams: bool  # new data keep coming, so the buffer is part of a checkpoint
    spec: Any

    def fill(self, buffer: Buffer, learner: Any) -> int:
        """Bring the buffer up to date for one turn; returns clock ticks: environment steps taken, or images drawn."""

    def metrics(self) -> dict[str, float]:
        """What was seen since the last call."""

    def evaluate(self, learner: Any, final: bool = False, interrupted: Callable[[], bool] = never) -> dict[str, Any]:
        """Metrics of the learner as it is now, `eval/...`; pictures are uint8 [H, W] or [H, W, C].

        Raises:
            EvaluationInterrupted: `interrupted`, which is asked now and then, said so.
        """

    def state_dict(self) -> dict[str, Any]:
        """What a resumed source needs to go on as if never stopped."""

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Put it back; True if the source goes on exactly where it was."""


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
    """Evaluate, write the row, return whether it is the best so far; if interrupted, no row, and it stays due."""
    run.eval_due = True
    try:
        with undo_if_interrupted(learner):
            scores = source.evaluate(learner, final=run.step >= run.steps, interrupted=lambda: run.interrupted)
    except EvaluationInterrupted:
        return False
    signs = {SIZE: weights(learner)} | gradients(learner.optimizers().values())
    log.write(run.step, scores | signs, kind="eval")
    run.eval_due = False
    return run.improved(scores)


def catch_up(learner: Learner, source: Source, buffer: Buffer, run: Run, log: Log) -> None:
    """Take the evaluation that is due, of a run that stands where a signal interrupted it."""
    if run.eval_due:
        evaluate(learner, source, run, log)
        if not run.eval_due:
            run.save(learner, source, buffer, log)
        run.raise_if_interrupted()
