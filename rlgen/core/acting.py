"""An agent's `act` as a notebook calls it: one observation or many, as arrays, lists or tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlgen.core.batch import map_parts
from rlgen.core.learner import Agent
from rlgen.envs.border import to_env
from rlgen.envs.parts import kept, pack, value_of
from rlgen.envs.spec import EnvSpec
from rlgen.errors import UsageError


def checked(agent: Agent, spec: EnvSpec) -> Callable[..., dict[str, Any]]:
    """The agent's `act`, of observations [N, *obs_shape] or of one of them, [*obs_shape].

    Observations of several parts are dictionaries or tuples, as the environment gives them. `action_mask` says which
    actions are valid, where the environment says it beside them; of several choices it may be a tuple of masks.

    It answers in kind: tensors where it got tensors, else arrays; without the axis N where it got one observation.
    Numbers are cast to what the environment gives; of another shape they are a UsageError. Actions are as the
    environment takes them, for `env.step`.
    """
    act: Any = agent.act
    taken = to_env(spec)

    def answer(obs: Any, *more: Any, action_mask: Any = None, **options: Any) -> dict[str, Any]:
        stored = as_stored(obs, spec, action_mask) if spec.obs_parts else obs
        tensors = map_parts(lambda part: to_tensor(part, spec, agent.device), stored)
        one = isinstance(tensors, Tensor) and is_one(tensors, spec)
        acted = act(tensors[None] if one else tensors, *more, **options)
        acted["action"] = torch.from_numpy(taken(acted["action"].numpy(force=True))).to(agent.device)
        as_arrays = not any(isinstance(part, Tensor) for part in (obs.values() if isinstance(obs, dict) else [obs]))

        def in_kind(value: Any) -> Any:
            value = value[0] if one else value
            return value.numpy(force=True) if as_arrays and isinstance(value, Tensor) else value

        return {name: map_parts(in_kind, value) for name, value in acted.items()}

    return answer


def as_stored(obs: Any, spec: EnvSpec, action_mask: Any = None) -> Any:
    """Observations as the one array that is stored; what is such an array stays it.

    Raises:
        UsageError: a part is missing, or has another shape than it should.
    """
    parts, shape = kept(spec.obs_parts), np.shape(obs) if isinstance(obs, np.ndarray | Tensor) else None
    if len(parts) == 1 and not (parts[0].name and isinstance(obs, Mapping | tuple)):
        is_number = spec.obs_shape == (1,) and np.ndim(obs) < 2 and np.shape(obs) != (1,)  # one of n, or N of them
        return np.asarray(obs).reshape(*np.shape(obs), 1) if is_number else obs
    if shape and spec.obs_shape in (shape, shape[1:]):
        return obs
    values: dict[str, np.ndarray] = {}
    for part in parts:
        is_told = part.kind == "mask" and not (isinstance(obs, Mapping) and part.name in obs)
        try:
            value = _joined(value_of(obs, part.name) if not is_told else 1 if action_mask is None else action_mask)
        except (LookupError, ValueError, TypeError) as error:
            raise UsageError(f"observations must be {wanted(spec)}, not of type {type(obs).__name__}") from error
        values[part.name] = value
    first, stack = values[parts[0].name], (parts[0].frames,) * (parts[0].frames > 1)
    lead = () if first.shape in ((*stack, *parts[0].shape), stack, ()) else first.shape[:1]  # one of n has no axis
    for part in parts:
        found, expected = values[part.name], (*lead, *stack, *part.shape)
        if part.kind == "mask" and stack and found.shape in (part.shape, (*lead, *part.shape)):
            found = np.broadcast_to(found[..., None, :], expected)  # of the newest frame
        if found.size != math.prod(expected) and (part.kind != "mask" or found.ndim):
            raise UsageError(f"{part.name or 'observations'} of shape {[*found.shape]}: must be {wanted(spec)}")
        values[part.name] = np.broadcast_to(found, expected) if not found.ndim else found.reshape(expected)
    return pack(spec.obs_parts, values, (*lead, *stack)) if len(parts) > 1 else values[parts[0].name]


def _joined(value: Any) -> np.ndarray:
    """A part as an array; of several choices, a tuple has a mask [..., n] of each."""
    return np.concatenate([_joined(each) for each in value], -1) if isinstance(value, tuple) else np.asarray(value)


def to_tensor(obs: Any, spec: EnvSpec, device: torch.device) -> Tensor:
    """An observation of any kind as the network takes it.

    Raises:
        UsageError: it holds no numbers, or rows of different lengths.
    """
    try:
        array = obs if isinstance(obs, Tensor) else torch.from_numpy(np.array(obs))  # a copy: it may be read-only
    except (TypeError, ValueError) as error:
        why = " (env.reset() returns an observation and a dictionary)" if isinstance(obs, tuple) else ""
        raise UsageError(f"observations must be {wanted(spec)}, not a {type(obs).__name__}{why}") from error
    return array.to(device, getattr(torch, spec.obs_dtype))


def is_one(obs: Tensor, spec: EnvSpec) -> bool:
    """Whether this is one observation and not N of them.

    Raises:
        UsageError: it is neither.
    """
    shape = tuple(obs.shape)
    if shape == spec.obs_shape or (shape[1:] == spec.obs_shape and shape):
        return shape == spec.obs_shape
    raise UsageError(f"observations of shape {[*shape]}: must be {wanted(spec)}, of {spec.env_id}")


def wanted(spec: EnvSpec) -> str:
    """The shapes that observations may have, in words."""
    parts = kept(spec.obs_parts)
    if len(parts) > 1:
        stack = (parts[0].frames,) * (parts[0].frames > 1)
        return "of the parts " + ", ".join(f"{part.name!r} {[*stack, *part.shape]}" for part in parts)
    numbers = ", ".join(map(str, spec.obs_shape))
    return f"numbers [{numbers}] or, of N environments, [N{', ' if numbers else ''}{numbers}]"
