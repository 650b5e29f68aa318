"""Which transitions are drawn, how often, and what n steps add up to."""

from typing import Any

import numpy as np
import pytest
import torch
from transitions import GAMMA, make_buffer, stream

from rlgen.core.buffer import Buffer
from rlgen.core.index import UniformIndex


@pytest.mark.parametrize("as_on_gpu", [False, True])
def test_sample_is_uniform(as_on_gpu: bool) -> None:
    buffer = make_buffer(30, as_on_gpu=as_on_gpu)
    for row in stream(3, 25, seed=1, junk=True):
        buffer.add(row)
    counts = np.unique(buffer.sample(60_000)["obs"].numpy(), return_counts=True)[1]
    expected = 60_000 / len(counts)
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < len(counts) + 5 * np.sqrt(2 * len(counts))


def test_no_list_is_kept_while_every_transition_may_be_drawn() -> None:
    buffer = make_buffer(30)
    for row in stream(3, 25, seed=1):
        buffer.add(row)
    assert buffer.index.listed is None
    buffer.add(next(stream(3, 1, seed=2)) | {"valid": torch.tensor([True, False, True])})
    assert buffer.index.listed is not None


def test_the_last_rows_of_a_window_are_not_drawn_before_they_are_complete() -> None:
    buffer, rows = make_buffer(30, n_step=3), list(stream(1, 5, seed=1))
    for row in rows[:2]:
        buffer.add(row)
    with pytest.raises(ValueError, match="2 transitions, n_step 3"):
        buffer.index.span()
    for row in rows[2:]:
        buffer.add(row)
    assert buffer.index.span()[1] == 3


def test_n_steps_end_with_the_episode() -> None:
    buffer, yes, no = make_buffer(10, n_step=3), torch.tensor([True]), torch.tensor([False])
    for t, (terminated, truncated) in enumerate(
        ((no, no), (yes, no), (no, no), (no, yes), (no, no), (no, no), (no, no))
    ):
        step = {"obs": torch.tensor([t]), "reward": torch.tensor([10.0**t]), "next_obs": torch.tensor([t + 1])}
        buffer.add(step | {"terminated": terminated, "truncated": truncated})
    reward, discount, last = buffer.n_step_return(np.arange(5))
    assert reward.tolist() == [6.0, 10.0, 600.0, 1000.0, 1e4 + 5e4 + 2.5e5]
    assert discount.tolist() == [0.0, 0.0, GAMMA**2, GAMMA, GAMMA**3]
    assert last.tolist() == [1, 1, 3, 3, 6]


class NewestIndex(UniformIndex):
    """Draws the newest transition, always."""

    def locate(self, drawn: Any) -> Any:
        newest = (self.ring.oldest + self.ring.num_used - 1) % self.ring.num_rows
        return super().locate(drawn) * 0 + newest * self.ring.num_envs


@pytest.mark.parametrize("as_on_gpu", [False, True])
def test_rewards_are_clipped_one_by_one_where_a_sum_is_learned_from(as_on_gpu: bool) -> None:
    """The raw ones stay in the ring."""
    for n_step, expected in ((1, {0: 1.0, 1: -0.5, 2: -1.0}), (2, {0: 1.0 - 0.5 * GAMMA, 1: -0.5 - GAMMA})):
        buffer = make_buffer(30, n_step=n_step, as_on_gpu=as_on_gpu)
        buffer.reward_clip = 1.0
        for obs, reward in enumerate((7.0, -0.5, -3.0)):
            ends = {"terminated": np.array([False]), "truncated": np.array([False])}
            place = {"obs": np.array([float(obs)]), "next_obs": np.array([obs + 1.0])}
            buffer.add({**place, "reward": np.array([reward], np.float32), **ends})
        batch = buffer.sample(200)
        assert dict(zip(batch["obs"].tolist(), batch["reward"].tolist(), strict=True)) == expected
        assert buffer.ring.columns["reward"][:3, 0].tolist() == [7.0, -0.5, -3.0]
    assert buffer.drain()["reward"].tolist() == [[1.0], [-0.5], [-1.0]]


def test_another_index_chooses_other_transitions() -> None:
    buffer = Buffer(8, generator=torch.Generator().manual_seed(0), index=NewestIndex)
    rows = list(stream(1, 11, seed=3))
    buffer.add(*rows)
    assert set(buffer.sample(20)["obs"].tolist()) == set(rows[-1]["obs"].tolist())
