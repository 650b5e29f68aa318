"""Atari's standard task: in single environments and in ALE's vector class the same, frame by frame."""

import importlib.util
import json

import gymnasium as gym
import numpy as np
import pytest
from env_streams import random_actions, same
from frames import check_stacks
from gymnasium.vector import AutoresetMode

from rlgen.envs import atari
from rlgen.envs.find import check_env_id
from rlgen.envs.make import make_envs, try_one
from rlgen.errors import MissingExtraError, UsageError, install

for package in ("ale_py", "cv2"):
    pytest.importorskip(package)


def standard(make, env_id, num_envs=1, vectorization="sync", **options):
    return make(env_id, num_envs, vectorization, atari="standard", **{"frame_stack": 4, "seed": 3, **options})


@pytest.mark.parametrize("vectorization", ["sync", "native"])
def test_what_the_task_is(make, vectorization):
    pong, older = (standard(make, env_id, 2, vectorization) for env_id in ("ALE/Pong-v5", "PongNoFrameskip-v4"))
    assert (pong.spec.obs_shape, pong.spec.obs_dtype, pong.spec.num_actions) == ((4, 84, 84), "uint8", 6)
    assert (pong.spec.frame_stack, pong.spec.frame_padding, pong.spec.reward_clip) == (4, "zero", 1.0)
    expected = {"frame_skip": 4, "max_pool": 2, "sticky": 0.25, "noops": 30, "fire_reset": True, "grey": True}
    expected |= {"resize": "84x84 area", "stack": 4, "clip": 1.0, "life_loss": False, "minimal_actions": True}
    expected |= {"max_frames": 108_000}
    assert expected.items() <= pong.spec.protocol.items() and pong.spec.protocol["ale_py"]
    assert older.spec.protocol == pong.spec.protocol | {"sticky": 0.0}
    assert "frame_skip 4" in atari.about(pong.spec.protocol) and "\n" not in atari.about(pong.spec.protocol)
    assert json.loads(json.dumps(pong.spec.protocol)) == pong.spec.protocol
    assert pong.restores == "tried exact"


GAMES = ["Pong", "Breakout", "SpaceInvaders", "Freeway"]  # one without FIRE among its actions


@pytest.mark.parametrize(
    "game", [pytest.param(each, marks=[pytest.mark.slow] * (each not in ("Pong", "Freeway"))) for each in GAMES]
)
def test_single_and_native_environments_are_the_same_task_bit_for_bit(monkeypatch, game):
    """Frames, resized by two copies of OpenCV, rewards and ends; with sticky actions and no-ops off, nothing is random.

    Where the frames are no longer equal, the card has to say so: `resize` in it.
    """
    monkeypatch.setattr(atari, "NOOPS", 0)
    monkeypatch.setitem(check_env_id(f"{game}NoFrameskip-v4").kwargs, "max_num_frames_per_episode", 1600)
    task = atari.standard_task(check_env_id(f"{game}NoFrameskip-v4"), frame_stack=4, life_loss=False)
    single, native = gym.make(task), gym.make_vec(task, 1, vectorization_mode="vector_entry_point")
    rng, num_ended = np.random.default_rng(0), 0
    for episode in range(2):
        obs, _ = single.reset(seed=episode)
        others, _ = native.reset(seed=[episode], options={"reset_mask": np.array([True])})
        assert same(obs, others[0])
        while True:
            action = rng.integers(single.action_space.n)
            obs, *outcome, _ = single.step(action)
            others, *other_outcomes, _ = native.step(np.array([action]))
            assert same(obs, others[0]) and outcome == [each[0] for each in other_outcomes]
            if outcome[1] or outcome[2]:
                break
        num_ended += 1
    assert num_ended == 2
    single.close()
    native.close()


def test_an_episode_begins_with_up_to_30_frames_of_no_action():
    task = atari.standard_task(check_env_id("BreakoutNoFrameskip-v4"), frame_stack=1, life_loss=False)
    single = gym.make(task)
    native = gym.make_vec(task, 1, vectorization_mode="vector_entry_point")
    single.reset(seed=0)
    native.reset(seed=[0], options={"reset_mask": np.array([True])})
    passed = []
    for _ in range(100):  # without a seed: a game is not loaded again
        single.reset()
        _, info = native.env.reset()
        passed.append((single.unwrapped.ale.getEpisodeFrameNumber(), info["episode_frame_number"][0]))
    for frames in np.array(passed).T:
        assert frames.min() in (1, 2) and frames.max() in (29, 30), "FIRE is one of them"
        assert 12 < frames.mean() < 18
    single.close()
    native.close()


@pytest.mark.parametrize("vectorization", ["sync", "native"])
def test_stacks_are_padded_and_rebuilt_as_the_ring_does(make, monkeypatch, vectorization):
    monkeypatch.setattr(atari, "MAX_FRAMES", 120)
    spec = check_env_id("ALE/Breakout-v5")
    monkeypatch.setitem(spec.kwargs, "max_num_frames_per_episode", None)
    envs = standard(make, "ALE/Breakout-v5", 2, vectorization)
    assert envs.spec.protocol["max_frames"] == 120
    _, num_truncated = check_stacks(envs, 100)
    assert num_truncated == 6


@pytest.mark.parametrize("vectorization", ["sync", "async", "native"])
def test_its_state_is_exact(make, vectorization):
    first, second = (standard(make, "ALE/Breakout-v5", 2, vectorization) for _ in range(2))
    actions = random_actions(first.spec, 120)
    for action in actions[:80]:
        first.step(action)
    assert second.load_state(first.state()) and same(second.obs, first.obs)
    for action in actions[80:]:
        assert same(first.step(action), second.step(action))


def test_auto_is_native_from_eight_on_as_it_is_the_same_task(make):
    assert type(standard(make, "ALE/Pong-v5", 8, "auto").vector_env).__name__ == "Games"
    assert type(standard(make, "ALE/Pong-v5", 1, "auto").vector_env).__name__ == "LoopVectorEnv"
    drawn = standard(make, "ALE/Pong-v5", 1, "native", render_mode="rgb_array")
    assert drawn.render().shape == (210, 160, 3)


def test_a_lost_life_ends_an_episode_only_where_that_is_asked_for(make):
    plain = make("BreakoutNoFrameskip-v4", 1, "sync", frame_stack=4, atari="standard")
    by_life = make("BreakoutNoFrameskip-v4", 1, "auto", frame_stack=4, atari="life-loss")
    lives: dict = {"standard": [], "life-loss": []}
    for name, envs in (("standard", plain), ("life-loss", by_life)):
        ale = envs.vector_env.envs[0].unwrapped.ale
        for _ in range(600):
            before = ale.lives()
            if envs.step(np.array([1])).terminated[0]:
                lives[name].append((before, ale.lives()))
    assert set(lives["standard"]) == {(1, 5)}, "whole games"
    assert lives["life-loss"][:6] == [(5, 4), (4, 3), (3, 2), (2, 1), (1, 5), (5, 4)], "the game goes on"
    assert by_life.spec.protocol == plain.spec.protocol | {"life_loss": True}
    assert by_life.restores == "approximate", "a life begins where the one before it ended"
    with pytest.raises(UsageError, match=r"--atari life-loss with --vectorization native: .* use --vectorization sync"):
        make_envs("ALE/Breakout-v5", 2, "native", atari="life-loss")


def test_raw_is_as_it_is_registered(make):
    raw, by_itself = make("ALE/Pong-v5", 1, "sync"), make("ALE/Pong-v5", 1, "native")
    assert (raw.spec.obs_shape, raw.spec.protocol, raw.spec.reward_clip) == ((210, 160, 3), None, None)
    assert (by_itself.spec.obs_shape, by_itself.spec.protocol) == ((4, 84, 84), None)
    assert make("CartPole-v1", 1, atari="standard").spec.protocol is None


@pytest.mark.parametrize("vectorization", ["sync", "native"])
def test_rewards_are_the_games_own(make, vectorization):
    envs = standard(make, "SpaceInvadersNoFrameskip-v4", 2, vectorization)
    rewards = np.concatenate([envs.step(action).reward for action in random_actions(envs.spec, 300)])
    assert rewards.max() >= 5 and not np.any(rewards % 5), "an alien is worth 5 and more"


def test_a_trial_of_its_resets_tries_the_task():
    found = try_one("ALE/Pong-v5", 4, "standard")
    assert found.repeats is not False, found.why


def test_without_opencv_the_command_that_installs_it_is_said(monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(atari, "find_spec", lambda name: None if name == "cv2" else there(name))
    with pytest.raises(MissingExtraError, match="'ALE/Pong-v5' needs OpenCV") as error:
        make_envs("ALE/Pong-v5", 1, atari="standard")
    assert str(error.value).endswith(install("opencv-python-headless"))


def test_a_card_says_where_an_opencv_resizes_otherwise(monkeypatch):
    monkeypatch.setattr(atari, "RESIZED", "something else")
    envs = make_envs("ALE/Pong-v5", 1, atari="standard")
    assert envs.spec.protocol["resize"].startswith("84x84 area, OpenCV ")
    envs.close()


def test_modes_of_autoreset_are_the_streams_own(make):
    with pytest.raises(UsageError, match="NEXT_STEP alone"):
        standard(make, "ALE/Pong-v5", 2, "native", autoreset_mode=AutoresetMode.SAME_STEP)
