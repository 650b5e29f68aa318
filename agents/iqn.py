"""IQN: "Implicit quantile networks for distributional reinforcement learning" (Dabney et al. 2018).

The network gives the quantile of a return at any level, tau. An update draws some for each sample, uniformly. An
action's value is the mean at the midpoints of equal parts, where the paper draws them: the same every time, with a
small bias where returns have long tails. With `double`, which is not of the paper, the online network chooses the next
action by its means. With `prioritized`, a sample's priority is its loss. Shapes: B batch, A actions, N and M quantiles
of estimates and targets, K of a value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agents import dqn
from agents.qr_dqn import quantile_huber
from rlgen.core.learner import Batch
from rlgen.envs.spec import EnvSpec
from rlgen.nets.implicit import implicit_network, midpoints
from rlgen.nets.q_network import of_action, valid_only


@dataclass(frozen=True)
class Config(dqn.Config):
    """DQN's, and the numbers of quantiles: fewer than the 64, 64 and 32 of the paper (figure 2), as they cost time."""

    num_quantiles: int = 8  # quantiles drawn for an estimate, N; in [1, 10_000]
    num_target_quantiles: int = 8  # quantiles drawn for a target, M; in [1, 10_000]
    num_acting_quantiles: int = 8  # quantiles whose mean is an action's value, in acting and targets, K; in [1, 10_000]


class IQN(dqn.DQN):
    """Q-learning of the quantile function of returns."""

    Config = Config
    make_network = staticmethod(implicit_network)

    def __init__(self, cfg: Any, spec: EnvSpec) -> None:
        self.num_values = cfg.num_acting_quantiles
        super().__init__(cfg, spec)

    def value(self, output: Any) -> Tensor:
        """The mean return of every action: quantiles [B, A, K] -> [B, A]."""
        quantiles = torch.as_tensor(output)
        return valid_only(quantiles.mean(-1), quantiles)

    def noise(self, batch: Batch) -> Batch:
        """The batch with the probabilities of its quantiles, drawn for each sample."""
        batch, size = super().noise(batch), len(batch["action"])
        num = self.cfg.num_quantiles, self.cfg.num_target_quantiles
        tau, next_tau = torch.rand(size, sum(num), generator=self.generator, device=self.device).split(num, -1)
        return batch | {"tau": tau, "next_tau": next_tau}  # [B, N], [B, M]

    def both(self, net: Any, obs: Any, tau: Tensor) -> tuple[Tensor, Tensor]:
        """Values [B, A], and quantiles at the probabilities [B, M] of every action, [B, A, M]: at once."""
        middle = midpoints(self.num_values, self.device).expand(len(tau), -1)  # [B, K]
        output, quantiles = net(obs, tau=torch.cat([middle, tau], -1)).tensor_split([self.num_values], -1)
        return self.value(output), quantiles

    @torch.no_grad()
    def target(self, nets: dqn.DQN, batch: Batch) -> Tensor:
        """Quantiles of reward and what follows, [B, M], the target of those of the action taken (equation 2)."""
        (_, target_q, choosing_q), next_obs, next_tau = self.networks(nets, batch), batch["next_obs"], batch["next_tau"]
        if self.cfg.double:
            value, next_quantiles = self.value(choosing_q(next_obs)), target_q(next_obs, tau=next_tau)
        else:
            value, next_quantiles = self.both(target_q, next_obs, next_tau)
        next_quantiles = of_action(next_quantiles, value.argmax(-1))  # [B, M]
        return batch["reward"][:, None] + batch["discount"][:, None] * next_quantiles

    def loss(self, nets: dqn.DQN, batch: Batch) -> tuple[Tensor, Batch]:
        q, _, _ = self.networks(nets, batch)
        quantiles = of_action(q(batch["obs"], tau=batch["tau"]), batch["action"])  # [B, N]
        losses = quantile_huber(quantiles, self.target(nets, batch), batch["tau"])  # [B], equation 3
        loss, priority = self.mean(losses, batch, losses)

        return loss, {"losses/td_loss": loss, "losses/q_values": quantiles.mean(), **priority}
