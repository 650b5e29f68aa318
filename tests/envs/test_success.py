"""Success is read where an episode ends, in every vectorization."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from rlgen.core.play import play
from rlgen.core.source import EnvSource
from rlgen.envs.make import make_envs
from rlgen.envs.success import successes


class Tries(gym.Env):
    """Episodes of two steps; the third of every environment, and each third after it, is a success."""

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, name="is_success", as_array=False, render_mode=None):
        self.observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self.name, self.as_array, self.episode = name, as_array, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.count = self.episode + 1, 0
        return np.zeros(1, np.float32), {self.name: False}

    def step(self, action):
        self.count += 1
        done, won = self.count == 2, self.episode % 3 == 0
        info = {self.name: np.array([won]) if self.as_array else won} if done and self.name else {}
        return np.zeros(1, np.float32), 1.0, done, False, info


gym.register("Tries-v0", Tries)


@pytest.mark.parametrize("mode", [None, AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize("name", ["is_success", "success"])
def test_it_is_that_of_the_episode_which_ended(make, vectorization, name, mode):
    envs = make("Tries-v0", 2, vectorization, autoreset_mode=mode, env_kwargs={"name": name})
    ended = 0
    while ended < 12:
        step = envs.step(np.zeros(2, int))
        ended += np.count_nonzero(step.terminated)
        if step.terminated.any():
            assert (envs.success == (ended % 6 == 0)).all()
    assert envs.successes == [0, 0, 0, 0, 1, 1] * 2


def test_where_nothing_is_said_there_is_none(make):
    envs = make("Tries-v0", 2, "sync", env_kwargs={"name": ""})
    for _ in range(4):
        envs.step(np.zeros(2, int))
    assert np.isnan(envs.success).all() and envs.successes == []
    envs = make("CartPole-v1", 8, "native")
    for _ in range(60):
        envs.step(np.zeros(8, int))
    assert np.isnan(envs.success).all() and envs.successes == []


@pytest.mark.parametrize(
    ("infos", "expected"),
    [
        ({"success": np.array([1.0, 0.0])}, [1, 0]),
        ({"success": np.array([True, False]), "_success": np.array([False, True])}, [np.nan, 0]),
        ({"is_success": np.array([0.5, 0.0]), "success": np.array([1, 1])}, [0.5, 0]),
        ({"success": np.array(["yes", "no"])}, [np.nan, np.nan]),
        ({"final_info": np.array([None, {"success": True}], object)}, [np.nan, np.nan]),
        ({"final_info": {"success": np.array([1, 0])}, "success": np.array([0, 0])}, [1, 0]),
        ({}, [np.nan, np.nan]),
    ],
)
def test_infos_of_vector_classes(infos, expected):
    envs = gym.vector.VectorEnv()
    envs.num_envs = 2
    np.testing.assert_array_equal(successes(envs, infos), expected)


class Idle(torch.nn.Module):
    """An agent that does nothing."""

    memory_spec, acts_on_arrays, discount, device = {}, True, 0.9, torch.device("cpu")

    def act(self, obs, greedy=False):
        return {"action": np.zeros(len(obs), int)}


@pytest.mark.parametrize(("as_array", "name", "rate"), [(False, "is_success", 1 / 3), (True, "success", 1 / 3)])
def test_the_rate_of_an_evaluation(as_array, name, rate):
    envs = make_envs("Tries-v0", 1, "sync", env_kwargs={"name": name, "as_array": as_array})
    assert play(Idle(), envs, 6)["eval/success_rate"] == pytest.approx(rate)
    envs = make_envs("Tries-v0", 2, "sync", env_kwargs={"name": ""})
    assert "eval/success_rate" not in play(Idle(), envs, 6)


def test_the_rate_in_training_goes_on_after_a_resume():
    source, other = (EnvSource("Tries-v0", 2, "sync", 0, 2) for _ in range(2))
    for _ in range(6):
        source.envs.step(np.zeros(2, int))
    source._finished = other._finished = [(1.0, 2)]
    state = source.state_dict()
    assert state["successes"] == [0, 0, 0, 0, 1, 1]
    other.load_state_dict(state)
    assert source.metrics()["charts/success_rate"] == other.metrics()["charts/success_rate"] == pytest.approx(1 / 3)
    assert source.envs.successes == [] and "charts/success_rate" not in source.metrics()
    source.close(), other.close()
