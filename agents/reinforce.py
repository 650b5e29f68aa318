"""Policy gradient with a learned baseline (Williams 1992).

"Simple statistical gradient-following algorithms for connectionist reinforcement learning", Machine Learning 8. Every
action is weighed by the discounted reward-to-go that followed it, less the baseline. Where rewards are missing, because
the rollout ends before the episode or a time limit truncates it, the baseline's value of the last observation stands
for them; so rollouts may be shorter than episodes. Shapes: B batch, T time, N environments, A actions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rlgen.core.batch import Batch, flatten_time
from rlgen.core.buffer import Buffer
from rlgen.core.functional import gae, masked_mean
from rlgen.core.learner import Agent
from rlgen.core.optimizer import OptimizerOptions, make_optimizer
from rlgen.core.watched import Falls
from rlgen.envs.spec import EnvSpec
from rlgen.nets.layers import NetworkOptions
from rlgen.nets.networks import network
from rlgen.nets.policies import actor, without_gradients


@dataclass(frozen=True)
class Config(OptimizerOptions, NetworkOptions):
    """Periods are in environment steps, over all environments."""

    lr: float = 1e-3  # step size for the policy; in (0, inf)
    baseline_lr: float = 1e-3  # step size for the baseline; in (0, inf)
    anneal_lr: bool = True  # let both fall linearly to 0 at the end of the run
    gamma: float = 0.99  # discount per step; in [0, 1]
    # divided by ranks
    rollout_steps: int = 512  # steps in a rollout, one update each; in [1, 10**6]; fixed: a buffer of another size
    entropy_coef: float = 0.0  # weight of the entropy bonus; in [0, inf)
    max_grad_norm: float = 0.5  # the gradients' norms are clipped to this; in (0, inf)
    hidden: tuple[int, ...] = (64, 64)  # layers of policy and baseline; in [1, 65536]; fixed: networks of other sizes


class Reinforce(Agent):
    """Monte Carlo policy gradient, one pass over each rollout."""

    Config = Config
    watched = (
        *Agent.watched,
        Falls("losses/entropy", 0.05, "the policy has collapsed", "a lower --lr, or a higher --entropy-coef"),
    )
    acts_on_arrays = True
    act_reads = ()

    def __init__(self, cfg: Any, spec: EnvSpec) -> None:
        super().__init__(cfg)
        self.rows_per_turn = max(1, cfg.rollout_steps // spec.num_envs)  # T
        self.rollout_size = self.rows_per_turn * spec.num_envs  # T * N

        self.actor, self.distribution = actor(spec, cfg.hidden, cfg)
        self.baseline = network(spec, cfg.hidden, 1, nn.Tanh, init_gain=1.0, options=cfg)
        self.optimizer = make_optimizer(cfg, self.actor.parameters(), cfg.lr)
        self.baseline_optimizer = make_optimizer(cfg, self.baseline.parameters(), cfg.baseline_lr)

    def make_buffer(self) -> Buffer:
        return Buffer(self.rollout_size, gamma=self.cfg.gamma, generator=self.generator)

    def learning_rates(self) -> dict[str, float]:
        scale = 1 - self.progress if self.cfg.anneal_lr else 1.0
        return {"optimizer": self.cfg.lr * scale, "baseline_optimizer": self.cfg.baseline_lr * scale}

    @without_gradients
    def act(self, obs: Any, greedy: bool = False) -> Batch:
        policy = self.distribution(self.actor(obs))
        return {"action": policy.mode() if greedy else policy.sample(self.generator)}

    def batches(self, buffer: Buffer) -> Iterator[Batch]:
        yield self.with_return(buffer.drain())

    @torch.no_grad()
    def with_return(self, rollout: Batch) -> Batch:
        """Add the reward-to-go, completed by the baseline, to a rollout [T, N, ...] and flatten it to [B, ...]."""
        shape = rollout["reward"].shape
        value = self.baseline(flatten_time(rollout["obs"])).view(shape)  # [T, N]
        next_value = self.baseline(flatten_time(rollout["next_obs"])).view(shape)  # [T, N]
        ends = rollout["terminated"], rollout["truncated"]
        advantage = gae(rollout["reward"], value, next_value, *ends, self.cfg.gamma, gae_lambda=1.0)  # [T, N]
        batch = {name: rollout[name] for name in ("obs", "action", "valid")}
        batch |= {"advantage": advantage, "return": advantage + value}
        return {name: flatten_time(value) for name, value in batch.items()}

    def policy_loss(self, nets: Reinforce, batch: Batch) -> tuple[Tensor, Batch]:
        policy = self.distribution(nets.actor(batch["obs"]))
        log_prob = policy.log_prob(batch["action"])  # [B]
        policy_loss = -masked_mean(log_prob * batch["advantage"], batch["valid"])  # an autoreset's junk weighs nothing
        entropy = masked_mean(policy.entropy(), batch["valid"])

        loss = policy_loss - self.cfg.entropy_coef * entropy
        return loss, {"losses/policy_loss": policy_loss, "losses/entropy": entropy}

    def baseline_loss(self, nets: Reinforce, batch: Batch) -> tuple[Tensor, Batch]:
        value_error = nets.baseline(batch["obs"]).squeeze(-1) - batch["return"]  # [B]
        value_loss = 0.5 * masked_mean(value_error.square(), batch["valid"])
        return value_loss, {"losses/value_loss": value_loss}

    def update(self, batch: Batch) -> Batch:
        metrics = self.minimize(self.policy_loss, batch, self.optimizer, self.cfg.max_grad_norm)
        metrics |= self.minimize(self.baseline_loss, batch, self.baseline_optimizer, self.cfg.max_grad_norm)
        return metrics
