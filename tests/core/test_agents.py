"""The agents against answers known by hand: targets, schedules, clipping, and problems solved in seconds."""

from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import tiny
from torch import Tensor, nn

from agents import btr, c51, double_dqn, dqn, iqn, munchausen_dqn, ppo, qr_dqn, reinforce
from rlgen.core.buffer import Buffer
from rlgen.core.learner import Agent, Batch
from rlgen.envs.spec import EnvSpec
from rlgen.errors import UsageError
from rlgen.nets.policies import Categorical

torch.set_num_threads(1)


def make_spec(num_actions: int | None = 2, num_envs: int = 1, obs_dim: int = 2) -> EnvSpec:
    box: dict[str, Any] = {"action_shape": (1,), "action_low": (-5.0,), "action_high": (5.0,)}
    discrete: dict[str, Any] = {"action_shape": (), "action_low": (), "action_high": ()}
    actions = box if num_actions is None else discrete
    return EnvSpec("Toy-v0", (obs_dim,), "float32", num_actions, num_envs=num_envs, **actions)


def make(module: Any, spec: EnvSpec, seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    (learner,) = (
        cls for cls in vars(module).values() if isinstance(cls, type) and issubclass(cls, Agent) and cls is not Agent
    )
    return learner(module.Config(**options), spec)


@torch.no_grad()
def act(agent: Any, obs: Tensor, greedy: bool = False) -> Batch:
    """As a source asks for it."""
    return agent.act(obs, greedy)


class Table(nn.Module):
    """Values [S, A] looked up by a one-hot observation [B, S]."""

    def __init__(self, values: list[list[float]]) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values))

    def forward(self, obs: Tensor) -> Tensor:
        return obs @ self.values


STATE = torch.eye(2)


def transition(**changes: Any) -> Batch:
    """One row of one environment: state 0, action 0, reward 1, to state 1."""
    row = {
        "obs": STATE[:1],
        "action": torch.tensor([0]),
        "reward": torch.tensor([1.0]),
        "next_obs": STATE[1:],
        "terminated": torch.tensor([False]),
        "truncated": torch.tensor([False]),
    }
    return row | changes


# DQN

Q = [[0.0, 0.0], [1.0, 2.0]]  # online: prefers action 1 in state 1
TARGET_Q = [[0.0, 0.0], [7.0, 5.0]]  # target: prefers action 0 there


def td_target(module: Any, **flags: Tensor) -> float:
    """The target that the loss aims at, read off a batch of one transition: huber(0 - target) = target - 0.5."""
    agent = make(module, make_spec(), gamma=0.5, buffer_size=4, learning_starts=1)
    agent.q, agent.target_q = Table(Q), Table(TARGET_Q)
    buffer = agent.make_buffer()
    buffer.add(transition(**flags))
    loss, metrics = agent.loss(agent, buffer.sample(1))
    assert metrics["losses/q_values"].item() == 0
    return loss.item() + 0.5


def test_the_target_bootstraps_at_truncation_and_not_at_termination() -> None:
    yes = torch.tensor([True])
    assert td_target(dqn) == pytest.approx(1 + 0.5 * 7)
    assert td_target(dqn, truncated=yes) == pytest.approx(1 + 0.5 * 7)
    assert td_target(dqn, terminated=yes) == pytest.approx(1)
    assert td_target(dqn, terminated=yes, truncated=yes) == pytest.approx(1)


def test_double_values_the_online_choice_with_the_target_network() -> None:
    assert td_target(dqn) == pytest.approx(1 + 0.5 * 7), "the target network's own best"
    assert td_target(double_dqn) == pytest.approx(1 + 0.5 * 5), "its value of the online network's action 1"
    assert td_target(double_dqn, terminated=torch.tensor([True])) == pytest.approx(1)


def test_the_loss_moves_the_online_network_alone() -> None:
    agent = make(double_dqn, make_spec(), buffer_size=4, learning_starts=1)
    buffer = agent.make_buffer()
    buffer.add(transition())
    loss, _ = agent.loss(agent, buffer.sample(1))
    loss.backward()
    assert all(param.grad is not None for param in agent.q.parameters())
    assert all(param.grad is None for param in agent.target_q.parameters())


VALUES = [[1.0, 2.0], [0.0, 4.0]]  # of the chain below
# less than the best action's value by 1 at least: its bonus is clipped at -1, of which 0.9 counts
OF_MUNCHAUSEN = [[1.0 - 0.9, 2.0], [0.0 - 0.9, 4.0]]


@pytest.mark.parametrize(
    ("module", "options", "values"),
    [
        (dqn, {}, VALUES),
        (dqn, {"prioritized": True}, VALUES),
        (double_dqn, {}, VALUES),
        (c51, {"v_max": 5.0, "num_atoms": 11, "double": True}, VALUES),
        (qr_dqn, {"num_quantiles": 8, "prioritized": True}, VALUES),
        (iqn, {"double": True}, VALUES),
        (munchausen_dqn, {}, OF_MUNCHAUSEN),
        (btr, {"noisy": False, "n_step": 1}, OF_MUNCHAUSEN),
    ],
)
def test_q_learning_finds_the_values_of_a_chain(module: Any, options: dict[str, Any], values: list[Any]) -> None:
    """State 0: action 0 ends with 1, action 1 goes on to state 1. State 1: action 0 ends with 0, action 1 with 4."""
    agent = make(
        module, make_spec(num_envs=4), lr=1e-2, gamma=0.5, batch_size=32, buffer_size=64, learning_starts=64,
        train_every=4, target_every=80, anneal_lr=False, hidden=(16,), **options,
    )  # fmt: skip
    buffer = agent.make_buffer()
    row = {
        "obs": STATE[[0, 0, 1, 1]],
        "action": torch.tensor([0, 1, 0, 1]),
        "reward": torch.tensor([1.0, 0.0, 0.0, 4.0]),
        "next_obs": STATE[[0, 1, 1, 1]],
        "terminated": torch.tensor([True, False, True, True]),
        "truncated": torch.zeros(4, dtype=torch.bool),
    }
    for _ in range(16):
        buffer.add(row | {"truncated": ~row["terminated"]})  # each is an episode of its own
    for _ in range(500):
        agent.learn(batch := buffer.sample(32))
        if agent.cfg.prioritized:
            buffer.update_priority(batch["index"], agent.per_sample["priority"])
    torch.testing.assert_close(agent.value(agent.q(STATE)).detach(), torch.tensor(values), atol=0.05, rtol=0)
    greedy = act(agent, STATE, greedy=True)
    assert greedy["action"].tolist() == [1, 1]
    if values is VALUES:
        torch.testing.assert_close(greedy["q_estimate"], torch.tensor([2.0, 4.0]), atol=0.05, rtol=0)


def test_a_prioritized_loss_is_weighted_and_tells_the_priorities_to_come() -> None:
    agent = make(dqn, make_spec(), buffer_size=4, learning_starts=1, prioritized=True, priority_exponent=0.5)
    agent.q, agent.target_q = Table([[0.0, 3.0], [0.0, 0.0]]), Table([[0.0, 0.0], [0.0, 0.0]])
    both = STATE[[0, 0]]
    batch = {"obs": both, "next_obs": both, "action": torch.tensor([0, 1]), "reward": torch.tensor([4.0, 3.0])}
    batch |= {"discount": torch.zeros(2), "weight": torch.tensor([0.5, 1.0])}
    loss, metrics = agent.loss(agent, batch)
    assert loss.item() == pytest.approx(0.5 * 3.5 / 2), "the second has no error"
    assert metrics["losses/td_loss"] is loss
    assert metrics["priority"].tolist() == pytest.approx([2.0, 1e-3], rel=1e-4)
    assert not metrics["priority"].requires_grad
    loss.backward()
    assert agent.q.values.grad[0].tolist() == [-0.25, 0.0]


def test_priorities_follow_each_update_and_beta_goes_linearly_to_one() -> None:
    agent = make(
        dqn, make_spec(num_envs=4), batch_size=16, buffer_size=64, learning_starts=32, train_every=4, hidden=(8,),
        gradient_steps=3, prioritized=True, priority_exponent=0.5, weight_exponent=0.4,
    )  # fmt: skip
    buffer, rng = agent.make_buffer(), torch.Generator().manual_seed(1)
    for _ in range(16):
        row = transition(obs=torch.rand(4, 2, generator=rng), next_obs=torch.rand(4, 2, generator=rng))
        buffer.add({key: value.repeat(4) if value.ndim == 1 else value for key, value in row.items()})
    agent.progress, expected = 0.5, {}
    for batch in agent.batches(buffer):
        units = torch.tensor([expected.get(each, 2**20) for each in batch["index"].tolist()])
        assert torch.allclose(batch["weight"], (units.min() / units) ** 0.7), "beta is 0.4 at first and then 1"
        agent.learn(batch)
        given = (2**20 * agent.per_sample["priority"]).long()
        expected |= dict(zip(batch["index"].tolist(), given.tolist(), strict=True))
    assert agent.num_updates == 24 and agent.schedules()["charts/beta"] == pytest.approx(0.7)
    assert {each: buffer.index.units[each].item() for each in expected} == expected


@pytest.mark.parametrize("option", ["priority_exponent", "weight_exponent"])
def test_exponents_of_priorities_are_between_zero_and_one(option: str, tmp_path: Path) -> None:
    for value in (-0.1, 1.5):
        with pytest.raises(UsageError, match=rf"^--{option.replace('_', '-')} {value}: must be in \[0, 1\]$"):
            tiny("dqn", tmp_path, **{option: value})


def count_updates(num_envs: int, steps: int, **options: Any) -> list[tuple[int, int]]:
    """(transitions seen, updates taken) after each round of an agent that is filled as a source would fill it."""
    agent = make(dqn, make_spec(num_envs=num_envs), batch_size=2, buffer_size=256, hidden=(2,), **options)
    buffer = agent.make_buffer()
    row = {key: value.repeat(num_envs, *[1] * (value.ndim - 1)) for key, value in transition().items()}
    counts = []
    while buffer.num_added < steps:
        for _ in range(agent.rows_per_turn):
            buffer.add(row | act(agent, row["obs"]))
        for batch in agent.batches(buffer):
            agent.learn(batch)
        counts.append((buffer.num_added, agent.num_updates))
    return counts


@pytest.mark.parametrize(("train_every", "gradient_steps"), [(4, 1), (16, 8), (1, 1), (2, 3)])
def test_updates_per_step_do_not_depend_on_the_number_of_envs(train_every: int, gradient_steps: int) -> None:
    options = {"learning_starts": 64, "train_every": train_every, "gradient_steps": gradient_steps}
    one, eight = dict(count_updates(1, 192, **options)), dict(count_updates(8, 192, **options))
    assert one[192] == eight[192] == (192 - 64) // train_every * gradient_steps
    assert all(one[step] == num for step, num in eight.items()), "at every step on the way, too"


def test_the_target_is_copied_every_so_many_env_steps() -> None:
    agent = make(dqn, make_spec(num_envs=8), target_every=512, train_every=16, gradient_steps=4, learning_starts=1)
    assert agent.target_period == 128  # updates: 512 steps at 4 updates per 16 steps
    agent = make(dqn, make_spec(), target_every=4, train_every=2, learning_starts=1, buffer_size=4, anneal_lr=False)
    buffer = agent.make_buffer()
    buffer.add(transition())
    before = agent.target_q[0].weight.clone()
    agent.learn(buffer.sample(4))
    assert torch.equal(agent.target_q[0].weight, before)
    agent.learn(buffer.sample(4))
    assert torch.equal(agent.target_q[0].weight, agent.q[0].weight)
    assert not torch.equal(agent.target_q[0].weight, before)


def test_epsilon_is_one_until_the_first_update_and_then_falls() -> None:
    agent = make(dqn, make_spec(), epsilon_start=0.5, epsilon_end=0.1, exploration_fraction=0.5)
    assert agent.epsilon == 1
    agent.num_updates = 1
    assert agent.epsilon == 0.5
    agent.progress = 0.25
    assert agent.epsilon == pytest.approx(0.3)
    agent.progress = 0.9
    assert agent.epsilon == pytest.approx(0.1)


def test_each_environment_has_a_coin_of_its_own() -> None:
    agent = make(dqn, make_spec(num_envs=4000), epsilon_start=0.4, epsilon_end=0.4)
    agent.num_updates = 1
    agent.q = Table([[1.0, 0.0], [1.0, 0.0]])
    action = act(agent, STATE[:1].expand(4000, 2))["action"]
    assert action.float().mean().item() == pytest.approx(0.2, abs=0.03)  # 0.4 random, half of them action 1


def test_q_learning_refuses_continuous_actions() -> None:
    with pytest.raises(UsageError, match=r"Toy-v0.*continuous.*reinforce.*ppo"):
        make(dqn, make_spec(num_actions=None))


def test_double_dqn_is_dqn_with_one_field_changed() -> None:
    one, other = dqn.Config(), double_dqn.Config()
    changed = {field.name for field in fields(one) if getattr(one, field.name) != getattr(other, field.name)}
    assert changed == {"double"}


# Policy gradients


def rollout_of(agent: Any, obs: Tensor, reward_of: Callable[[Tensor], Tensor], rows: int) -> Buffer:
    """A rollout of a one-step problem: every transition is an episode."""
    buffer = agent.make_buffer()
    num = len(obs)
    for _ in range(rows):
        acted = act(agent, obs)
        flags = {"terminated": torch.ones(num, dtype=torch.bool), "truncated": torch.zeros(num, dtype=torch.bool)}
        buffer.add({"obs": obs, **acted, "reward": reward_of(acted["action"]), "next_obs": obs, **flags})
    return buffer


def solve(agent: Any, obs: Tensor, reward_of: Callable[[Tensor], Tensor], rounds: int) -> Tensor:
    """Train on a one-step problem; the greedy actions at its end."""
    for i in range(rounds):
        agent.progress = i / rounds
        for batch in agent.batches(rollout_of(agent, obs, reward_of, agent.rows_per_turn)):
            metrics = agent.learn(batch)
            assert all(torch.isfinite(value) for value in metrics.values())
    return act(agent, obs, greedy=True)["action"]


PPO_TINY = {"lr": 1e-2, "rollout_steps": 64, "batch_size": 32, "num_epochs": 4, "hidden": (16,)}
REINFORCE_TINY = {"lr": 2e-2, "baseline_lr": 2e-2, "rollout_steps": 64, "hidden": (16,)}
POLICY_GRADIENTS = [(ppo, PPO_TINY), (reinforce, REINFORCE_TINY)]


@pytest.mark.parametrize(("module", "options"), POLICY_GRADIENTS)
def test_a_bandit_with_context_is_solved(module: Any, options: dict[str, Any]) -> None:
    """State 0 pays for action 2, state 1 for action 0."""
    agent = make(module, make_spec(num_actions=3, num_envs=2), **options)
    best = torch.tensor([2, 0])
    assert torch.equal(solve(agent, STATE, lambda action: (action == best).float(), 40), best)
    value = (agent.critic if module is ppo else agent.baseline)(STATE)
    assert value.min().item() > 0.5, "and its value is learned"


@pytest.mark.parametrize(("module", "options"), POLICY_GRADIENTS)
def test_a_continuous_target_is_found(module: Any, options: dict[str, Any]) -> None:
    """The nearer to 0.7 in state 0 and to -0.5 in state 1, the better."""
    agent = make(module, make_spec(num_actions=None, num_envs=2), **options)
    target = torch.tensor([[0.7], [-0.5]])
    action = solve(agent, STATE, lambda action: -(action - target).square().squeeze(-1), 60)
    torch.testing.assert_close(action, target, atol=0.15, rtol=0)


def ppo_batches(agent: Any) -> Iterator[Batch]:
    obs = torch.randn(agent.rollout_size // agent.rows_per_turn, 2, generator=agent.generator)
    return agent.batches(rollout_of(agent, obs, lambda action: action.float().flatten(), agent.rows_per_turn))


@pytest.mark.parametrize("num_actions", [3, None])
def test_the_first_minibatch_has_a_ratio_of_one(num_actions: int | None) -> None:
    agent = make(ppo, make_spec(num_actions, num_envs=4), **PPO_TINY)
    batches = ppo_batches(agent)
    _, metrics = agent.loss(agent, next(batches))
    assert metrics["losses/approx_kl"].item() == pytest.approx(0, abs=1e-6)
    assert metrics["losses/clipfrac"].item() == 0
    assert metrics["losses/policy_loss"].item() == pytest.approx(0, abs=1e-5), "normalised advantages have mean 0"


def clipped(ratio: list[float], advantage: list[float]) -> tuple[float, list[float], Batch]:
    """Policy loss of hand-made ratios, its slope in each log-ratio, and the metrics; the clip is at 0.2."""
    agent = make(ppo, make_spec(), clip_coef=0.2, value_coef=0.0)
    log_prob = torch.tensor(ratio).log().requires_grad_()
    zeros = torch.zeros(len(ratio))

    class Fixed(Categorical):
        def log_prob(self, action: Tensor) -> Tensor:
            return log_prob

    agent.distribution = Fixed
    batch = {
        "obs": STATE[[0] * len(ratio)],
        "action": torch.zeros(len(ratio), dtype=torch.int64),
        "log_prob": torch.zeros(len(ratio)),
        "advantage": torch.tensor(advantage),
        "return": zeros,
        "value": zeros,
        "valid": torch.ones(len(ratio), dtype=torch.bool),
    }
    loss, metrics = agent.loss(agent, batch)
    (slope,) = torch.autograd.grad(loss, log_prob)
    return metrics["losses/policy_loss"].item(), slope.tolist(), metrics


def test_the_ratio_is_clipped_where_that_is_the_pessimistic_side() -> None:
    ratio, advantage = [1.5, 1.5, 0.5, 0.5, 1.1, 0.9], [1.0, -1.0, 1.0, -1.0, 1.0, -1.0]  # mean 0 and deviation 1
    policy_loss, slope, metrics = clipped(ratio, advantage)
    objective = [1.2, -1.5, 0.5, -0.8, 1.1, -0.9]
    assert policy_loss == pytest.approx(-sum(objective) / 6, abs=1e-5)
    assert [s != 0 for s in slope] == [False, True, True, False, True, True]
    assert metrics["losses/clipfrac"].item() == pytest.approx(4 / 6)
    log_ratio = torch.tensor(ratio).log()
    assert metrics["losses/approx_kl"].item() == pytest.approx((torch.tensor(ratio) - 1 - log_ratio).mean().item())


def test_invalid_rows_weigh_nothing() -> None:
    agent = make(ppo, make_spec(num_actions=3, num_envs=4), **PPO_TINY)
    batch = next(ppo_batches(agent))
    for _ in range(3):
        agent.learn(batch)  # so that ratios leave 1
    loss, metrics = agent.loss(agent, batch)
    junk = {name: torch.cat([value, 100 * torch.ones_like(value[:5])]) for name, value in batch.items()}
    junk["action"][-5:], junk["valid"][-5:] = 0, False
    junk["log_prob"][-5:] = -1
    loss_with_junk, metrics_with_junk = agent.loss(agent, junk)
    torch.testing.assert_close(loss_with_junk, loss)
    for name, value in metrics.items():
        torch.testing.assert_close(metrics_with_junk[name], value, msg=name)


@pytest.mark.parametrize(("target_kl", "num_updates"), [(0.0, 8), (1e-9, 2), (1e9, 8)])
def test_the_kl_stop_leaves_the_rollout_after_an_epoch(target_kl: float, num_updates: int) -> None:
    agent = make(ppo, make_spec(num_actions=3, num_envs=4), **PPO_TINY, target_kl=target_kl)
    for batch in ppo_batches(agent):
        agent.learn(batch)
    assert agent.num_updates == num_updates  # 4 epochs of 2 minibatches, or one epoch


@pytest.mark.parametrize(("module", "prepare"), [(ppo, "with_advantage"), (reinforce, "with_return")])
def test_rollouts_are_completed_by_the_value_of_the_last_observation(module: Any, prepare: str) -> None:
    """Termination, truncation, and the edge of the rollout, in one row each."""
    lambda_one = {"gae_lambda": 1.0, "batch_size": 3} if module is ppo else {}
    agent = make(module, make_spec(), gamma=0.5, rollout_steps=3, **lambda_one)
    setattr(agent, "critic" if module is ppo else "baseline", Table([[3.0], [8.0]]))  # V(state 0), V(state 1)
    buffer = agent.make_buffer()
    yes = torch.tensor([True])
    buffer.add(transition(terminated=yes))
    buffer.add(transition(truncated=yes))
    buffer.add(transition())
    rollout = getattr(agent, prepare)(buffer.drain())
    assert rollout["return"].flatten().tolist() == [1, 1 + 0.5 * 8, 1 + 0.5 * 8]
    assert rollout["advantage"].flatten().tolist() == [1 - 3, 5 - 3, 5 - 3]


@pytest.mark.parametrize("module", [ppo, reinforce])
def test_a_value_is_compared_with_the_return_of_its_own_row(module: Any) -> None:
    options: dict[str, Any] = {"rollout_steps": 4} | ({"batch_size": 4} if module is ppo else {})
    agent = make(module, make_spec(num_actions=3), **options)
    setattr(agent, "critic" if module is ppo else "baseline", Table([[3.0], [8.0]]))  # V(state 0), V(state 1)
    returns, valid = torch.tensor([1.0, 4.0, 100.0]), torch.tensor([True, True, False])
    batch = {"obs": torch.cat([STATE, STATE[:1]]), "action": torch.zeros(3, dtype=torch.long), "return": returns}
    batch |= {"advantage": returns, "log_prob": -torch.ones(3), "value": returns, "valid": valid}
    _, metrics = (agent.loss if module is ppo else agent.baseline_loss)(agent, batch)
    assert metrics["losses/value_loss"].item() == pytest.approx(0.5 * (2**2 + 4**2) / 2)


def test_a_batch_larger_than_the_rollout_is_refused() -> None:
    with pytest.raises(UsageError, match=r"batch_size 64 .* rollout_steps 32"):
        make(ppo, make_spec(), batch_size=64, rollout_steps=32)


def test_the_rollout_is_counted_over_all_environments() -> None:
    for num_envs, rows in ((1, 64), (8, 8), (64, 1), (100, 1)):
        assert make(ppo, make_spec(num_envs=num_envs), **PPO_TINY).rows_per_turn == rows


def test_explained_variance() -> None:
    target, valid = torch.tensor([1.0, 2.0, 3.0, 99.0]), torch.tensor([True, True, True, False])
    assert ppo.explained_variance(target.clone(), target, valid).item() == pytest.approx(1)
    assert ppo.explained_variance(torch.full((4,), 2.0), target, valid).item() == pytest.approx(0)
    assert ppo.explained_variance(-target, target, valid).item() == pytest.approx(-3)
    assert torch.isfinite(ppo.explained_variance(target, torch.ones(4), valid)), "also where nothing varies"


@pytest.mark.parametrize(
    ("module", "options"), [*POLICY_GRADIENTS, (dqn, {"lr": 1e-2, "learning_starts": 4, "train_every": 2})]
)
def test_lr_falls_to_zero_over_the_run(module: Any, options: dict[str, Any]) -> None:
    agent = make(module, make_spec(num_envs=2), **options)
    agent.progress = 0.75
    for batch in agent.batches(rollout_of(agent, STATE, lambda action: action.float(), max(4, agent.rows_per_turn))):
        agent.learn(batch)
    assert agent.num_updates > 0
    assert agent.optimizer.param_groups[0]["lr"] == pytest.approx(options["lr"] / 4)


def test_adam_of_ppo_damps_gradients_as_small_as_its_epsilon() -> None:
    """1e-5 and not torch's 1e-8, as in the implementations that its results stand for: there 1e-5 would move by lr."""
    agent = make(ppo, make_spec(), lr=0.25, anneal_lr=False)
    bias = agent.critic[-1].bias
    with torch.no_grad():
        bias.zero_()
    agent.minimize(lambda nets, batch: (1e-5 * nets.critic[-1].bias.sum(), {}), {}, agent.optimizer)
    assert bias.item() == pytest.approx(-0.25 / 2, rel=1e-3), "Adam's first step is lr * g / (|g| + eps)"
