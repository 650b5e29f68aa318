"""Environments that a Python caller passes."""

import functools

import gymnasium as gym
import pytest
from counting import Counting

from rlgen.envs import given
from rlgen.envs.find import check_env_id
from rlgen.errors import UsageError


@pytest.fixture(autouse=True)
def none_held(monkeypatch):
    monkeypatch.setattr(given, "HELD", {})


def make_counting(start=2):
    return Counting(start=start)


def test_what_can_be_imported_is_known_by_module_and_name(monkeypatch):
    assert given.hold("CartPole-v1") == "CartPole-v1"
    assert given.hold(Counting) == "counting:Counting"
    assert given.hold(make_counting) == f"{__name__}:make_counting"
    monkeypatch.setattr(given, "HELD", {})
    assert check_env_id("counting:Counting").entry_point is Counting, "found by any other process"


def test_what_cannot_has_a_name_of_its_source_and_its_values():
    def make(start):
        return lambda: Counting(start=start)

    names = [given.hold(make(1)), given.hold(make(2)), given.hold(functools.partial(Counting, start=1))]
    assert all(name.startswith("passed:") for name in names) and len({*names}) == 3
    assert given.hold(make(1)) == names[0], "seeds of one group, also of another process"
    assert names[2].startswith("passed:Counting-")
    env = gym.make(check_env_id(names[1]))
    assert env.unwrapped.start == 2


def test_a_process_that_was_not_passed_it_says_what_to_do():
    with pytest.raises(UsageError, match=r"pass it again, as in rlgen.resume\(run, env=make_env\)"):
        check_env_id("passed:make_env-012345")
    given.hold(Counting, "passed:make_env-012345")
    assert check_env_id("passed:make_env-012345").entry_point is Counting


@pytest.mark.parametrize(
    ("env", "line"),
    [
        (Counting(), r"made already.*env=lambda: Counting\(\)"),
        (gym.make("CartPole-v1"), r"made already.*env=lambda: CartPoleEnv\(\)"),
        (5, "env is of type int: pass an id, a class"),
    ],
)
def test_what_makes_no_environment_gets_a_line(env, line):
    with pytest.raises(UsageError, match=line):
        given.hold(env)
