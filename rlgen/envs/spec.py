"""What a learner must know of an environment: shapes, dtypes and bounds of its spaces, and how it stacks frames."""

from __future__ import annotations

import math
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv

from rlgen.errors import UsageError


@dataclass(frozen=True)
class EnvSpec:
    """What a learner must know of an environment."""

    env_id: str
    obs_shape: tuple[int, ...]
    obs_dtype: str  # "uint8" as it is, anything else as "float32"
    num_actions: int | None  # None where actions are continuous
    action_shape: tuple[int, ...]  # () where actions are discrete
    action_low: tuple[float | None, ...]  # flattened, () where actions are discrete; None is no bound
    action_high: tuple[float | None, ...]
    num_envs: int
    frame_stack: int = 1  # k > 1: observations are stacks [k, ...], newest frame last, and only that one is new
    frame_padding: str = "reset"  # before an episode's first frame: "reset" is that frame again, "zero" is zeros

    def __post_init__(self) -> None:
        """Refuse counts of zero, as a damaged file may have them, by a ValueError."""
        for name in ("num_envs", "num_actions", "frame_stack"):
            if getattr(self, name) == 0:
                raise ValueError(f"{name}: must be at least 1")


def describe(vector_env: VectorEnv, env_id: str | None, frame_stack: int = 1) -> EnvSpec:
    """The spec of a vector environment.

    Args:
        vector_env: what is described.
        env_id: its name in the spec; None is its own.
        frame_stack: frames that a FrameStackObservation with padding "reset" stacks in every environment.

    Raises:
        UsageError: observations are no Box, or actions are neither Discrete nor a float Box.
    """
    obs_space, action_space = vector_env.single_observation_space, vector_env.single_action_space
    env_id = env_id or (vector_env.spec.id if vector_env.spec is not None else type(vector_env.unwrapped).__name__)
    if not isinstance(obs_space, gym.spaces.Box):
        raise UsageError(f"environment {env_id!r}: observations of {obs_space} cannot be made a vector")
    num_actions, low, high = None, np.empty(0), np.empty(0)
    if isinstance(action_space, gym.spaces.Discrete):
        num_actions = int(action_space.n)
    elif isinstance(action_space, gym.spaces.Box) and action_space.dtype.kind == "f":
        low, high = action_space.low.ravel(), action_space.high.ravel()
    else:
        raise UsageError(f"environment {env_id!r}: actions of {action_space} are not supported, only Discrete and Box")
    if type(vector_env).__module__ == "ale_py.vector_env":
        frame_stack, frame_padding = _native_atari_frames(vector_env)
    else:
        frame_padding = "reset"
    return EnvSpec(
        env_id=env_id,
        obs_shape=tuple(obs_space.shape),
        obs_dtype="uint8" if obs_space.dtype == np.uint8 else "float32",
        num_actions=num_actions,
        action_shape=() if num_actions else tuple(action_space.shape or ()),
        action_low=tuple(bound if math.isfinite(bound) else None for bound in low.tolist()),
        action_high=tuple(bound if math.isfinite(bound) else None for bound in high.tolist()),
        num_envs=vector_env.num_envs,
        frame_stack=frame_stack,
        frame_padding=frame_padding,
    )


def _native_atari_frames(vector_env: VectorEnv) -> tuple[int, str]:
    """Frames that ALE's vector class stacks, and their padding: it clears the stack at every reset."""
    if vector_env.spec is None or vector_env.spec.kwargs.get("life_loss_info"):
        return 1, "reset"  # an episode may end without a reset, and its stack goes on: no stack that can be rebuilt
    return vector_env.single_observation_space.shape[0], "zero"  # type: ignore[index]
