"""The time limit as a part of the task: "Time limits in reinforcement learning" (Pardo et al. 2018), section 3.

What the rest of an episode is worth depends on how much of it is left. An agent that sees that learns the value of the
time-limited task, in which the limit is an end like any other: nothing is expected after it.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from rlgen.errors import UsageError


class TimeInObs(gym.wrappers.TimeAwareObservation):
    """Observations with the share of the time limit that has passed, in [0, 1]: a number more, or a part more.

    Args:
        env: has a time limit, see `check_time_limit`.
    """

    def __init__(self, env: gym.Env) -> None:
        space = env.observation_space
        is_vector = isinstance(space, gym.spaces.Box) and len(space.shape) == 1 and space.dtype.kind == "f"
        super().__init__(env, flatten=is_vector, normalize_time=True, dict_time_key="time_passed")

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = super().step(action)
        if self.timesteps >= self.max_timesteps:
            terminated, truncated = bool(terminated or truncated), False
        return obs, reward, terminated, truncated, info


def check_time_limit(env_id: str, limit: int | None, vectorization: str) -> None:
    """Refuse environments that time cannot be told of.

    Args:
        env_id: the environment's.
        limit: of its episodes, in steps.
        vectorization: as it will be made.

    Raises:
        UsageError: there is no limit, or a native class keeps it.
    """
    if limit is None:
        raise UsageError(
            f"environment {env_id!r} has no time limit: set one by --max-episode-steps, or leave out --time-in-obs"
        )
    if vectorization == "native":
        raise UsageError(
            f"the native {env_id!r} does not tell its time: use --vectorization sync or async, or no --time-in-obs"
        )
