"""IQN against its formulas, by loops in float64, and quantile functions that are known."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from q_learning import SPACE, assert_valid_actions_alone, chosen, made, transitions
from specs import spec_of

from agents import iqn
from rlgen.core.step import Eager
from rlgen.errors import UsageError
from rlgen.nets.noisy import Noisy
from rlgen.options import config
from rlgen.speed import recorded
from rlgen.speed.recorded import Recorded
from rlgen.speed.stacked import Together

OPTIONS = {"num_quantiles": 5, "num_target_quantiles": 3, "num_acting_quantiles": 4}
MIDDLE = (np.arange(4) + 0.5) / 4


def by_hand(net: Any, obs: Any, tau: np.ndarray) -> np.ndarray:
    """Quantiles of all actions one by one, [B, A, K] at tau [B, K], of a network of one hidden layer without masks."""
    found = np.zeros((len(obs), 4, tau.shape[1]))
    embedding, head = (copy.deepcopy(each).double() for each in (net.embedding, net.head))
    weight, bias = (param.detach().numpy() for param in embedding[0].parameters())
    features = net.body(obs).detach().double().numpy()
    for row in range(len(obs)):
        for k, each in enumerate(tau[row]):
            phi = [max(0, bias[j] + sum(np.cos(np.pi * i * each) * weight[j, i] for i in range(64))) for j in range(8)]
            found[row, :, k] = head(torch.tensor(features[row] * phi)[None])[0].detach().numpy()
    return found


def inner(net: Any) -> Any:
    """The network of quantiles, beneath masks."""
    return net if hasattr(net, "embedding") else net.net


@pytest.mark.parametrize("dueling", [False, True])
def test_quantiles_are_of_features_times_those_of_their_probabilities(dueling: bool) -> None:
    agent, obs = made(iqn, dueling=dueling, **OPTIONS), transitions()["obs"]
    tau = np.random.default_rng(0).uniform(size=(6, 3))
    found = agent.q(obs, tau=torch.tensor(tau, dtype=torch.float32))
    assert found.shape == (6, 4, 3)
    np.testing.assert_allclose(found.detach(), by_hand(agent.q, obs, tau), rtol=1e-4, atol=1e-3)
    middle = by_hand(agent.q, obs, np.tile(MIDDLE, (6, 1)))
    np.testing.assert_allclose(agent.q(obs).detach(), middle, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(agent.value(agent.q(obs)).detach(), middle.mean(-1), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("double", "masks"), [(False, False), (True, False), (True, True), (False, True)])
def test_the_loss_of_iqn(double: bool, masks: bool) -> None:
    agent, batch = made(iqn, masks, double=double, **OPTIONS), transitions(masks)
    for param in [*agent.q.parameters(), *agent.target_q.parameters()]:
        param.data.mul_(0.5)  # or all errors were large
    batch = agent.noise(batch)
    tau, next_tau = batch["tau"].double().numpy(), batch["next_tau"].double().numpy()
    assert tau.shape == (6, 5) and next_tau.shape == (6, 3) and len({*tau.flat, *next_tau.flat}) == 48
    choosing = by_hand(inner(agent.q if double else agent.target_q), batch["next_obs"], np.tile(MIDDLE, (6, 1)))
    action = chosen(choosing.mean(-1), masks)
    following = by_hand(inner(agent.target_q), batch["next_obs"], next_tau)[np.arange(6), action]
    quantiles = by_hand(inner(agent.q), batch["obs"], tau)[np.arange(6), batch["action"]]
    losses, kinds = np.zeros(6), set()
    for row in range(6):
        target = batch["reward"][row].item() + batch["discount"][row].item() * following[row]
        for i in range(5):
            for j in range(3):
                error = target[j] - quantiles[row, i]
                huber = 0.5 * error**2 if abs(error) <= 1 else abs(error) - 0.5
                losses[row] += abs(tau[row, i] - (error < 0)) * huber / 3
                kinds.add((bool(error < 0), abs(error) <= 1))
    assert len(kinds) == 4, "errors of both signs, small and large"
    loss, metrics = agent.loss(agent, batch)
    assert loss.item() == pytest.approx(losses.mean(), rel=1e-4)
    assert metrics["losses/q_values"].item() == pytest.approx(quantiles.mean(), rel=1e-3)
    grads = torch.autograd.grad(loss, list(agent.q.parameters()), materialize_grads=True)
    assert all(grad.isfinite().all() and grad.abs().sum() > 0 for grad in grads)
    assert not any(param.requires_grad for param in agent.target_q.parameters())
    prioritized = made(iqn, masks, double=double, prioritized=True, priority_exponent=1.0, **OPTIONS)
    prioritized.load_state_dict(agent.state_dict())
    weight = torch.arange(6) / 5
    loss, metrics = prioritized.loss(prioritized, batch | {"weight": weight})
    assert loss.item() == pytest.approx((weight.numpy() * losses).mean(), rel=1e-4)
    np.testing.assert_allclose(metrics["priority"], losses + 1e-6, rtol=1e-4)


def test_an_update_draws_its_probabilities_and_an_act_none() -> None:
    agent, batch = made(iqn, **OPTIONS), transitions()
    first, second = agent.noise(batch), agent.noise(batch)
    assert first.keys() == batch.keys() | {"tau", "next_tau"} and not torch.equal(first["tau"], second["tau"])
    assert batch.keys() == transitions().keys(), "as it was"
    before, agent.num_updates = agent.generator.get_state(), 1
    acts = [agent.act(batch["obs"], greedy=True) for _ in range(2)]
    assert torch.equal(before, agent.generator.get_state())
    assert torch.equal(acts[0]["q_estimate"], acts[1]["q_estimate"])
    assert torch.equal(acts[0]["action"], torch.as_tensor(agent.act(batch["obs"].numpy(), greedy=True)["action"]))
    assert torch.equal(acts[0]["q_estimate"], agent.value(agent.q(batch["obs"])).amax(-1))
    agent.learn(batch)
    assert not torch.equal(before, agent.generator.get_state())


def test_with_noisy_layers_its_probabilities_come_beside_their_noise() -> None:
    agent, batch = made(iqn, noisy=True, double=True, **OPTIONS), transitions()
    noisy = agent.noise(batch)
    assert noisy["shared_noise"].shape == (3, sum(agent.q.sizes)) and noisy["tau"].shape == (6, 5)
    assert agent.q.layers == ["body.0", "embedding.0", "head.0", "head.2"] and isinstance(agent.q, Noisy)
    losses = [
        agent.loss(agent, noisy | change)[0].item() for change in ({}, {"shared_noise": 0 * noisy["shared_noise"]})
    ]
    assert losses[0] != losses[1]
    plain = made(iqn, double=True, **OPTIONS)
    for net, other in ((plain.q, agent.q), (plain.target_q, agent.target_q)):
        net.load_state_dict(other.net.state_dict())
    without = {name: value for name, value in noisy.items() if name != "shared_noise"}
    assert plain.loss(plain, without)[0].item() == pytest.approx(losses[1], rel=1e-6)
    agent.acting_q.draw(agent.q, agent.generator)
    agent.num_updates = 1
    assert agent.acting_q(batch["obs"]).shape == (6, 4, 4) and agent.act(batch["obs"])["action"].shape == (6,)


def test_with_everything_on_recorded_and_stacked_updates_are_the_eager_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "MIN_UPDATES_LEFT", 0)
    options = {"double": True, "dueling": True, "noisy": True, "prioritized": True, "norm": "layer", "lr": 0.01}
    together, alone = Together(verify=9), Recorded(verify=9)
    batch = transitions() | {"weight": torch.arange(6) / 5}

    def learned(executor: Any, scale: float) -> Any:
        agent = made(iqn, anneal_lr=False, **OPTIONS, **options)
        for param in agent.parameters():
            param.data.mul_(scale)
        agent.executor = executor
        for _ in range(5):
            agent.learn(dict(batch))
        return agent

    eager = [learned(Eager(), scale) for scale in (0.3, 0.5)]
    others = [
        learned(alone, 0.3),
        *together.run([lambda scale=scale: learned(together, scale) for scale in (0.3, 0.5)]),
    ]  # type: ignore[misc]
    assert alone.recordings and together.recorded.recordings and not alone.refused and not together.recorded.refused
    for one, other in zip([eager[0], *eager], others, strict=True):
        assert torch.equal(one.generator.get_state(), other.generator.get_state())
        torch.testing.assert_close(other.per_sample["priority"], one.per_sample["priority"], rtol=1e-3, atol=1e-3)
        for (name, param), (_, found) in zip(one.named_parameters(), other.named_parameters(), strict=True):
            torch.testing.assert_close(found, param, rtol=1e-3, atol=1e-4, msg=name)


def test_the_quantiles_of_a_coin_are_found() -> None:
    """Action 0 gives 10 with probability 0.3, else 0; action 1 gives 2 for sure."""
    torch.manual_seed(0)
    options: dict[str, Any] = {"hidden": (32,), "lr": 1e-2, "num_quantiles": 16, "num_target_quantiles": 1}
    agent = iqn.IQN(iqn.Config(**options), spec_of(SPACE, num_actions=2))
    generator, obs = torch.Generator().manual_seed(1), torch.ones(256, 3)
    for i in range(600):
        agent.progress = i / 600
        action = torch.arange(256) % 2
        reward = torch.where(action == 1, 2.0, 10.0 * (torch.rand(256, generator=generator) < 0.3))
        agent.learn({"obs": obs, "next_obs": obs, "action": action, "reward": reward, "discount": torch.zeros(256)})
    found = agent.q(obs[:1], tau=torch.tensor([[0.2, 0.5, 0.9]]))[0].detach()
    # of the Huber loss: where tau / (1 - tau) times what pulls up is what pulls down
    torch.testing.assert_close(found[0], torch.tensor([0.25 * 3 / 7, 3 / 7, 10 - 7 / 3 / 9]), atol=0.3, rtol=0)
    torch.testing.assert_close(found[1], torch.full((3,), 2.0), atol=0.1, rtol=0)


@pytest.mark.parametrize("option", ["num_quantiles", "num_target_quantiles", "num_acting_quantiles"])
def test_no_quantiles_are_refused(option: str) -> None:
    with pytest.raises(UsageError, match=rf"^--{option.replace('_', '-')} 0: must be in \[1, 10_000\]$"):
        config.resolve("iqn", {option: 0})


def test_it_takes_valid_actions_alone() -> None:
    assert_valid_actions_alone(iqn)
