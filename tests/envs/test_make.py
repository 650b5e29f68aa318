import importlib.util
import os
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from env_streams import UNIT, random_actions, same, shapes_id
from frames import check_stacks
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Sequence, Text, Tuple
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from rlgen.envs.make import make_envs
from rlgen.errors import UsageError


def test_vectorization_auto(make):
    assert isinstance(make("CartPole-v1", 1).vector_env, SyncVectorEnv)
    assert isinstance(make("Pendulum-v1", 8).vector_env, SyncVectorEnv)
    assert type(make("CartPole-v1", 8).vector_env).__name__ == "CartPoleVectorEnv"


OBS_SPACES = [
    (Discrete(4, start=3), (1,), "float32"),
    (MultiDiscrete([2, 3]), (2,), "float32"),
    (MultiBinary(3), (3,), "bool"),
    (Box(0, 1, (10, 10, 4), bool), (10, 10, 4), "bool"),
    (Box(0, 255, (128,), np.uint8), (128,), "uint8"),
    (Box(0, 255, (12, 12), np.uint8), (12, 12), "uint8"),
    (Tuple((Discrete(2), UNIT)), (3,), "float32"),
    (Dict({"place": UNIT, "image": Box(0, 255, (3, 3), np.uint8)}), (20,), "uint8"),
    (Dict({"place": UNIT, "image": Box(0, 1, (3, 3, 1), np.float32)}), (11,), "float32"),
    (Dict({"image": Box(0, 255, (3, 3, 1), np.uint8)}), (3, 3, 1), "uint8"),
    (Dict({"mission": Text(9), "place": UNIT}), (2,), "float32"),
    (Box(0, 255, (4, 4, 3), np.uint8), (4, 4, 3), "uint8"),
    (Box(0, 1, (), np.float32), (1,), "float32"),
    (Box(-1, 1, (3, 2), np.float64), (3, 2), "float32"),
]


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize(("space", "shape", "dtype"), OBS_SPACES)
def test_observations_of_any_space_are_arrays(make, monkeypatch, space, shape, dtype, vectorization):
    envs = make(shapes_id(monkeypatch, space, Discrete(2)), 2, vectorization)
    assert (envs.spec.obs_shape, envs.spec.obs_dtype) == (shape, dtype)
    next_obs = envs.step(np.zeros(2, int)).next_obs
    assert envs.obs.shape == next_obs.shape == (2, *shape)
    assert envs.obs.dtype == next_obs.dtype == dtype


def test_observations_that_are_no_vector_are_refused(monkeypatch):
    with pytest.raises(UsageError, match="cannot be made a vector"):
        make_envs(shapes_id(monkeypatch, Sequence(UNIT), Discrete(2)), 1)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("CartPole-v1", 0), "num_envs is 0"),
        (("CartPole-v1", 1, "fast"), "vectorization is 'fast'"),
        (("Pendulum-v1", 1, "native"), "no native vector class"),
        (("CartPole-v1", 1, "native", 0, AutoresetMode.DISABLED), "NEXT_STEP alone"),
        (("counting:Frames-v0", 1, "sync", 0, None, None, 0), "frame_stack is 0"),
    ],
)
def test_bad_arguments_get_one_line(arguments, hint):
    with pytest.raises(UsageError, match=hint):
        make_envs(*arguments)


needs_ale = pytest.mark.skipif(importlib.util.find_spec("ale_py") is None, reason="needs ale_py")

STACKED = [
    ("sync", None),
    ("async", None),
    ("sync", AutoresetMode.SAME_STEP),
    ("sync", AutoresetMode.NEXT_STEP),
    ("async", AutoresetMode.SAME_STEP),
    ("async", AutoresetMode.NEXT_STEP),
]


@pytest.mark.parametrize(("vectorization", "mode"), STACKED)
def test_frames_are_stacked_and_padded_as_the_spec_says(make, vectorization, mode):
    envs = make("counting:Frames-v0", 3, vectorization, autoreset_mode=mode, frame_stack=4)
    assert (envs.spec.obs_shape, envs.spec.obs_dtype) == ((4, 3, 5), "uint8")
    assert (envs.spec.frame_stack, envs.spec.frame_padding) == (4, "reset")
    assert all((envs.obs[:, i] == envs.obs[:, -1]).all() for i in range(4))
    assert min(check_stacks(envs, 200)) > 10


def test_the_newest_frames_are_those_without_a_stack(make):
    plain, stacked = make("counting:Frames-v0", 2, seed=3), make("counting:Frames-v0", 2, seed=3, frame_stack=3)
    assert (plain.spec.obs_shape, plain.spec.frame_stack) == ((3, 5), 1)
    for action in random_actions(plain.spec, 40):
        expected, step = plain.step(action), stacked.step(action)
        assert same(step[1:], expected[1:])
        assert np.array_equal(step.next_obs[:, -1], expected.next_obs)
        assert np.array_equal(stacked.obs[:, -1], plain.obs)


@pytest.mark.parametrize(
    ("env_id", "num_envs", "vectorization", "hint"),
    [
        ("CartPole-v1", 2, "sync", r"observations of shape \(4,\) are no images"),
        ("CartPole-v1", 2, "async", r"observations of shape \(4,\) are no images"),
        ("CartPole-v1", 8, "auto", r"observations of shape \(4,\) are no images"),
        ("CartPole-v1", 8, "native", "the native 'CartPole-v1' stacks no frames"),
        ("dict", 1, "sync", r"observations of shape \(3,\) are no images"),
    ],
)
def test_what_has_no_frames_is_not_stacked(monkeypatch, env_id, num_envs, vectorization, hint):
    if env_id == "dict":
        env_id = shapes_id(monkeypatch, Dict({"place": UNIT, "turn": Box(0, 1, (1,))}), Discrete(2))
    with pytest.raises(UsageError, match=hint) as error:
        make_envs(env_id, num_envs, vectorization, frame_stack=4)
    assert repr(env_id) in str(error.value)
    assert "\n" not in str(error.value)


@needs_ale
@pytest.mark.parametrize(("frame_stack", "expected"), [(1, 4), (2, 2), (4, 4)])
def test_native_atari_stacks_as_many_frames_as_asked_for(make, frame_stack, expected):
    envs = make("ALE/Pong-v5", 2, "native", frame_stack=frame_stack)
    assert envs.spec.obs_shape == (expected, 84, 84)
    assert (envs.spec.frame_stack, envs.spec.frame_padding) == (expected, "zero")
    assert envs.obs[:, -1].any() and not envs.obs[:, :-1].any()


def test_no_torch_at_import():
    code = "import sys, rlgen.envs.make; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_machine_without_a_screen_draws_without_a_word():
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("SDL", "DISPLAY", "WAYLAND", "XDG"))
    }
    code = "import gymnasium, rlgen.envs.make as make; e = gymnasium.make('CartPole-v1', render_mode='rgb_array'); "
    code += "e.reset(); e.render(); import pygame; pygame.display.init(); pygame.mixer.init()"
    pytest.importorskip("pygame")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert (result.returncode, result.stderr) == (0, "")


class Exits:
    """Leaves, as a program without its licence does."""

    def __init__(self, **kwargs):
        raise SystemExit("no licence")


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_a_constructor_that_leaves_is_one_line(monkeypatch, vectorization):
    monkeypatch.setitem(gym.registry, "Exits-v0", gym.envs.registration.EnvSpec("Exits-v0", Exits))
    with pytest.raises(UsageError, match="environment 'Exits-v0' cannot be made: SystemExit: no licence"):
        make_envs("Exits-v0", 1, vectorization)


class NoVector(gym.vector.VectorEnv):
    """A vector class that takes no number of environments."""

    def __init__(self):
        pass


@pytest.mark.parametrize(
    ("points", "what"),
    [
        ({"vector_entry_point": NoVector}, "unexpected keyword argument 'num_envs'"),
        ({"entry_point": "counting:Nope"}, "has no attribute 'Nope'"),
    ],
)
def test_an_entry_point_that_cannot_be_called_is_one_line(monkeypatch, points, what):
    monkeypatch.setitem(gym.registry, "Points-v0", gym.envs.registration.EnvSpec("Points-v0", **points))
    with pytest.raises(UsageError, match=f"environment 'Points-v0' cannot be made: .*{what}") as caught:
        make_envs("Points-v0", 2)
    assert "\n" not in str(caught.value)
