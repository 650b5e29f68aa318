"""The share of the time limit that has passed, in what an agent sees, and the limit as an end of the task."""

import math
import re

import gymnasium as gym
import numpy as np
import pytest
from env_streams import UNIT, random_actions, same, shapes_id, through_a_file
from gymnasium.spaces import Box, Dict, Discrete, Tuple
from gymnasium.wrappers import TimeAwareObservation
from tiny import comparable, tiny

from rlgen import experiment, inference
from rlgen.commands import main
from rlgen.envs.make import make_envs
from rlgen.errors import UsageError


def limited(monkeypatch, space, steps=5):
    env_id = shapes_id(monkeypatch, space, Discrete(2))
    monkeypatch.setattr(gym.registry[env_id], "max_episode_steps", steps)
    return env_id


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_time_is_what_gymnasium_says_and_the_limit_is_a_termination(make, vectorization):
    envs, plain = (make("Pendulum-v1", 2, vectorization, 3, **more) for more in ({"time_in_obs": True}, {}))
    oracle = TimeAwareObservation(gym.make("Pendulum-v1"), normalize_time=True)
    expected, _ = oracle.reset()
    assert envs.spec.obs_shape == oracle.observation_space.shape == (4,) and envs.spec.obs_dtype == "float32"
    assert envs.obs[0, -1] == expected[-1] == 0
    for t, action in enumerate(random_actions(envs.spec, 450)):
        step, other = envs.step(action), plain.step(action)
        assert np.array_equal(step.next_obs[:, :-1], other.next_obs), "nothing else is another task"
        assert np.array_equal(step.reward, other.reward)
        assert step.next_obs[:, -1] == pytest.approx((t % 200 + 1) / 200)
        over = t % 200 == 199
        if t < 200:
            expected, *_ = oracle.step(action[0])
            assert step.next_obs[0, -1] == expected[-1]
        assert (step.terminated == over).all() and not step.truncated.any()
        assert (other.truncated == over).all() and not other.terminated.any()
        assert (envs.obs[:, -1] == (0 if over else step.next_obs[:, -1])).all(), "a new episode begins at 0"


@pytest.mark.parametrize(
    "space",
    [
        UNIT,
        Box(0, 255, (6,), np.uint8),
        Box(0, 1, (), np.float32),
        Box(-1, 1, (3, 2), np.float64),
        Discrete(4, start=3),
        Tuple((Discrete(2), UNIT)),
        Dict({"place": UNIT, "time": Discrete(2)}),
    ],
)
def test_time_is_one_number_more_whatever_the_space(make, monkeypatch, space):
    env_id = limited(monkeypatch, space)
    envs, plain = make(env_id, 1, "sync", 0, time_in_obs=True), make(env_id, 1, "sync", 0)
    assert envs.spec.obs_dtype == "float32"
    assert math.prod(envs.spec.obs_shape) == math.prod(plain.spec.obs_shape) + 1
    for _ in range(2):
        envs.step(np.zeros(1, int))
    assert np.float32(0.4) in envs.obs


def test_time_is_a_part_beside_a_picture(make, monkeypatch):
    envs = make(limited(monkeypatch, Box(0, 255, (40, 40, 3), np.uint8)), 1, "sync", 0, time_in_obs=True)
    assert [(part.kind, part.shape) for part in envs.spec.parts] == [("image", (40, 40, 3)), ("vector", (1,))]
    envs.step(np.zeros(1, int))
    assert envs.obs[0, :4].view(np.float32) == pytest.approx(0.2)


def test_an_end_before_the_limit_stays_what_it_is(make, monkeypatch):
    env_id = "counting:Counting-v0"
    gym.make(env_id)
    spec = gym.envs.registration.EnvSpec(
        "Limited-v0", gym.registry["Counting-v0"].entry_point, max_episode_steps=5,
        kwargs={"ends": [(3, "truncated"), (2, "terminated"), (5, "terminated"), (9, "terminated")]},
    )  # fmt: skip
    monkeypatch.setitem(gym.registry, "Limited-v0", spec)
    envs, ends = make("Limited-v0", 1, "sync", time_in_obs=True), []
    for _ in range(15):
        step = envs.step(np.zeros(1, int))
        if step.terminated[0] or step.truncated[0]:
            ends.append((round(5 * float(step.next_obs[0, -1])), bool(step.terminated[0]), bool(step.truncated[0])))
    assert ends == [(3, False, True), (2, True, False), (5, True, False), (5, True, False)]


def test_environments_of_which_time_is_not_known_are_refused_in_a_line(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    endless = shapes_id(monkeypatch, UNIT, Discrete(2))
    for env_id, more, hint in [
        ("CliffWalking-v1", [], "no time limit"),
        ("CartPole-v1", ["--vectorization", "native"], "native 'CartPole-v1' does not tell its time"),
    ]:
        command = ["train", "ppo", "--env", env_id, "--time-in-obs", "--wandb", "disabled", "--steps", "2048", *more]
        assert main(command) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert re.search(hint, line), line
        assert not (tmp_path / "runs").exists()
    monkeypatch.setattr(gym.registry[endless], "max_episode_steps", None)
    with pytest.raises(
        UsageError, match=r"no time limit.*: set one by --max-episode-steps, or leave out --time-in-obs"
    ):
        make_envs(endless, 1, time_in_obs=True)


def test_native_is_not_chosen_and_a_stream_goes_back_to_where_it_was(make):
    envs, again = (make("CartPole-v1", 8, seed=1, time_in_obs=True) for _ in range(2))
    assert envs.restores == "tried exact" and envs.spec.obs_shape == (5,)
    actions = random_actions(envs.spec, 80)
    for action in actions[:50]:
        envs.step(action)
    assert again.load_state(through_a_file(envs.state()))
    for action in actions[50:]:
        assert same(envs.step(action), again.step(action))


@pytest.mark.parametrize("algo", ["dqn", "ppo"])
def test_a_run_has_it_recorded_and_goes_on_with_it(tmp_path, algo):
    options = {"env": "CartPole-v1", "time_in_obs": True, "normalize_obs": True, "steps": 300, "eval_episodes": 2}
    run = experiment.start(tiny(algo, tmp_path, name="run", **options), quiet=True)
    assert run.config["time_in_obs"] and run.info["spec"]["obs_shape"] == (5,)
    first = comparable(run.path)
    assert len(inference.load("run", str(tmp_path)).act(np.zeros((3, 5), np.float32))["action"]) == 3
    assert inference.evaluate("run", str(tmp_path), 2)["episodic_return"]["mean"] > 0
    experiment.resume("run", str(tmp_path), steps=400, quiet=True)
    assert comparable(run.path)[: len(first)] == first
    with pytest.raises(UsageError, match="time_in_obs cannot change"):
        experiment.fork("run", {"time_in_obs": False, "steps": 500}, str(tmp_path))


def test_time_stays_beside_actions_that_are_masked(make):
    envs = make("Taxi-v4", 1, "sync", 0, time_in_obs=True, try_first=True)
    assert [part.kind for part in envs.spec.parts] == ["discrete", "vector", "mask"]
