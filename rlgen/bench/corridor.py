"""A task that every deterministic policy fails, and a random one solves: Sutton and Barto 2018, example 13.1."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

END = 3  # states before it look alike; in the second one the actions are reversed
MOVES = ((0, 1), (1, -1), (-1, 1))  # of each state, by action: left and right
LIMIT = 100  # steps


class Corridor(gym.Env[np.ndarray, Any]):
    """Three states that look alike, and a reward of -1 a step: the best policy goes right with probability 0.59."""

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(1.0, 1.0, (1,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self._state = self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self._state = self._steps = 0
        return np.ones(1, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        self._state += MOVES[self._state][int(action)]
        self._steps += 1
        return np.ones(1, np.float32), -1.0, self._state == END, self._steps >= LIMIT, {}
