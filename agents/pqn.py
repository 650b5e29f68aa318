"""PQN: Q-learning without replay buffer and target network (Gallici et al. 2025).

"Simplifying deep temporal difference learning", arXiv 2407.04811, section 4: layer normalisation instead of a target
network, many environments side by side instead of a buffer, and several epochs of minibatches on the lambda returns of
each rollout. Adam is taken where the paper has RAdam. Shapes: B batch, T time, N environments, A actions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from rlgen.core.batch import Batch, flatten_time, minibatches
from rlgen.core.buffer import Buffer
from rlgen.core.functional import lambda_returns, linear_schedule, masked_mean
from rlgen.core.learner import Agent
from rlgen.core.optimizer import OptimizerOptions, make_optimizer
from rlgen.core.watched import Outgrows
from rlgen.envs.spec import EnvSpec
from rlgen.nets.layers import NetworkOptions
from rlgen.nets.policies import epsilon_greedy, without_gradients
from rlgen.nets.q_network import check_actions, q_network


@dataclass(frozen=True)
class Config(OptimizerOptions, NetworkOptions):
    """Steps are environment steps, over all environments."""

    lr: float = 5e-4  # step size; in (0, inf)
    anneal_lr: bool = True  # let lr fall linearly to 0 at the end of the run
    gamma: float = 0.99  # discount per step; in [0, 1]
    q_lambda: float = 0.65  # lambda: 0 one-step targets, 1 all rewards to the end of episode or rollout; in [0, 1]
    # divided by ranks
    rollout_steps: int = 4096  # steps between rounds of updates; in [1, 10**6]; fixed: a buffer of another size
    # at most rollout_steps: minibatches are parts of a rollout
    # divided by ranks
    batch_size: int = 128  # transitions in an update; in [1, 10**6]
    num_epochs: int = 2  # passes over a rollout; in [1, inf)
    epsilon_start: float = 1.0  # share of random actions at first; in [0, 1]
    epsilon_end: float = 0.05  # and after exploration_fraction; in [0, 1]
    exploration_fraction: float = 0.1  # part of the run in which it falls; in [0, 1]
    max_grad_norm: float = 10.0  # the gradient's norm is clipped to this; in (0, inf)
    norm: Literal["none", "layer", "rms"] = "layer"  # before activations, LayerNorm or RMSNorm; in a CNN over channels
    hidden: tuple[int, ...] = (256, 256)  # sizes of the hidden layers; in [1, 65536]; fixed: networks of other sizes


class PQN(Agent):
    """One network, which acts, makes the targets and learns from them."""

    Config = Config
    watched = (*Agent.watched, Outgrows("losses/q_values"))
    acts_on_arrays = True
    act_reads = ("epsilon",)

    def __init__(self, cfg: Any, spec: EnvSpec) -> None:
        super().__init__(cfg)
        check_actions(spec)
        self.discount, self.rows_per_turn = cfg.gamma, max(1, cfg.rollout_steps // spec.num_envs)  # T
        self.rollout_size = self.rows_per_turn * spec.num_envs  # T * N
        self.batch_size = min(cfg.batch_size, self.rollout_size)

        self.q = q_network(spec, cfg.hidden, options=cfg)
        self.optimizer = make_optimizer(cfg, self.q.parameters(), cfg.lr)

    def make_buffer(self) -> Buffer:
        return Buffer(self.rollout_size, gamma=self.cfg.gamma, generator=self.generator)

    def learning_rates(self) -> dict[str, float]:
        return {"optimizer": self.cfg.lr * (1 - self.progress) if self.cfg.anneal_lr else self.cfg.lr}

    def schedules(self) -> dict[str, float]:
        return {"charts/epsilon": self.epsilon}

    @property
    def epsilon(self) -> float:
        """Share of random actions now."""
        cfg = self.cfg
        return linear_schedule(cfg.epsilon_start, cfg.epsilon_end, cfg.exploration_fraction, self.progress)

    @without_gradients
    def act(self, obs: Any, greedy: bool = False) -> Batch:
        q_value = self.q(obs)  # [N, A]
        if greedy:
            q_value = torch.as_tensor(q_value)
            return {"action": q_value.argmax(-1), "q_estimate": q_value.amax(-1)}
        return {"action": epsilon_greedy(q_value, self.epsilon, self.uniforms)}

    def batches(self, buffer: Buffer) -> Iterator[Batch]:
        rollout = self.with_return(buffer.drain())
        yield from minibatches(rollout, self.batch_size, self.cfg.num_epochs, self.generator)

    @torch.no_grad()
    def with_return(self, rollout: Batch) -> Batch:
        """Add to a rollout [T, N, ...] its lambda returns, by the network that acted in it: it has not moved since."""
        reward, cfg = rollout["reward"], self.cfg
        next_value = self.q(flatten_time(rollout["next_obs"])).amax(-1).view(reward.shape)  # [T, N]
        ends = rollout["terminated"], rollout["truncated"]
        target = lambda_returns(reward, next_value, *ends, cfg.gamma, cfg.q_lambda)  # [T, N]
        return {name: rollout[name] for name in ("obs", "action", "valid")} | {"return": target}

    def loss(self, nets: PQN, batch: Batch) -> tuple[Tensor, Batch]:
        valid = batch["valid"]  # the junk step of an autoreset is not valid and weighs nothing
        q_value = nets.q(batch["obs"]).gather(-1, batch["action"][:, None]).squeeze(-1)  # [B]
        loss = 0.5 * masked_mean((q_value - batch["return"]).square(), valid)
        return loss, {"losses/td_loss": loss, "losses/q_values": masked_mean(q_value, valid)}

    def update(self, batch: Batch) -> Batch:
        return self.minimize(self.loss, batch, self.optimizer, self.cfg.max_grad_norm)
