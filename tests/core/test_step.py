"""An eager gradient step moves what it should, and leaves nothing behind."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rlgen.core.batch import Batch
from rlgen.core.learner import Learner

BATCH = {"x": torch.tensor([[1.0, -2.0, 3.0], [0.5, 1.0, -1.0]])}


class Two(Learner):
    """Two networks with an optimizer each, and losses that reach both, or not all of one."""

    def __init__(self, optimizer: Any = torch.optim.SGD) -> None:
        super().__init__(None)
        torch.manual_seed(0)
        self.one, self.other = nn.Linear(3, 1), nn.Linear(3, 1)
        self.optimizer = optimizer(self.one.parameters(), lr=0.1)
        self.other_optimizer = optimizer(self.other.parameters(), lr=0.1)

    def both(self, nets: Any, batch: Batch) -> tuple[Tensor, Batch]:
        error = (nets.one(batch["x"]) * nets.other(batch["x"])).squeeze(-1) - 1  # [B]
        loss = error.square().mean()
        return loss, {"losses/loss": loss, "error": error}

    def without_bias(self, nets: Any, batch: Batch) -> tuple[Tensor, Batch]:
        loss = (batch["x"] @ nets.one.weight.T).square().mean()
        return loss, {"losses/loss": loss}


def values(net: nn.Module) -> list[Tensor]:
    return [param.detach().clone() for param in net.parameters()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_what_an_optimizer_does_not_own_does_not_move() -> None:
    learner = Two()
    one, other = values(learner.one), values(learner.other)
    learner.minimize(learner.both, BATCH, learner.optimizer)
    assert not same(values(learner.one), one) and same(values(learner.other), other)


def test_gradients_are_not_left_over_for_another_loss() -> None:
    """Autograd adds up: the generator's loss once left gradients for the discriminator's next step."""
    learner, alone = Two(), Two()
    learner.minimize(learner.both, BATCH, learner.optimizer)
    assert all(param.grad is None for param in learner.parameters())
    alone.load_state_dict(learner.state_dict())
    for _ in range(3):  # of the other optimizer's parameters too
        learner.both(learner, BATCH)[0].backward()
        learner.optimizer.zero_grad()
        learner.minimize(learner.both, BATCH, learner.other_optimizer)
        alone.minimize(alone.both, BATCH, alone.other_optimizer)
    assert same(values(learner), values(alone)), "what lay in `grad` before is no part of the step"
    assert all(param.grad is None for param in learner.parameters())


def test_the_step_of_an_optimizer_is_down_its_own_loss_alone() -> None:
    learner = Two()
    learner.minimize(learner.both, BATCH, learner.optimizer)
    before = values(learner.other)
    expected = torch.autograd.grad(learner.both(learner, BATCH)[0], list(learner.other.parameters()))
    learner.minimize(learner.both, BATCH, learner.other_optimizer)
    for now, old, grad in zip(values(learner.other), before, expected, strict=True):
        torch.testing.assert_close(now, old - 0.1 * grad)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_a_parameter_that_the_loss_does_not_reach_is_no_error(optimizer: Any) -> None:
    learner = Two(optimizer)
    weight, bias = values(learner.one)
    learner.minimize(learner.without_bias, BATCH, learner.optimizer, max_grad_norm=0.5)
    assert not torch.equal(learner.one.weight, weight) and torch.equal(learner.one.bias, bias)


def test_the_gradient_is_clipped_as_a_whole() -> None:
    learner = Two()
    before = values(learner.one)
    learner.minimize(learner.both, {"x": 100 * BATCH["x"]}, learner.optimizer, max_grad_norm=0.5)
    moved = torch.cat([(a - b).flatten() for a, b in zip(values(learner.one), before, strict=True)])
    assert moved.norm().item() == pytest.approx(0.1 * 0.5, rel=1e-3)


def test_values_of_every_sample_do_not_reach_the_log() -> None:
    learner = Two()
    error = learner.both(learner, BATCH)[1]["error"].detach()
    metrics = learner.minimize(learner.both, BATCH, learner.optimizer)
    assert metrics.keys() == {"losses/loss"} and metrics["losses/loss"].ndim == 0
    assert learner.per_sample.keys() == {"error"} and torch.equal(learner.per_sample["error"], error)
    assert not learner.per_sample["error"].requires_grad


def test_noise_is_drawn_from_the_learner_and_read_by_the_loss_alone() -> None:
    learner = Two()
    seen = []

    def noise(batch: Batch) -> Batch:
        return {"x": batch["x"] + torch.randn(2, 3, generator=learner.generator)}

    def loss(nets: Any, batch: Batch) -> tuple[Tensor, Batch]:
        seen.append(batch["x"])
        return learner.both(nets, batch)

    before, x = learner.generator.get_state(), BATCH["x"].clone()
    for _ in range(2):
        learner.minimize(loss, BATCH, learner.optimizer, noise=noise)
    assert not torch.equal(learner.generator.get_state(), before)
    assert not torch.equal(seen[0], seen[1]) and torch.equal(BATCH["x"], x)
