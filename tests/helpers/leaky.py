"""Environments whose `reset(seed)` keeps something of the past, each in another way, and some that only look so."""

import os
import random
import time

import counting
import gymnasium as gym
import numpy as np

world = [0]  # of the module: all instances share it


class Leaky(counting.Counting):
    """Counts; `_leak` is added to what it shows, and is 0 without a past."""

    def __init__(self, **kwargs):
        super().__init__(ends=[(60, "terminated")], **kwargs)
        self.last, self.hidden = 0, 0

    def step(self, action):
        result = super().step(action)
        self.hidden += int(action)
        return result

    def _obs(self):
        return np.array([self.count, self.total + self._leak()], np.float64)

    def _leak(self):
        return 0.0


class StickyActions(Leaky):
    """MinAtar: with probability 0.1 the last action is taken again, and a reset does not forget it."""

    def step(self, action):
        action = self.last if self.np_random.random() < 0.1 else int(action)
        self.last = action
        return super().step(action)


class Hidden(Leaky):
    """A reset forgets what is seen alone; the rest shows twenty steps later."""

    def _leak(self):
        return self.hidden if self.count > 20 else 0


class Late(Leaky):
    """A reset forgets what is seen alone; the rest shows late in an episode."""

    def _leak(self):
        return self.hidden if self.count > 50 else 0


class EpisodeEnds(Leaky):
    """What counts wins, or a curriculum: only the end of an episode moves it."""

    def step(self, action):
        result = super().step(action)
        self.last += bool(result[2])
        return result

    def _leak(self):
        return self.last


class GlobalNumpy(Leaky):
    def _leak(self):
        return np.random.random()


class GlobalPython(Leaky):
    def _leak(self):
        return random.random()


class SeededGlobally(GlobalNumpy):
    """As old environments do; but whatever else draws comes in between."""

    def reset(self, *, seed=None, options=None):
        np.random.seed(seed)
        return super().reset(seed=seed, options=options)


class Counter(Leaky):
    """Counts the episodes of all instances."""

    def reset(self, *, seed=None, options=None):
        world[0] += 1
        return super().reset(seed=seed, options=options)

    def _leak(self):
        return world[0]


class SharedWorld(Leaky):
    """Whoever takes a step moves the others."""

    def step(self, action):
        world[0] += 1
        return super().step(action)

    def reset(self, *, seed=None, options=None):
        world[0] = 0
        return super().reset(seed=seed, options=options)

    def _leak(self):
        return world[0] - self.count


class Clock(Leaky):
    def _leak(self):
        return time.perf_counter()


class Unseeded(Leaky):
    """`super().reset()` without the seed."""

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=None, options=options)

    def _leak(self):
        return self.np_random.random()


class OneArray(Leaky):
    """Forgets; but hands out the same array every time."""

    array = np.zeros(2)

    def _obs(self):
        self.array[:] = super()._obs()
        return self.array


class Parts(Leaky):
    """Forgets; observes a dictionary."""

    def _obs(self):
        return {"place": super()._obs(), "pair": (np.zeros(1), self.count)}


class Slow(Leaky):
    def reset(self, *, seed=None, options=None):
        time.sleep(0.8)
        return super().reset(seed=seed, options=options)


class Hanging(Leaky):
    def reset(self, *, seed=None, options=None):
        time.sleep(600)


class Dying(Leaky):
    def reset(self, *, seed=None, options=None):
        os._exit(3)


class Raising(Leaky):
    def reset(self, *, seed=None, options=None):
        raise ValueError("no\nworld")


LEAKS = [
    Late,
    EpisodeEnds,
    StickyActions,
    Hidden,
    GlobalNumpy,
    GlobalPython,
    SeededGlobally,
    Counter,
    SharedWorld,
    Clock,
    Unseeded,
]
for kind in LEAKS:
    gym.register(f"{kind.__name__}-v0", kind)
