"""QR-DQN: "Distributional reinforcement learning with quantile regression" (Dabney et al. 2018).

The return of an action is a distribution of K equally likely values, its quantiles, which the network learns. With
`double`, the online network chooses the next action by its means. With `prioritized`, a sample's priority is its loss.
Shapes: B batch, N environments, A actions, K quantiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from agents import dqn
from rlgen.core.learner import Batch
from rlgen.envs.spec import EnvSpec
from rlgen.nets.implicit import midpoints
from rlgen.nets.q_network import of_action, valid_only


@dataclass(frozen=True)
class Config(dqn.Config):
    """DQN's, and the number of quantiles: fewer than the paper's 200, as an update's cost grows with their square."""

    num_quantiles: int = 25  # of the return of an action; in [2, 10_000]; fixed: networks of other sizes


class QRDQN(dqn.DQN):
    """Q-learning of the quantiles of returns."""

    Config = Config

    def __init__(self, cfg: Any, spec: EnvSpec) -> None:
        self.num_values = cfg.num_quantiles
        super().__init__(cfg, spec)

    def value(self, output: Any) -> Tensor:
        """The mean return of every action: quantiles [N, A, K] -> [N, A]."""
        quantiles = torch.as_tensor(output)
        return valid_only(quantiles.mean(-1), quantiles)

    def loss(self, nets: dqn.DQN, batch: Batch) -> tuple[Tensor, Batch]:
        q, target_q, choosing_q = self.networks(nets, batch)
        with torch.no_grad():
            next_quantiles = target_q(batch["next_obs"])  # [B, A, K]
            choosing = choosing_q(batch["next_obs"]) if self.cfg.double else next_quantiles  # [B, A, K]
            next_quantiles = of_action(next_quantiles, self.value(choosing).argmax(-1))  # [B, K]
            target = batch["reward"][:, None] + batch["discount"][:, None] * next_quantiles  # [B, K]

        quantiles = of_action(q(batch["obs"]), batch["action"])  # theta, [B, K]
        losses = quantile_huber(quantiles, target, midpoints(self.num_values, self.device))  # [B], tau hat of lemma 2
        loss, priority = self.mean(losses, batch, losses)

        return loss, {"losses/td_loss": loss, "losses/q_values": quantiles.mean(), **priority}


def quantile_huber(quantiles: Tensor, target: Tensor, tau: Tensor) -> Tensor:
    """The quantile Huber loss with kappa 1, equation 10, summed over quantiles and averaged over targets: algorithm 1.

    Args:
        quantiles: estimates, [B, K].
        target: equally likely values, [B, M].
        tau: probabilities of the quantiles, [K] or [B, K].

    Returns:
        Of every sample, [B].
    """
    estimate, target = torch.broadcast_tensors(quantiles[:, :, None], target[:, None, :])  # [B, K, M]
    weight = (tau[..., None] - (target < estimate).float()).abs()  # [B, K, M]
    return (weight * huber_loss(estimate, target, reduction="none")).mean(-1).sum(-1)
