"""Whether a checkpoint's state is one of this learner: checked before anything of it is loaded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rlgen.errors import CheckpointError

if TYPE_CHECKING:
    from rlgen.core.learner import Learner

PARTS = {"learner", "source", "buffer", "log", "best", "rng"}  # of a state, beside its step


@contextlib.contextmanager
def fitting(state: dict[str, Any], algo: str) -> Iterator[None]:
    """Say in one line that the state does not fit, whatever the part that finds it out raises.

    Raises:
        CheckpointError: one of the errors that wrong names, shapes and types lead to.
    """
    try:
        if missing := sorted(PARTS - set(state)):
            raise ValueError(f"it lacks {', '.join(missing)}")
        yield
    except (LookupError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"the checkpoint of step {state['step']} does not fit this {algo}: {reason}; "
            "use the version and the options that made it"
        ) from error


def load_learner(learner: Learner, state: dict[str, Any]) -> None:
    """Load a learner's state, if all of it fits: `load_state_dict` checks neither moments nor what they belong to.

    Raises:
        ValueError: a tensor has another shape, or there are other parameters.
    """
    extra: dict[str, Any] = state.get("_extra_state") or {}
    for name, optimizer in learner.optimizers().items():
        saved = extra["optimizers"][name]
        groups = (saved["param_groups"], optimizer.param_groups)
        theirs, ours = ([len(group["params"]) for group in each] for each in groups)
        if theirs != ours:
            raise ValueError(f"{name} is of {sum(theirs)} parameters, here there are {sum(ours)}")
        params = [param for group in optimizer.param_groups for param in group["params"]]
        for number, moments in saved["state"].items():
            for key, value in moments.items():
                if value.ndim and value.shape != params[number].shape:
                    found, expected = tuple(value.shape), tuple(params[number].shape)
                    raise ValueError(f"size mismatch: {name}'s {key} has shape {found}, its parameter {expected}")
    learner.load_state_dict(state)
