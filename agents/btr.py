"""BTR: "Beyond the Rainbow: high performance deep reinforcement learning on a desktop PC" (Clark et al. 2025).

IQN with dueling and noisy networks, prioritized replay and n-step returns, as in Rainbow, with the Munchausen target,
with a residual network of twice the width (`residual_cnn`, `cnn_width`) whose residual convolutions have spectral
normalisation (`cnn_spectral_norm`) and whose last maps are max-pooled (`cnn_pool`), and with many environments at once
(`num_envs`). Each is an option. As elsewhere here, a priority is the loss of a sample (theirs is the sum of errors),
all linear layers are noisy, epsilon falls linearly (theirs exponentially, so later), and the Munchausen term is of the
target network. Shapes: B batch, A actions, M quantiles of targets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from agents import dqn, iqn, munchausen_dqn
from rlgen.core.functional import linear_schedule
from rlgen.core.learner import Batch
from rlgen.core.optimizer import make_optimizer
from rlgen.envs.spec import EnvSpec
from rlgen.errors import UsageError


@dataclass(frozen=True)
class Config(munchausen_dqn.Config, iqn.Config):
    """IQN's and Munchausen's, with those of the authors' values that suit runs of any length."""

    lr: float = 1e-4  # step size; in (0, inf)
    anneal_lr: bool = False  # let lr fall linearly to 0 at the end of the run
    adam_eps: float = 1.95e-5  # epsilon of Adam, 0.005 / 256; in (0, 1]
    gamma: float = 0.997  # discount per step; in [0, 1]
    batch_size: int = 256  # transitions in an update; in [1, 10**6]
    epsilon_start: float = 1.0  # share of random actions at first; in [0, 1]
    epsilon_end: float = 0.01  # and after exploration_fraction; in [0, 1]
    epsilon_until: float = 0.5  # with noisy: part of the run after which epsilon is 0; in [0, 1]
    n_step: int = 3  # rewards summed before bootstrapping; in [1, 1000]
    dueling: bool = True  # value and advantages as two streams of a network
    noisy: bool = True  # explore also by noise of the layers, which learns
    prioritized: bool = True  # draw transitions by their losses
    priority_exponent: float = 0.2  # alpha of prioritized: 0 draws uniformly; in [0, 1]
    munchausen: bool = True  # log-probabilities in the reward, and soft values; double has no meaning with it
    residual_cnn: bool = True  # impala for pictures, where --network is auto; fixed: networks of other layers
    cnn_width: float = 2.0  # features of every convolution, times this; in (0, 64]
    cnn_pool: int | None = 6  # the last maps are max-pooled to so many places a side (None: not); in [1, 64]
    cnn_spectral_norm: bool = True  # divide weights of convolutions (of impala the residual ones) by their norm
    hidden: tuple[int, ...] = (512,)  # sizes of the hidden layers; in [1, 65536]


class BTR(iqn.IQN):
    """Q-learning of the quantile function of soft returns."""

    Config = Config

    def __init__(self, cfg: Any, spec: EnvSpec) -> None:
        if cfg.munchausen and cfg.double:
            raise UsageError("--double: munchausen takes no largest value, it has a soft one; leave one of them out")
        super().__init__(cfg, replace(spec, network="impala") if cfg.residual_cnn and spec.network == "auto" else spec)
        self.values_are_returns = not cfg.munchausen
        self.optimizer = make_optimizer(cfg, self.q.parameters(), cfg.lr, eps=cfg.adam_eps)

    @property
    def epsilon(self) -> float:
        """Share of random actions now, beside the noise: all of them until the first update."""
        cfg = self.cfg
        if self.num_updates == 0:
            return 1.0
        if cfg.noisy and self.progress >= cfg.epsilon_until:
            return 0.0
        return linear_schedule(cfg.epsilon_start, cfg.epsilon_end, cfg.exploration_fraction, self.progress)

    @torch.no_grad()
    def target(self, nets: dqn.DQN, batch: Batch) -> Tensor:
        """Quantiles of reward, bonus and what follows under the soft policy, [B, M] (Vieillard et al. 2020, M-IQN)."""
        if not self.cfg.munchausen:
            return super().target(nets, batch)
        cfg, (_, target_q, _) = self.cfg, self.networks(nets, batch)
        bonus = munchausen_dqn.bonus_of(self.value(target_q(batch["obs"])), batch["action"], cfg)  # [B]

        value, next_quantiles = self.both(target_q, batch["next_obs"], batch["next_tau"])  # [B, A], [B, A, M]
        policy = (value / cfg.temperature).softmax(-1)  # [B, A]
        entropy = munchausen_dqn.soft_value(value, cfg.temperature) - (policy * value).sum(-1)  # [B], times temperature
        soft_quantiles = (policy[..., None] * next_quantiles).sum(1) + entropy[:, None]  # [B, M]

        return (batch["reward"] + bonus)[:, None] + batch["discount"][:, None] * soft_quantiles
