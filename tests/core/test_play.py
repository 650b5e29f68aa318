"""Episodes that are counted are the first of every environment; stacks begin as the environment pads them."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import counting
import numpy as np
import pytest
import torch
import transitions
from acting import Constant
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import FrameStackObservation
from transitions import expected_stacks, make_buffer, stacked_rows

from rlgen.core import source as sources
from rlgen.core.play import play
from rlgen.core.source import EnvSource
from rlgen.envs.stream import Transition


class Lengths:
    """Environment n plays episodes of `lengths[n]` steps in turn; each step of its k-th episode is worth 10 n + k.

    With `junk` an ended episode is followed by a step that is none.
    """

    def __init__(self, lengths: list[list[int]], junk: bool = False) -> None:
        self.lengths, self.junk, self.num_envs = lengths, junk, len(lengths)
        self.spec = SimpleNamespace(num_envs=len(lengths), reward_clip=None)
        self.episode, self.count = np.zeros(len(lengths), dtype=int), np.zeros(len(lengths), dtype=int)
        self.pending = np.zeros(len(lengths), dtype=bool)
        self.obs = np.zeros((len(lengths), 1), dtype=np.float32)

    def step(self, action: np.ndarray) -> Transition:
        valid = ~self.pending
        self.count = np.where(valid, self.count + 1, 0)
        length = np.array([each[k % len(each)] for each, k in zip(self.lengths, self.episode, strict=True)])
        reward = np.where(valid, 10 * np.arange(self.num_envs) + self.episode, 1e6).astype(np.float32)
        ended = valid & (self.count == length)
        self.episode += ended
        self.pending, self.count = ended & self.junk, np.where(ended, 0, self.count)
        return Transition(self.obs, reward, ended, np.zeros_like(ended), valid)


@pytest.mark.parametrize("junk", [False, True])
def test_the_first_episodes_of_every_environment_are_counted_however_long_they_are(junk: bool) -> None:
    """Of eight episodes a short-lived environment would else play most: `returns` once favoured failures."""
    envs: Any = Lengths([[1], [7, 2], [3, 40]], junk)
    result = play(Constant(), envs, num_episodes=8)
    # three of the first, three of the second, two of the third, in order of their ends
    third = [1, 3 * 20, 2] if junk else [1, 2, 3 * 20]  # between them a junk step
    assert result["returns"] == [0, *third, 7 * 10, 2 * 11, 7 * 12, 40 * 21]
    assert result["eval/episodic_length"] == np.mean([1, 1, 1, 3, 7, 2, 7, 40])


@pytest.mark.parametrize(
    ("num_episodes", "returns"),
    [(3, [0, 60, 70]), (4, [0, 1, 60, 70]), (5, [0, 1, 60, 70, 22]), (6, [0, 1, 60, 70, 22, 840])],
)
def test_a_remainder_goes_to_the_first_environments(num_episodes: int, returns: list[float]) -> None:
    envs: Any = Lengths([[1], [7, 2], [3, 40]])
    assert play(Constant(), envs, num_episodes)["returns"] == returns


def test_estimates_are_those_of_counted_episodes() -> None:
    """The second environment ends first and often; its first episode alone is counted."""
    envs: Any = Lengths([[6], [1]])
    result = play(Constant(estimate=4.0), envs, num_episodes=2)
    assert result["returns"] == [10, 0]
    assert result["eval/q_estimate"] == 4.0
    assert result["eval/q_realised"] == pytest.approx(10 / 7), "six states worth 0 and one worth 10"


@pytest.mark.parametrize("mode", [None, AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
@pytest.mark.parametrize("num_episodes", [3, 8])
def test_evaluation_plays_what_its_environments_play_one_by_one(
    mode: Any, num_episodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lengths are drawn from each episode's seed, 1 to 8; what an episode earns is the sum of 1 to its length."""
    monkeypatch.setattr(sources, "MAX_ENVS", 3)
    source = EnvSource("Counting-v0", 1, "sync", 0, num_episodes, autoreset_mode=mode)
    found = source.play(Constant(), num_episodes, seed=5)

    stepped = EnvSource("Counting-v0", 3, "sync", 5, 1, autoreset_mode=mode)
    total, ended = np.zeros(3), []  # (environment, return) of episodes in order of their ends
    for _ in range(100):
        step = stepped.envs.step(np.ones(3, dtype=np.int64))
        total += step.reward * step.valid
        for n in (step.terminated | step.truncated).nonzero()[0].tolist():
            ended.append((n, total[n]))
            total[n] = 0
    quota = [num_episodes // 3 + (n < num_episodes % 3) for n in range(3)]
    counted = [value for i, (n, value) in enumerate(ended) if sum(m == n for m, _ in ended[:i]) < quota[n]]
    assert found["returns"] == counted
    assert num_episodes == 3 or counted != [value for _, value in ended[:num_episodes]], "not the first ones that end"
    source.close()
    stepped.close()


# Stacks


class Shifted(counting.Counting):
    """No frame of it is zero, the first neither."""

    def _obs(self) -> np.ndarray:
        return super()._obs() + 1


@pytest.mark.parametrize("padding", ["reset", "zero"])
@pytest.mark.parametrize(("num_envs", "k", "n_step"), [(1, 4, 1), (3, 2, 1), (3, 3, 3), (3, 4, 1)])
@pytest.mark.parametrize("junk", [False, True])
@pytest.mark.parametrize("num_rows", [5, 11, 57])
@pytest.mark.parametrize("as_on_gpu", [False, True])
def test_stacks_are_padded_as_gymnasium_pads_them(
    padding: str, num_envs: int, k: int, n_step: int, junk: bool, num_rows: int, as_on_gpu: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(counting, "Counting", Shifted)
    monkeypatch.setattr(transitions, "FrameStackObservation", partial(FrameStackObservation, padding_type=padding))
    rows = list(stacked_rows(num_envs, num_rows, k, junk))
    assert (np.stack([row["obs"] for row in rows]) == 0).any() == (padding == "zero")

    def make() -> Any:
        buffer = make_buffer(10 * num_envs, n_step, k, as_on_gpu)
        buffer.frame_padding = padding
        return buffer

    buffer = make()
    for t, row in enumerate(rows):
        if t == num_rows // 2:
            state, buffer = buffer.state_dict(), make()
            buffer.load_state_dict(state)
        buffer.add(row)
    expected = expected_stacks(rows, 10, n_step)
    batch = buffer.sample(1500)
    index = batch["id"].tolist()
    assert set(index) == set(expected)
    for name, at in (("obs", 0), ("next_obs", 1)):
        assert np.array_equal(batch[name].numpy(), np.stack([expected[each][at] for each in index])), name


@pytest.mark.parametrize("padding", ["reset", "zero"])
@pytest.mark.parametrize("junk", [False, True])
def test_drained_stacks_are_padded_too(padding: str, junk: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "Counting", Shifted)
    monkeypatch.setattr(transitions, "FrameStackObservation", partial(FrameStackObservation, padding_type=padding))
    rows, buffer = list(stacked_rows(3, 40, 4, junk)), make_buffer(12, frame_stack=4)
    buffer.frame_padding = padding
    for begin in range(0, 40, 4):
        buffer.add(*rows[begin : begin + 4])
        rollout = buffer.drain()
        valid = rollout["valid"].numpy()
        for name in ("obs", "next_obs"):
            added = np.stack([row[name] for row in rows[begin : begin + 4]])
            assert np.array_equal(rollout[name].numpy()[valid], added[valid]), name


@pytest.mark.parametrize("padding", ["reset", "zero"])
@pytest.mark.parametrize("as_on_gpu", [False, True])
def test_padded_frames_keep_their_type(padding: str, as_on_gpu: bool) -> None:
    buffer = make_buffer(20, frame_stack=3, as_on_gpu=as_on_gpu)
    buffer.frame_padding = padding
    no, stack = np.array([False]), np.full((1, 3, 4, 4), 200, dtype=np.uint8)
    first = stack.copy()
    if padding == "zero":
        first[:, :2] = 0
    row = {"action": np.zeros(1), "reward": np.zeros(1, np.float32), "truncated": no}
    buffer.add(row | {"obs": stack, "next_obs": stack, "terminated": ~no})
    buffer.add(row | {"obs": first, "next_obs": stack, "terminated": no})
    batch = buffer.sample(100)
    assert batch["obs"].dtype == batch["next_obs"].dtype == torch.uint8
    assert {tuple(each) for each in batch["obs"][:, :, 0, 0].tolist()} == {(200, 200, 200), tuple(first[0, :, 0, 0])}
