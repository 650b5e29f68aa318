"""`act` as a notebook calls it."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from tiny import tiny

import rlgen
from rlgen import experiment
from rlgen.errors import UsageError
from rlgen.inference.restore import restored


@pytest.fixture(scope="module", params=["dqn", "ppo"])
def trained(request, tmp_path_factory):
    return experiment.start(tiny(request.param, tmp_path_factory.mktemp("lab"), steps=200), quiet=True)


def test_arrays_lists_and_tensors_are_taken_and_answered_in_kind(trained):
    agent, obs = rlgen.load(trained), np.random.default_rng(0).normal(size=(3, 4))  # float64
    tensor = agent.act(torch.from_numpy(obs), greedy=True)["action"]
    array = agent.act(obs, greedy=True)["action"]
    assert isinstance(tensor, torch.Tensor) and isinstance(array, np.ndarray) and tensor.shape == array.shape == (3,)
    assert array.tolist() == tensor.tolist() == agent.act(obs.tolist(), greedy=True)["action"].tolist()
    plain, _ = restored(trained.path, "runs", "last")
    assert array.tolist() == torch.as_tensor(plain.act(torch.from_numpy(obs).float(), True)["action"]).tolist()


def test_one_observation_is_answered_with_one_action(trained):
    agent, env = rlgen.load(trained.path), gym.make("CartPole-v1")
    obs, _ = env.reset(seed=0)
    action = agent.act(obs, greedy=True)["action"]
    assert action.shape == () and env.action_space.contains(action)
    env.step(action)
    assert agent.act(torch.from_numpy(obs))["action"].shape == ()


@pytest.mark.parametrize(
    ("obs", "message"),
    [
        (
            np.zeros(3),
            r"observations of shape \[3\]: must be numbers \[4\] or, of N environments, \[N, 4\], of CartPole",
        ),
        (np.zeros((2, 5)), r"observations of shape \[2, 5\]: must be"),
        (0.5, r"observations of shape \[\]: must be"),
        ("left", r"must be numbers \[4\] .*, not a str"),
        (None, r"not a NoneType"),
        ((np.zeros(4), {}), r"not a tuple \(env.reset\(\) returns an observation and a dictionary\)"),
        ([[1.0], [1.0, 2.0]], r"not a list"),
    ],
)
def test_what_is_no_observation_is_one_line(trained, obs, message):
    with pytest.raises(UsageError, match=message) as caught:
        rlgen.load(trained).act(obs)
    assert "\n" not in str(caught.value)


def test_the_package_and_a_run_say_what_they_are(trained):
    assert {"train", "load", "__version__"} <= {*dir(rlgen)}
    text = repr(trained)
    assert text.startswith(f"<Run {trained.name}: {trained.config['algo']} on CartPole-v1, seed 1, step 2")
    assert "best eval/episodic_return" in text and str(trained.path) in text
