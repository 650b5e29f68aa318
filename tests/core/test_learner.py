"""What the base of every algorithm takes care of, so that its author cannot forget it."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from agents import dqn
from generative import gan
from rlgen.core.batch import Batch
from rlgen.core.learner import Learner
from rlgen.data.images import ImageSpec
from rlgen.envs.spec import EnvSpec

SPEC = EnvSpec("Toy-v0", (2,), "float32", 2, (), (), (), num_envs=1)


class Forgetful(dqn.DQN):
    """An author's first DQN: nothing is counted, no learning rate is set, no target is copied."""

    def update(self, batch: Batch) -> Batch:
        return self.minimize(self.loss, batch, self.optimizer)


class CountsItself(dqn.DQN):
    """An older one, which counts as well."""

    def update(self, batch: Batch) -> Batch:
        self.num_updates += 1
        return super().update(batch)


def filled(learner: Any, num: int) -> Any:
    buffer = learner.make_buffer()
    no, zero = torch.tensor([False]), torch.zeros(1, 2)
    for _ in range(num):
        row = {"obs": zero, "action": torch.tensor([0]), "reward": torch.ones(1), "next_obs": zero}
        buffer.add(row | {"terminated": no, "truncated": no})
    return buffer


@pytest.mark.parametrize("cls", [dqn.DQN, Forgetful, CountsItself])
def test_batches_end_though_an_algorithm_does_not_count_its_updates(cls: type[dqn.DQN]) -> None:
    """Whoever forgot one line once had an endless run that never came back to the loop."""
    torch.manual_seed(0)
    learner = cls(dqn.Config(learning_starts=10, train_every=4, batch_size=4, hidden=(4,)), SPEC)
    buffer = filled(learner, 34)
    for taken, batch in enumerate(learner.batches(buffer)):
        assert taken < 6, "more than are due"
        assert learner.num_updates == taken
        learner.learn(batch)
    assert learner.num_updates == (34 - 10) // 4
    assert not list(learner.batches(buffer))


def test_learning_rates_are_set_before_the_update_that_they_are_for() -> None:
    torch.manual_seed(0)
    learner = Forgetful(dqn.Config(learning_starts=1, batch_size=4, lr=0.5, hidden=(4,)), SPEC)
    batch = filled(learner, 4).sample(4)
    learner.progress = 1.0
    before = [param.detach().clone() for param in learner.q.parameters()]
    learner.learn(batch)
    assert all(torch.equal(a, b) for a, b in zip(learner.q.parameters(), before, strict=True)), "lr is 0 at the end"
    learner.progress = 0.5
    learner.learn(batch)
    assert learner.optimizer.param_groups[0]["lr"] == 0.25
    assert not all(torch.equal(a, b) for a, b in zip(learner.q.parameters(), before, strict=True))


def test_an_update_is_counted_once_however_many_losses_it_minimizes() -> None:
    torch.manual_seed(0)
    learner = gan.GAN(gan.Config(width=4, num_hidden=4, latent=2), ImageSpec((1, 8, 8)))
    for number in (1, 2, 3):
        learner.learn({"image": torch.zeros(4, 1, 8, 8, dtype=torch.uint8)})
        assert learner.num_updates == number


class TwoLosses(Learner):
    """Reports the errors of its samples in the first of two losses."""

    def __init__(self) -> None:
        super().__init__(None)
        self.one, self.other = nn.Linear(3, 1), nn.Linear(3, 1)
        self.optimizer = torch.optim.Adam(self.one.parameters(), lr=1e-2, fused=True)
        self.other_optimizer = torch.optim.Adam(self.other.parameters(), lr=1e-2, fused=True)

    def loss(self, nets: Any, batch: Batch) -> tuple[Tensor, Batch]:
        error = (nets.one(batch["x"]).squeeze(-1) - 1).abs()  # [B]
        return error.mean(), {"losses/one": error.mean(), "error": error}

    def other_loss(self, nets: Any, batch: Batch) -> tuple[Tensor, Batch]:
        loss = nets.other(batch["x"]).square().mean()
        return loss, {"losses/other": loss}

    def update(self, batch: Batch) -> Batch:
        metrics = self.minimize(self.loss, batch, self.optimizer)
        return metrics | self.minimize(self.other_loss, batch, self.other_optimizer)


def test_values_of_a_sample_are_kept_when_another_loss_follows() -> None:
    """Priorities are read after the update; the critic's errors must outlive the actor's step."""
    torch.manual_seed(0)
    learner = TwoLosses()
    batch = {"x": torch.randn(5, 3)}
    expected = (learner.one(batch["x"]).squeeze(-1) - 1).abs().detach()
    metrics = learner.learn(batch)
    assert metrics.keys() == {"losses/one", "losses/other"}
    assert learner.per_sample.keys() == {"error"}
    assert torch.equal(learner.per_sample["error"], expected)


def test_moments_saved_when_weights_lay_otherwise_in_memory_still_belong_to_their_weights() -> None:
    """Fused Adam pairs numbers by their place: those of an older version once moved other weights."""

    class Convolution(Learner):
        def __init__(self, layout: torch.memory_format) -> None:
            super().__init__(None)
            torch.manual_seed(0)
            self.conv = nn.Conv2d(3, 5, 4).to(memory_format=layout)  # type: ignore[call-overload]
            self.optimizer = torch.optim.Adam(self.conv.parameters(), lr=0.1, fused=True)

    def move(learner: Convolution, seed: int) -> None:
        image = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(seed))
        learner.minimize(lambda nets, batch: (nets.conv(batch["image"]).square().mean(), {}), {"image": image},
                         learner.optimizer)  # fmt: skip

    old, new = Convolution(torch.contiguous_format), Convolution(torch.channels_last)
    move(old, 0)
    new.load_state_dict(copy.deepcopy(old.state_dict()))
    for learner in (old, new):
        move(learner, 1)
    assert new.conv.weight.stride() != old.conv.weight.stride()
    assert torch.allclose(new.conv.weight, old.conv.weight, atol=1e-5)
