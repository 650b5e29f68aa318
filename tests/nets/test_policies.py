"""Distributions over actions are those of torch, and are drawn from as they should be."""

import numpy as np
import pytest
import torch

from rlgen.nets.policies import Categorical, DiagonalNormal, epsilon_greedy


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


def test_epsilon_greedy_explores_as_often_as_it_is_told() -> None:
    q_value = torch.tensor([[0.0, 2.0, 1.0, -1.0]]).expand(40_000, 4).contiguous()
    generator = torch.Generator().manual_seed(0)
    shares = torch.bincount(epsilon_greedy(q_value, 0.2, generator), minlength=4) / len(q_value)
    assert shares.tolist() == pytest.approx([0.05, 0.85, 0.05, 0.05], abs=0.006)
    assert epsilon_greedy(q_value, 0.0, generator).eq(1).all()
