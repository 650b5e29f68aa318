"""Whatever an observation is, one array a step comes; an environment that breaks its word in mid-run is found out."""

import gymnasium as gym
import numpy as np
import observed
import pytest
import torch
from env_streams import shapes_id
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple
from specs import stored

from rlgen.envs.make import make_envs
from rlgen.errors import BrokenEnvError, DivergedError, UsageError

NUMBERS, PICTURE = Box(-1, 1, (4,), np.float32), Box(0, 255, (6, 6, 3), np.uint8)
PARTS = Dict(camera=PICTURE, speed=Box(-1, 1, (2,), np.float32))


def lies(space, obs, steps=60, vectorization="sync"):
    """Steps of two environments of which the observations become `obs`."""
    envs = make_envs("observed:Liar-v0", 2, vectorization, try_first=True)
    try:
        for _ in range(steps):
            envs.step(np.zeros(2, int))
    finally:
        envs.close()


FAULTS = [
    (NUMBERS, np.zeros(1, np.float32), r"of shape \(1,\), where observation_space declares \(4,\)"),
    (NUMBERS, np.float32(1), r"of shape \(\), where"),
    (Box(-1, 1, (3, 4), np.float32), np.zeros(4, np.float32), r"of shape \(4,\), where"),
    (PICTURE, np.full((6, 6, 3), 0.5, np.float32), "of float32, where observation_space declares uint8"),
    (PICTURE, np.full((6, 6, 3), 300), "with 300 in it, which uint8 cannot hold"),
    (Box(0, 1, (6, 6, 3), bool), np.full((6, 6, 3), 2, np.int64), "with 2 in it, which bool cannot hold"),
    (Box(0, 9, (6,), np.int64), np.full(6, 0.5), "of float64, where observation_space declares int64"),
    (PARTS, {"camera": np.full((6, 6, 3), -1), "speed": np.zeros(2)}, r"observation\['camera'\] with -1 in it"),
    (PARTS, {"camera": np.zeros((6, 6, 3), np.uint8), "speed": np.zeros(1)}, r"observation\['speed'\] of shape \(1,\)"),
    (Discrete(3), np.zeros(2, np.int64), "that is not in Discrete"),
]


@pytest.mark.parametrize(("space", "obs", "said"), FAULTS, ids=[said[:30] for _, _, said in FAULTS])
def test_what_would_be_repeated_cut_off_or_wrapped_around_ends_the_run(monkeypatch, space, obs, said):
    monkeypatch.setattr(gym.registry["Liar-v0"], "kwargs", {"space": space, "obs": obs})
    with pytest.raises(BrokenEnvError, match=rf"environment 0 in step \d+ of episode 0, of 2 .*{said}") as it:
        lies(space, obs)
    assert "\n" not in str(it.value)
    lies(space, obs, steps=observed.FAULT_STEP - 15)


def test_what_is_wrong_in_a_worker_is_said_too(monkeypatch):
    monkeypatch.setattr(gym.registry["Liar-v0"], "kwargs", {"space": NUMBERS, "obs": np.zeros(1, np.float32)})
    with pytest.raises(
        BrokenEnvError,
        match=r"ValueError: it returned .* of shape \(1,\), .* declares \(4,\): make observation_space and it agree$",
    ):
        lies(NUMBERS, None, vectorization="async")


@pytest.mark.parametrize("camera", [PICTURE, Box(0, 1, (6, 6, 3), np.float32)])
def test_a_part_that_is_not_finite_is_found_among_bytes_too(monkeypatch, camera):
    space = Dict(camera=camera, speed=PARTS["speed"])
    obs = {"camera": np.zeros(camera.shape, camera.dtype), "speed": np.array([0, np.nan], np.float32)}
    monkeypatch.setattr(gym.registry["Liar-v0"], "kwargs", {"space": space, "obs": obs})
    with pytest.raises(DivergedError, match="non-finite observation, nan, at vector step"):
        lies(space, obs)


def test_no_valid_action_is_one_line(monkeypatch):
    kwargs = {"space": NUMBERS, "mask": np.zeros(3, bool)}
    monkeypatch.setattr(gym.registry["Liar-v0"], "kwargs", kwargs)
    with pytest.raises(BrokenEnvError, match=r"environment 0 in step .* action_mask: no action is valid") as it:
        lies(NUMBERS, None)
    assert "\n" not in str(it.value)


SPACES = [
    Dict(camera=PICTURE, deep=Tuple((Discrete(3, start=1), NUMBERS)), flags=MultiBinary(2), mission=Text(5)),
    Dict(place=NUMBERS, choices=MultiDiscrete([2, 3])),
    Dict(camera=PICTURE, mission=Text(5)),
    Box(0, 1, (6, 6, 3), bool),
    Box(0, 9, (5,), np.int32),
    Box(0, 1, (), np.float32),
    Discrete(5, start=-3),
    MultiBinary((2, 3)),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_the_array_of_a_stream_is_what_the_environment_gave(make, monkeypatch, space, vectorization):
    env_id = shapes_id(monkeypatch, space, Discrete(2))
    envs, alone = make(env_id, 1, vectorization, seed=4), gym.make(env_id)
    from rlgen.envs.stream import episode_seed

    given = [alone.reset(seed=episode_seed(4, 0, 0), options={})[0]]
    seen = [envs.obs]
    for _ in range(5):
        given.append(alone.step(0)[0])
        seen.append(envs.step(np.zeros(1, int)).next_obs)
    assert np.array_equal(np.concatenate(seen), stored(envs.spec, space, given))
    assert seen[0].dtype == envs.spec.obs_dtype


class Boxed(gym.Env):
    """What it returns of numbers is arrays, as of a vector of one."""

    metadata = {"render_modes": []}  # noqa: RUF012
    observation_space, action_space = Box(-1, 1, (2,)), Discrete(2)

    def __init__(self, boxed=np.atleast_1d):
        self.boxed = boxed

    def reset(self, *, seed=None, options=None):
        self.count = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.count += 1
        ends = [self.count == 3, self.count == 4]
        return np.zeros(2, np.float32), self.boxed(1.5), *map(self.boxed, ends), {}


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize("boxed", [np.atleast_1d, np.atleast_2d, np.asarray, torch.tensor])
def test_numbers_in_arrays_are_numbers(make, monkeypatch, boxed, vectorization):
    monkeypatch.setitem(gym.registry, "Boxed-v0", gym.envs.registration.EnvSpec("Boxed-v0", Boxed))
    envs = make("Boxed-v0", 2, vectorization, env_kwargs={"boxed": boxed}, try_first=boxed is not torch.tensor)
    steps = [envs.step(np.zeros(2, np.int64)) for _ in range(4)]
    assert all(step.reward.tolist() == [1.5, 1.5] for step in steps)
    assert [step.terminated.tolist() for step in steps] == [[False] * 2, [False] * 2, [True] * 2, [False] * 2]


def test_keys_of_any_kind_and_with_slashes_find_their_parts(make, monkeypatch):
    space = Dict({1: Box(-1, 1, (2,)), "a/b": Discrete(3), "a": Dict({"c": Box(-9, 9, (1,)), "b/d": Discrete(2)})})
    envs = make(shapes_id(monkeypatch, space, Discrete(2)), 1, try_first=True)
    assert {part.name for part in envs.spec.parts} == {"1", "a/b", "a/c", "a/b/d"}
    same = Dict({"a/b": Discrete(3), "a": Dict({"b": Discrete(3)})})
    with pytest.raises(UsageError, match="two parts of its observations are called 'a/b': rename a key"):
        make(shapes_id(monkeypatch, same, Discrete(2)), 1)


def test_parts_without_numbers_are_left_out(make, monkeypatch):
    empty = Box(-1, 1, (0, 3))
    envs = make(shapes_id(monkeypatch, Dict(empty=empty, x=Box(-1, 1, (2,))), Discrete(2)), 1)
    assert [part.kind for part in envs.spec.parts] == ["left out", "vector"] and envs.spec.obs_shape == (2,)
    with pytest.raises(UsageError, match="cannot be made a vector"):
        make(shapes_id(monkeypatch, empty, Discrete(2)), 1)
