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
    from rlgen.core.buffer import Buffer
    from rlgen.core.learner import Learner

PARTS = {"learner", "source", "buffer", "log", "best", "rng"}  # of a state, beside its step
GENERATOR_BYTES = (16, 5056)  # that torch's generators save on CUDA and on a CPU
MAX_UPDATES = 2**53
AS_PARAMETER = {  # of torch's optimizers: its fused steps write beyond what is smaller
    *("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_inf", "momentum_buffer", "grad_avg"),
    *("square_avg", "acc_delta", "sum", "ax", "prev", "step_size"),
}
NEVER_NEGATIVE = {"step", "exp_avg_sq", "max_exp_avg_sq", "square_avg", "sum"}  # among an optimizer's moments
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
    for name in sorted(columns.keys() & row.keys()):
        now = torch.as_tensor(row[name])
        if columns[name].dtype != now.dtype:
            raise ValueError(f"buffer.{name} is of {columns[name].dtype}, here it is {now.dtype}")
        shape = [*now.shape]
        if name == "obs" and state["buffer"]["frame_stack"] > 1:
            del shape[1]  # a row has the newest frame alone
        if now.ndim and [*columns[name].shape[1:]] != shape:
            raise ValueError(f"buffer.{name} has rows {list(columns[name].shape[1:])}, here they are {shape}")


def check_rows(source: Any, buffer: Buffer) -> None:
    """Check the numbers of a buffer that was loaded.

    Raises:
        ValueError: an environment has no such observation or reward, or no such action.
    """
    if not buffer.is_allocated:
        return
    columns, finals = buffer.ring.columns, buffer.observations and buffer.observations.finals.tables
    seen = {name: value for name, value in columns.items() if name == "reward" or name.split("/")[0] == "obs"}
    if name := not_finite({"buffer": seen, "frames": finals}, ()):
        raise ValueError(f"{name} is not finite")
    if isinstance(num_actions := source.spec.num_actions, int):
        check_between(columns["action"], 0, num_actions, "buffer.action")


def load_learner(learner: Learner, state: dict[str, Any]) -> None:
    """Load a learner's state, if all of it fits: `load_state_dict` checks neither moments nor what they belong to.

    Raises:
        ValueError: a tensor has another shape or is not finite, there are other parameters, or a counter is none.
    """
    from rlgen.core.optimizer import state_names

    extra: dict[str, Any] = state.get("_extra_state") or {}
    masks = [name for name, buffer in learner.named_buffers() if buffer.is_floating_point() and buffer.isinf().any()]
    if name := not_finite(state, masks):
        raise ValueError(f"it is of a run that had diverged: {name} is not finite")
    for name, own in learner.state_dict().items():
        if hasattr(own, "dtype") and name in state and state[name].dtype != own.dtype:
            raise ValueError(f"{name} is of {state[name].dtype}, here it is {own.dtype}")
    _check_counters(extra)
    for name, optimizer in learner.optimizers().items():
        saved = extra["optimizers"][name]
        groups = (saved["param_groups"], optimizer.param_groups)
        theirs, ours = ([len(group["params"]) for group in each] for each in groups)
        if theirs != ours:
            raise ValueError(f"{name} is of {sum(theirs)} parameters, here there are {sum(ours)}")
        for group in saved["param_groups"]:
            if isinstance(group["lr"], (bool, str)) or not 0 <= float(group["lr"]) < math.inf:
                raise ValueError(f"{name}: lr is {group['lr']!r:.40}")
        params = [param for group in optimizer.param_groups for param in group["params"]]
        _check_moments(name, saved["state"], params, {*state_names(optimizer)})
    learner.load_state_dict(state)


def _check_counters(extra: dict[str, Any]) -> None:
    updates, progress, generator = extra["num_updates"], extra["progress"], extra["generator"]
    if type(updates) is not int or not 0 <= updates <= MAX_UPDATES:
        raise ValueError(f"num_updates is {updates!r:.40}")
    if type(progress) not in (int, float) or not 0 <= progress <= 1:
        raise ValueError(f"progress is {progress!r:.40}")
    if generator.ndim != 1 or generator.numel() not in GENERATOR_BYTES:
        raise ValueError(f"the generator's state has shape {tuple(generator.shape)}")


def _check_moments(name: str, state: dict[int, Any], params: list[Any], needed: set[str]) -> None:
    """Of no parameter, or of all: the same ones, each of one number or as its parameter."""
    names = next(iter(state.values())).keys() if state else set()
    if state and state.keys() != set(range(len(params))):
        raise ValueError(f"{name} has moments of {len(state)} parameters, here there are {len(params)}")
    if state and (missing := needed - names):
        raise ValueError(f"{name} lacks {', '.join(sorted(missing))}")
    for number, moments in state.items():
        if moments.keys() != names:
            raise ValueError(f"{name} lacks {', '.join(sorted(names ^ moments.keys()))} of a parameter")
        for key, value in moments.items():
            if not value.is_floating_point() or (value.ndim and value.dtype != params[number].dtype):
                raise ValueError(f"{name}'s {key} is of {value.dtype}, its parameter of {params[number].dtype}")
            if key in NEVER_NEGATIVE and (value < 0).any():
                raise ValueError(f"{name}'s {key} has numbers below zero")
            found, expected = tuple(value.shape), () if key == "step" else tuple(params[number].shape)
            if found != expected and (found or key in AS_PARAMETER):
                raise ValueError(f"size mismatch: {name}'s {key} has shape {found}, its parameter {expected}")
