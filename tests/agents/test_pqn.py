"""PQN by hand: its returns, its loss, and a small problem whose values are known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from q_learning import MASKS, SPACE, VALID
from specs import spec_of, stored
from torch import Tensor, nn

from agents import pqn
from rlgen.core.batch import Batch
from rlgen.errors import UsageError
from rlgen.options import config

STATE = torch.eye(3)[:2]
TINY: dict[str, Any] = {"hidden": (16,), "rollout_steps": 32, "batch_size": 16, "num_epochs": 2}


def make(num_actions: int = 2, masks: bool = False, **options: Any) -> Any:
    torch.manual_seed(0)
    spec = spec_of(SPACE, num_actions=num_actions, masks=masks)
    return pqn.PQN(pqn.Config(**TINY | options), spec)


class Table(nn.Module):
    """Values [S, A] of one-hot states."""

    def __init__(self, values: list[list[float]]) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values))

    def forward(self, obs: Tensor) -> Tensor:
        return obs[:, :2] @ self.values


def row(state: int, following: int, reward: float, terminated: bool = False, truncated: bool = False) -> Batch:
    """A step of one environment, with action 0."""
    flags = {"terminated": torch.tensor([terminated]), "truncated": torch.tensor([truncated])}
    obs = {"obs": STATE[[state]], "next_obs": STATE[[following]]}
    return obs | flags | {"action": torch.tensor([0]), "reward": torch.tensor([reward])}


def test_a_rollout_gets_lambda_returns_of_the_most_valuable_next_action() -> None:
    """The junk step of an autoreset follows the termination, and nothing before it sees it."""
    agent = make(gamma=0.5, q_lambda=0.25)
    agent.q = Table([[3.0, 1.0], [2.0, 8.0]])
    buffer = agent.make_buffer()
    junk = {"valid": torch.tensor([False])}
    buffer.add(row(0, 1, 1.0), row(1, 0, 2.0, terminated=True), row(0, 0, 100.0) | junk)
    buffer.add(row(0, 1, 1.0, truncated=True), row(1, 0, 2.0), row(0, 1, 4.0))
    rollout = agent.with_return(buffer.drain())
    assert rollout.keys() == {"obs", "action", "valid", "return"} and not rollout["return"].requires_grad
    last = 4 + 0.5 * 8
    found = rollout["return"].flatten().tolist()
    assert found[:2] == [1 + 0.5 * (0.75 * 8 + 0.25 * 2), 2.0]
    assert found[3:] == [1 + 0.5 * 8, 2 + 0.5 * (0.75 * 3 + 0.25 * last), last]
    assert rollout["valid"].flatten().tolist() == [True, True, False, True, True, True]


def test_the_loss_is_half_the_squared_error_of_the_actions_taken() -> None:
    agent = make()
    agent.q = Table([[3.0, 1.0], [2.0, 8.0]])
    valid = torch.tensor([True, True, False])
    batch = {"obs": STATE[[0, 1, 1]], "action": torch.tensor([0, 1, 0]), "return": torch.tensor([5.0, 7.0, 99.0])}
    loss, metrics = agent.loss(agent, batch | {"valid": valid})
    assert loss.item() == 0.5 * (2**2 + 1**2) / 2 and metrics["losses/q_values"].item() == (3 + 8) / 2
    loss.backward()
    assert agent.q.values.grad.tolist() == [[-2 / 2, 0.0], [0.0, 1 / 2]]


def test_every_rollout_is_learned_from_in_epochs_of_minibatches() -> None:
    agent = make()
    assert isinstance(agent.q[1], nn.LayerNorm) and len(list(agent.children())) == 1, "and it has no other network"
    buffer = agent.make_buffer()
    for _ in range(2):
        buffer.add(*[row(0, 1, float(i)) for i in range(32)])
        seen: list[list[float]] = []
        for batch in agent.batches(buffer):
            seen.append(batch["return"].tolist())
            agent.learn(batch)
        assert len(buffer) == 0 and [len(each) for each in seen] == [16] * 4
        assert len({*seen[0], *seen[1]}) == 32 and {*seen[0], *seen[1]} == {*seen[2], *seen[3]} and seen[0] != seen[2]


@pytest.mark.parametrize("q_lambda", [0.0, 0.65])
def test_it_finds_the_values_of_a_chain(q_lambda: float) -> None:
    """State 0: action 0 ends with 1, action 1 goes on to state 1. State 1: action 0 ends with 0, action 1 with 4."""
    torch.manual_seed(0)
    spec = replace(spec_of(SPACE, num_actions=2), num_envs=8)
    options = {"rollout_steps": 128, "batch_size": 32, "num_epochs": 2, "hidden": (16,)}
    agent: Any = pqn.PQN(pqn.Config(gamma=0.5, q_lambda=q_lambda, lr=1e-2, **options), spec)  # type: ignore[arg-type]
    state, buffer = torch.zeros(8, dtype=torch.long), agent.make_buffer()
    for i in range(50):
        agent.progress = i / 50
        for _ in range(agent.rows_per_turn):
            action = agent.act(STATE[state])["action"]
            goes_on = (state == 0) & (action == 1)
            reward = torch.where(state == 1, 4.0 * action, 1.0 * (action == 0))
            following = torch.where(goes_on, 1, 0)
            flags = {"terminated": ~goes_on, "truncated": torch.zeros(8, dtype=torch.bool)}
            buffer.add({"obs": STATE[state], "action": action, "reward": reward, "next_obs": STATE[following], **flags})
            state = following
        for batch in agent.batches(buffer):
            agent.learn(batch)
    values = torch.tensor([[1.0, 2.0], [0.0, 4.0]])
    torch.testing.assert_close(agent.q(STATE).detach(), values, atol=0.1, rtol=0)
    greedy = agent.act(STATE, greedy=True)
    assert greedy["action"].tolist() == [1, 1]
    torch.testing.assert_close(greedy["q_estimate"], torch.tensor([2.0, 4.0]), atol=0.1, rtol=0)


def test_epsilon_falls_over_the_first_part_of_the_run() -> None:
    agent = make(epsilon_start=0.8, epsilon_end=0.2, exploration_fraction=0.5)
    found = []
    for progress in (0.0, 0.25, 0.5, 1.0):
        agent.progress = progress
        found.append(agent.schedules()["charts/epsilon"])
    assert found == pytest.approx([0.8, 0.5, 0.2, 0.2])
    obs, greedy = torch.randn(4000, 3), agent.act(torch.randn(1, 3), greedy=True)
    assert greedy.keys() == {"action", "q_estimate"}
    other = agent.act(obs)["action"] != agent.act(obs, greedy=True)["action"]
    assert other.float().mean().item() == pytest.approx(0.1, abs=0.03), "half of the random ones"


def test_it_takes_valid_actions_alone() -> None:
    agent = make(4, masks=True)
    spec = spec_of(SPACE, num_actions=4, masks=True)
    SPACE.seed(0)
    obs = torch.from_numpy(stored(spec, SPACE, [SPACE.sample() for _ in MASKS], list(MASKS)))
    valid = {tuple(pair) for pair in np.argwhere(VALID).tolist()}
    for form in (obs, obs.numpy()):
        assert {(i, int(a)) for _ in range(60) for i, a in enumerate(agent.act(form)["action"])} == valid
        assert {(i, int(a)) for i, a in enumerate(agent.act(form, greedy=True)["action"])} <= valid


def test_what_it_cannot_do_is_refused_in_a_line() -> None:
    with pytest.raises(UsageError, match=r"^\S+ has .*; Q-learning needs Discrete ones, .* rlgen train ppo --env"):
        pqn.PQN(pqn.Config(), replace(spec_of(SPACE, num_actions=2), num_actions=None))
    told = "--batch-size 64 with --rollout-steps 32: minibatches are parts of a rollout"
    with pytest.raises(UsageError, match=told):
        config.resolve("pqn", {"batch_size": 64, "rollout_steps": 32, "no_preset": True})
    with pytest.raises(UsageError, match=r"^--q-lambda 1.5: must be in \[0, 1\]$"):
        config.resolve("pqn", {"q_lambda": 1.5})
