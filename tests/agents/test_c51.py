"""C51 against its formulas, by loops in float64."""

from typing import Any

import numpy as np
import pytest
import torch
from q_learning import assert_valid_actions_alone, chosen, made, outputs, softmax, transitions

from agents import c51
from rlgen.errors import UsageError
from rlgen.options import config


def projected(prob: np.ndarray, values: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Equation 7 of Bellemare et al. 2017, pair after pair, and the clipped share."""
    size = prob.shape[1]
    atoms, spacing = np.linspace(low, high, size), (high - low) / (size - 1)
    target, clipped = np.zeros(prob.shape), np.zeros(len(prob))
    for row in range(len(prob)):
        for j in range(size):
            value = min(max(values[row, j], low), high)
            clipped[row] += prob[row, j] * (abs(value - values[row, j]) > 1e-3 * spacing)
            for i in range(size):
                target[row, i] += prob[row, j] * max(0, 1 - abs(value - atoms[i]) / spacing)
    return target, clipped


@pytest.mark.parametrize(("low", "high", "size"), [(-3.0, 5.0, 21), (0.0, 1.0, 2), (-10.0, 10.0, 51)])
def test_the_projection_is_that_of_the_paper(low: float, high: float, size: int) -> None:
    """Values inside, on an atom, on both ends, outside, all the same (termination), all outside."""
    generator = np.random.default_rng(0)
    atoms, reward = np.linspace(low, high, size), generator.uniform(low, high, (40, 1))
    values = reward + generator.uniform(0, 1, (40, 1)) * atoms
    values[0], values[1], values[2], values[3] = atoms, atoms[::-1], reward[2], high
    values[4], values[5], values[6], values[7] = low, high + 1, low - 1, atoms + (high - low) / (size - 1)
    prob = softmax(3 * generator.normal(size=(40, size)))
    target, clipped = c51.project(torch.tensor(prob).float(), torch.tensor(values).float(), low, high)
    expected, share = projected(prob, values, low, high)
    assert np.allclose(target, expected, atol=1e-6) and np.allclose(clipped, share, atol=1e-6)
    assert np.allclose(target.sum(-1), 1, atol=1e-6) and target.min() >= 0
    assert np.allclose(target[0], prob[0], atol=1e-6) and np.allclose(target[1], prob[1][::-1], atol=1e-6)
    assert [round(share, 5) for share in clipped[[0, 3, 4, 5, 6]].tolist()] == [0, 0, 0, 1, 1]
    mean, inside = (target.numpy() * atoms).sum(-1), np.isclose(share, 0)
    assert np.allclose(mean[inside], (prob * values).sum(-1)[inside], atol=1e-4), "a mean that is not clipped is kept"


@pytest.mark.parametrize(("double", "masks"), [(False, False), (True, False), (True, True), (False, True)])
def test_the_loss_of_c51(double: bool, masks: bool) -> None:
    agent, batch = made(c51, masks, num_atoms=11, v_min=-2.0, v_max=6.0, double=double), transitions(masks)
    atoms = np.linspace(-2, 6, 11)
    following, online = (softmax(outputs(net, batch["next_obs"], masks)) for net in (agent.target_q, agent.q))
    action = chosen(((online if double else following) * atoms).sum(-1), masks)
    values = batch["reward"][:, None].numpy() + batch["discount"][:, None].numpy() * atoms
    target, clipped = projected(following[np.arange(6), action], values, -2, 6)
    prob = softmax(outputs(agent.q, batch["obs"], masks))[np.arange(6), batch["action"]]
    loss, metrics = agent.loss(agent, batch)
    assert loss.item() == pytest.approx(-(target * np.log(prob)).sum(-1).mean(), rel=1e-5)
    assert metrics["losses/q_values"].item() == pytest.approx((prob * atoms).sum(-1).mean(), rel=1e-5)
    assert metrics["losses/clipped_mass"].item() == pytest.approx(clipped.mean(), rel=1e-4) and clipped.mean() > 0.1
    grads = torch.autograd.grad(loss, list(agent.q.parameters()))
    assert all(grad.isfinite().all() and grad.abs().sum() > 0 for grad in grads)


def test_targets_that_are_clipped_are_told_once(capfd: Any) -> None:
    wide, narrow = (made(c51, num_atoms=11, v_min=-2.0, v_max=v_max) for v_max in (60.0, 2.0))
    for agent, lines in ((wide, 0), (narrow, 1)):
        for _ in range(3):
            agent.schedules()
            agent.learn(transitions())
        told = capfd.readouterr().err
        assert told.count("\n") == lines and told.count("outside [-2, 2] and are clipped") == lines


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"v_min": 5.0, "v_max": 5.0}, "--v-min 5.0 with --v-max 5.0: returns need a range"),
        ({"v_min": 200}, "--v-min 200.0 with --v-max 100.0: returns need a range"),
        ({"num_atoms": 1}, "--num-atoms 1: must be in"),
        ({"v_max": float("inf")}, "--v-max inf: must be in"),
    ],
)
def test_returns_without_a_range_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        config.resolve("c51", options)


def test_it_takes_valid_actions_alone() -> None:
    assert_valid_actions_alone(c51)
