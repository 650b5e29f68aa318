"""config.json of older and newer versions."""

import json
from pathlib import Path

import pytest
from toy_runs import make_run

from rlgen.commands import main
from rlgen.errors import UsageError
from rlgen.options.algorithms import find
from rlgen.options.config import options
from rlgen.runs.files import read_json, write_json
from rlgen.runs.formats import FORMAT, upgraded
from rlgen.runs.run import Run

REFERENCE = Path(__file__).parents[2] / "runs/reference"  # all of format 1
OLDEST = REFERENCE.parents[1] / "tests/fixtures/oldest/vae-mnist-0"  # from before gradient steps were recorded


def change(path, **entries):
    write_json(path / "config.json", {k: v for k, v in (read_json(path / "config.json") | entries).items() if v})


def test_a_new_run_says_its_format_first(tmp_path):
    run = make_run(tmp_path, "mine")
    assert json.loads((run.path / "config.json").read_text())["format"] == FORMAT == 5
    assert (run.path / "config.json").read_text().startswith('{\n  "format": 5,\n')
    assert Run.open(run.path).info["format"] == FORMAT


def test_an_older_run_has_every_option_of_today_and_its_own_values(tmp_path):
    before = read_json(OLDEST / "config.json")
    config = Run.open(OLDEST).config
    assert "format" not in before and before["config"].items() <= config.items()
    added = {name: value for name, value in config.items() if name not in before["config"]}
    known = {"graph": True, "verify_graph": 0, "precision": "float32", "wandb_private": False}
    assert known.items() <= added.items(), "tf32 is today's default of precision, but not what that run did"
    assert options(find("vae")).keys() - {"env"} <= config.keys()
    assert read_json(OLDEST / "config.json") == before, "looking changes nothing"


@pytest.mark.parametrize("path", sorted(REFERENCE.glob("*-0")), ids=lambda path: path.name)
def test_every_reference_run_opens(path):
    info, run = read_json(path / "config.json"), Run.open(path)
    assert run.info["format"] == FORMAT and info["config"].items() <= run.config.items()
    missing = {"env_id" if name == "env" else name for name in options(find(run.config["algo"]))} - run.config.keys()
    assert not missing


def test_an_option_that_did_not_exist_has_the_algorithms_default_as_json_holds_it():
    config = {"algo": "dqn", "seed": 1, "steps": 10, "env_id": "CartPole-v1", "lr": 0.5}
    found = upgraded({"config": config}, "mine")["config"]
    defaults = {option.name: option.default for option in find("dqn").options}
    assert found["lr"] == 0.5 and found["gamma"] == defaults["gamma"] and found["double"] is False
    assert found["hidden"] == list(defaults["hidden"]), "a list, as in a config.json of today"
    assert {"data", "env", "log_every"}.isdisjoint(found), "what every run says itself"
    assert found == json.loads(json.dumps(found))


def test_what_format_2_leaves_out_has_todays_default():
    config = {"algo": "vae", "seed": 1, "steps": 10, "data": "digits"}
    assert upgraded({"format": 3, "config": config}, "mine")["config"]["precision"] == "tf32"
    assert upgraded({"config": config}, "mine")["config"]["precision"] == "float32"


def test_a_run_of_before_samples_were_compared_compares_none():
    config = {"algo": "vae", "seed": 1, "steps": 10, "data": "digits"}
    assert upgraded({"format": 4, "config": config}, "mine")["config"]["eval_samples"] == 0
    assert upgraded({"format": 5, "config": config}, "mine")["config"]["eval_samples"] == 2000


@pytest.mark.parametrize(("written", "rescales"), [({}, False), ({"format": 2}, False), ({"format": 3}, True)])
def test_a_run_of_before_actions_were_rescaled_clips_them(written, rescales):
    config = {"algo": "ppo", "seed": 1, "steps": 10, "env_id": "Pendulum-v1"}
    assert upgraded(written | {"config": config}, "mine")["config"]["rescale_actions"] is rescales
    of_images = {"algo": "vae", "seed": 1, "steps": 10, "data": "digits"}
    assert "rescale_actions" not in upgraded(written | {"config": of_images}, "mine")["config"]


@pytest.mark.parametrize(
    ("env_id", "frame_stack", "atari"),
    [("ALE/Pong-v5", 1, "raw"), ("PongNoFrameskip-v4", 1, "raw"), ("CartPole-v1", 1, "standard")],
)
def test_games_of_atari_were_raw_before_format_3(env_id, frame_stack, atari):
    config = {"algo": "dqn", "seed": 1, "steps": 10, "env_id": env_id}
    found = upgraded({"format": 2, "config": config}, "mine")["config"]
    assert (found["frame_stack"], found["atari"]) == (frame_stack, atari)
    found = upgraded({"format": 3, "config": config | {"frame_stack": 4}}, "mine")["config"]
    assert (found["frame_stack"], found["atari"]) == (4, "standard")


def test_the_limit_of_before_was_of_evaluations_alone():
    config = {"algo": "ppo", "seed": 1, "steps": 10, "env_id": "CartPole-v1", "max_episode_steps": 50}
    found = upgraded({"format": 2, "config": config}, "mine")["config"]
    assert (found["max_episode_steps"], found["eval_max_episode_steps"]) == (None, 50)
    found = upgraded({"format": 3, "config": config}, "mine")["config"]
    assert (found["max_episode_steps"], found["eval_max_episode_steps"]) == (50, 27_000)


def test_a_run_of_an_algorithm_that_is_not_installed_opens_as_it_is(tmp_path):
    run = make_run(tmp_path, "mine", algo="somebody-elses")
    assert Run.open(run.path).config == run.config


@pytest.mark.parametrize("newer", [6, 10**9, "2b", 2.5])
def test_a_newer_format_is_refused_in_one_line(tmp_path, newer):
    run = make_run(tmp_path, "mine")
    change(run.path, format=newer, rlgen_version="9.8.7")
    with pytest.raises(
        UsageError, match=f"run mine: .* format {newer}, written by rlgen 9.8.7; .* formats up to 5"
    ) as it:
        Run.open(run.path)
    assert "\n" not in str(it.value) and it.value.exit_code == 2


@pytest.mark.parametrize("command", ["resume", "fork", "eval", "sample", "show"])
def test_no_command_goes_on_with_a_newer_format(tmp_path, capsys, command):
    run = make_run(tmp_path, "mine")
    change(run.path, format=6)
    before = sorted(run.path.rglob("*"))
    assert main([command, "mine", "--runs-dir", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err
    assert "format 6" in error and error.count("\n") == 1
    assert sorted(run.path.rglob("*")) == before and len(list((tmp_path / "runs").iterdir())) == 1


def test_a_resumed_run_is_one_of_todays_format(tmp_path):
    run = make_run(tmp_path, "mine")
    old = {name: value for name, value in run.config.items() if name not in ("gamma", "graph")}
    write_json(run.path / "config.json", {"config": old, "wandb_id": "mine"})
    opened = Run.open(run.path)
    assert read_json(run.path / "config.json") == {"config": old, "wandb_id": "mine"}
    with opened.running():
        pass
    written = read_json(run.path / "config.json")
    assert written["format"] == FORMAT and written["config"]["precision"] == "float32"
    assert written == Run.open(run.path).info and written["wandb_id"] == "mine"
