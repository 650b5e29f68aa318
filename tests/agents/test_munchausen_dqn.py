"""Munchausen DQN against its formulas, of a plain softmax in float64."""

import numpy as np
import pytest
import torch
from q_learning import VALID, assert_valid_actions_alone, made, outputs, softmax, transitions

from agents import c51, munchausen_dqn, qr_dqn
from rlgen.errors import UsageError


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("temperature", [0.03, 1.0])
def test_the_loss_of_munchausen_dqn(temperature: float, masks: bool) -> None:
    agent, batch = made(munchausen_dqn, masks, temperature=temperature), transitions(masks)
    valid = VALID if masks else np.ones_like(VALID)
    total, bonuses = 0.0, []
    batch["action"] = torch.from_numpy((valid[::-1] * [1, 3, 4, 2]).argmax(-1))
    value, following = (outputs(agent.target_q, batch[name], masks) for name in ("obs", "next_obs"))
    q_value = outputs(agent.q, batch["obs"], masks)
    for row, action in enumerate(batch["action"].tolist()):
        policies = []
        for each, able in ((value, valid[::-1]), (following, valid)):
            policies.append(np.zeros(4))
            policies[-1][able[row]] = softmax(each[row, able[row]] / temperature)
        with np.errstate(divide="ignore", invalid="ignore"):
            log_prob = temperature * np.log(policies[0][action])
            entropy = np.nan_to_num(policies[1] * np.log(policies[1])).sum()
        bonuses.append(0.9 * min(max(log_prob, -1.0), 0.0))
        soft = (policies[1] * following[row]).sum() - temperature * entropy
        error = batch["reward"][row] + bonuses[-1] + batch["discount"][row] * soft - q_value[row, action]
        total += 0.5 * error**2 if abs(error) <= 1 else abs(error) - 0.5
    loss, metrics = agent.loss(agent, batch)
    assert loss.item() == pytest.approx(total.item() / 6, rel=1e-5)  # type: ignore[attr-defined]
    assert metrics["losses/bonus"].item() == pytest.approx(np.mean(bonuses), rel=1e-4, abs=1e-6)
    assert min(bonuses) == -0.9 and max(bonuses) > -0.9, "some are clipped, and some are not"


def test_a_bonus_is_that_of_the_first_of_several_steps() -> None:
    agent = made(munchausen_dqn, n_step=2, gamma=0.5, batch_size=1, buffer_size=8, learning_starts=2)
    buffer, batch = agent.make_buffer(), transitions()
    no = torch.tensor([False])
    for row in range(3):
        each = {name: batch[name][row : row + 1] for name in ("obs", "action", "reward", "next_obs")}
        buffer.add(each | {"terminated": no, "truncated": no})
    for _ in range(5):
        drawn = buffer.sample(1)
        first = next(row for row in range(2) if torch.equal(drawn["obs"][0], batch["obs"][row]))
        reward = batch["reward"][first] + 0.5 * batch["reward"][first + 1]
        one = drawn | {"action": batch["action"][first : first + 1], "reward": reward[None]}
        assert torch.equal(agent.loss(agent, drawn)[0], agent.loss(agent, one)[0])


def test_munchausen_dqn_has_no_double_and_its_values_are_no_returns() -> None:
    with pytest.raises(UsageError, match="--double: munchausen_dqn takes no largest value"):
        made(munchausen_dqn, double=True)
    assert made(munchausen_dqn).act(transitions()["obs"], greedy=True).keys() == {"action"}
    for module in (c51, qr_dqn):
        assert made(module).act(transitions()["obs"], greedy=True).keys() == {"action", "q_estimate"}


def test_it_takes_valid_actions_alone() -> None:
    assert_valid_actions_alone(munchausen_dqn)
