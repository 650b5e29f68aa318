"""BTR against its formulas in float64, and against the simpler agents that it is without its parts."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from q_learning import VALID, assert_valid_actions_alone, made, softmax, transitions
from specs import spec_of
from tiny import assert_equal, comparable, tiny
from torch import nn

from agents import btr, iqn
from rlgen import experiment
from rlgen.envs.spec import EnvSpec
from rlgen.errors import UsageError
from rlgen.nets.images import Impala, SmallCNN
from rlgen.nets.spectral import Spectral
from rlgen.options import config
from rlgen.runs import checkpoint
from rlgen.runs.rows import read_metrics
from rlgen.speed import recorded
from rlgen.speed.recorded import Recorded

PLAIN = {"noisy": False, "prioritized": False}
NUMBERS = {"num_quantiles": 5, "num_target_quantiles": 3, "num_acting_quantiles": 4}
OFF: dict[str, Any] = {
    **PLAIN, "dueling": False, "munchausen": False, "residual_cnn": False, "cnn_width": 1.0, "cnn_pool": None,
    "cnn_spectral_norm": False, "adam_eps": 1e-8,
}  # fmt: skip
PICTURE = spec_of(Box(0, 255, (12, 12, 3), np.uint8), num_actions=3)
SMALL = {"cnn_width": 0.25, "cnn_depth": 1, "learning_starts": 64, "batch_size": 16, "num_envs": 2}


def exact(net: Any, obs: torch.Tensor, tau: Any, masks: bool) -> np.ndarray:
    """Quantiles of all actions, valid or not, [B, A, K], by the network in float64; `test_iqn.py` knows it."""
    inner = copy.deepcopy(net.net if masks else net).double()
    for layer in inner.modules():
        if isinstance(layer, nn.Linear):
            layer.register_forward_pre_hook(lambda module, args: (args[0].double(),))
    with torch.no_grad():
        found: np.ndarray = inner(obs, tau=torch.as_tensor(tau).double()).numpy()
    return found


@pytest.mark.parametrize("temperature", [0.03, 1.0])
@pytest.mark.parametrize(("masks", "dueling"), [(False, False), (False, True), (True, False)])
def test_the_loss_of_btr(masks: bool, dueling: bool, temperature: float) -> None:
    """Of policy, bonus, entropy and the quantile Huber loss, sample after sample and pair after pair."""
    agent, batch = made(btr, masks, dueling=dueling, temperature=temperature, **PLAIN, **NUMBERS), transitions(masks)
    for param in [*agent.q.parameters(), *agent.target_q.parameters()]:
        param.data.mul_(0.5)  # or all errors were large
    able = VALID if masks else np.ones_like(VALID)
    middle = np.tile((np.arange(4) + 0.5) / 4, (6, 1))
    value, next_value = (exact(agent.target_q, batch[name], middle, masks).mean(-1) for name in ("obs", "next_obs"))
    best = np.where(able[::-1], value, -np.inf).argmax(-1)
    worst = np.where(able[::-1], value, np.inf).argmin(-1)
    batch["action"] = torch.from_numpy(np.where(np.arange(6) % 2, best, worst))
    batch = agent.noise(batch)
    following = exact(agent.target_q, batch["next_obs"], batch["next_tau"], masks)  # [B, A, M]
    quantiles = exact(agent.q, batch["obs"], batch["tau"], masks)[np.arange(6), batch["action"]]
    losses, bonuses, kinds = np.zeros(6), [], set()
    for row, action in enumerate(batch["action"].tolist()):
        now, then = able[::-1][row], able[row]
        policy, log_prob = np.zeros(4), np.zeros(4)
        policy[then] = softmax(next_value[row, then] / temperature)
        log_prob[then] = np.log(np.maximum(policy[then], 1e-300))
        taken = softmax(value[row, now] / temperature)[now[:action].sum()]
        bonuses.append(0.9 * min(max(temperature * np.log(max(taken, 1e-300)), -1.0), 0.0))
        soft = sum(policy[a] * (following[row, a] - temperature * log_prob[a]) for a in range(4) if then[a])
        target = batch["reward"][row].item() + bonuses[-1] + batch["discount"][row].item() * soft  # [M]
        for i in range(5):
            for j in range(3):
                error = target[j] - quantiles[row, i]
                huber = 0.5 * error**2 if abs(error) <= 1 else abs(error) - 0.5
                losses[row] += abs(batch["tau"][row, i].item() - (error < 0)) * huber / 3
                kinds.add((bool(error < 0), abs(error) <= 1))
    assert all(len({*each}) == 2 for each in zip(*kinds, strict=True)), "of both signs, small and large"
    assert min(bonuses) < -0.85 < max(bonuses), "some are clipped, and some are not"
    loss, metrics = agent.loss(agent, batch)
    assert loss.item() == pytest.approx(losses.mean(), rel=1e-4)
    assert metrics["losses/q_values"].item() == pytest.approx(quantiles.mean(), rel=1e-3, abs=1e-4)
    grads = torch.autograd.grad(loss, list(agent.q.parameters()), materialize_grads=True)
    assert all(grad.isfinite().all() and grad.abs().sum() > 0 for grad in grads)


@pytest.mark.parametrize("spec", [PICTURE, spec_of(Box(-1, 1, (3,), np.float32), 3)], ids=["picture", "numbers"])
def test_without_its_parts_it_is_iqn(spec: EnvSpec) -> None:
    options: dict[str, Any] = {"hidden": (8,), "lr": 1e-2, "gamma": 0.9, "anneal_lr": False, "n_step": 1} | NUMBERS
    torch.manual_seed(0)
    agent = btr.BTR(btr.Config(**options | OFF), spec)
    torch.manual_seed(0)
    plain = iqn.IQN(iqn.Config(**options), spec)
    batch = transitions() if spec is not PICTURE else transitions() | pictures(6)
    batch["action"] = batch["action"] % 3
    for _ in range(3):
        found, expected = agent.learn(dict(batch)), plain.learn(dict(batch))
        assert_equal(found, expected)
    assert_equal(agent.state_dict(), plain.state_dict())
    assert agent.act(batch["obs"], greedy=True).keys() == {"action", "q_estimate"}, "its values are returns"


def pictures(num: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    obs = torch.randint(256, (2, num, 12, 12, 3), dtype=torch.uint8, generator=generator)
    return {"obs": obs[0], "next_obs": obs[1]}


def test_a_cold_policy_without_a_bonus_is_that_of_iqn() -> None:
    agent = made(btr, temperature=1e-5, munchausen_alpha=0.0, dueling=False, **PLAIN, **NUMBERS)
    plain, batch = made(iqn, **NUMBERS), agent.noise(transitions())
    torch.testing.assert_close(agent.target(agent, batch), plain.target(plain, batch), atol=1e-3, rtol=1e-4)


def test_the_noise_of_its_target_is_that_of_the_target_network() -> None:
    agent, plain = (made(btr, noisy=noisy, prioritized=False, **NUMBERS) for noisy in (True, False))
    batch = agent.noise(transitions())
    with torch.no_grad():
        for name, noise in zip(("q", "target_q"), batch["shared_noise"], strict=False):
            noisy = getattr(agent, name)
            getattr(plain, name).load_state_dict(noisy.net.state_dict() | noisy.weights(noise))
    without = {name: value for name, value in batch.items() if name != "shared_noise"}
    torch.testing.assert_close(agent.loss(agent, batch)[0], plain.loss(plain, without)[0])


def layers(**options: Any) -> tuple[type, int, int, bool]:
    """Of pictures: the network, the features of its last maps, their side, and whether there is spectral norm."""
    network = options.pop("network", "auto")
    spec = spec_of(Box(0, 255, (84, 84, 4), np.uint8), network=network)
    torch.manual_seed(0)
    body = btr.BTR(btr.Config(hidden=(8,), **PLAIN, **options), spec).q.body
    maps = body.conv(torch.zeros(1, 4, 84, 84)).shape
    assert body.num_features == maps[1] * maps[2] * maps[3]
    return type(body), maps[1], maps[2], any(isinstance(each, Spectral) for each in body.modules())


def test_pictures_go_through_the_network_of_the_paper_or_another_one() -> None:
    assert layers() == (Impala, 64, 6, True)
    assert layers(cnn_width=1.0) == (Impala, 32, 6, True)
    assert layers(cnn_pool=None) == (Impala, 64, 11, True)
    assert layers(cnn_spectral_norm=False) == (Impala, 64, 6, False)
    assert layers(network="small_cnn", cnn_width=1.0)[:2] == (SmallCNN, 16)
    assert layers(residual_cnn=False)[1:] == (128, 6, True), "the network that suits their size"


def test_it_explores_by_noise_and_by_chance_and_later_by_noise_alone() -> None:
    agent = made(btr, exploration_fraction=0.1, epsilon_end=0.02)
    assert agent.epsilon == 1
    agent.num_updates, found = 1, []
    for agent.progress in (0.0, 0.05, 0.1, 0.49, 0.5, 1.0):
        found.append(agent.epsilon)
    assert found == pytest.approx([1.0, 0.51, 0.02, 0.02, 0.0, 0.0])
    quiet = made(btr, noisy=False, exploration_fraction=0.1, epsilon_end=0.02)
    quiet.num_updates, quiet.progress = 1, 0.9
    assert quiet.epsilon == pytest.approx(0.02), "without noise chance goes on"
    assert agent.optimizer.param_groups[0]["eps"] == 1.95e-5


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"epsilon_until": 1.5}, r"--epsilon-until 1.5: must be in \[0, 1\]"),
        ({"adam_eps": 0.0}, r"--adam-eps 0.0: must be in \(0, 1\]"),
        ({"cnn_pool": 0}, r"--cnn-pool 0: must be in \[1, 64\]"),
        ({"temperature": 0.0}, r"--temperature 0.0: must be in \(0, inf\)"),
    ],
)
def test_bad_values_are_refused_in_a_line(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        config.resolve("btr", options)


def test_double_is_refused_with_munchausen_alone() -> None:
    with pytest.raises(UsageError, match="--double: munchausen takes no largest value"):
        made(btr, double=True)
    assert made(btr, double=True, munchausen=False).act(transitions()["obs"], True).keys() == {"action", "q_estimate"}
    assert made(btr).act(transitions()["obs"], True).keys() == {"action"}, "its values are no returns"


def test_it_takes_valid_actions_alone() -> None:
    assert_valid_actions_alone(btr)


def test_recorded_updates_of_pictures_are_the_eager_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Power iteration goes on in place, outside of what was recorded."""
    monkeypatch.setattr(recorded, "MIN_UPDATES_LEFT", 0)
    learners = []
    for graph in (True, False):
        given = tiny("btr", tmp_path, env="observed:Room-v0", graph=graph, verify_graph=3, shift=1, **SMALL)
        learner, source, buffer = experiment.build(given)
        while learner.num_updates < 10:
            source.fill(buffer, learner)
            for batch in learner.batches(buffer):
                learner.learn(batch)
        source.close()
        learners.append(learner)
    one, other = learners
    assert isinstance(one.executor, Recorded) and one.executor.recordings and not one.executor.refused
    vectors = {name for name, _ in one.named_buffers() if name.endswith(".u")}
    assert len([name for name in vectors if name.startswith("q.")]) == 4
    for name, value in one.state_dict().items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(value, other.state_dict()[name], atol=1e-4, rtol=1e-3, msg=name)


@pytest.mark.parametrize("algo", ["btr", "dqn"])
def test_a_noisy_network_with_spectral_normalisation_is_evaluated(algo: str, tmp_path: Path) -> None:
    """Its copy that acts has the weights as buffers: the sizes of weights were looked for there, and a run ended."""
    options = SMALL | {"noisy": True, "network": "impala", "cnn_spectral_norm": True, "steps": 200, "log_every": 50}
    run = experiment.start(tiny(algo, tmp_path, env="observed:Room-v0", eval_every=100, **options), quiet=True)
    rows = list(read_metrics(run.path))
    assert [0 < row["health/weights"] < 100 for row in rows if "health/weights" in row] == [True] * 2


@pytest.mark.slow
def test_a_resumed_run_goes_on_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    given = tiny("btr", tmp_path, env="observed:Room-v0", name="whole", steps=400, keep=100, shift=1, **SMALL)
    whole = experiment.start(given | {"frame_stack": 2}, quiet=True)
    shutil.copytree(whole.path, tmp_path / "half")
    for step in checkpoint.steps(tmp_path / "half/checkpoints"):
        if step > 300:
            shutil.rmtree(checkpoint.directory(tmp_path / "half/checkpoints", step))
    resumed = experiment.resume("half", str(tmp_path), quiet=True)
    assert_equal(comparable(resumed.path), comparable(whole.path), "rows")
    for part in ("learner", "source", "buffer"):
        assert_equal(resumed.load()[part], whole.load()[part], part)


@pytest.mark.slow
def test_it_learns_what_a_picture_shows(tmp_path: Path) -> None:
    """With all of its parts: which of two open doors is the better one, 10 times; 5 are right by chance."""
    given = tiny("btr", tmp_path, env="observed:Illegal-v0", steps=1200, lr=3e-3, gamma=0.5, **SMALL)
    run = experiment.start(given | {"exploration_fraction": 0.2, "buffer_size": 2000, "eval_every": 1200}, quiet=True)
    assert list(comparable(run.path))[-1]["eval/episodic_return"] > 8.5
