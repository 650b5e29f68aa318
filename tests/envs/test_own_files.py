"""The files of a user's own behind an environment: which they are, and that a run says where one has changed."""

import json
import sys

import pytest
from tiny import tiny

import rlgen
from rlgen import experiment, inference
from rlgen.envs import given
from rlgen.envs.own_files import changed, digests
from rlgen.verify import verify

MORE = "import own_goal\nfrom own_goal import GOAL\nimport json, numpy, gymnasium.wrappers\n"
SHORT = {"steps": 60, "learning_starts": 20, "checkpoint_every": 30, "eval_episodes": 1, "max_episode_steps": 20}


def edited(path, text="\nCHANGED = 1\n"):
    path.write_text(path.read_text() + text)


def test_they_are_local_modules_and_what_these_import(here):
    (here / "own_walk.py").write_text(MORE + (here / "own_walk.py").read_text())
    (here / "own_goal.py").write_text("GOAL = 1\n")
    (here / "own_light.py").write_text("from gymnasium.wrappers import ClipReward as Dim\nclass Light(Dim): ...\n")
    before = digests("own_walk:Walk", ["own_light:Light(0, 1)", "gymnasium.wrappers:ClipReward(0, 1)"])
    assert [*before] == ["own_goal", "own_light", "own_walk"]
    edited(here / "own_goal.py")
    now = digests("own_walk:Walk", [])
    assert [*now] == ["own_goal", "own_walk"] and changed(before, now) == [str(here / "own_goal.py")]
    assert digests("own_walk:OwnWalk-v0", []) == now, "registered"


def test_what_a_package_brings_and_a_native_class_are_none(here):
    assert digests("CartPole-v1", ["gymnasium.wrappers:ClipReward(0, 1)"]) == {}
    assert digests("counting:Counting", []).keys() == {"counting"}


def test_modules_of_a_package_of_ones_own_are_found_by_their_relative_imports(here):
    (here / "own_lab").mkdir()
    (here / "own_lab/__init__.py").write_text("")
    (here / "own_lab/goal.py").write_text("GOAL = 1\n")
    (here / "own_lab/walk.py").write_text("from . import goal\nfrom own_walk import Walk\n")
    assert [*digests("own_lab.walk:Walk", [])] == ["own_lab", "own_lab.goal", "own_lab.walk", "own_walk"]


def test_what_was_passed_is_known_by_its_source(here, monkeypatch):
    monkeypatch.setattr(given, "HELD", {})
    rlgen.envs.find.check_env_id("own_walk:Walk")
    own_walk, size = sys.modules["own_walk"], 3
    name = given.hold(lambda: own_walk.Walk(size))
    before = digests(name, [])
    assert before.keys() >= {name, "own_walk"}
    size = 4
    assert changed(before, digests(name, [])) == [name]


def test_every_command_that_goes_on_with_a_run_names_the_file_that_changed(here, capsys):
    run = experiment.start(tiny("dqn", here / "runs", env="own_walk:Walk", name="mine", **SHORT), quiet=True)
    folder, config = str(here / "runs"), run.path / "config.json"
    files = json.loads(config.read_text())["own_files"]
    assert [*files] == ["own_walk"]
    experiment.resume("mine", folder, 90)
    assert "changed" not in capsys.readouterr().err
    edited(here / "own_walk.py")
    line = f"{here / 'own_walk.py'} has changed since run mine began: its environment may be another now"
    for go_on in (
        lambda: experiment.resume("mine", folder, 120),
        lambda: experiment.resume("mine", folder, 150, quiet=True),
        lambda: experiment.fork("mine", {"steps": 180}, folder, "other"),
        lambda: inference.evaluate("mine", folder, 1),
    ):
        go_on()
        assert capsys.readouterr().err.splitlines().count(line) == 1
    assert json.loads(config.read_text())["own_files"] == files, "as it began"
    found = verify("mine", folder)
    assert found["repeated"] and found["since"].keys() == {"own_files.own_walk"}
    experiment.resume("other", folder, 210)
    assert "changed" not in capsys.readouterr().err, "a fork begins with the file of now"


@pytest.mark.parametrize("recorded", [None, {}])
def test_a_run_from_before_says_nothing(here, capsys, recorded):
    run = experiment.start(tiny("dqn", here / "runs", env="own_walk:Walk", name="mine", **SHORT), quiet=True)
    info = json.loads((run.path / "config.json").read_text())
    del info["own_files"]
    (run.path / "config.json").write_text(json.dumps(info | ({} if recorded is None else {"own_files": recorded})))
    edited(here / "own_walk.py")
    experiment.resume("mine", str(here / "runs"), 90)
    assert "changed" not in capsys.readouterr().err
