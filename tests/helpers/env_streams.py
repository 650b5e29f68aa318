"""What the tests of environments share: arrays compared, actions drawn, a state through a file, spaces by id."""

import io

import counting
import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Box


def same(left, right):
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def random_actions(spec, num):
    rng = np.random.default_rng(11)
    shape = (num, spec.num_envs, *spec.action_shape)
    return rng.integers(0, spec.num_actions, shape) if spec.num_actions else rng.normal(0, 3, shape).astype(np.float32)


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


UNIT = Box(0, 1, (2,), np.float64)


def shapes_id(monkeypatch, obs_space, action_space):
    spaces = {"observation_space": obs_space, "action_space": action_space}
    spec = gym.envs.registration.EnvSpec("Shapes-v0", counting.Shapes, kwargs=spaces)
    monkeypatch.setitem(gym.registry, "Shapes-v0", spec)
    return "Shapes-v0"
