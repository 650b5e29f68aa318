"""DQN with noisy networks: which noise an update and an act have, however the update is taken."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rank_threads import ThreadRanks, at_once
from tiny import assert_equal, comparable, tiny
from torch import Tensor
from torch.nn.functional import huber_loss

from agents import dqn
from rlgen import experiment, inference
from rlgen.core.batch import Batch
from rlgen.core.step import Eager
from rlgen.envs.spec import EnvSpec
from rlgen.runs import checkpoint
from rlgen.speed import recorded
from rlgen.speed.ranked import Ranked
from rlgen.speed.recorded import Recorded
from rlgen.speed.stacked import Together

SPEC = EnvSpec("Toy-v0", (3,), "float32", 4, (), (), (), 2)
PLAIN = {"hidden": (8,), "optimizer": "sgd", "lr": 0.1, "anneal_lr": False, "noisy": True, "batch_size": 6}


def make(seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    return dqn.DQN(dqn.Config(**PLAIN | options), SPEC)


def transitions(num: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(7)
    obs = torch.randn(2, num, 3, generator=generator)
    action = torch.arange(num) % 4
    return {"obs": obs[0], "next_obs": obs[1], "action": action, "reward": obs[0, :, 0], "discount": 0.9 * obs[1, :, 0]}


def params_of(agent: Any) -> dict[str, Tensor]:
    return {name: param.detach().clone() for name, param in agent.named_parameters()}


@pytest.mark.parametrize("double", [False, True])
def test_an_update_has_a_noise_for_each_of_its_networks(double: bool) -> None:
    """Online, target, and the one that chooses; by hand, and down the gradient of means and sigmas."""
    agent, batch = make(double=double, max_grad_norm=1e9), transitions()
    with torch.no_grad():
        for param in agent.target_q.parameters():
            param.mul_(1.5)
    before, state = params_of(agent), agent.generator.get_state()
    online, target, choosing = agent.q.draw(3, agent.generator)
    agent.generator.set_state(state)

    def out(net: Any, obs: Tensor, noise: Tensor) -> Tensor:
        weights = [*net.weights(noise).values()]
        return torch.relu(obs @ weights[0].T + weights[1]) @ weights[2].T + weights[3]

    with torch.no_grad():
        values = out(agent.target_q, batch["next_obs"], target)
        chosen = out(agent.q, batch["next_obs"], choosing) if double else values
        rows = torch.arange(6)
        aim = batch["reward"] + batch["discount"] * values[rows, chosen.argmax(-1)]
    loss = huber_loss(out(agent.q, batch["obs"], online)[rows, batch["action"]], aim)
    grads = torch.autograd.grad(loss, list(agent.q.parameters()))
    metrics = agent.learn(batch)
    assert metrics["losses/td_loss"].item() == pytest.approx(loss.item(), rel=1e-6)
    for (name, param), grad in zip(agent.q.named_parameters(), grads, strict=True):
        assert grad.abs().sum() > 0
        torch.testing.assert_close(param.detach(), before[f"q.{name}"] - 0.1 * grad)


def test_it_acts_by_one_noise_until_the_next_round_of_updates_and_greedily_by_none() -> None:
    agent, obs = make(), torch.randn(200, 3)
    agent.num_updates = 1
    assert agent.epsilon == 0, "from the first update on"
    for param in agent.q.sigma:
        param.data *= 10
    buffer = agent.make_buffer()

    def acts() -> list[int]:
        return agent.act(obs)["action"].tolist()  # type: ignore[no-any-return]

    means = agent.q(obs).argmax(-1).tolist()
    list(agent.batches(buffer))
    first, greedy = acts(), agent.act(obs, greedy=True)["action"].tolist()
    assert first == acts() != greedy == means
    assert np.asarray(agent.act(obs.numpy())["action"]).tolist() == first
    list(agent.batches(buffer))
    assert acts() != first
    assert agent.act(obs, greedy=True)["action"].tolist() == means
    agent.num_updates = 0
    assert agent.epsilon == 1, "before it"


def test_recorded_and_stacked_updates_are_the_eager_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "MIN_UPDATES_LEFT", 0)
    batch, together, alone = transitions(), Together(verify=9), Recorded(verify=9)

    def learned(seed: int, executor: Any) -> Any:
        agent = make(seed, dueling=True, double=True)
        agent.executor = executor
        for _ in range(5):
            agent.learn(dict(batch))
        return agent

    eager = [learned(seed, Eager()) for seed in (0, 1)]
    others = [learned(0, alone), *together.run([lambda seed=seed: learned(seed, together) for seed in (0, 1)])]  # type: ignore[misc]
    assert alone.recordings and together.recorded.recordings and not alone.refused and not together.recorded.refused
    for one, other in zip([eager[0], *eager], others, strict=True):
        assert torch.equal(one.generator.get_state(), other.generator.get_state())
        for name, param in params_of(one).items():
            torch.testing.assert_close(param, params_of(other)[name], msg=name)


def test_ranks_have_the_noise_of_the_first_one() -> None:
    """Each has random numbers of its own; under noises of their own their gradients were not those of one batch."""
    batch, whole, agents = transitions(), make(), [make(), make()]  # before threads share a generator
    whole.learn(dict(batch))

    def body(ranks: ThreadRanks) -> dict[str, Tensor]:
        agent = agents[ranks.rank]
        agent.generator.manual_seed(99) if ranks.rank else None
        agent.executor = Ranked(ranks)  # type: ignore[arg-type]
        agent.learn({name: value[3 * ranks.rank :][:3] for name, value in batch.items()})
        return params_of(agent)

    for found in at_once([body, body]):
        for name, param in params_of(whole).items():
            torch.testing.assert_close(found[name], param, msg=name)


def test_ranks_agree_on_all_that_learns_and_not_on_what_acts() -> None:
    """What is compared between ranks are parameters: each rank explores by noise of its own."""
    agent = make()
    agent.acting_q.draw(agent.q, agent.generator)
    assert not [name for name, _ in agent.named_parameters() if name.startswith("acting_q")]
    assert {name for name in agent.state_dict() if name.startswith("acting_q")}


def test_a_resumed_run_acts_by_the_noise_that_it_stopped_with(tmp_path: Path) -> None:
    options = {"noisy": True, "dueling": True, "checkpoint_every": 100, "eval_every": 10**6, "keep": 4}
    whole = experiment.start(tiny("dqn", tmp_path, name="whole", steps=400, num_envs=2, **options), quiet=True)
    cut = whole.path.with_name("cut")
    shutil.copytree(whole.path, cut)
    step, *later = checkpoint.steps(cut / "checkpoints")[1:]
    for each in later:
        shutil.rmtree(checkpoint.directory(cut / "checkpoints", each))
    learner = inference.load("cut", str(tmp_path))
    acting, means = learner.acting_q.net.value[0].weight, learner.q.net.value[0].weight
    assert learner.num_updates > 10 and not torch.equal(acting, means)
    resumed = experiment.resume("cut", str(tmp_path), quiet=True)
    assert step < 300 and resumed.step >= 400
    assert_equal(comparable(resumed.path), comparable(whole.path), "rows")
    assert_equal(resumed.load()["learner"], whole.load()["learner"])
    rows = [row for row in comparable(whole.path) if "charts/sigma" in row]
    assert rows and rows[-1]["charts/epsilon"] == 0 and 0 < rows[-1]["charts/sigma"] < 0.5
