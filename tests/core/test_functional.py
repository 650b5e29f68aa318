"""Pure functions against slow, plain Python."""

import pytest
import torch
from torch import nn

from rlgen.core.functional import gae, lambda_returns, linear_schedule, masked_mean, soft_update

GAMMA, LAMBDA = 0.9, 0.7


def naive_gae(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
    """Equation 16 as it is written: for each step its own sum over the steps that follow it in its episode."""
    num_steps, num_envs = reward.shape
    advantage = torch.zeros(num_steps, num_envs, dtype=reward.dtype)
    for n in range(num_envs):
        for t in range(num_steps):
            weight = 1.0
            for k in range(t, num_steps):
                bootstrap = 0.0 if terminated[k, n] else gamma * next_value[k, n]
                advantage[t, n] += weight * (reward[k, n] + bootstrap - value[k, n])
                if terminated[k, n] or truncated[k, n]:
                    break
                weight *= gamma * gae_lambda
    return advantage


@pytest.mark.parametrize("gae_lambda", [0.0, LAMBDA, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_gae_is_the_double_sum(gae_lambda: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    reward, value, next_value = torch.randn(3, 20, 4, generator=generator)
    terminated, truncated = torch.rand(2, 20, 4, generator=generator) < 0.15
    advantage = gae(reward, value, next_value, terminated, truncated, GAMMA, gae_lambda)
    expected = naive_gae(reward, value, next_value, terminated, truncated, GAMMA, gae_lambda)
    torch.testing.assert_close(advantage, expected, atol=1e-5, rtol=1e-5)


def test_gae_bootstraps_truncation_and_not_termination() -> None:
    one, zero = torch.ones(1, 1), torch.zeros(1, 1)
    yes, no = torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 1, dtype=torch.bool)
    assert gae(one, zero, 10 * one, yes, no, GAMMA, LAMBDA).item() == 1
    assert gae(one, zero, 10 * one, no, yes, GAMMA, LAMBDA).item() == pytest.approx(10)
    assert gae(one, zero, 10 * one, yes, yes, GAMMA, LAMBDA).item() == 1, "a step that did both has ended for good"


def test_gae_with_lambda_one_is_the_discounted_return_less_the_value() -> None:
    reward, value = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[0.5], [0.25], [0.125]])
    next_value = torch.tensor([[0.25], [0.125], [8.0]])
    flags = torch.zeros(3, 1, dtype=torch.bool)
    reward_to_go = torch.tensor([[1 + 0.5 * (2 + 0.5 * (4 + 0.5 * 8))], [2 + 0.5 * (4 + 0.5 * 8)], [4 + 0.5 * 8]])
    torch.testing.assert_close(gae(reward, value, next_value, flags, flags, 0.5, 1.0), reward_to_go - value)


def naive_lambda_return(reward, next_value, terminated, truncated, gamma, trace):
    """By the forward view: returns of 1, 2, ... steps, weighed by powers of lambda, the last one by what is left."""
    num_steps, num_envs = reward.shape
    found = torch.zeros(num_steps, num_envs, dtype=reward.dtype)
    for n in range(num_envs):
        for t in range(num_steps):
            total, left = 0.0, 1.0
            for k in range(t, num_steps):
                total += gamma ** (k - t) * reward[k, n]
                value = 0.0 if terminated[k, n] else gamma ** (k - t + 1) * next_value[k, n]
                last = terminated[k, n] or truncated[k, n] or k == num_steps - 1
                found[t, n] += left * (1.0 if last else 1 - trace) * (total + value)
                left *= trace
                if last:
                    break
    return found


@pytest.mark.parametrize("trace", [0.0, LAMBDA, 1.0])
@pytest.mark.parametrize("num_steps", [1, 2, 20])
def test_lambda_returns_are_weighed_returns_of_all_numbers_of_steps(trace: float, num_steps: int) -> None:
    generator = torch.Generator().manual_seed(num_steps)
    reward, next_value = torch.randn(2, num_steps, 6, generator=generator)
    terminated, truncated = torch.rand(2, num_steps, 6, generator=generator) < 0.15
    found = lambda_returns(reward, next_value, terminated, truncated, GAMMA, trace)
    expected = naive_lambda_return(reward.double(), next_value.double(), terminated, truncated, GAMMA, trace)
    torch.testing.assert_close(found, expected.float(), atol=1e-5, rtol=1e-5)


def test_lambda_returns_at_termination_truncation_and_the_end_of_the_rollout() -> None:
    """Columns: goes on; terminated, truncated, or both in the first of two rows."""
    reward, next_value = torch.tensor([[1.0] * 4, [2.0] * 4]), torch.tensor([[10.0] * 4, [20.0] * 4])
    terminated = torch.tensor([[False, True, False, True], [False] * 4])
    truncated = torch.tensor([[False, False, True, True], [False] * 4])
    last = 2 + 0.5 * 20
    first = [1 + 0.5 * (0.75 * 10 + 0.25 * last), 1.0, 1 + 0.5 * 10, 1.0]
    found = lambda_returns(reward, next_value, terminated, truncated, 0.5, 0.25)
    torch.testing.assert_close(found, torch.tensor([first, [last] * 4]))


def test_no_trace_crosses_a_junk_row() -> None:
    """NEXT_STEP's junk row follows an episode's end; whatever is in it, the transitions before it do not see it."""
    reward, value, next_value = torch.randn(3, 5, 1, generator=torch.Generator().manual_seed(0))
    no = torch.zeros(5, 1, dtype=torch.bool)
    terminated = no.clone()
    terminated[1] = True  # row 2 is junk
    before = gae(reward, value, next_value, terminated, no, GAMMA, LAMBDA)
    for tensor in (reward, value, next_value):
        tensor[2] = 1e6
    after = gae(reward, value, next_value, terminated, no, GAMMA, LAMBDA)
    kept = [0, 1, 3, 4]
    assert torch.equal(before[kept], after[kept])


def test_soft_update_moves_parameters_by_tau_and_copies_buffers() -> None:
    torch.manual_seed(0)
    online, target = (nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)) for _ in range(2))
    online(torch.randn(8, 3))  # moves the running statistics
    before = [param.clone() for param in target.parameters()]
    soft_update(target, online, 0.25)
    for param, old, new in zip(target.parameters(), before, online.parameters(), strict=True):
        torch.testing.assert_close(param, 0.75 * old + 0.25 * new)
    assert torch.equal(target[1].running_mean, online[1].running_mean)
    soft_update(target, online)
    for param, new in zip(target.parameters(), online.parameters(), strict=True):
        assert torch.equal(param, new)
        assert param is not new


def test_masked_mean_weighs_only_what_is_valid() -> None:
    value = torch.tensor([1.0, 2.0, 300.0])
    assert masked_mean(value, torch.tensor([True, True, False])).item() == 1.5
    assert masked_mean(value, torch.zeros(3, dtype=torch.bool)).item() == 0


def test_linear_schedule_falls_and_then_stays() -> None:
    assert linear_schedule(1.0, 0.1, 0.5, 0.0) == 1.0
    assert linear_schedule(1.0, 0.1, 0.5, 0.25) == pytest.approx(0.55)
    assert linear_schedule(1.0, 0.1, 0.5, 0.5) == pytest.approx(0.1)
    assert linear_schedule(1.0, 0.1, 0.5, 1.0) == pytest.approx(0.1)
    assert linear_schedule(1.0, 0.1, 0.0, 0.0) == 0.1
