import importlib.util
import sys
import types

import gymnasium as gym
import pytest

from rlgen.commands import list as listing
from rlgen.envs.find import check_env_id
from rlgen.envs.namespaces import NAMESPACES, is_atari, register
from rlgen.errors import UsageError


def test_a_package_that_registers_by_a_function_is_asked_once(monkeypatch):
    calls = []

    def register_envs():
        calls.append(1)
        gym.register("MinAtar/Breakout-v1", entry_point="counting:Counting")

    for name in ("minatar", "minatar.gym"):
        monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(register_envs=register_envs, __path__=[]))
    monkeypatch.setitem(gym.registry, "MinAtar/Breakout-v1", None)
    del gym.registry["MinAtar/Breakout-v1"]
    assert check_env_id("MinAtar/Breakout-v1").id == "MinAtar/Breakout-v1"
    with pytest.raises(UsageError, match="MinAtar/Brekout-v1' does not exist: did you mean MinAtar/Breakout-v1"):
        check_env_id("MinAtar/Brekout-v1")
    assert calls == [1], "it is not asked again for what it does not have"


@pytest.mark.parametrize(
    ("env_id", "expected"),
    [
        ("ALE/Pong-v5", True),
        ("ale_py:ALE/Pong-v5", True),
        ("PongNoFrameskip-v4", True),
        ("Pong-ram-v4", False),
        ("MinAtar/Breakout-v1", False),
        ("my_env:Pong-v0", False),
        ("CartPole-v1", False),
    ],
)
def test_what_is_atari(env_id, expected):
    assert is_atari(env_id) is expected


def test_an_id_of_no_package_needs_none():
    ids, modules = set(gym.registry), set(sys.modules)
    register("CartPole-v1")
    assert (set(gym.registry), set(sys.modules)) == (ids, modules)


def test_every_package_is_listed_with_what_it_needs():
    rows = {row["env"]: row for row in listing.environments()}
    for namespace in NAMESPACES:
        there = importlib.util.find_spec(namespace.module.partition(".")[0])
        row = rows[namespace.example if there else namespace.listed]
        assert (row["group"], row["actions"]) == (namespace.name, namespace.actions)
        assert row["needs"] == ("" if there else " ".join(namespace.packages))
