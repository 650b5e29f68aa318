"""Environments that are closed after the test, and a working directory with a file of a user's own."""

import sys

import gymnasium as gym
import pytest
from own import TEXT

from rlgen.envs.make import make_envs
from rlgen.envs.stream import EnvStream


@pytest.fixture
def make(request):
    """`make_envs` and `EnvStream` whose environments are closed after the test."""

    def make(first, *args, **kwargs):
        made = make_envs(first, *args, **kwargs) if isinstance(first, str) else EnvStream(first, *args, **kwargs)
        request.addfinalizer(made.close)
        return made

    return make


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working directory, with `own_walk.py` in it, which is not on the path; what is imported from it goes."""
    (tmp_path / "own_walk.py").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = {*sys.modules}
    yield tmp_path
    for name in {*sys.modules} - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    gym.registry.pop("OwnWalk-v0", None)
