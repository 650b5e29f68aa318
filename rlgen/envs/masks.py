"""Which actions are valid now, where an environment says so beside its observations."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rlgen.envs.parts import MASK


def gives_mask(env: gym.Env, info: dict[str, Any]) -> bool:
    """Whether an environment says which of its discrete actions are valid.

    Args:
        env: was reset.
        info: of its reset or of a step.
    """
    return isinstance(env.action_space, spaces.Discrete) and (MASK in info or env.has_wrapper_attr("action_masks"))


def mask_of(env: gym.Env, info: dict[str, Any]) -> np.ndarray:
    """Which actions are valid now, bool [A]: what `info` says, or the method `action_masks`; else all of them.

    Args:
        env: its actions are discrete.
        info: of its reset or of its last step.

    Raises:
        ValueError: the mask has another shape.
    """
    num_actions: int = env.action_space.n  # type: ignore[attr-defined]
    mask = info.get(MASK)
    if mask is None and env.has_wrapper_attr("action_masks"):
        mask = env.get_wrapper_attr("action_masks")()
    array = np.ones(num_actions, np.bool_) if mask is None else np.asarray(mask)
    if array.shape != (num_actions,):
        raise ValueError(f"the action mask has shape {array.shape}, and there are {num_actions} actions")
    return array.astype(np.bool_)
