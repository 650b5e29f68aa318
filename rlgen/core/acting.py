"""An agent's `act` as a notebook calls it: one observation or many, as arrays, lists or tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlgen.core.batch import map_parts
from rlgen.core.learner import Agent
from rlgen.envs.border import to_env
from rlgen.envs.spec import EnvSpec
from rlgen.errors import UsageError


def checked(agent: Agent, spec: EnvSpec) -> Callable[..., dict[str, Any]]:
    """The agent's `act`, of observations [N, *obs_shape] or of one of them, [*obs_shape].

    It answers in kind: tensors where it got tensors, else arrays; without the axis N where it got one observation.
    Numbers are cast to what the environment gives; of another shape they are a UsageError. Actions are as the
    environment takes them, for `env.step`.
    """
    act: Any = agent.act
    taken = to_env(spec)

    def answer(obs: Any, *more: Any, **options: Any) -> dict[str, Any]:
        tensors = map_parts(lambda part: to_tensor(part, spec, agent.device), obs)
        one = isinstance(tensors, Tensor) and is_one(tensors, spec)
        acted = act(tensors[None] if one else tensors, *more, **options)
        acted["action"] = torch.from_numpy(taken(acted["action"].numpy(force=True)))
        as_arrays = not any(isinstance(part, Tensor) for part in (obs.values() if isinstance(obs, dict) else [obs]))

        def in_kind(value: Any) -> Any:
            value = value[0] if one else value
            return value.numpy(force=True) if as_arrays and isinstance(value, Tensor) else value

        return {name: map_parts(in_kind, value) for name, value in acted.items()}

    return answer


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
    return array.to(device, torch.uint8 if spec.obs_dtype == "uint8" else torch.float32)


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
    numbers = ", ".join(map(str, spec.obs_shape))
    return f"numbers [{numbers}] or, of N environments, [N{', ' if numbers else ''}{numbers}]"
