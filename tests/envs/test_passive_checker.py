"""Gymnasium's checker prints nothing, and refuses what it refused."""

import warnings
from contextlib import closing

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from gymnasium.utils import passive_env_checker

from rlgen.core.source import EnvSource
from rlgen.envs.make import make_envs
from rlgen.errors import UsageError


class Odd(gym.Env):
    """Works, and has everything in it that Gymnasium warns of."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012, and no render_fps

    def __init__(self, broken="", render_mode=None):
        low = np.array([-1, 0, -1], np.float32)
        self.observation_space, self.action_space = Box(low, np.float32([1, 0, 1]), dtype=np.float32), Discrete(2)
        self.broken, self.obs, self.told = broken, np.full(3, 7.0), {}

    def reset(self, seed=3, options=None):
        return self.obs, self.told

    def step(self, action):
        warnings.warn("the battery is low", stacklevel=1)
        info = [] if self.broken == "info" else self.told
        return self.obs, np.float64(1), False, np.array(False), info

    def render(self):
        return np.zeros((4, 4, 3), np.uint8)


class Within(gym.Wrapper):
    """Makes its environment by `gym.make` itself."""

    def __init__(self, render_mode=None):
        super().__init__(gym.make("Odd-v0", render_mode=render_mode))


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    for kind in (Odd, Within):
        spec = gym.envs.registration.EnvSpec(f"{kind.__name__}-v0", kind)
        monkeypatch.setitem(gym.registry, f"{kind.__name__}-v0", spec)


@pytest.mark.parametrize("name", ["Odd", "Within"])
def test_gymnasium_prints_nothing_of_training_evaluation_and_video(recwarn, name):
    warnings.simplefilter("always")
    with closing(EnvSource(f"{name}-v0", 3, "sync", 0, 1, video=True, env_check=True)) as source:
        for _ in range(3):
            source.envs.step(np.zeros(3, int))
        with closing(source.make_for_play(2, 5, render=True)) as envs:
            envs.step(np.zeros(2, int))
            envs.render()
    said = {str(warning.message) for warning in recwarn}
    assert said == {"the battery is low"}, "which is the environment's own"


def test_workers_print_nothing(capfd):
    with closing(make_envs("Odd-v0", 2, "async", try_first=True)) as envs:
        for _ in range(3):
            envs.step(np.zeros(2, int))
    out, err = capfd.readouterr()
    assert "WARN" not in out + err


def test_what_it_refuses_is_refused(monkeypatch):
    monkeypatch.setitem(gym.registry["Odd-v0"].kwargs, "broken", "info")
    with pytest.raises(UsageError, match="info"):
        make_envs("Odd-v0", 1, try_first=True)
    monkeypatch.setattr(Odd, "__init__", lambda self, **kwargs: None)
    with pytest.raises(UsageError, match=r"set self.action_space to one of gymnasium.spaces"):
        make_envs("Odd-v0", 1, try_first=True)


def test_its_hard_checks_hold_in_the_trial(monkeypatch):
    def refuse(env, **kwargs):
        raise AssertionError("a new rule of Gymnasium")

    monkeypatch.setattr("gymnasium.wrappers.common.env_reset_passive_checker", refuse)
    with pytest.raises(UsageError, match=r"reset\(\) raised AssertionError: a new rule of Gymnasium"):
        make_envs("Odd-v0", 1, try_first=True)
    make_envs("Odd-v0", 1).close()


def test_gymnasium_warns_again_outside_of_it():
    make_envs("Odd-v0", 1, try_first=True).close()
    assert passive_env_checker.logger is gym.logger
    with pytest.warns(UserWarning, match="maximum and minimum values are equal"):
        gym.make("Odd-v0")
