"""Wrappers that a run is told to apply."""

import gymnasium as gym
import numpy as np
import pytest

from rlgen.envs.make import make_envs
from rlgen.errors import UsageError


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_they_are_applied_in_their_order_and_take_arguments(make, here, vectorization):
    wrappers = ["own_walk:twice", "gymnasium.wrappers:ClipReward(0, 1.5)", "own_walk:Shift(2, times=3)"]
    envs = make("own_walk:Walk", 2, vectorization, try_first=True, wrappers=wrappers, env_kwargs={"size": 1})
    assert (envs.obs[:, 1] == 7).all()
    rewards = [envs.step(np.ones(2, int)).reward for _ in range(3)]
    assert np.max(rewards) == 1.5, "twice the reward, then no more than that"
    other = make("own_walk:Walk", 2, vectorization, wrappers=wrappers[1::-1], env_kwargs={"size": 1})
    assert np.max([other.step(np.ones(2, int)).reward for _ in range(3)]) == 2


def test_they_lie_within_what_makes_arrays_of_observations(make, here):
    envs = make("CartPole-v1", 2, "auto", wrappers=["gymnasium.wrappers:FilterObservation"][:0])
    assert envs.spec.obs_shape == (4,)
    envs = make("CartPole-v1", 8, "auto", wrappers=["gymnasium.wrappers:TimeAwareObservation(flatten=False)"])
    assert envs.spec.obs_shape == (5,), "a Dict, made a vector; not the native class"


@pytest.mark.parametrize(
    ("wrapper", "line"),
    [
        ("ClipReward", "in no module; type --wrapper gymnasium.wrappers:ClipReward"),
        ("Shift", "in no module; type --wrapper module:Shift"),
        ("own_walk:Shfit", r"own_walk.py has no class or function 'Shfit'\. Did you mean Shift\? Its wrappers: Shift"),
        ("own_wlk:Shift", r"Did you mean own_walk\?"),
        ("own_walk:Shift(bye=2)", r"takes no argument 'bye'\. Did you mean by\? It takes: by, times$"),
        ("own_walk:Shift(2, by=2)", r"takes no argument 'by'\. It takes: times$"),
        ("own_walk:Shift(fast)", "must be values as Python writes them"),
        ("own_walk:Shift(**{})", "must be values as Python writes them"),
        ("own_walk:Shift(1)(2)", "must be values as Python writes them"),
        ("own_walk:Shift[1]", "must be module:Class"),
        (
            "gymnasium.wrappers:TimeLimit",
            r"; give it a value: --wrapper 'gymnasium.wrappers:TimeLimit\(max_episode_steps",
        ),
        ("own_walk:no_env", "returned a int, not an environment"),
        ("own_walk:breaks", r"raised RuntimeError: no light \(.*own_walk.py:"),
        ("own_walk:Shift('a')", r"reset\(\) raised UFuncTypeError.*own_walk.py:"),
        ("gymnasium.wrappers.vector:RecordEpisodeStatistics", "is for a vector of environments"),
        ("own_walk:made", "has no class or function 'made'"),
    ],
)
def test_a_wrong_one_gets_a_line(here, wrapper, line):
    with pytest.raises(UsageError, match=line) as error:
        make_envs("own_walk:Walk", 1, try_first=True, wrappers=[wrapper])
    assert "\n" not in str(error.value)


def test_none_fits_a_native_class(here):
    with pytest.raises(UsageError, match=r"fits no native 'CartPole-v1'.*--vectorization sync or async"):
        make_envs("CartPole-v1", 2, "native", wrappers=["own_walk:Shift"])


@pytest.mark.parametrize("vectorization", ["sync", "async", "native"])
def test_episodes_are_cut_in_every_vectorization(make, vectorization):
    envs = make("CartPole-v1", 8, vectorization, max_episode_steps=6)
    truncated = [envs.step(np.arange(8) % 2 ^ (t % 2)).truncated.any() for t in range(6)]
    assert truncated == [False] * 5 + [True]


def test_a_native_class_that_cuts_none_says_so(monkeypatch):
    class Native(gym.vector.VectorEnv):
        def __init__(self, num_envs): ...

    monkeypatch.setitem(gym.registry, "Uncut-v0", gym.envs.registration.EnvSpec("Uncut-v0", vector_entry_point=Native))
    with pytest.raises(UsageError, match="the native 'Uncut-v0' takes no max_episode_steps: use --vectorization sync"):
        make_envs("Uncut-v0", 2, max_episode_steps=5)
