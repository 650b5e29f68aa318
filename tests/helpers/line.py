"""A learner that fits a line, with whatever optimizer, loss and executor a test wants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from rlgen.core.batch import Batch
from rlgen.core.learner import Learner
from rlgen.speed.recorded import Recorded


class Line(Learner):
    """Its steps are recorded from the second one on."""

    def __init__(self, optimizer: Any = torch.optim.Adam, **options: Any) -> None:
        super().__init__(None)
        self.net = nn.Linear(3, 1)
        self.scale = 1.0
        fused = {} if optimizer is torch.optim.RMSprop else {"fused": True}
        self.optimizer = optimizer(self.net.parameters(), lr=1e-2, **(fused | options))
        self.executor = Recorded()
        self.num_updates = 1  # as `learn` leaves it: a test may call `minimize` itself

    def loss(self, nets: Any, batch: Batch) -> tuple[Tensor, Batch]:
        loss = (nets.net(batch["x"]).squeeze(-1) - batch["y"]).square().mean()
        return loss, {"losses/loss": loss}

    def impure_loss(self, nets: Any, batch: Batch) -> tuple[Tensor, Batch]:
        loss, metrics = self.loss(nets, batch)
        return self.scale * loss, metrics

    def branching_loss(self, nets: Any, batch: Batch) -> tuple[Tensor, Batch]:
        loss, metrics = self.loss(nets, batch)
        return (loss if loss > 0 else -loss), metrics

    def per_sample_loss(self, nets: Any, batch: Batch) -> tuple[Tensor, Batch]:
        error = nets.net(batch["x"]).squeeze(-1) - batch["y"]  # [B]
        loss = error.square().mean()
        return loss, {"losses/loss": loss, "error": error}

    def without_bias(self, nets: Any, batch: Batch) -> tuple[Tensor, Batch]:
        """Does not reach all that its optimizer owns."""
        loss = (batch["x"] @ nets.net.weight.T).squeeze(-1).sub(batch["y"]).square().mean()
        return loss, {"losses/loss": loss}

    def noise(self, batch: Batch) -> Batch:
        return {**batch, "x": batch["x"] + torch.randn(batch["x"].shape, generator=self.generator)}


def batches(size: int = 8) -> Iterator[Batch]:
    """Endless; the same ones every time."""
    generator = torch.Generator().manual_seed(0)
    while True:
        x = torch.randn(size, 3, generator=generator)
        yield {"x": x, "y": x.sum(-1)}


def params(learner: nn.Module) -> list[Tensor]:
    """As they are now."""
    return [param.detach().clone() for param in learner.parameters()]


def drawn_noise(learner: Line, num: int) -> list[float]:
    """The first random number of each of so many steps, as the loss saw it."""
    device = learner.device

    def noise(batch: Batch) -> Batch:
        return {**batch, "noise": torch.randn(8, generator=learner.generator, device=device)}

    def loss(nets: Any, batch: Batch) -> tuple[Tensor, Batch]:
        return learner.loss(nets, batch)[0], {"losses/noise": batch["noise"][0]}

    batch = {name: value.to(device) for name, value in next(batches()).items()}
    return [learner.minimize(loss, batch, learner.optimizer, noise=noise)["losses/noise"].item() for _ in range(num)]
