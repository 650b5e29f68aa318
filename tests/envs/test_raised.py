"""An environment's own exception keeps its message and its place."""

import json
import re
import sys
from contextlib import closing

import counting
import gymnasium as gym
import numpy as np
import pytest

from rlgen.envs.make import make_envs
from rlgen.envs.raised import LONGEST, place, said
from rlgen.errors import BrokenEnvError


def caught(function, *args):
    try:
        function(*args)
    except Exception as error:
        return error


def test_the_place_is_in_the_environments_own_code_and_not_in_a_library():
    error = caught(json.loads, "{")
    line = caught.__code__.co_firstlineno + 2
    assert said(error) == f"JSONDecodeError: {error} ({__file__}:{line})"


def test_a_message_of_many_lines_is_one_and_not_endless():
    assert said(ValueError("a\n  b\n")) == "ValueError: a b" and said(KeyError()) == "KeyError"
    assert len(said(ValueError("x" * 9_999))) < LONGEST + 20


def test_the_place_of_a_traceback_that_came_as_text():
    trace = 'Traceback\n  File "/a/env.py", line 7, in step\n    x\n  File "<string>", line 2, in f\nValueError: no'
    assert said(ValueError("no"), trace) == "ValueError: no (/a/env.py:7)"
    assert place([("<string>", 3)]) == "<string>:3", "nothing better"


class Raising(counting.Counting):
    def __init__(self, render_mode=None):
        super().__init__(ends=[(99, "terminated")])

    def step(self, action):
        if self.count == 3:
            raise RuntimeError("lost\nconnection")
        return super().step(action)


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_an_environment_that_raises_in_a_step_is_one_line_with_its_place(monkeypatch, capfd, vectorization):
    monkeypatch.setitem(gym.registry, "Raising-v0", gym.envs.registration.EnvSpec("Raising-v0", Raising))
    with closing(make_envs("Raising-v0", 2, vectorization)) as envs:
        for _ in range(3):
            envs.step(np.zeros(2, int))
        with pytest.raises(BrokenEnvError) as caught:
            envs.step(np.zeros(2, int))
    line = Raising.step.__code__.co_firstlineno + 2
    where = r"environment [01] in step 4 of episode 0, of 2 \(Raising-v0\)"
    what = rf"RuntimeError: lost connection \({re.escape(__file__)}:{line}\)"
    assert re.fullmatch(f"{where}, raised {what}", str(caught.value)), caught.value
    assert capfd.readouterr().err == ""


def test_an_environment_that_asks_python_to_exit_is_named(monkeypatch):
    """It once ended the run without a word, with its own exit code."""

    class Exiting(Raising):
        def step(self, action):
            sys.exit(3)

    monkeypatch.setitem(gym.registry, "Exiting-v0", gym.envs.registration.EnvSpec("Exiting-v0", Exiting))
    with (
        closing(make_envs("Exiting-v0", 1, "sync")) as envs,
        pytest.raises(BrokenEnvError, match="raised SystemExit: 3"),
    ):
        envs.step(np.zeros(1, int))
