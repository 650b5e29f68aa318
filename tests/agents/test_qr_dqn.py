"""QR-DQN against its formulas, by loops in float64."""

import numpy as np
import pytest
import torch
from q_learning import assert_valid_actions_alone, chosen, made, outputs, transitions

from agents import qr_dqn


@pytest.mark.parametrize(("double", "masks"), [(False, False), (True, False), (True, True), (False, True)])
def test_the_loss_of_qr_dqn(double: bool, masks: bool) -> None:
    size = 7
    agent, batch = made(qr_dqn, masks, num_quantiles=size, double=double), transitions(masks)
    following, online = (outputs(net, batch["next_obs"], masks) for net in (agent.target_q, agent.q))
    action = chosen((online if double else following).mean(-1), masks)
    quantiles = outputs(agent.q, batch["obs"], masks)[np.arange(6), batch["action"]]
    total, kinds = 0.0, set()
    for row in range(6):
        target = batch["reward"][row].item() + batch["discount"][row].item() * following[row, action[row]]
        for i in range(size):
            for j in range(size):
                error = target[j] - quantiles[row, i]
                huber = 0.5 * error**2 if abs(error) <= 1 else abs(error) - 0.5
                total += abs((2 * i + 1) / (2 * size) - (error < 0)) * huber / size
                kinds.add((bool(error < 0), abs(error) <= 1))
    assert len(kinds) == 4, "errors of both signs, small and large"
    loss, metrics = agent.loss(agent, batch)
    assert loss.item() == pytest.approx(total / 6, rel=1e-5)
    assert metrics["losses/q_values"].item() == pytest.approx(quantiles.mean(), rel=1e-4)


def test_quantiles_of_a_coin_are_found() -> None:
    """Of a value that is 10 with probability 0.3, else 0; the Huber loss pulls tau hat / (1 - tau hat) * 3 / 7 away."""
    quantiles = torch.full((1, 4), 3.0, requires_grad=True)
    target, tau = torch.tensor([[0.0] * 7 + [10.0] * 3]), torch.tensor([1, 3, 5, 7]) / 8
    for _ in range(400):
        (grad,) = torch.autograd.grad(qr_dqn.quantile_huber(quantiles, target, tau).sum(), quantiles)
        quantiles = (quantiles - grad).detach().requires_grad_()
    odds = [1 / 7 * 3 / 7, 3 / 5 * 3 / 7, 5 / 3 * 3 / 7, 10 - 1 / 7 * 7 / 3]
    assert torch.allclose(quantiles, torch.tensor([odds]), atol=1e-3)


def test_it_takes_valid_actions_alone() -> None:
    assert_valid_actions_alone(qr_dqn)
