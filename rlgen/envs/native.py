"""An environment's own vector class: what of a run's options it takes, and what it cannot."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec as GymSpec
from gymnasium.envs.registration import load_env_creator
from gymnasium.vector import AutoresetMode, VectorEnv

from rlgen.envs.keywords import check_keywords
from rlgen.errors import UsageError

INSTEAD = "use --vectorization sync or async"


def make_native(
    env_id: str,
    spec: GymSpec,
    num_envs: int,
    mode: AutoresetMode | None,
    render_mode: str | None,
    frame_stack: int,
    max_episode_steps: int | None,
    bound: int | None,
    env_kwargs: Mapping[str, Any],
    wrappers: Sequence[str],
) -> VectorEnv:
    """N environments of the native class; arguments as of `make_envs`.

    Raises:
        UsageError: there is none, or it does not do what is asked for.
    """
    if spec.vector_entry_point is None:
        raise UsageError(f"environment {env_id!r} has no native vector class: {INSTEAD}")
    creator: Any = spec.vector_entry_point
    creator = load_env_creator(creator) if isinstance(creator, str) else creator
    parameters = inspect.signature(creator).parameters
    check_keywords(creator, env_kwargs, f"the native {env_id!r}")
    kwargs: dict[str, Any] = {} if render_mode is None else {"render_mode": render_mode}
    if wrappers:
        raise UsageError(f"wrapper {wrappers[0]} fits no native {env_id!r}, which is one object: {INSTEAD}")
    if frame_stack > 1:
        if "stack_num" not in parameters:
            raise UsageError(f"the native {env_id!r} stacks no frames: {INSTEAD}")
        kwargs["stack_num"] = frame_stack
    if "max_episode_steps" in parameters:
        kwargs |= {"max_episode_steps": limit} if (limit := max_episode_steps or bound) else {}
    elif max_episode_steps:
        raise UsageError(f"the native {env_id!r} takes no max_episode_steps: {INSTEAD}")
    if "autoreset_mode" in parameters:
        kwargs["autoreset_mode"] = mode or AutoresetMode.SAME_STEP  # ALE's has no DISABLED
    elif mode not in (None, AutoresetMode.NEXT_STEP):
        raise UsageError(f"the native {env_id!r} has no autoreset mode {mode}: it knows NEXT_STEP alone")
    return gym.make_vec(spec, num_envs, vectorization_mode="vector_entry_point", **kwargs)
