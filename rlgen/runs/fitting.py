"""Whether a checkpoint's state is one of this learner: checked before anything of it is loaded."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from rlgen.core.form import check_between, check_form
from rlgen.errors import CheckpointError, is_out_of_memory
from rlgen.runs.diverged import not_finite
from rlgen.runs.records import Best, fit

if TYPE_CHECKING:
    from rlgen.core.learner import Learner

PARTS = {"learner", "source", "buffer", "log", "best", "rng"}  # of a state, beside its step
GENERATOR_BYTES = (16, 5056)  # that torch's generators save on CUDA and on a CPU
MAX_UPDATES = 2**53
FLAGS = {  # of a transition, one number each
    "reward": np.float32(0),
    **dict.fromkeys(("terminated", "truncated", "valid"), np.bool_(True)),
}


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
    except (LookupError, ArithmeticError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        if is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"the checkpoint of step {state['step']} does not fit this {algo}: {reason}; "
            "use the version and the options that made it"
        ) from error


def check_best(state: dict[str, Any]) -> None:
    """Check what a checkpoint says of evaluations.

    Raises:
        ValueError: it is something else.
    """
    if state["best"] is not None:
        fit(state["best"], Best, "best")
    check_form(state, {"eval_due": False}, "state")


def check_source(learner: Learner, source: Any, state: dict[str, Any]) -> None:
    """Check what an agent left with the environments and in the buffer against what it leaves there now.

    Args:
        learner: acts once for that, so its own state is loaded later.
        source: of the run, as it begins.
        state: of a checkpoint.

    Raises:
        ValueError: another name, shape or dtype.
    """
    from rlgen.core.learner import Agent

    if not isinstance(learner, Agent):
        return
    import torch

    from rlgen.core.batch import split_parts
    from rlgen.core.play import act, as_seen_by, first_memory

    memory = first_memory(learner, source.spec.num_envs)
    if saved := state["source"].get("memory"):
        check_form(saved, memory, "source.memory")
        shapes, ours = ({name: list(value.shape) for name, value in each.items()} for each in (saved, memory))
        if shapes != ours:
            raise ValueError(f"source.memory is {shapes}, here it is {ours}")
    obs = as_seen_by(learner, source.envs.obs)
    with torch.no_grad():
        row = split_parts({"obs": obs, **act(learner, obs, memory), "memory": memory}) | FLAGS
    if not (ring := state["buffer"].get("ring")):  # nothing was added yet
        return
    columns = ring["columns"]
    if state["buffer"]["index"]["num_added"] > state["step"]:
        raise ValueError(f"{state['buffer']['index']['num_added']} transitions were added in {state['step']} steps")
    seen = {name: value for name, value in columns.items() if name == "reward" or name.split("/")[0] == "obs"}
    if name := not_finite(
        {"buffer": seen, "frames": state["buffer"]["frames"]}, ()
    ):  # environments have no such numbers
        raise ValueError(f"{name} is not finite")
    num_actions = source.spec.num_actions
    if isinstance(num_actions, int):
        check_between(columns["action"], 0, num_actions, "buffer.action")
    for name in columns.keys() & row.keys():
        if columns[name].dtype != (now := torch.as_tensor(row[name]).dtype):
            raise ValueError(f"buffer.{name} is of {columns[name].dtype}, here it is {now}")


def load_learner(learner: Learner, state: dict[str, Any]) -> None:
    """Load a learner's state, if all of it fits: `load_state_dict` checks neither moments nor what they belong to.

    Raises:
        ValueError: a tensor has another shape or is not finite, there are other parameters, or a counter is none.
    """
    extra: dict[str, Any] = state.get("_extra_state") or {}
    if name := not_finite(state, dict(learner.named_buffers())):
        raise ValueError(f"it is of a run that had diverged: {name} is not finite")
    _check_counters(extra)
    for name, optimizer in learner.optimizers().items():
        saved = extra["optimizers"][name]
        groups = (saved["param_groups"], optimizer.param_groups)
        theirs, ours = ([len(group["params"]) for group in each] for each in groups)
        if theirs != ours:
            raise ValueError(f"{name} is of {sum(theirs)} parameters, here there are {sum(ours)}")
        for group, own in zip(*groups, strict=True):
            _check_settings(name, group, own)
        _check_moments(name, saved["state"], [param for group in optimizer.param_groups for param in group["params"]])
    learner.load_state_dict(state)


def _check_counters(extra: dict[str, Any]) -> None:
    updates, progress, generator = extra["num_updates"], extra["progress"], extra["generator"]
    if type(updates) is not int or not 0 <= updates <= MAX_UPDATES:
        raise ValueError(f"num_updates is {updates!r:.40}")
    if type(progress) not in (int, float) or not 0 <= progress <= 1:
        raise ValueError(f"progress is {progress!r:.40}")
    if generator.ndim != 1 or generator.numel() not in GENERATOR_BYTES:
        raise ValueError(f"the generator's state has shape {tuple(generator.shape)}")


def _check_settings(name: str, saved: dict[str, Any], ours: dict[str, Any]) -> None:
    """An optimizer's own numbers and flags; an older torch had fewer flags."""
    for key, kind in ((key, _kind(value)) for key, value in ours.items() if key != "params"):
        found = saved.get(key) if kind == "flag" else saved[key]
        if _kind(found) != kind:
            raise ValueError(f"{name}: {key} is {found!r:.40}")


def _kind(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return "flag"
    if isinstance(value, (list, tuple)):
        return [_kind(item) for item in value]
    return "number" if hasattr(value, "__float__") and math.isfinite(float(value)) else None


def _check_moments(name: str, state: dict[int, Any], params: list[Any]) -> None:
    """Of no parameter, or of all: the same ones, each of one number or as its parameter."""
    names = next(iter(state.values())).keys() if state else set()
    if state and state.keys() != set(range(len(params))):
        raise ValueError(f"{name} has moments of {len(state)} parameters, here there are {len(params)}")
    for number, moments in state.items():
        if moments.keys() != names:
            raise ValueError(f"{name} lacks {', '.join(sorted(names ^ moments.keys()))} of a parameter")
        for key, value in moments.items():
            if value.ndim and value.shape != params[number].shape:
                found, expected = tuple(value.shape), tuple(params[number].shape)
                raise ValueError(f"size mismatch: {name}'s {key} has shape {found}, its parameter {expected}")
