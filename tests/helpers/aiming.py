"""Environments with any action space whose best action is known. Import registers them: `aiming:Choices-v0`.

An action earns 1 less its distance from the best one, in shares of the space; an episode is five steps.
"""

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete

LENGTH = 5


class Aiming(gym.Env):
    """Observes how far the episode is; insists on actions of its space, to the type."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, space, best, scale=1.0, render_mode=None):
        self.observation_space, self.action_space = Box(0, 1, (2,)), space
        self.best, self.scale, self.render_mode = np.asarray(best), scale, render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return self._obs(), {}

    def step(self, action):
        assert self.action_space.contains(action), repr(action)
        self.count += 1
        off = np.abs(np.asarray(action, np.float64) - self.best) / self.scale
        return self._obs(), 1 - float(np.minimum(off, 1).mean()), False, self.count == LENGTH, {}

    def render(self):
        return np.full((8, 8, 3), self.count, np.uint8)

    def _obs(self):
        return np.array([self.count / LENGTH, self.np_random.random()], np.float32)


SPACES = {  # space, best action, scale
    "Choices": (MultiDiscrete([3, 2, 2, 5], start=[-1, 0, 0, 10]), [1, 0, 1, 12], 1.0),
    "Table": (MultiDiscrete([[3, 2], [4, 3]]), [[2, 1], [0, 1]], 1.0),
    "Switches": (MultiBinary(5), [1, 0, 0, 1, 1], 1.0),
    "Grid": (MultiBinary((2, 3)), [[1, 0, 0], [1, 1, 0]], 1.0),
    "Levels": (Box(-3, 4, (2,), np.int32), [4, -3], 7.0),
    "Bytes": (Box(100, 103, (2, 2), np.uint8), [[100, 103], [101, 102]], 3.0),
    "Far": (Box(500, 1000, (1,)), [700], 250.0),
    "Small": (Box(0, 0.01, (2,), np.float64), [0.004, 0.01], 0.005),
    "Matrix": (Box(-1, 1, (2, 3)), [[-0.5, 0.5, 0], [1, 0, -1]], 1.0),
    "Number": (Box(-20.0, 0.0, (), np.float64), -5, 10.0),
    "Mixed": (Box(np.array([-1, 0, -np.inf, 0], "f4"), np.array([1, 10, np.inf, np.inf], "f4")), [0, 9, 1, 2], 5.0),
    "Start": (Discrete(4, start=-2), -2, 1.0),
}
for name, (space, best, scale) in SPACES.items():
    kwargs = {"space": space, "best": best, "scale": scale}
    gym.register(f"{name}-v0", Aiming, kwargs=kwargs)
