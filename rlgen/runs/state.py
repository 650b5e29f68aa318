"""What a checkpoint holds: everything that a run has to go on with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from rlgen.core.generators import generator_states
from rlgen.errors import DivergedError
from rlgen.runs import checkpoint, diverged
from rlgen.runs.weights import digest

if TYPE_CHECKING:
    from rlgen.core.buffer import Buffer
    from rlgen.core.evaluation import Source
    from rlgen.core.learner import Learner


class Log(Protocol):
    """What a checkpoint needs of the log: its clock, and the metrics added since the last row."""

    def state_dict(self, weights: str) -> dict[str, Any]:
        """Everything it has to go on with; notes the digest of the weights."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with that."""


class Run(diverged.Run, Protocol):
    """Where a run stands."""

    step: int
    eval_due: bool


def gather(
    run: Run, learner: Learner, source: Source, buffer: Buffer, log: Log, best: dict[str, Any] | None
) -> dict[str, Any]:
    """The state of a run now: tensors and plain Python. A large ring is not copied into it.

    Raises:
        DivergedError: a metric since the last row, or a weight, is not finite; such a state is never saved.
    """
    learner_state = learner.state_dict()
    log_state = log.state_dict(digest(learner_state))
    if name := diverged.not_finite(learner_state, dict(learner.named_buffers())):
        raise DivergedError(f"{name} is not finite at step {run.step:,}: {diverged.advice(run)}")
    return {
        "format": checkpoint.FORMAT,
        "step": run.step,
        "learner": checkpoint.owned(learner_state),
        "source": source.state_dict(),
        "buffer": buffer.state_dict() if source.streams else None,  # a data set's is filled again
        "log": log_state,
        "best": best,
        "eval_due": run.eval_due,
        "rng": generator_states(learner.device.type == "cuda"),
    }
