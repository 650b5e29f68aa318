"""Observations of two parts, a camera and a speed: rows, a naive reference, environments, and an agent that sees both.

Shapes: T time, N environments, B batch, A actions.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import huber_loss

from rlgen.core.batch import Batch
from rlgen.core.buffer import Buffer
from rlgen.core.learner import Agent
from rlgen.envs.spec import EnvSpec
from rlgen.envs.stream import Transition

GAMMA = 0.5
ENDS = ("terminated", "truncated")


def look(number: np.ndarray) -> dict[str, np.ndarray]:
    """What observation `number` [N] looks like: a camera [N, 2, 3] uint8 and a speed [N] float32 that tell it."""
    camera = (number[:, None, None] * np.arange(1, 7).reshape(2, 3) + number[:, None, None] // 256) % 256
    return {"camera": camera.astype(np.uint8), "speed": (number / 8).astype(np.float32)}


def number_of(speed: Any) -> Any:
    """Which observation it is."""
    return (8 * np.asarray(speed)).astype(int)


def part_rows(num_envs: int, num_rows: int, seed: int, junk: bool = False) -> Iterator[dict[str, Any]]:
    """Random episodes, an observation that is never seen again at every step, and the true last ones.

    With `junk` an ended episode is followed by a step that is none, as autoreset in the next step has it.
    """
    rng = np.random.default_rng(seed)
    number, pending = np.arange(num_envs) * 10_000, np.zeros(num_envs, dtype=bool)
    obs = look(number)
    for _ in range(num_rows):
        ended = (rng.random(num_envs) < 0.25) & ~pending
        terminated = ended & (rng.random(num_envs) < 0.5)
        next_obs = look(number + 1)
        yield {
            "obs": obs,
            "memory": {"hidden": rng.normal(size=(num_envs, 2)).astype(np.float32), "cell": number.astype(np.float32)},
            "action": rng.integers(0, 3, num_envs),
            "reward": rng.normal(size=num_envs).astype(np.float32),
            "next_obs": next_obs,
            "terminated": terminated,
            "truncated": ended & ~terminated,
            "valid": ~pending,
        }
        number = number + 1 + (0 if junk else 20 * ended)
        obs = look(number) if ended.any() and not junk else next_obs
        pending = ended & junk


def flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row, or a batch, with parts under names of their own: written here once more, as a test of the other."""
    found = {}
    for name, value in row.items():
        parts = value if isinstance(value, dict) else {None: value}
        found |= {name if part is None else f"{name}/{part}": np.asarray(each) for part, each in parts.items()}
    return found


def expected(rows: list[dict[str, Any]], max_rows: int, n_step: int) -> dict[int, dict[str, Any]]:
    """Of every transition that may be drawn from the last rows, by its number, what must be drawn: the slow way."""
    kept, found = [flat(row) for row in rows[-max_rows:]], {}
    for t in range(len(kept) - n_step + 1):
        for n in np.flatnonzero(kept[t]["valid"]):
            reward, discount = 0.0, 1.0
            for step in kept[t : t + n_step]:
                reward, discount = reward + discount * step["reward"][n], discount * GAMMA
                if step["terminated"][n] or step["truncated"][n]:
                    break
            drawn = {name: value[n] for name, value in kept[t].items() if name not in (*ENDS, "valid")}
            drawn |= {name: value[n] for name, value in step.items() if name.startswith("next_obs")}
            drawn |= {"reward": reward, "discount": 0.0 if step["terminated"][n] else discount}
            found[int(number_of(kept[t]["obs/speed"][n]))] = drawn
    return found


class PartEnvs:
    """N environments of a few steps each; action 1 earns what the camera shows, action 0 the speed."""

    def __init__(self, num_envs: int) -> None:
        self.num_envs, self.num_steps = num_envs, 0
        self.success, self.successes = np.full(num_envs, np.nan), []
        self.spec = EnvSpec("Parts", (), "float32", 2, (), (), (), num_envs)
        self.count, self.length = np.zeros(num_envs, dtype=int), 2 + np.arange(num_envs)
        self.obs = look(self.count)

    def step(self, action: np.ndarray) -> Transition:
        reward = np.where(action == 1, self.obs["camera"][:, 0, 0] / 255, self.obs["speed"]).astype(np.float32)
        self.num_steps, self.count = self.num_steps + 1, self.count + 1
        next_obs, ended = look(self.count), self.count == self.length
        self.count = np.where(ended, 0, self.count)
        self.obs = look(self.count) if ended.any() else next_obs
        always = np.ones(self.num_envs, dtype=bool)
        return Transition(next_obs, reward, ended, ~always, always)  # type: ignore[arg-type]

    def close(self) -> None:
        """Nothing to stop."""


class TwoParts(nn.Module):
    """Action values of a camera and a speed: [B, A]."""

    def __init__(self, num_actions: int) -> None:
        super().__init__()
        self.camera, self.speed = nn.Linear(6, 16), nn.Linear(1, 16)
        self.head = nn.Linear(32, num_actions)

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        camera = torch.relu(self.camera(obs["camera"].flatten(1).float() / 255))
        speed = torch.relu(self.speed(obs["speed"][:, None] / 4096))
        return self.head(torch.cat([camera, speed], -1))


class PartLearner(Agent):
    """Q-learning; its loss passes observations unopened to the network, and looks at one part itself."""

    def __init__(self, num_actions: int = 3) -> None:
        torch.manual_seed(0)
        super().__init__(SimpleNamespace())
        self.discount = GAMMA
        self.q = TwoParts(num_actions)
        self.optimizer = torch.optim.Adam(self.q.parameters(), lr=1e-2, fused=True)

    def act(self, obs: Any, greedy: bool = False) -> Any:
        with torch.no_grad():
            return {"action": self.q(obs).argmax(-1), "q_estimate": self.q(obs).amax(-1)}

    def batches(self, buffer: Buffer) -> Iterator[Batch]:
        yield buffer.sample(16)

    def loss(self, nets: Any, batch: Any) -> tuple[Tensor, Batch]:
        with torch.no_grad():
            target = batch["reward"] + batch["discount"] * nets.q(batch["next_obs"]).amax(-1)  # [B]
        q_value = nets.q(batch["obs"]).gather(-1, batch["action"][:, None]).squeeze(-1)  # [B]
        light = batch["obs"]["camera"].float().mean()
        loss = huber_loss(q_value, target)
        return loss, {"losses/td_loss": loss, "losses/light": light, "error": q_value - target}

    def update(self, batch: Batch) -> Batch:
        return self.minimize(self.loss, batch, self.optimizer, max_grad_norm=1.0)
