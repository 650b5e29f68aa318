"""Environments whose right answer is known: they count. Import registers them, so `counting:Counting-v0` works."""

import os
import signal

import gymnasium as gym
import numpy as np


class Counting(gym.Env):
    """Observes (steps taken, sum of actions); the first is 0 at a reset alone, never at an episode's end.

    Episodes end by turns as `ends` says, each (length, how); with `ends` None both are drawn from the episode's seed.
    """

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, ends=None, start=0, render_mode=None):
        self.observation_space = gym.spaces.Box(0, np.inf, (2,), np.float64)
        self.action_space = gym.spaces.Discrete(3, start=start)
        self.ends, self.episode, self.start, self.render_mode = ends, -1, start, render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode += 1
        self.count = self.total = 0
        if self.ends is None:
            self.end = (int(self.np_random.integers(1, 9)), ("terminated", "truncated")[self.np_random.integers(2)])
        else:
            self.end = self.ends[self.episode % len(self.ends)]
        return self._obs(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.count += 1
        self.total += int(action) - self.start
        length, how = self.end
        over = self.count == length
        terminated, truncated = over and how in ("terminated", "both"), over and how in ("truncated", "both")
        return self._obs(), float(self.count), terminated, truncated, {"count": self.count}

    def _obs(self):
        return np.array([self.count, self.total], np.float64)


class Frames(Counting):
    """Observes small grey images, every one of them new: noise from the episode's seed, and the count in a corner."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.observation_space = gym.spaces.Box(0, 255, (3, 5), np.uint8)

    def _obs(self):
        frame = self.np_random.integers(1, 256, (3, 5), np.uint8)
        frame[0, 0] = self.count
        return frame


class Forgetful(Counting):
    """Draws from the operating system: the same seed and actions do not lead to the same place."""

    def _obs(self):
        return np.array([self.count, int.from_bytes(os.urandom(3), "big")], np.float64)


class Broken(Counting):
    """Breaks at its fourth step: by a NaN observation, an infinite reward, or the death of its process."""

    def __init__(self, how="obs", **kwargs):
        super().__init__(ends=[(99, "terminated")], **kwargs)
        self.how = how

    def step(self, action):
        obs, reward, *rest = super().step(action)
        if self.count == 4:
            if self.how == "obs":
                obs[1] = np.nan
            elif self.how == "reward":
                reward = float("inf")
            elif action == 1:
                os.kill(os.getpid(), signal.SIGKILL)
        return obs, reward, *rest


class Shapes(gym.Env):
    """One step of any two spaces."""

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, observation_space, action_space, render_mode=None):
        self.observation_space, self.action_space, self.render_mode = observation_space, action_space, render_mode
        self.last_action = None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        self.last_action = action
        return self.observation_space.sample(), 0.0, False, False, {}


gym.register("Counting-v0", Counting)
gym.register("CountingStart-v0", Counting, kwargs={"start": 5})
gym.register("Frames-v0", Frames)
gym.register("Forgetful-v0", Forgetful)
gym.register("Nondeterministic-v0", Counting, nondeterministic=True)
for how in ("obs", "reward", "kill"):
    gym.register(f"Broken-{how}-v0", Broken, kwargs={"how": how})
