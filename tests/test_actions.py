"""Agents learn every kind of action: from the first step to a resume, an evaluation, a video and a notebook."""

import json
import shutil
from itertools import product

import aiming
import numpy as np
import pytest
import torch
from tiny import assert_equal, comparable, tiny

import rlgen
from rlgen import experiment, inference
from rlgen.commands import main
from rlgen.errors import UsageError
from rlgen.runs import checkpoint
from rlgen.runs.run import Run
from rlgen.speed import recorded

LEARNS = {"steps": 4000, "rollout_steps": 200, "batch_size": 50, "num_epochs": 4, "num_envs": 20, "hidden": (8,)}
LEARNS |= {"lr": 5e-3, "baseline_lr": 1e-2, "gamma": 0.0, "entropy_coef": 0.02, "eval_episodes": 1, "env_check": False}
LEARNS |= {"log_every": 2000, "eval_every": 4000, "checkpoint_every": 4000}


def small(algo, folder, env, **more):
    known = tiny(algo, folder)
    options = {name: value for name, value in (LEARNS | more).items() if name in known}
    return tiny(algo, folder, env=f"aiming:{env}-v0", **options)


@pytest.mark.parametrize(
    ("algo", "env"),
    [
        *product(["ppo"], ["Choices", "Switches", "Levels"]),
        ("reinforce", "Far"),
        pytest.param("ppo", "Far", marks=pytest.mark.slow),
        *(pytest.param("reinforce", env, marks=pytest.mark.slow) for env in ("Choices", "Switches", "Levels")),
    ],
)
def test_the_best_action_is_learned(algo, env, tmp_path):
    run = experiment.start(small(algo, tmp_path, env), quiet=True)
    (found,) = inference.evaluate(run.path, episodes=1)["episodic_return"]["values"]
    assert found > 0.9 * aiming.LENGTH, f"{found} of {aiming.LENGTH}"


@pytest.mark.parametrize(("algo", "env"), [("ppo", "Choices"), ("reinforce", "Levels"), ("reinforce", "Far")])
def test_a_run_that_was_killed_ends_as_if_nothing_had_stopped_it(algo, env, tmp_path, monkeypatch):
    monkeypatch.setattr(recorded, "MIN_UPDATES_LEFT", 0)
    options = {"steps": 600, "num_envs": 3, "rollout_steps": 33, "batch_size": 16, "keep": 100}
    options |= {"checkpoint_every": 100, "log_every": 70, "eval_every": 180}
    whole = experiment.start(small(algo, tmp_path, env, name="whole", **options), quiet=True)
    steps = checkpoint.steps(whole.checkpoints)
    step = next(step for step in steps[1:] if any(whole.load(step)["source"]["length"]))  # in the middle of an episode
    killed = shutil.copytree(whole.path, tmp_path / "killed")
    for later in steps[steps.index(step) + 1 :]:
        shutil.rmtree(checkpoint.directory(killed / "checkpoints", later))
    resumed = experiment.resume("killed", str(tmp_path), quiet=True)
    assert_equal(comparable(resumed.path), comparable(whole.path), "rows")
    for part in ("learner", "source", "buffer"):
        assert_equal(resumed.load()[part], whole.load()[part], part)


def test_recorded_steps_are_the_eager_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(recorded, "MIN_UPDATES_LEFT", 0)
    recordings = []
    record = recorded.Recorded._record
    monkeypatch.setattr(recorded.Recorded, "_record", lambda *args: (recordings.append(1), record(*args))[1])
    options = {"steps": 300, "num_envs": 2, "rollout_steps": 32, "batch_size": 16, "log_every": 50}
    one, other = (
        experiment.start(small("ppo", tmp_path, "Choices", graph=graph, name=f"{graph}", **options), quiet=True)
        for graph in (True, False)
    )
    assert recordings
    assert_equal(comparable(one.path), comparable(other.path), "rows")


@pytest.mark.parametrize("env", ["Choices", "Table"])
def test_seeds_that_are_trained_together_learn_too(env, tmp_path, monkeypatch):
    monkeypatch.setattr(recorded, "MIN_UPDATES_LEFT", 0)
    runs = experiment.start_seeds(small("reinforce", tmp_path, env, name="many"), range(2), quiet=True)
    assert all(isinstance(run, Run) for run in runs.values()), runs
    for run in runs.values():
        assert inference.evaluate(run.path, episodes=1)["episodic_return"]["mean"] > 0.9 * aiming.LENGTH


@pytest.fixture(scope="module", params=aiming.SPACES)
def trained(request, tmp_path_factory):
    options = {"steps": 200, "rollout_steps": 64, "batch_size": 32, "num_epochs": 1, "num_envs": 2, "eval_every": 200}
    config = small("ppo", tmp_path_factory.mktemp("lab"), request.param, name="mine", **options)
    return experiment.start(config | {"video": True}, quiet=True)


def test_a_notebook_gets_actions_that_the_environment_takes(trained):
    agent, space = rlgen.load(trained), aiming.SPACES[trained.config["env_id"][7:-3]][0]
    one = agent.act(np.zeros(2))["action"]
    assert space.contains(one if one.ndim else one[()]), repr(one)
    many = agent.act(np.zeros((3, 2)), greedy=True)["action"]
    assert many.shape == (3, *space.shape) and all(space.contains(each) for each in many)
    tensor = agent.act(torch.zeros(3, 2), greedy=True)["action"]
    assert isinstance(tensor, torch.Tensor) and tensor.tolist() == many.tolist()


def test_a_run_is_evaluated_filmed_and_described(trained, capsys):
    words = ["eval", "mine", "--runs-dir", str(trained.path.parent), "--episodes", "2", "--video", "--json"]
    assert main(words) == 0
    assert len(json.loads(capsys.readouterr().out)["episodic_return"]["values"]) == 2
    spec = json.loads((trained.path / "config.json").read_text(), parse_constant=pytest.fail)["spec"]
    assert spec["action_shape"] == list(aiming.SPACES[trained.config["env_id"][7:-3]][0].shape or ())


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (
            "Choices",
            r"4 choices in an action, of shape \(4,\); Q-learning needs Discrete ones, .* rlgen train ppo --env",
        ),
        ("Grid", r"6 choices in an action, of shape \(2, 3\)"),
        ("Levels", "2 choices in an action"),
        ("Matrix", "continuous actions, of shape"),
    ],
)
def test_q_learning_says_what_to_do(env, message, tmp_path):
    with pytest.raises(UsageError, match=f"aiming:{env}-v0 has {message}"):
        experiment.start(small("dqn", tmp_path / "runs", env), quiet=True)
    assert not (tmp_path / "runs").exists(), "no directory is left"


def test_what_is_rescaled_is_said_once_and_stands_in_the_configuration(tmp_path, capsys):
    flags = [
        "--steps",
        "64",
        "--rollout-steps",
        "32",
        "--batch-size",
        "16",
        "--wandb",
        "disabled",
        "--eval-episodes",
        "1",
    ]
    flags += ["--runs-dir", str(tmp_path), "--device", "cpu", "--threads", "1"]
    assert main(["train", "ppo", "--env", "aiming:Far-v0", "--name", "far", *flags]) == 0
    err = capsys.readouterr().err
    assert err.count("actions of 'aiming:Far-v0': an agent's [-1, 1] is rescaled to [500, 1000]") == 1, err
    info = json.loads((tmp_path / "far/config.json").read_text())
    assert info["spec"]["action_rescaled"] == [True] and info["config"]["rescale_actions"] is True
    assert main(["train", "ppo", "--env", "aiming:Far-v0", "--name", "raw", "--no-rescale-actions", *flags]) == 0
    assert "rescaled" not in capsys.readouterr().err
    assert json.loads((tmp_path / "raw/config.json").read_text())["spec"]["action_rescaled"] == [False]


def test_a_run_of_before_goes_on_clipping(tmp_path):
    """Its config.json has format 2 and knows of no rescaling."""
    options = {"steps": 200, "rollout_steps": 64, "batch_size": 32, "num_epochs": 1, "num_envs": 2, "eval_every": 100}
    now = experiment.start(small("ppo", tmp_path, "Far", name="old", rescale_actions=False, **options), quiet=True)
    info = json.loads((now.path / "config.json").read_text())
    del info["config"]["rescale_actions"], info["spec"]["action_rescaled"], info["spec"]["action_dtype"]
    del info["spec"]["num_choices"]
    info["config"]["max_episode_steps"] = info["config"].pop("eval_max_episode_steps")  # its name then
    (now.path / "config.json").write_text(json.dumps(info | {"format": 2}))
    assert inference.evaluate(now.path, episodes=1)["episodic_return"]["mean"] == pytest.approx(5 * (1 - 200 / 250))
    resumed = experiment.resume("old", str(tmp_path), steps=300, quiet=True)
    assert resumed.config["rescale_actions"] is False and resumed.step >= 300
    action = rlgen.load(resumed).act(np.zeros(2), greedy=True)["action"]
    assert action == 500, "all of the policy's actions are far below the bounds"
