"""Proximal policy optimization with a clipped objective (Schulman et al. 2017).

"Proximal policy optimization algorithms", arXiv 1707.06347, equation 9; advantages from "High-dimensional continuous
control using generalized advantage estimation" (Schulman et al. 2016). Shapes: B batch, T time, N environments,
A actions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rlgen.core.batch import Batch, flatten_time, minibatches
from rlgen.core.buffer import Buffer
from rlgen.core.functional import gae, masked_mean
from rlgen.core.learner import Agent
from rlgen.core.novelty import Novelty, NoveltyOptions, novelty_loss, with_bonus
from rlgen.core.optimizer import OptimizerOptions, make_optimizer
from rlgen.core.watched import Above, Falls
from rlgen.envs.spec import EnvSpec
from rlgen.errors import UsageError
from rlgen.nets.layers import NetworkOptions
from rlgen.nets.networks import network
from rlgen.nets.policies import actor, without_gradients


@dataclass(frozen=True)
class Config(OptimizerOptions, NetworkOptions, NoveltyOptions):
    """Steps are environment steps, over all environments."""

    lr: float = 3e-4  # step size; in (0, inf)
    anneal_lr: bool = True  # let lr fall linearly to 0 at the end of the run
    gamma: float = 0.99  # discount per step; in [0, 1]
    gae_lambda: float = 0.95  # how far advantages look ahead: 0 one step, 1 to the end; in [0, 1]
    # divided by ranks
    rollout_steps: int = 2048  # steps between rounds of updates; in [2, 10**6]; fixed: a buffer of another size
    # divided by ranks
    batch_size: int = 64  # transitions in an update; in [2, 10**6]
    num_epochs: int = 10  # passes over a rollout; in [1, inf)
    clip_coef: float = 0.2  # how far the probability ratio may leave 1; in (0, inf)
    value_coef: float = 0.5  # weight of the value loss; in [0, inf)
    entropy_coef: float = 0.0  # weight of the entropy bonus; in [0, inf)
    max_grad_norm: float = 0.5  # the gradient's norm is clipped to this; in (0, inf)
    target_kl: float = 0.0  # leave the rollout after an epoch that ends beyond this, 0 never; in [0, inf)
    hidden: tuple[int, ...] = (64, 64)  # layers of actor and critic; in [1, 65536]; fixed: networks of other sizes


class PPO(Agent):
    """Actor and critic in separate networks, several epochs of minibatches on each rollout."""

    Config = Config
    watched = (
        *Agent.watched,
        Falls("losses/entropy", 0.05, "the policy has collapsed", "a lower --lr, or a higher --entropy-coef"),
        Above("losses/approx_kl", 0.5, "updates go too far", "a lower --lr, fewer --num-epochs, or --target-kl 0.02"),
    )
    acts_on_arrays = True
    act_reads = ()

    def __init__(self, cfg: Any, spec: EnvSpec) -> None:
        super().__init__(cfg)
        if cfg.batch_size > cfg.rollout_steps:
            raise UsageError(
                f"batch_size {cfg.batch_size} is more than rollout_steps {cfg.rollout_steps}: lower it, or raise those"
            )
        self.rows_per_turn = max(1, cfg.rollout_steps // spec.num_envs)  # T
        self.rollout_size = self.rows_per_turn * spec.num_envs  # T * N
        self.batch_size = min(cfg.batch_size, self.rollout_size)

        self.actor, self.distribution = actor(spec, cfg.hidden, cfg)
        self.critic = network(spec, cfg.hidden, 1, nn.Tanh, init_gain=1.0, options=cfg)
        params = [*self.actor.parameters(), *self.critic.parameters()]
        self.optimizer = make_optimizer(cfg, params, cfg.lr, eps=1e-5)
        if cfg.rnd:
            self.novelty = Novelty(spec)
            self.novelty_optimizer = make_optimizer(cfg, self.novelty.predictor.parameters(), cfg.rnd_lr)

    def make_buffer(self) -> Buffer:
        return Buffer(self.rollout_size, gamma=self.cfg.gamma, generator=self.generator)

    def learning_rates(self) -> dict[str, float]:
        return {"optimizer": self.cfg.lr * (1 - self.progress) if self.cfg.anneal_lr else self.cfg.lr}

    @without_gradients
    def act(self, obs: Any, greedy: bool = False) -> Batch:
        policy = self.distribution(self.actor(obs))
        return {"action": policy.mode() if greedy else policy.sample(self.generator)}

    def batches(self, buffer: Buffer) -> Iterator[Batch]:
        rollout = buffer.drain()
        rollout = self.with_advantage(with_bonus(self.novelty, rollout, self.cfg.rnd) if self.cfg.rnd else rollout)
        for _ in range(self.cfg.num_epochs):
            yield from minibatches(rollout, self.batch_size, 1, self.generator)
            if self.cfg.target_kl and self.last_kl > self.cfg.target_kl:  # waits for the device, once an epoch
                return

    @torch.no_grad()
    def with_advantage(self, rollout: Batch) -> Batch:
        """Add to a rollout [T, N, ...] what its own policy and critic say of it: the weights have not moved since."""
        shape = rollout["reward"].shape
        obs, next_obs, action = (flatten_time(rollout[name]) for name in ("obs", "next_obs", "action"))  # [T * N, ...]
        value = self.critic(obs).view(shape)  # [T, N]
        next_value = self.critic(next_obs).view(shape)  # [T, N] of the true last observation where an episode ended
        with self.autocast():  # as the loss will see it, or its ratio would not begin at 1
            log_prob = self.distribution(self.actor(obs)).log_prob(action).view(shape)  # [T, N]

        ends = rollout["terminated"], rollout["truncated"]
        advantage = gae(rollout["reward"], value, next_value, *ends, self.cfg.gamma, self.cfg.gae_lambda)  # [T, N]
        kept = ("obs", "action", "valid", *["next_obs"] * (self.cfg.rnd > 0))
        return {name: rollout[name] for name in kept} | {
            "value": value, "log_prob": log_prob, "advantage": advantage, "return": advantage + value,
        }  # fmt: skip

    def loss(self, nets: PPO, batch: Batch) -> tuple[Tensor, Batch]:
        cfg, valid = self.cfg, batch["valid"]  # the junk step of an autoreset is not valid and weighs nothing
        policy = self.distribution(nets.actor(batch["obs"]))
        log_ratio = policy.log_prob(batch["action"]) - batch["log_prob"]  # [B]
        ratio = log_ratio.exp()  # [B]

        advantage = batch["advantage"] - masked_mean(batch["advantage"], valid)  # [B]
        advantage = advantage / (masked_mean(advantage.square(), valid).sqrt() + 1e-8)
        clipped_ratio = ratio.clamp(1 - cfg.clip_coef, 1 + cfg.clip_coef)  # [B]
        policy_loss = -masked_mean(torch.minimum(advantage * ratio, advantage * clipped_ratio), valid)

        value_error = nets.critic(batch["obs"]).squeeze(-1) - batch["return"]  # [B]
        value_loss = 0.5 * masked_mean(value_error.square(), valid)
        entropy = masked_mean(policy.entropy(), valid)
        loss = policy_loss + cfg.value_coef * value_loss - cfg.entropy_coef * entropy

        return loss, {
            "losses/policy_loss": policy_loss,
            "losses/value_loss": value_loss,
            "losses/entropy": entropy,
            "losses/approx_kl": masked_mean(ratio - 1 - log_ratio, valid),  # k3 of Schulman's note: unbiased, >= 0
            "losses/clipfrac": masked_mean(((ratio - 1).abs() > cfg.clip_coef).float(), valid),
            "losses/explained_variance": explained_variance(batch["value"], batch["return"], valid),
        }

    def update(self, batch: Batch) -> Batch:
        metrics = self.minimize(self.loss, batch, self.optimizer, self.cfg.max_grad_norm)
        self.last_kl = metrics["losses/approx_kl"]
        if self.cfg.rnd:
            metrics |= self.minimize(novelty_loss, batch, self.novelty_optimizer)
        return metrics


def explained_variance(value: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Share of the variance of `target` [B] that `value` [B] explains: 1 all of it, 0 none, less than 0 misleads."""
    error = target - value  # [B]
    unexplained = masked_mean((error - masked_mean(error, valid)).square(), valid)
    variance = masked_mean((target - masked_mean(target, valid)).square(), valid)
    return 1 - unexplained / variance.clamp(min=1e-8)
