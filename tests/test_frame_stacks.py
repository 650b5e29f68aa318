"""Frames stacked by environments of any pictures, alone or beside numbers; the ring and the networks know the same."""

import json
import shutil
from dataclasses import asdict, replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from env_streams import random_actions, shapes_id
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, Text
from observed import Pictured
from tiny import assert_equal, comparable, tiny

from rlgen import experiment
from rlgen.core.acting import checked
from rlgen.envs.make import make_envs
from rlgen.envs.parts import MASK, about, kept
from rlgen.errors import UsageError
from rlgen.nets.parts import Numbers, part_of, pictures
from rlgen.runs import checkpoint
from rlgen.runs.records import check_spec


@pytest.fixture
def make(request):
    """`make_envs` whose environments are closed after the test."""

    def make(*args, **kwargs):
        made = make_envs(*args, **kwargs)
        request.addfinalizer(made.close)
        return made

    return make


COLOUR = Box(0, 255, (8, 9, 3), np.uint8)
WHOLE = Dict(
    camera=COLOUR, depth=Box(0, 1, (8, 9)), gear=Discrete(3, start=2), keys=MultiBinary(4), speed=Box(-9, 9, (2,))
)
SPACES = {
    "channels last": COLOUR,
    "channels first": Box(0, 255, (3, 8, 9), np.uint8),
    "numbers of 0 to 1": Box(0, 1, (8, 9, 3)),
    "whole numbers": Box(0, 10, (7, 7, 3), np.int64),
    "of bool": Box(0, 1, (8, 9, 4), np.bool_),
    "alone in a Dict": Dict(camera=COLOUR, mission=Text(9)),
    "beside others": WHOLE,
    "grey beside a number": Dict(grey=Box(0, 255, (8, 9), np.uint8), time=Box(0, 1, (1,))),
    "no bytes": Dict(depth=Box(0, 1, (8, 9, 3)), speed=Box(-9, 9, (2,))),
}


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_a_stack_is_of_the_newest_frames_of_the_episode(make, monkeypatch, space, vectorization):
    """As Gymnasium's own wrapper stacks them, of every kind of observation that has a picture."""
    env_id = shapes_id(monkeypatch, space, Discrete(2))
    how = {"seed": 3, "max_episode_steps": 5}
    plain, envs = make(env_id, 2, "sync", **how), make(env_id, 2, vectorization, frame_stack=3, **how)
    assert (envs.spec.frame_stack, envs.spec.frame_padding) == (3, "reset")
    assert envs.spec.obs_shape == (3, *plain.spec.obs_shape) and envs.spec.obs_dtype == plain.spec.obs_dtype
    frames, expected = [plain.obs] * 3, []
    for action in random_actions(plain.spec, 17):
        assert np.array_equal(envs.obs, np.stack(frames, 1))
        expected, step = plain.step(action), envs.step(action)
        assert np.array_equal(step.next_obs, np.stack([*frames[1:], expected.next_obs], 1))
        ended = expected.truncated.all()
        frames = [plain.obs] * 3 if ended else [*frames[1:], plain.obs]


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_networks_see_every_frame_of_every_part(make, monkeypatch, space):
    env_id = shapes_id(monkeypatch, space, Discrete(2))
    plain, envs = make(env_id, 2, seed=3), make(env_id, 2, seed=3, frame_stack=2)
    for action in random_actions(plain.spec, 4):
        before = plain.obs
        plain.step(action)
        envs.step(action)
    for one, part in zip(kept(plain.spec.parts), kept(envs.spec.parts), strict=True):
        if one.kind == "image":
            each = [pictures(torch.from_numpy(obs), one, plain.spec.parts) for obs in (before, plain.obs)]
            assert torch.equal(pictures(torch.from_numpy(envs.obs), part, envs.spec.parts), torch.cat(each, 1))
        else:
            alone, of_stack = Numbers([one], plain.spec.parts), Numbers([part], envs.spec.parts)
            seen = of_stack(torch.from_numpy(envs.obs))
            assert torch.equal(seen, torch.cat([alone(obs) for obs in (before, plain.obs)], -1))
            assert seen.shape[1] == of_stack.num_features == 2 * alone.num_features


@pytest.mark.parametrize(
    ("space", "why"),
    [
        (Dict(speed=Box(-9, 9, (2,)), gear=Discrete(3)), r"observations of shape \(3,\) are no images"),
        (Box(-9, 9, (3,)), r"observations of shape \(3,\) are no images"),
        (Box(0, 255, (4, 8, 9, 3), np.uint8), r"observations of shape \(4, 8, 9, 3\) are stacks already"),
    ],
)
def test_what_has_no_frames_is_not_stacked(monkeypatch, space, why):
    with pytest.raises(UsageError, match=f"frame_stack is 4, but {why}"):
        make_envs(shapes_id(monkeypatch, space, Discrete(2)), 1, frame_stack=4)


def test_a_line_says_what_is_stacked(make, monkeypatch):
    assert about(()) == "", "a run from before there were parts"
    envs = make(shapes_id(monkeypatch, Dict(camera=COLOUR, speed=Box(-9, 9, (2,))), Discrete(2)), 1, frame_stack=4)
    assert about(envs.spec.parts) == (
        "observations are stacks of 4 frames, of camera: pictures of 8 x 9 pixels, 3 channels (the last axis), "
        "divided by 255; speed: 2 numbers"
    )


@pytest.mark.parametrize(
    ("algo", "name"),
    [
        ("dqn", "Room"),
        pytest.param("ppo", "Room", marks=pytest.mark.slow),
        pytest.param("dqn", "Illegal", marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_goes_on_as_if_it_had_never_stopped(tmp_path, algo, name):
    config = tiny(algo, tmp_path, env=f"observed:{name}-v0", name="whole", steps=600, keep=100)
    whole = experiment.start(
        config | {"frame_stack": 3, "normalize_obs": True, "time_in_obs": True, "max_episode_steps": 9}, quiet=True
    )
    shutil.copytree(whole.path, tmp_path / "half")
    for step in checkpoint.steps(tmp_path / "half/checkpoints"):
        if step > 400:
            shutil.rmtree(checkpoint.directory(tmp_path / "half/checkpoints", step))
    resumed = experiment.resume("half", str(tmp_path), quiet=True)
    assert comparable(whole.path) == comparable(resumed.path)
    for part in ("learner", "source", "buffer"):
        assert_equal(whole.load()[part], resumed.load()[part], part)
    stored = whole.load()["buffer"]["ring"]["columns"]["obs"][0, 0]
    assert stored.nbytes == {"Room": 4 + 4 + 72, "Illegal": 36}[name], "a frame is stored once"


def test_statistics_are_of_every_frame_once_and_of_all_frames_the_same(tmp_path):
    """Those of a run without stacks, whose episodes are the same."""
    found = []
    for frames in (1, 3):
        config = tiny("ppo", tmp_path, env="observed:Room-v0", steps=200, seed=0)
        learner, source, buffer = experiment.build(
            config | {"frame_stack": frames, "normalize_obs": True, "time_in_obs": True, "max_episode_steps": 9}
        )
        for _ in range(40):
            obs, step = source.envs.obs, source.envs.step(np.zeros(source.spec.num_envs, np.int64))
            buffer.add({"obs": obs, "action": np.zeros(len(obs), np.int64), **step._asdict()})
        learner.normalizer.refresh()
        found.append((learner.normalizer, source.envs.obs))
        source.close()
    (plain, obs), (stacked, stacks) = found
    assert torch.equal(plain.obs_mean, stacked.obs_mean) and torch.equal(plain.obs_scale, stacked.obs_scale)
    for seen in (stacked.of_obs(stacks), stacked.of_obs(torch.from_numpy(stacks)).numpy()):
        assert np.array_equal(seen[:, -1], plain.of_obs(obs))


def test_the_mask_is_that_of_the_newest_frame(make):
    envs = make("observed:Traps-v0", 3, seed=2, masks=True, wrappers=["observed:Pictured"], frame_stack=2)
    mask = next(part for part in envs.spec.parts if part.kind == "mask")
    for action in random_actions(envs.spec, 4):
        envs.step(action)
    told = [env.get_wrapper_attr("valid") for env in envs.vector_env.envs]
    assert np.array_equal(part_of(envs.obs, mask, envs.spec.parts)[:, -1].astype(int), told)


@pytest.mark.parametrize("algo", ["dqn", "ppo"])
def test_act_takes_stacks_as_gymnasium_makes_them_and_the_newest_mask(tmp_path, algo):
    config = tiny(algo, tmp_path, env="observed:Traps-v0", wrapper=("observed:Pictured",))
    learner, source, _ = experiment.build(config | {"frame_stack": 2})
    source.close()
    act = checked(learner, source.spec)
    env = gym.wrappers.FrameStackObservation(Pictured(gym.make("observed:Traps-v0")), 2)
    obs, info = env.reset(seed=1)
    for mask in (info[MASK], np.stack([1 - info[MASK], info[MASK]])):
        assert {int(act(obs, action_mask=mask)["action"]) for _ in range(30)} <= {*np.flatnonzero(info[MASK])}
    two = {name: np.stack([value, value]) for name, value in obs.items()}
    masks = np.eye(5)[[3, 1]]
    assert act(two, action_mask=masks, greedy=True)["action"].tolist() == [3, 1]
    with pytest.raises(UsageError, match=r"must be of the parts 'shown' \[2, 1\], 'camera' \[2, 8, 9, 3\]"):
        act({name: value[0] for name, value in obs.items()})


def test_a_run_from_before_there_were_stacks_of_parts_goes_on(make):
    spec = make("observed:Room-v0", 1).spec
    saved = json.loads(json.dumps(asdict(spec)))
    saved["obs_parts"] = [
        {name: value for name, value in part.items() if name != "frames"} for part in saved["obs_parts"]
    ]
    check_spec("old", saved, spec)
    with pytest.raises(UsageError, match="obs_shape was"):
        check_spec("old", saved, make("observed:Room-v0", 1, frame_stack=2).spec)


def test_parts_of_other_stacks_than_it_says_are_no_spec(make):
    spec = make("observed:Room-v0", 1, frame_stack=2).spec
    for change in ({"frame_stack": 3}, {"frame_stack": 1}, {"obs_shape": (1, *spec.obs_shape[1:])}):
        with pytest.raises(ValueError, match="obs_parts: must be"):
            replace(spec, **change)
