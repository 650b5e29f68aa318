"""Environments that repeat themselves, and those that do not, for every reason there is."""

import os
import random
import signal
import time

import gymnasium as gym
import numpy as np
import pytest
import torch

from rlgen.envs.repeat import repeats, tried


class Walk(gym.Env):
    """A random walk on the line, from its own generator."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.normal()
        return self.obs(), {}

    def step(self, action):
        self.place += action + self.np_random.normal()
        return self.obs(), float(self.place), abs(self.place) > 15, False, {}

    def obs(self):
        return np.array([self.place])


class StickyAction(Walk):
    """Repeats the last action at times, also that of the episode before, as MinAtar does."""

    last = 0

    def step(self, action):
        if self.np_random.random() < 0.1:
            action = self.last
        self.last = action
        return super().step(action)


class GlobalNumpy(Walk):
    def reset(self, **options):
        super().reset(**options)
        self.place += np.random.normal()
        return self.obs(), {}


class GlobalPython(Walk):
    def step(self, action):
        self.place += random.random()
        return super().step(action)


class Counting(Walk):
    """Gets harder with every episode."""

    episodes = 0

    def reset(self, **options):
        self.episodes += 1
        super().reset(**options)
        return np.array([self.place + self.episodes]), {}


class Clock(Walk):
    def obs(self):
        return np.array([self.place + time.perf_counter()])


class OneArray(Walk):
    """Hands out the same array every time."""

    array = np.zeros(1)

    def obs(self):
        self.array[0] = self.place
        return self.array


@pytest.mark.parametrize("kind", [Walk, OneArray])
def test_an_environment_with_a_generator_of_its_own_repeats_itself(kind):
    assert repeats(kind())


@pytest.mark.parametrize("kind", [StickyAction, GlobalNumpy, GlobalPython, Counting, Clock])
def test_what_leaks_from_the_past_is_found(kind):
    assert not repeats(kind())


def test_gymnasiums_own_repeat_themselves():
    for env_id in ("CartPole-v1", "Pendulum-v1", "FrozenLake-v1", "Blackjack-v1"):
        assert repeats(gym.make(env_id)), env_id


def test_global_generators_are_put_back():
    before = random.getstate()[1], np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    repeats(GlobalNumpy())
    repeats(GlobalPython())
    assert before == (random.getstate()[1], np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


def test_slow_environments_are_tried_less_often(monkeypatch):
    now = iter(range(0, 1000))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(now)))
    seeds = []
    env = Walk()
    monkeypatch.setattr(env, "reset", lambda *, seed: (seeds.append(seed), Walk.reset(env, seed=seed))[1])
    assert repeats(env) and seeds == [0, 100, 0, 1, 101, 1, 2, 102, 2]


class Deadly(Walk):
    def step(self, action):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(("kind", "expected"), [(Walk, True), (GlobalNumpy, False), (Deadly, False)])
def test_environments_of_workers_are_tried_in_a_worker(kind, expected):
    assert tried(kind, in_worker=True) is expected
