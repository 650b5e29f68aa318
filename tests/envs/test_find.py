import importlib.util
import sys

import gymnasium as gym
import pytest

from rlgen.envs import find
from rlgen.envs.find import check_env_id
from rlgen.envs.make import make_envs
from rlgen.errors import MissingExtraError, UsageError, install

BAD_IDS = [
    ("CartPol-v1", "did you mean CartPole-v1"),
    ("cartpole-v1", "did you mean CartPole-v1"),
    ("CartPole", "did you mean CartPole-v1"),
    ("LunarLander-v2", "it is retired, use LunarLander-v3"),
    ("CartPole-v7", "its newest version is CartPole-v1"),
    ("Xqzzk-v0", "rlgen list envs"),
    ("", "rlgen list envs"),
    ("not an id!", "rlgen list envs"),
    ("counting:Countin-v0", "did you mean Counting-v0"),
    ("no_such_module:Env-v0", "importing the module 'no_such_module' failed .*PYTHONPATH"),
    ("a:b:c", "importing the module 'a:b' failed"),
    (":CartPol-v1", "did you mean CartPole-v1"),
    ("Breakout", r"did you mean ALE/Breakout-v5 or MinAtar/Breakout-v1\?"),
    ("space invaders", r"did you mean ALE/SpaceInvaders-v5 or MinAtar/SpaceInvaders-v1\?"),
    ("pong-v3", r"did you mean ALE/Pong-v5\?"),
]


@pytest.mark.parametrize(("env_id", "hint"), BAD_IDS)
def test_bad_id_gets_one_line(env_id, hint):
    with pytest.raises(UsageError, match=hint) as error:
        make_envs(env_id, 1)
    assert repr(env_id) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_module_that_breaks_gets_one_line(tmp_path, monkeypatch):
    (tmp_path / "broken_module.py").write_text("raise RuntimeError('two\\nlines')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"RuntimeError: two lines"):
        check_env_id("broken_module:Env-v0")


@pytest.mark.parametrize(
    ("env_id", "package", "extra"),
    [
        ("ALE/Pong-v5", "ale_py", ["ale-py", "opencv-python-headless"]),
        ("PongNoFrameskip-v4", "ale_py", ["ale-py", "opencv-python-headless"]),
        ("MinAtar/Breakout-v1", "minatar", ["minatar"]),
        ("MiniGrid-Empty-5x5-v0", "minigrid", ["minigrid"]),
        ("popgym-RepeatPreviousEasy-v0", "popgym", ["popgym"]),
    ],
)
def test_a_missing_namespace_gives_the_install_command(monkeypatch, env_id, package, extra):
    for module in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(gym.registry, env_id, raising=False)
    with pytest.raises(MissingExtraError) as error:
        check_env_id(env_id)
    assert str(error.value).endswith(f": {install(*extra)}")
    assert package in str(error.value) and error.value.exit_code == 3


@pytest.mark.parametrize(("env_id", "extra"), [("LunarLander-v3", "gymnasium[box2d]"), ("Ant-v5", "gymnasium[mujoco]")])
def test_a_missing_package_gives_the_install_command(monkeypatch, env_id, extra):
    monkeypatch.setattr(find, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError) as error:
        make_envs(env_id, 1)
    assert str(error.value).endswith(f": {install(extra)}")
    monkeypatch.setattr(find, "find_spec", lambda name: importlib.util.find_spec("numpy"))
    assert check_env_id(env_id).id == env_id
