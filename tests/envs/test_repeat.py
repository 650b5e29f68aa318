import copy
import multiprocessing
import random
import time
from functools import partial

import counting
import gymnasium as gym
import leaky
import numpy as np
import pytest

from rlgen.envs import repeat
from rlgen.envs.repeat import RESETS, Found, tried, try_resets


@pytest.mark.parametrize("kind", leaky.LEAKS)
def test_a_reset_that_keeps_something_of_the_past_is_found(kind):
    found = try_resets(kind)
    assert found.repeats is False, found
    assert "keeps traces of the past" in found.why


@pytest.mark.parametrize(
    "make",
    [
        leaky.Leaky,
        leaky.OneArray,
        leaky.Parts,
        counting.Counting,
        counting.Frames,
        partial(gym.make, "CartPole-v1"),
        partial(gym.make, "Pendulum-v1"),
    ],
)
def test_what_repeats_itself_is_not_suspected(make):
    found = try_resets(make)
    assert found.repeats is True, found
    assert int(found.why.split()[0]) >= RESETS


@pytest.mark.parametrize(
    ("kind", "repeats", "why"),
    [
        (leaky.Slow, True, "1 resets"),
        (leaky.Hanging, None, "more than 2 s"),
        (leaky.Dying, None, "died"),
        (leaky.Raising, None, "ValueError: no world"),
    ],
)
def test_a_trial_ends_soon_whatever_the_environment_does(kind, repeats, why):
    begin = time.monotonic()
    found = try_resets(kind)
    assert time.monotonic() - begin < 6
    assert found.repeats is repeats and why in found.why, found
    assert not multiprocessing.active_children()


def test_nothing_of_the_run_notices_a_trial(capfd):
    class Loud(leaky.Counter):
        def reset(self, **kwargs):
            print("reset")
            return super().reset(**kwargs)

    leaky.world[0] = 7
    before = np.random.get_state()[1].tolist(), random.getstate()
    assert try_resets(Loud).repeats is False
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before
    assert leaky.world == [7]
    assert capfd.readouterr() == ("", "")


def test_an_environment_is_tried_once_a_process():
    calls = []

    def make():
        raise AssertionError

    def counted():
        calls.append(1)
        return make()

    first = tried("once", counted)
    assert tried("once", make) is first
    assert isinstance(first, Found) and first.repeats is None


def test_a_trial_closes_its_environments(tmp_path):
    class Closing(leaky.Leaky):
        def close(self):
            (tmp_path / str(id(self))).touch()

    assert try_resets(Closing).repeats is True
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("obs", [[1, np.zeros(2)], (1, np.zeros(2)), [1, 2], [np.zeros(2), None]])
def test_observations_of_any_form_are_compared(obs):
    assert repeat._copied(obs) == repeat._copied(copy.deepcopy(obs))
    assert repeat._copied(obs) != repeat._copied([7, np.ones(2)])
