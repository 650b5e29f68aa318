"""Distributions over actions are those of torch, and are drawn from as they should be."""

from typing import Any

import numpy as np
import pytest
import torch

from rlgen.nets.masks import LOWEST
from rlgen.nets.policies import (
    Categorical,
    DiagonalNormal,
    IndependentCategoricals,
    epsilon_greedy,
    epsilon_greedy_in_few_kernels,
)

BOTH = pytest.mark.parametrize("choose", [epsilon_greedy, epsilon_greedy_in_few_kernels])


def test_distributions_agree_with_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 3, generator=generator)
    action = torch.tensor([0, 1, 2, 1, 0])
    ours, theirs = Categorical(logits), torch.distributions.Categorical(logits=logits)
    torch.testing.assert_close(ours.log_prob(action), theirs.log_prob(action))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    assert torch.equal(ours.mode(), logits.argmax(-1))

    mean, log_std = torch.randn(2, 5, 3, generator=generator)
    normal = DiagonalNormal(torch.cat([mean, log_std], -1))
    reference = torch.distributions.Independent(torch.distributions.Normal(mean, log_std.exp()), 1)
    torch.testing.assert_close(normal.log_prob(logits), reference.log_prob(logits))
    torch.testing.assert_close(normal.entropy(), reference.entropy())


def test_samples_have_the_distribution_and_the_seed_decides() -> None:
    logits = torch.tensor([0.1, 0.2, 0.7]).log().expand(20_000, 3)
    samples = Categorical(logits).sample(torch.Generator().manual_seed(1))
    frequency = samples.bincount(minlength=3) / len(samples)
    torch.testing.assert_close(frequency, torch.tensor([0.1, 0.2, 0.7]), atol=0.02, rtol=0)
    assert torch.equal(samples, Categorical(logits).sample(torch.Generator().manual_seed(1)))
    normal = DiagonalNormal(torch.tensor([[2.0, -1.0]]).expand(20_000, 2)).sample(torch.Generator().manual_seed(1))
    assert normal.mean().item() == pytest.approx(2, abs=0.02)
    assert normal.std().item() == pytest.approx(0.3679, abs=0.02)


@pytest.mark.parametrize("num", [1, 8])
def test_actions_drawn_from_arrays_are_those_drawn_from_tensors(num: int) -> None:
    logits, states = torch.randn(200, num, 3), [torch.Generator().manual_seed(1) for _ in range(4)]
    for each in logits:
        array = epsilon_greedy(each.numpy(), 0.5, states[0])
        assert array.dtype == np.int64 and array.tolist() == epsilon_greedy(each, 0.5, states[1]).tolist()
        array = Categorical(each.numpy()).sample(states[2])
        assert array.dtype == np.int64 and array.tolist() == Categorical(each).sample(states[3]).tolist()


@BOTH
def test_epsilon_greedy_explores_as_often_as_it_is_told(choose: Any) -> None:
    q_value = torch.tensor([[0.0, 2.0, 1.0, -1.0]]).expand(40_000, 4).contiguous()
    generator = torch.Generator().manual_seed(0)
    action = choose(q_value, 0.2, generator)
    assert action.dtype == torch.int64
    shares = torch.bincount(action, minlength=4) / len(q_value)
    assert shares.tolist() == pytest.approx([0.05, 0.85, 0.05, 0.05], abs=0.006)
    assert choose(q_value, 0.0, generator).eq(1).all()


@BOTH
def test_random_actions_are_valid_ones_evenly(choose: Any) -> None:
    q_value = torch.tensor([[LOWEST, -3.0, 1.0, LOWEST, -0.5]]).expand(40_000, 5).contiguous()
    shares = torch.bincount(choose(q_value, 0.6, torch.Generator().manual_seed(0)), minlength=5) / len(q_value)
    assert shares.tolist() == pytest.approx([0, 0.2, 0.6, 0, 0.2], abs=0.006)


SIZES = (3, 2, 2, 5)


def test_several_choices_at_once_agree_with_torch_and_with_the_sum_over_each() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, sum(SIZES), generator=generator, dtype=torch.float64)
    action = torch.stack([torch.randint(size, (7,), generator=generator) for size in SIZES], -1)
    ours = IndependentCategoricals(logits, SIZES)
    theirs = [torch.distributions.Categorical(logits=part) for part in logits.split(SIZES, -1)]
    by_choice = [each.log_prob(chosen) for each, chosen in zip(theirs, action.unbind(-1), strict=True)]
    torch.testing.assert_close(ours.log_prob(action), torch.stack(by_choice).sum(0))
    torch.testing.assert_close(ours.entropy(), torch.stack([each.entropy() for each in theirs]).sum(0))
    assert torch.equal(ours.mode(), torch.stack([part.argmax(-1) for part in logits.split(SIZES, -1)], -1))


def test_several_choices_at_once_by_hand() -> None:
    logits = torch.tensor([[0.25, 0.75, 0.5, 0.3, 0.2]]).log() + torch.tensor([4, 4, -1, -1, -1])  # not normalised
    both = IndependentCategoricals(logits, (2, 3))
    assert both.log_prob(torch.tensor([[1, 2]])).exp().item() == pytest.approx(0.75 * 0.2)
    entropy = -sum(p * np.log(p) for p in (0.25, 0.75)) - sum(p * np.log(p) for p in (0.5, 0.3, 0.2))
    assert both.entropy().item() == pytest.approx(entropy)
    total = sum(both.log_prob(torch.tensor([[i, j]])).exp().item() for i in range(2) for j in range(3))
    assert total == pytest.approx(1)
    alone = IndependentCategoricals(logits[:, :2], (2,))
    assert torch.equal(alone.log_prob(torch.tensor([[1]])), Categorical(logits[:, :2]).log_prob(torch.tensor([1])))


def test_several_choices_are_drawn_as_often_as_they_are_likely_and_independently() -> None:
    logits = torch.tensor([0.25, 0.75, 0.5, 0.3, 0.2]).log().expand(40_000, 5)
    samples = IndependentCategoricals(logits, (2, 3)).sample(torch.Generator().manual_seed(1))
    assert samples.dtype == torch.int64 and samples.shape == (40_000, 2)
    shares = torch.zeros(2, 3).index_put_((samples[:, 0], samples[:, 1]), torch.ones(()), accumulate=True) / 40_000
    expected = torch.tensor([[0.25], [0.75]]) * torch.tensor([[0.5, 0.3, 0.2]])
    torch.testing.assert_close(shares, expected, atol=0.01, rtol=0)


@pytest.mark.parametrize("sizes", [SIZES, (2,) * 6, (1, 4)])
def test_several_choices_drawn_from_arrays_are_those_drawn_from_tensors(sizes: tuple[int, ...]) -> None:
    states = [torch.Generator().manual_seed(1) for _ in range(2)]
    for each in torch.randn(50, 3, sum(sizes)):
        array = IndependentCategoricals(each.numpy(), sizes)
        drawn = array.sample(states[0])
        assert drawn.dtype == np.int64 and drawn.shape == (3, len(sizes))
        tensor = IndependentCategoricals(each, sizes)
        assert drawn.tolist() == tensor.sample(states[1]).tolist()
        assert array.mode().tolist() == tensor.mode().tolist()


def test_many_choices_of_one_size_are_one_categorical() -> None:
    """A keyboard of 100 keys is not 100 small steps."""
    assert len(IndependentCategoricals(torch.zeros(1, 200), (2,) * 100).parts) == 1
    assert len(IndependentCategoricals(torch.zeros(1, 12), SIZES).parts) == 3
