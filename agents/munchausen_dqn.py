"""Munchausen DQN: "Munchausen reinforcement learning" (Vieillard et al. 2020).

The policy of a target is the softmax of the target network's values over a temperature. Its log-probability of the
action taken is added to the reward (section 2), clipped (section 4), and the next state has the soft value. A Q-value
estimates that sum and not the return. Acting is epsilon-greedy. With n_step above 1 the first of the steps alone has a
log-probability and no step between has an entropy, as in BTR: the paper has one step. Shapes: B batch, A actions.
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
from rlgen.errors import UsageError


@dataclass(frozen=True)
class Config(dqn.Config):
    """DQN's, and those of sections 2 and 4; `double` has no meaning here."""

    munchausen_alpha: float = 0.9  # share of the log-probability that is added to the reward; in [0, 1]
    temperature: float = 0.03  # of the policy, tau in the paper; in (0, inf)
    log_prob_min: float = -1.0  # temperature * log-probability is at least this, l0 in the paper; in (-inf, 0]


class MunchausenDQN(dqn.DQN):
    """Q-learning with the log-probability of its own actions in the reward, and soft values."""

    Config = Config
    values_are_returns = False

    def __init__(self, cfg: Any, spec: EnvSpec) -> None:
        if cfg.double:
            raise UsageError("--double: munchausen_dqn takes no largest value, it has a soft one; leave it out")
        super().__init__(cfg, spec)

    def loss(self, nets: dqn.DQN, batch: Batch) -> tuple[Tensor, Batch]:
        cfg, (q, target_q, _) = self.cfg, self.networks(nets, batch)
        with torch.no_grad():
            target_q_value, next_q_value = target_q(batch["obs"]), target_q(batch["next_obs"])  # [B, A]
            bonus = bonus_of(target_q_value, batch["action"], cfg)  # [B]
            next_value = soft_value(next_q_value, cfg.temperature)  # [B]
            target = batch["reward"] + bonus + batch["discount"] * next_value  # [B]; equation 1

        q_value = q(batch["obs"]).gather(-1, batch["action"][:, None]).squeeze(-1)  # [B]
        losses = huber_loss(q_value, target, reduction="none")  # [B]
        loss, priority = self.mean(losses, batch, q_value - target)

        return loss, {
            "losses/td_loss": loss,
            "losses/q_values": q_value.mean(),
            "losses/bonus": bonus.mean(),
            **priority,
        }


def bonus_of(q_value: Tensor, action: Tensor, cfg: Any) -> Tensor:
    """What is added to the reward of actions: [B, A] and [B] -> [B].

    With several steps of reward it is that of the first one, which is the action in a batch.
    """
    taken = q_value.gather(-1, action[:, None]).squeeze(-1)  # [B]
    log_prob = taken - soft_value(q_value, cfg.temperature)  # [B], temperature * ln pi(a | s)
    return cfg.munchausen_alpha * log_prob.clamp(cfg.log_prob_min, 0)  # type: ignore[no-any-return]


def soft_value(q_value: Tensor, temperature: float) -> Tensor:
    """The mean of q - temperature * ln pi under pi = softmax(q / temperature): [B, A] -> [B].

    It is temperature * logsumexp(q / temperature), computed about the largest value (appendix B.1).
    """
    largest = q_value.amax(-1, keepdim=True)  # [B, 1]
    return largest.squeeze(-1) + temperature * ((q_value - largest) / temperature).logsumexp(-1)
