"""The variants of DQN against their formulas, computed by loops in float64."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from specs import spec_of, stored
from torch import Tensor, nn

from agents import c51, munchausen_dqn, qr_dqn
from rlgen.errors import UsageError
from rlgen.options import config
from rlgen.options.algorithms import find

torch.set_num_threads(1)
SPACE = Box(-1, 1, (3,), np.float32)
MASKS = np.array([[1, 0, 1, 1], [0, 0, 0, 1], [1, 1, 1, 1], [0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]], bool)
VALID = np.where(MASKS.any(1, keepdims=True), MASKS, True)  # the last one is of an episode's end


def made(module: Any, masks: bool = False, **options: Any) -> Any:
    """A learner of four actions whose two networks have nothing in common."""
    torch.manual_seed(0)
    kind = next(cls for cls in vars(module).values() if isinstance(cls, type) and issubclass(cls, nn.Module))
    agent = kind(module.Config(hidden=(8,), **options), spec_of(SPACE, num_actions=4, masks=masks))
    with torch.no_grad():
        for param in [*agent.q.parameters(), *agent.target_q.parameters()]:
            param.copy_(torch.randn_like(param))
    return agent


def transitions(masks: bool = False) -> dict[str, Tensor]:
    """Six of them, of valid actions; the last one terminated."""
    SPACE.seed(0)
    spec = spec_of(SPACE, num_actions=4, masks=masks)
    obs, next_obs = (
        torch.from_numpy(stored(spec, SPACE, [SPACE.sample() for _ in MASKS], list(mask) if masks else None))
        for mask in (MASKS[::-1], MASKS)
    )
    reward = torch.tensor([0.5, -1.0, 2.0, 0.0, 8.0, 1.0])
    discount = torch.tensor([0.9, 0.81, 0.9, 0.9, 0.9, 0.0])
    return {"obs": obs, "next_obs": next_obs, "action": torch.tensor([0, 1, 1, 1, 3, 2]),
            "reward": reward, "discount": discount}  # fmt: skip


def outputs(net: nn.Module, obs: Tensor, masks: bool) -> np.ndarray:
    """What a network says of every action, valid or not, [B, A, ...]."""
    return (net.net if masks else net)(obs).detach().double().numpy()  # type: ignore[operator]


def chosen(value: np.ndarray, masks: bool) -> np.ndarray:
    """The most valuable valid action of each state."""
    return np.where(VALID, value, -np.inf).argmax(-1) if masks else value.argmax(-1)


def softmax(logits: np.ndarray) -> np.ndarray:
    exp = np.exp(logits - logits.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


# C51


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


def test_targets_that_are_clipped_are_told_once(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.setattr(c51, "CHECK_EVERY", 2)
    wide, narrow = (made(c51, num_atoms=11, v_min=-2.0, v_max=v_max) for v_max in (60.0, 2.0))
    for agent, lines in ((wide, 0), (narrow, 1)):
        for _ in range(8):
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


# QR-DQN


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
    target = torch.tensor([[0.0] * 7 + [10.0] * 3])
    for _ in range(400):
        (grad,) = torch.autograd.grad(qr_dqn.quantile_huber(quantiles, target).sum(), quantiles)
        quantiles = (quantiles - grad).detach().requires_grad_()
    odds = [1 / 7 * 3 / 7, 3 / 5 * 3 / 7, 5 / 3 * 3 / 7, 10 - 1 / 7 * 7 / 3]
    assert torch.allclose(quantiles, torch.tensor([odds]), atol=1e-3)


# Munchausen DQN


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


@pytest.mark.parametrize("module", [c51, qr_dqn, munchausen_dqn])
def test_they_take_valid_actions_alone(module: Any) -> None:
    agent, obs = made(module, masks=True), transitions(masks=True)["next_obs"]
    for greedy in (True, False):
        for form in (obs, obs.numpy()):
            taken = {(i, int(a)) for _ in range(60) for i, a in enumerate(agent.act(form, greedy)["action"])}
            valid = {tuple(pair) for pair in np.argwhere(VALID).tolist()}
            assert taken <= valid if greedy else taken == valid
    values = agent.value(agent.q(obs))
    assert np.array_equal(agent.value(agent.q(obs.numpy())) > -1e30, VALID) and np.array_equal(values > -1e30, VALID)


def test_their_options_are_found() -> None:
    for name, own in (("c51", "num_atoms"), ("qr_dqn", "num_quantiles"), ("munchausen_dqn", "munchausen_alpha")):
        assert own in config.options(find(name))
