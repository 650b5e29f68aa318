"""A policy gradient with a memory, and a task that only a memory solves. T time, N envs, H memory, A actions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from rlgen.core.batch import Batch
from rlgen.core.buffer import Buffer
from rlgen.core.functional import gae, masked_mean
from rlgen.core.learner import Agent


class Cue(gym.Env):
    """Two steps: the first observation shows a cue, the second nothing. The reward is 1 for naming the cue then."""

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(0, 1, (2,), np.float32)
        self.action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.count, self.cue = 0, int(self.np_random.integers(2))
        return np.eye(2, dtype=np.float32)[self.cue], {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.count += 1
        over = self.count == 2
        return np.zeros(2, np.float32), float(over and action == self.cue), over, False, {}


gym.register("Cue-v0", Cue)


@dataclass(frozen=True)
class Config:
    """Of the agent."""

    lr: float = 1e-2  # step size of Adam; in (0, inf)
    rollout_steps: int = 128  # steps between two updates, over all environments; in [1, inf)
    num_hidden: int = 16  # numbers that it remembers; in [1, inf)
    remember: bool = True  # False: its memory is always zero


class Recurrent(Agent):
    """Monte Carlo policy gradient through time, from the memory that the rollout began with."""

    Config = Config

    def __init__(self, cfg: Any, spec: Any) -> None:
        super().__init__(cfg)
        self.memory_spec = {"hidden": (cfg.num_hidden,)}  # type: ignore[misc]
        self.kept = float(cfg.remember)
        self.rows_per_turn = max(1, cfg.rollout_steps // spec.num_envs)  # T
        self.rollout_size = self.rows_per_turn * spec.num_envs  # T * N
        self.cell = nn.GRUCell(spec.obs_shape[0], cfg.num_hidden)
        self.head = nn.Linear(cfg.num_hidden, spec.num_actions)
        self.optimizer = torch.optim.Adam(self.parameters(), lr=cfg.lr, fused=True)

    def make_buffer(self) -> Buffer:
        return Buffer(self.rollout_size, generator=self.generator)

    @torch.no_grad()
    def act(self, obs: Any, greedy: bool = False, memory: Any = None) -> Any:
        hidden = self.cell(obs, memory["hidden"] * self.kept)  # [N, H]
        logits = self.head(hidden)  # [N, A]
        noise = 0 if greedy else -torch.empty_like(logits).exponential_(generator=self.generator).log()  # Gumbel's
        return {"action": (logits + noise).argmax(-1), "memory": {"hidden": hidden}}

    def batches(self, buffer: Buffer) -> Iterator[Batch]:
        rollout = buffer.drain()
        terminated, truncated, zero = rollout["terminated"], rollout["truncated"], torch.zeros_like(rollout["reward"])
        to_go = gae(rollout["reward"], zero, zero, terminated, truncated, gamma=0.9, gae_lambda=1.0)  # [T, N]
        batch = {name: rollout[name] for name in ("obs", "action", "valid", "memory")}
        batch["going"] = ~(terminated | truncated) & rollout["valid"]
        yield batch | {"advantage": to_go - masked_mean(to_go, rollout["valid"])}

    def unroll(self, nets: Any, batch: Any) -> Tensor:
        """The hidden states that actions were chosen from: [T, N, H]."""
        hidden, states = batch["memory"]["hidden"][0], []  # [N, H] as the first action was chosen with it
        for obs, going in zip(batch["obs"], batch["going"], strict=True):
            states.append(nets.cell(obs, hidden * self.kept))
            hidden = states[-1] * going[:, None]  # forgotten where an episode ended
        return torch.stack(states)

    def loss(self, nets: Any, batch: Any) -> tuple[Tensor, Batch]:
        log_probs = nets.head(self.unroll(nets, batch)).log_softmax(-1)  # [T, N, A]
        log_prob = log_probs.gather(-1, batch["action"][..., None]).squeeze(-1)  # [T, N]
        loss = -masked_mean(log_prob * batch["advantage"], batch["valid"])
        return loss, {"losses/policy_loss": loss}

    def update(self, batch: Any) -> Batch:
        return self.minimize(self.loss, batch, self.optimizer)
