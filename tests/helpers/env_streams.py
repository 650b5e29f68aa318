"""What the tests of environments share: arrays compared, actions drawn, a state through a file, spaces by id."""

import io
import math

import counting
import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Box


def same(left, right):
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def random_actions(spec, num):
    """As an agent of that spec draws them: [num, N] integers, [num, N, A] integers or floats."""
    rng, shape = np.random.default_rng(11), (num, spec.num_envs)
    if spec.num_actions:
        return rng.integers(0, spec.num_actions, shape)
    if spec.num_choices:
        return rng.integers(0, spec.num_choices, (*shape, len(spec.num_choices)))
    return rng.normal(0, 3, (*shape, math.prod(spec.action_shape))).astype(np.float32)


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
