"""Normalised observations and rewards: the statistics are right, of training rows alone, and nothing raw is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from acting import Constant
from env_streams import shapes_id
from gymnasium.wrappers import NormalizeObservation, NormalizeReward
from safetensors.torch import load_file
from specs import spec_of, stored
from tiny import assert_equal, those, tiny
from transitions import make_buffer

from agents import dqn
from rlgen import experiment, inference
from rlgen.core import loop
from rlgen.core.batch import LazyBatch
from rlgen.core.learner import Agent
from rlgen.core.normalization import Moments, NormalizedBuffer, Normalizer, normalized
from rlgen.core.source import EnvSource
from rlgen.envs.spec import EnvSpec
from rlgen.errors import CheckpointError, UsageError
from rlgen.options import algorithms
from rlgen.runs import notes
from rlgen.runs.fitting import fitting, load_learner
from rlgen.speed import recorded

AGENTS = [each for each in those("dqn", "ppo", "rainbow") if issubclass(algorithms.load(each.values[0]), Agent)]
GAMMA = 0.9


def make_spec(num_envs: int = 1, obs_shape: tuple[int, ...] = (3,), obs_dtype: str = "float32") -> EnvSpec:
    return EnvSpec("Toy-v0", obs_shape, obs_dtype, 2, (), (), (), num_envs)


class Stream(gym.Env):
    """An endless stream of numbers far from 0, the same ones for the same seed, whatever is done."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return self._obs(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return self._obs(), float(self.np_random.normal(2, 5)), False, False, {}

    def _obs(self) -> np.ndarray:
        return self.np_random.normal([0, 100, -3], [1, 2, 50]).astype(np.float32)


def rows_of(env: gym.Env, num: int) -> list[dict[str, Any]]:
    """Rows [1, ...] as a source makes them."""
    rows, obs = [], env.reset(seed=0)[0]
    for _ in range(num):
        next_obs, reward, terminated, truncated, _ = env.step(1)
        row = {"obs": obs, "reward": np.float32(reward), "next_obs": next_obs}
        row |= {"terminated": terminated, "truncated": truncated, "valid": True}
        rows.append({name: np.array([value]) for name, value in row.items()})
        obs = next_obs
    return rows


def in_blocks(normalizer: Normalizer, rows: list[dict[str, Any]], *sizes: int) -> Normalizer:
    """Count rows in, so many at once by turns, and use them."""
    first = number = 0
    while first < len(rows):
        size = sizes[number % len(sizes)]
        normalizer.count_in(rows[first : first + size], GAMMA)
        first, number = first + size, number + 1
    normalizer.refresh()
    return normalizer


# Statistics


def test_mean_and_variance_are_those_of_the_whole_stream_whatever_the_blocks() -> None:
    rng = np.random.default_rng(0)
    stream = rng.normal([1e6, 0, -3], [1, 1e-3, 50], (5000, 3))
    moments, first = Moments((3,)), 0
    while first < len(stream):
        size = int(rng.integers(0, 300))
        moments.add(torch.from_numpy(stream[first : first + size]))
        first += size
    assert moments.count == len(stream)
    np.testing.assert_allclose(moments.mean, stream.mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(moments.squares / moments.count, stream.var(0), rtol=1e-6)
    np.testing.assert_allclose(moments.scale(), 1 / np.sqrt(stream.var(0) + 1e-8), rtol=1e-6)
    assert torch.equal(Moments((2,)).scale(), torch.full((2,), 1 + 1e-8, dtype=torch.float64).rsqrt())


def test_observations_are_normalised_as_gymnasium_does() -> None:
    theirs = NormalizeObservation(Stream())
    seen = theirs.reset(seed=0)[0]
    for _ in range(1999):
        seen = theirs.step(1)[0]
    rows = rows_of(Stream(), 2000)
    ours = in_blocks(Normalizer(make_spec(), True, False), rows, 1, 128, 7)
    np.testing.assert_allclose(ours.obs_mean, theirs.obs_rms.mean, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        1 / ours.obs_scale.square(), theirs.obs_rms.var, rtol=1e-3
    )  # theirs begins at count 1e-4
    np.testing.assert_allclose(ours.of_obs(rows[-1]["obs"])[0], seen, rtol=1e-2, atol=1e-3)
    raw = torch.from_numpy(np.concatenate([row["obs"] for row in rows]))
    assert torch.equal(ours.of_obs(raw), torch.from_numpy(ours.of_obs(raw.numpy()))), "arrays as tensors"
    assert ours.of_obs(raw).std(0, correction=0) == pytest.approx([1, 1, 1], abs=1e-3)


def test_rewards_are_normalised_as_gymnasium_does() -> None:
    theirs = NormalizeReward(Stream(), gamma=GAMMA)
    theirs.reset(seed=0)
    for _ in range(2000):
        seen = theirs.step(1)[1]
    rows = rows_of(Stream(), 2000)
    ours = in_blocks(Normalizer(make_spec(), False, True), rows, 1, 128, 7)
    np.testing.assert_allclose(ours.reward_scale, 1 / np.sqrt(theirs.return_rms.var), rtol=1e-3)
    batch = ours.of_batch({"obs": torch.ones(1), "next_obs": torch.ones(1), "reward": torch.tensor(rows[-1]["reward"])})
    assert batch["reward"].item() == pytest.approx(seen.item(), rel=1e-3)


@pytest.mark.parametrize("how", ["terminated", "truncated"])
def test_the_discounted_return_begins_anew_with_every_episode(how: str) -> None:
    """Gymnasium's forgets the steps before the last one instead, which is an old mistake; SB3's is this."""
    rng = np.random.default_rng(0)
    reward = rng.normal(1, 1, (300, 2)).astype(np.float32)  # [T, N]
    ended = rng.random((300, 2)) < 0.1
    rows = [
        {"obs": np.zeros((2, 3)), "reward": reward[t], "terminated": np.zeros(2, bool), "truncated": np.zeros(2, bool)}
        | {how: ended[t], "valid": np.ones(2, bool)}
        for t in range(300)
    ]
    expected, running = [], np.zeros(2)
    for t in range(300):
        running = GAMMA * running + reward[t]
        expected.append(running)
        running = running * ~ended[t]
    ours = in_blocks(Normalizer(make_spec(2), False, True), rows, 50, 3)
    assert ours.returns is not None
    np.testing.assert_allclose(ours.reward_scale, 1 / np.std(expected), rtol=1e-5)
    np.testing.assert_allclose(ours.discounted_return, running)


def test_the_junk_of_a_reset_leaves_no_reward_behind() -> None:
    flags = [(True, True, 1.0), (False, False, 99.0), (False, True, 1.0)]  # ended, valid, reward
    rows = [
        {"obs": np.zeros((1, 3)), "reward": np.float32([reward]), "terminated": np.array([ended])}
        | {"truncated": np.zeros(1, bool), "valid": np.array([valid])}
        for ended, valid, reward in flags
    ]
    ours = in_blocks(Normalizer(make_spec(), False, True), rows, 3)
    assert ours.returns is not None
    assert (ours.returns.count, ours.returns.mean, ours.discounted_return) == (2, 1, 1)


def test_what_is_far_off_is_clipped_and_a_constant_is_zero() -> None:
    rows = rows_of(Stream(), 100)
    for row in rows:
        row["obs"][:, 0] = 1000.1
    ours = in_blocks(Normalizer(make_spec(), True, True), rows, 100)
    assert ours.of_obs(torch.tensor([[1000.1, 1e9, -1e9]]))[0] == pytest.approx([0, 10, -10])
    assert ours.of_obs(np.array([[1000.1, 1e9, -1e9]], np.float32))[0] == pytest.approx([0, 10, -10])
    batch = {"obs": torch.zeros(2, 3), "next_obs": torch.zeros(2, 3), "reward": torch.tensor([1e9, -1e9])}
    assert ours.of_batch(batch)["reward"].tolist() == [10, -10]


# Which rows are counted, and what is raw


@pytest.mark.parametrize(("num_envs", "vectorization"), [(1, "sync"), (3, "sync"), (4, "native"), (2, "async")])
def test_every_transition_is_counted_once_and_evaluation_counts_nothing(num_envs: int, vectorization: str) -> None:
    source = EnvSource("CartPole-v1", num_envs, vectorization, 0, 3)
    learner, buffer = Constant(rows_per_turn=150), make_buffer(10_000)
    normalizer = Normalizer(source.spec, True, True)
    ticks = source.fill(NormalizedBuffer(buffer, normalizer), learner)  # type: ignore[arg-type]
    source.evaluate(learner)
    source.close()
    raw = buffer.drain()
    valid = raw["valid"]
    assert (ticks < 150 * num_envs) == (vectorization == "native"), "whose extra step of a reset is junk"
    assert normalizer.obs is not None and normalizer.returns is not None
    assert normalizer.obs.count == normalizer.returns.count == valid.sum() == ticks
    np.testing.assert_allclose(normalizer.obs.mean, raw["obs"][valid].double().mean(0), rtol=1e-9, atol=1e-12)
    variance = raw["obs"][valid].double().var(0, correction=0)
    np.testing.assert_allclose(normalizer.obs.squares / normalizer.obs.count, variance, rtol=1e-9)
    assert (normalizer.discounted_return < 1 / (1 - buffer.gamma)).all()


@pytest.mark.parametrize("as_on_gpu", [False, True])
def test_the_ring_keeps_raw_values_and_what_is_drawn_has_the_statistics_of_today(as_on_gpu: bool) -> None:
    rows = [row | {"action": np.zeros(1, np.int64)} for row in rows_of(Stream(), 200)]
    raw, normalizer = make_buffer(100, as_on_gpu=as_on_gpu), Normalizer(make_spec(), True, True)
    buffer: Any = NormalizedBuffer(raw, normalizer)
    buffer.add(*rows[:150])
    assert len(buffer) == 100 and buffer.num_added == 150 and buffer.capacity == 100
    obs = torch.from_numpy(np.concatenate([row["obs"] for row in rows[50:150]]))
    in_order = raw.backend.own(raw.ring.in_order().flatten())
    assert torch.equal(torch.as_tensor(raw.read(in_order)["obs"]), obs)
    drawn = []
    for _ in range(2):
        state = raw.backend.generator.get_state()
        batch = buffer.sample(32)
        assert not as_on_gpu or (isinstance(batch, LazyBatch) and batch.tensors is None), "a CUDA graph may draw it"
        drawn.append(batch["obs"])
        raw.backend.generator.set_state(state)
        assert_equal(dict(batch), normalizer.of_batch(dict(raw.sample(32))))
        raw.backend.generator.set_state(state)
        assert_equal(dict(next(iter(buffer.samples(2, 32)))), dict(batch))
        normalizer.refresh()
    assert drawn[0].abs().max() == 10 and drawn[1].std() == pytest.approx(1, abs=0.3)
    rollout = buffer.drain()
    assert torch.equal(rollout["obs"].flatten(0, 1), normalizer.of_obs(obs))
    assert torch.equal(rollout["next_obs"][:-1], rollout["obs"][1:]) and len(buffer) == 0


# Agents


def build(algo: str, tmp_path: Path, **more: Any) -> tuple[Any, Any, Any]:
    given = {"env": "CartPole-v1", "normalize_obs": True, "normalize_reward": True, "num_envs": 2} | more
    return experiment.build(tiny(algo, tmp_path, **given))


@pytest.mark.parametrize("algo", AGENTS)
def test_a_policy_is_updated_with_the_statistics_that_it_acted_with(algo: str, tmp_path: Path) -> None:
    learner, source, buffer = build(algo, tmp_path)
    acted: list[torch.Tensor] = []
    learned: list[torch.Tensor] = []
    act, learn = learner.act, learner.learn
    vars(learner)["act"] = lambda obs: (acted.append(learner.normalizer.obs_mean.clone()), act(obs))[1]
    vars(learner)["learn"] = lambda batch: (learned.append(learner.normalizer.obs_mean.clone()), learn(batch))[1]
    while (before := learner.num_updates) < 8:
        acted.clear(), learned.clear()
        loop.turn(learner, source, buffer, lambda metrics: None)
        if before:
            assert torch.equal(acted[0], acted[-1]) and torch.equal(acted[-1], learned[0])
            assert torch.equal(learned[0], learned[-1])
        elif learned:
            assert learned[0].any(), "the first rollout is normalised before it is learned from"
        assert not torch.equal(learner.normalizer.obs_mean, acted[-1]), "after the updates, the rollout counts"
    assert learner.normalizer.obs.count == buffer.num_added
    source.close()


@pytest.mark.parametrize("algo", AGENTS)
def test_only_what_is_asked_for_is_normalised(algo: str, tmp_path: Path) -> None:
    for obs, reward in [(True, False), (False, True)]:
        learner, source, buffer = build(algo, tmp_path, normalize_obs=obs, normalize_reward=reward)
        while learner.num_updates < 2:
            loop.turn(learner, source, buffer, lambda metrics: None)
        shown, given = torch.ones(1, 4), {"obs": torch.ones(1), "next_obs": torch.ones(1), "reward": torch.ones(1)}
        assert torch.equal(learner.normalizer.of_obs(shown), shown) != obs
        given |= {"obs": shown, "next_obs": shown}
        assert torch.equal(learner.normalizer.of_batch(given)["reward"], torch.ones(1)) != reward
        source.close()
    assert not hasattr(build(algo, tmp_path, normalize_obs=False, normalize_reward=False)[0], "normalizer")


def test_estimates_are_in_units_of_the_rewards_that_are_logged() -> None:
    agent: Any = normalized(dqn.DQN, False, True)(dqn.Config(hidden=(4,)), make_spec())
    obs = torch.rand(5, 3)
    before = agent.act(obs, greedy=True)["q_estimate"]
    agent.normalizer.reward_scale.fill_(0.25)
    torch.testing.assert_close(agent.act(obs, greedy=True)["q_estimate"], 4 * before)


@pytest.mark.parametrize("algo", AGENTS)
def test_a_trained_agent_has_its_statistics_wherever_it_goes(algo: str, tmp_path: Path) -> None:
    options = {"env": "CartPole-v1", "normalize_obs": True, "normalize_reward": True, "name": "run", "steps": 400}
    run = experiment.start(tiny(algo, tmp_path, **options), quiet=True)
    state = run.load()["learner"]
    weights = load_file(run.path / "weights.safetensors")
    loaded: Any = inference.load("run", str(tmp_path))
    for name in ("obs_mean", "obs_scale", "reward_scale"):
        saved = state[f"normalizer.{name}"]
        assert saved.isfinite().all() and not (saved == 0).any() and not (saved == 1).any()
        assert torch.equal(weights[f"normalizer.{name}"], saved)
        assert torch.equal(getattr(loaded.normalizer, name), saved)
    assert state["normalizer.obs.count"] == run.step
    obs = np.array([0.5, 1.0, 0.1, -1.0], np.float32)
    first = loaded.act(obs, greedy=True)["action"]
    for _ in range(3):
        assert loaded.act(obs, greedy=True)["action"] == first
    assert_equal(loaded.state_dict()["normalizer.obs.count"], state["normalizer.obs.count"])
    scores = [inference.evaluate("run", str(tmp_path), 3)["episodic_return"]["values"] for _ in range(2)]
    assert scores[0] == scores[1] and all(score == int(score) for score in scores[0]), "raw returns of CartPole"


def test_the_statistics_decide_what_a_network_sees(tmp_path: Path) -> None:
    learner, source, _ = build("ppo", tmp_path)
    source.close()
    obs = torch.rand(4, 4)
    learner.normalizer.obs_mean.copy_(torch.arange(4.0))
    learner.normalizer.obs_scale.fill_(0.5)
    seen = []
    learner.actor.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    learner.act(obs)
    torch.testing.assert_close(seen[0], (obs - torch.arange(4.0)) * 0.5)


def test_choices_and_masks_stay_as_they_are_beside_numbers() -> None:
    """A normalised 3 would be no one of five any more, and a mask no mask."""
    space = gym.spaces.Dict(gear=gym.spaces.Discrete(50), speed=gym.spaces.Box(-9, 9, (2,), np.float32))
    spec = spec_of(space, num_actions=2, masks=True)
    obs = stored(spec, space, [{"gear": 40, "speed": (100 * i, 1)} for i in range(4)], [(0, 1)] * 4)
    normalizer = Normalizer(spec, obs=True, reward=False)
    ends = {"terminated": np.zeros(1, bool), "truncated": np.zeros(1, bool)}
    normalizer.count_in([{"obs": row[None], "reward": np.zeros(1)} | ends for row in obs], GAMMA)
    normalizer.refresh()
    for seen in (normalizer.of_obs(obs), normalizer.of_obs(torch.from_numpy(obs)).numpy()):
        assert (seen[:, 0] == 40).all() and (seen[:, 3:] == (0, 1)).all()
        assert seen[:, 1] == pytest.approx((np.arange(4) - 1.5) / 1.25**0.5, rel=1e-4) and (seen[:, 2] == 0).all()


def test_the_numbers_beside_a_picture_are_normalised_and_its_bytes_are_not() -> None:
    space = gym.spaces.Dict(
        camera=gym.spaces.Box(0, 255, (36, 36, 3), np.uint8),
        gear=gym.spaces.Discrete(50),
        speed=gym.spaces.Box(-np.inf, np.inf, (2,), np.float32),
    )
    space.seed(0)
    spec = spec_of(space)
    observations = [dict(space.sample()) | {"speed": np.float32([1000 + 5 * (i % 2), i])} for i in range(64)]
    raw = stored(spec, space, observations)  # [64, bytes]
    nothing = {name: np.zeros(1, bool) for name in ("terminated", "truncated")} | {"reward": np.zeros(1, np.float32)}
    rows = [{"obs": obs[None], **nothing} for obs in raw]
    normalizer = in_blocks(Normalizer(spec, True, False), rows, 10)
    seen = normalizer.of_obs(raw)
    assert torch.equal(torch.from_numpy(seen), normalizer.of_obs(torch.from_numpy(raw))) and seen.dtype == np.uint8
    assert np.array_equal(seen[:, 12:], raw[:, 12:]), "the picture, behind three float32 numbers"
    gear, speed = seen[:, :4].view(np.float32)[:, 0], seen[:, 4:12].view(np.float32)
    assert gear.tolist() == [obs["gear"] for obs in observations]
    np.testing.assert_allclose(speed[:, 0], np.tile([-1, 1], 32), rtol=1e-5)
    np.testing.assert_allclose(speed[:, 1], (np.arange(64) - 31.5) / np.std(np.arange(64)), rtol=1e-5)
    agent: Any = normalized(dqn.DQN, True, False)(dqn.Config(hidden=(8,)), spec)
    assert agent.act(raw)["action"].shape == (64,)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (gym.spaces.Box(0, 255, (36, 36, 1), np.uint8), "observations"),
        (gym.spaces.Box(0, 1, (36, 36), np.float32), "observations"),
        (gym.spaces.Box(0, 255, (8,), np.uint8), "observations"),
        (gym.spaces.Discrete(5), "observations"),
        (gym.spaces.Dict(gear=gym.spaces.Discrete(5), speed=gym.spaces.Box(-9, 9, (2,), np.float32)), "gear"),
        (gym.spaces.Box(-9, 9, (2,), np.float32), ""),
        (gym.spaces.Box(-9, 9, (4, 3), np.float32), ""),
    ],
)
def test_a_line_says_what_stays_as_it_is(
    space: gym.spaces.Space, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = EnvSource(shapes_id(monkeypatch, space, gym.spaces.Discrete(2)), 1, "sync", 0, 1)
    source.close()
    normalizer = Normalizer(source.spec, True, False)
    assert (normalizer.obs is None) == (words == "observations")
    if normalizer.obs is None:
        assert normalizer.of_obs(source.envs.obs) is source.envs.obs
    notes.say(source, {"normalize_obs": False})
    assert "--normalize-obs" not in capsys.readouterr().err
    notes.say(source, {"normalize_obs": True})
    lines = [line for line in capsys.readouterr().err.splitlines() if "--normalize-obs" in line]
    assert len(lines) == bool(words) and all(f"leaves {words} of 'Shapes-v0' as they are" in line for line in lines)


def test_the_scale_is_that_of_the_rewards_that_are_learned_from() -> None:
    """Atari's are clipped before; the statistics are of the clipped ones, and the ring keeps those of the game."""
    rows = [row | {"action": np.zeros(1, np.int64)} for row in rows_of(Stream(), 200)]
    clipped = [row | {"reward": row["reward"].clip(-1, 1)} for row in rows]
    expected = in_blocks(Normalizer(make_spec(), False, True), clipped, 200)
    raw, normalizer = make_buffer(200), Normalizer(make_spec(), False, True)
    raw.gamma, raw.reward_clip = GAMMA, 1.0
    buffer: Any = NormalizedBuffer(raw, normalizer)
    buffer.add(*rows)
    normalizer.refresh()
    assert torch.equal(normalizer.reward_scale, expected.reward_scale) and normalizer.reward_scale != 1
    assert raw.ring.columns["reward"].abs().max() > 1
    assert buffer.drain()["reward"].abs().max() == pytest.approx(normalizer.reward_scale.item())


def test_a_fork_cannot_begin_to_normalise(tmp_path: Path) -> None:
    experiment.start(tiny("dqn", tmp_path, name="raw", steps=100), quiet=True)
    for option in ("normalize_obs", "normalize_reward"):
        with pytest.raises(UsageError, match=f"{option} cannot change: the checkpoint holds"):
            experiment.fork("raw", {option: True, "steps": 200}, str(tmp_path))


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("obs_scale", torch.nan, r"normalizer\.obs_scale is not finite"),
        ("obs.count", torch.inf, r"normalizer\.obs\.count is not finite"),
        ("obs.count", -1, "a count or of squares below zero"),
        ("obs.count", 1.5, "a count or of squares below zero"),
        ("returns.squares", -1, "a count or of squares below zero"),
        ("reward_scale", 0, "scales of observations or rewards"),
        ("obs_scale", 1e30, "scales of observations or rewards"),
    ],
)
def test_statistics_that_cannot_be_are_not_resumed(tmp_path: Path, name: str, value: float, reason: str) -> None:
    more = {"normalize_obs": True, "normalize_reward": True}
    run = experiment.start(tiny("dqn", tmp_path, name="run", steps=200, **more), quiet=True)
    learner, source, _ = experiment.build(run.config)
    source.close()
    state = run.load()["learner"]
    state[f"normalizer.{name}"].view(-1)[0] = value
    with pytest.raises(CheckpointError, match=reason), fitting(run.load() | {"learner": state}, "dqn"):
        load_learner(learner, state)


def test_seeds_that_are_trained_as_one_have_statistics_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded, "MIN_UPDATES_LEFT", 0)
    taken = []
    take = recorded.Recorded.minimize_together
    monkeypatch.setattr(
        recorded.Recorded,
        "minimize_together",
        lambda self, steps, *rest: (taken.append(len(steps)), take(self, steps, *rest))[1],
    )
    options = {"normalize_obs": True, "normalize_reward": True, "name": "many", "steps": 300}
    runs = experiment.start_seeds(tiny("ppo", tmp_path, **options), range(2), quiet=True)
    assert max(taken) == 2
    states = [run.load()["learner"] for run in runs.values() if not isinstance(run, BaseException)]
    for name in ("obs.mean", "obs.squares", "obs_mean", "obs_scale", "discounted_return"):
        assert not torch.equal(*(state[f"normalizer.{name}"] for state in states)), name
    for state, run in zip(states, runs.values(), strict=True):
        assert state["normalizer.obs.count"] == run.step  # type: ignore[union-attr]


def test_values_of_normalised_rewards_are_not_compared_with_returns() -> None:
    """Returns of 0.04 have normalised values near 2, and were called divergence; the estimate in returns is watched."""
    watched = {
        (obs, reward): {rule.metric for rule in normalized(dqn.DQN, obs, reward).watched}
        for obs, reward in ((True, False), (False, True))
    }
    assert watched[True, False] - watched[False, True] == {"losses/q_values"}
    assert "eval/q_estimate" in watched[False, True]
