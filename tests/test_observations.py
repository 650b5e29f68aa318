"""Agents learn from observations of parts and keep to masks, by every way of taking a step."""

import json
import shutil
from contextlib import closing

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from tiny import assert_equal, comparable, tiny

from rlgen import experiment, inference
from rlgen.core.acting import checked
from rlgen.envs.make import make_envs
from rlgen.errors import UsageError
from rlgen.nets.parts import part_of
from rlgen.runs import checkpoint, preflight
from rlgen.speed import recorded
from rlgen.speed.recorded import Recorded

ENVS = ["Guess", "Room", "Traps", "Illegal"]


@pytest.mark.parametrize(
    ("algo", "name"), [*((algo, name) for algo in ("dqn", "ppo") for name in ENVS), ("ppo", "Locks")]
)
def test_a_recorded_step_of_it_is_the_eager_one(tmp_path, monkeypatch, name, algo):
    monkeypatch.setattr(recorded, "MIN_UPDATES_LEFT", 0)
    learner, source, buffer = experiment.build(tiny(algo, tmp_path, env=f"observed:{name}-v0", verify_graph=20))
    try:
        while learner.num_updates < 15:
            source.fill(buffer, learner)
            for batch in learner.batches(buffer):
                learner.learn(batch)
    finally:
        source.close()
    assert isinstance(learner.executor, Recorded) and learner.executor.recordings and not learner.executor.refused


@pytest.mark.parametrize("name", ["Room", "Traps"])
def test_seeds_together_are_seeds_alone(tmp_path, monkeypatch, name):
    monkeypatch.setattr(recorded, "MIN_UPDATES_LEFT", 0)
    monkeypatch.setattr("rlgen.speed.stacked.stackable", lambda learner: True)
    options = {"env": f"observed:{name}-v0", "steps": 200, "eval_every": 200, "log_every": 200, "verify_graph": 5}
    runs = experiment.start_seeds(tiny("dqn", tmp_path, **options), [0, 1], quiet=True)
    assert all(run.finished for run in runs.values())


@pytest.mark.parametrize(
    ("algo", "name"),
    [
        ("ppo", "Locks"),
        pytest.param("dqn", "Illegal", marks=pytest.mark.slow),
        pytest.param("dqn", "Room", marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_goes_on_as_if_it_had_never_stopped(tmp_path, algo, name):
    whole = experiment.start(
        tiny(algo, tmp_path, env=f"observed:{name}-v0", name="whole", steps=600, keep=100), quiet=True
    )
    assert json.loads((whole.path / "config.json").read_text())["spec"]["obs_parts"]
    shutil.copytree(whole.path, tmp_path / "half")
    for step in checkpoint.steps(tmp_path / "half/checkpoints"):
        if step > 400:
            shutil.rmtree(checkpoint.directory(tmp_path / "half/checkpoints", step))
    resumed = experiment.resume("half", str(tmp_path), quiet=True)
    assert comparable(whole.path) == comparable(resumed.path)
    for part in ("learner", "source", "buffer"):
        assert_equal(whole.load()[part], resumed.load()[part], part)


@pytest.mark.parametrize(
    ("algo", "name", "steps", "least", "more"),
    [
        ("dqn", "Traps", 4000, 8, {"lr": 3e-3}),
        pytest.param(
            *("ppo", "Traps", 6000, 7, {"lr": 3e-3, "rollout_steps": 256, "num_epochs": 8, "batch_size": 64}),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("ppo", "Locks", 3000, 8, {"lr": 3e-3, "rollout_steps": 256, "num_epochs": 8, "batch_size": 64}),
            marks=pytest.mark.slow,
        ),
        pytest.param("reinforce", "Locks", 3000, 7, {"lr": 1e-2, "rollout_steps": 64}, marks=pytest.mark.slow),
        pytest.param("dqn", "Illegal", 3000, 7, {"lr": 3e-3}, marks=pytest.mark.slow),
        pytest.param("dqn", "Room", 6000, 8, {"lr": 3e-3, "batch_size": 64}, marks=pytest.mark.slow),
    ],
)
def test_what_is_shown_is_learned_and_no_invalid_action_is_ever_taken(tmp_path, algo, name, steps, least, more):
    more = {"eval_every": steps, "log_every": 500, "checkpoint_every": steps, **more}
    run = experiment.start(tiny(algo, tmp_path, env=f"observed:{name}-v0", steps=steps, **more), quiet=True)
    rows = comparable(run.path)
    lengths = [row["charts/episodic_length"] for row in rows if "charts/episodic_length" in row]
    assert lengths and set(lengths) == {10.0}, "an invalid action ends the episode, in exploration too"
    assert rows[-1]["eval/episodic_return"] >= least, "of 10; by chance 5, of three 3.3"


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_a_mask_of_several_choices_may_be_given_in_every_form(vectorization):
    seen = []
    for form in ("flat", "tuple", "method", "part"):
        how = {"try_first": True, "env_kwargs": {"form": form}}
        with closing(make_envs("observed:Locks-v0", 2, vectorization, **how)) as envs:
            assert envs.spec.has_mask
            masks = []
            for _ in range(12):  # an episode has ten steps, at the end of which nothing is valid
                mask = part_of(envs.obs, envs.spec.parts[1], envs.spec.parts).astype(bool)
                masks.append(mask)
                envs.step(np.stack([mask[:, :3].argmax(-1), mask[:, 3:].argmax(-1)], -1))
            seen.append(np.array(masks))
    assert (seen[0].sum(-1) == 4).all() and all(np.array_equal(each, seen[0]) for each in seen)


@pytest.mark.parametrize("name", ENVS)
@pytest.mark.parametrize("algo", ["dqn", "ppo"])
def test_the_buffer_takes_the_memory_that_was_said(tmp_path, name, algo):
    more = {"rollout_steps": 512} if algo == "ppo" else {}
    config = tiny(algo, tmp_path, env=f"observed:{name}-v0", num_envs=2, **more)
    learner, source, buffer = experiment.build(config)
    try:
        need = preflight.needs(config, learner, source, buffer)
        source.fill(buffer, learner)
        assert 0.7 < buffer.nbytes / need.memory < 1.4, "beside observations, of which some are tiny, are actions"
    finally:
        source.close()
    sizes = {"Guess": 4, "Room": 4 + 72, "Traps": 4 + 5 * 4, "Illegal": 32}
    assert buffer.ring.columns["obs"][0, 0].nbytes == sizes[name]


def agent_of(tmp_path, name):
    learner, source, _ = experiment.build(tiny("dqn", tmp_path, env=f"observed:{name}-v0"))
    source.close()
    return checked(learner, source.spec), gym.make(f"{name}-v0")


def test_act_takes_observations_as_the_environment_gives_them(tmp_path):
    act, env = agent_of(tmp_path, "Room")
    obs, _ = env.reset(seed=3)
    one = act(obs, greedy=True)["action"]
    assert one.shape == () and env.action_space.contains(int(one))
    many = {key: np.stack([obs[key]] * 2) for key in ("camera", "gear")}
    assert act(many, greedy=True)["action"].tolist() == [one, one]
    as_tensors = {key: torch.as_tensor(value) for key, value in many.items()}
    assert isinstance(act(as_tensors, greedy=True)["action"], torch.Tensor)

    act, env = agent_of(tmp_path, "Guess")
    assert act(2, greedy=True)["action"].shape == () == act(np.int64(2))["action"].shape
    assert act(np.array([0, 1, 2]))["action"].shape == (3,) == act([[0], [1], [2]])["action"].shape


def test_act_takes_a_mask_beside_the_observation(tmp_path):
    act, _ = agent_of(tmp_path, "Traps")
    for door in range(5):
        mask = np.arange(5) == door
        assert act(2, greedy=True, action_mask=mask)["action"] == door
        assert act([2, 3], greedy=True, action_mask=[mask, ~mask])["action"].tolist()[0] == door
    assert {int(act(2)["action"]) for _ in range(100)} == {*range(5)}, "all are valid where nothing is said"
    with pytest.raises(UsageError, match=r"action_mask of shape \[4\]: must be of the parts"):
        act(2, action_mask=[1, 0, 0, 0])


def test_act_takes_a_mask_of_several_choices(tmp_path):
    learner, source, _ = experiment.build(tiny("ppo", tmp_path, env="observed:Locks-v0"))
    source.close()
    act = checked(learner, source.spec)
    one, other = np.array([0, 1, 0]), np.array([0, 0, 0, 1, 0])
    for mask in (np.concatenate([one, other]), (one, other), (np.array([one, one]), np.array([other, other]))):
        obs = np.zeros((2, 2)) if np.ndim(mask[0]) == 2 else np.zeros(2)
        assert (act(obs, action_mask=mask)["action"] == [1, 5]).all(), "as the environment takes it"


@pytest.mark.parametrize(
    ("obs", "message"),
    [
        ({"camera": np.zeros((8, 9, 1))}, r"must be of the parts 'camera' \[8, 9, 1\], 'gear' \[1\]"),
        (
            {"camera": np.zeros((8, 8, 1)), "gear": 1},
            r"camera of shape \[8, 8, 1\]: must be of the parts 'camera' \[8,",
        ),
        ({"camera": np.zeros((2, 8, 9, 1)), "gear": 1}, r"gear of shape \[\]: must be of the parts"),
        (np.zeros(3), r"observations must be of the parts 'camera' .*, not of type ndarray"),
        ("left", "not of type str"),
    ],
)
def test_what_is_no_observation_of_these_parts_is_one_line(tmp_path, obs, message):
    act, _ = agent_of(tmp_path, "Room")
    with pytest.raises(UsageError, match=message) as caught:
        act(obs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "how", "expected"),
    [
        ("Traps", {"try_first": True}, True),
        ("Traps", {}, True),  # nothing was tried: the first reset tells
        ("Traps", {"vectorization": "async"}, True),
        ("Illegal", {}, True),
        ("Illegal", {"vectorization": "async"}, True),
        ("Traps", {"autoreset_mode": AutoresetMode.SAME_STEP}, False),  # Gymnasium's own vector class
        ("Traps", {"masks": False}, False),
        ("Traps", {"try_first": True, "obs": "old"}, False),
        ("Traps", {"obs": "old"}, False),
        ("Illegal", {"try_first": True, "vectorization": "async"}, True),
        ("Room", {"try_first": True}, False),
        ("Room", {}, False),
        ("Room", {"vectorization": "async"}, False),
    ],
)
def test_masks_are_found_by_the_check_or_by_the_first_reset(name, how, expected):
    with closing(make_envs(f"observed:{name}-v0", 2, **how)) as envs:
        assert envs.spec.has_mask == expected


def test_a_run_that_did_not_look_for_masks_goes_on_without(tmp_path, monkeypatch):
    monkeypatch.setattr("rlgen.envs.make.any_gives_mask", lambda envs: False)  # as it was
    config = tiny("dqn", tmp_path, env="observed:Traps-v0", name="old", steps=100, env_check=False)
    experiment.start(config, quiet=True)
    monkeypatch.undo()
    assert experiment.resume("old", str(tmp_path), steps=200, quiet=True).finished
    assert inference.evaluate("old", str(tmp_path), 1)["episodes"] == 1
    assert experiment.fork("old", {"steps": 300}, str(tmp_path), name="forked", quiet=True).finished
    assert experiment.resume("forked", str(tmp_path), steps=400, quiet=True).finished
    new = experiment.start(config | {"name": "new"}, quiet=True)
    assert [part["kind"] for part in new.info["spec"]["obs_parts"]] == ["discrete", "mask"]
    assert experiment.resume("new", str(tmp_path), steps=200, quiet=True).finished
