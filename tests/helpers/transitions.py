"""Rows of transitions whose right answer is known, and a naive reference: a Python list of transitions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import counting
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import FrameStackObservation

from rlgen.core.buffer import Buffer
from rlgen.core.ring import Tensors

GAMMA = 0.5
ENDS = (
    ((3, "terminated"), (1, "truncated"), (5, "terminated")),
    ((9, "truncated"), (2, "terminated")),
    ((4, "truncated"),),
)


def make_buffer(capacity: int | None, n_step: int = 1, frame_stack: int = 1, as_on_gpu: bool = False) -> Buffer:
    """An empty buffer; `as_on_gpu` handles its data as on a GPU, here on the CPU."""
    generator = torch.Generator().manual_seed(0)
    buffer = Buffer(capacity, gamma=GAMMA, n_step=n_step, frame_stack=frame_stack, generator=generator)
    if as_on_gpu:
        buffer.backend = Tensors(generator)
    return buffer


@dataclass
class Reference:
    """Everything ever added, as true transitions; what a buffer may return is computed from it the slow way."""

    capacity: int
    n_step: int
    columns: list[list[dict]] = field(default_factory=list)  # [N][T]

    def add(self, row: dict) -> None:
        num = len(row["obs"])
        self.columns = self.columns or [[] for _ in range(num)]
        for n in range(num):
            self.columns[n].append({name: value[n].item() for name, value in row.items()})

    def drawable(self) -> dict[int, dict]:
        """Expected sample by the transition's unique obs."""
        rows = self.capacity // len(self.columns)
        expected = {}
        for column in self.columns:
            kept = column[-rows:]
            for t, first in enumerate(kept):
                if not first["valid"] or t + self.n_step > len(kept):  # the window would cross the write head
                    continue
                reward, discount = 0.0, 1.0
                for step in kept[t : t + self.n_step]:
                    last = step
                    reward += discount * step["reward"]
                    discount *= GAMMA
                    if step["terminated"] or step["truncated"]:
                        break
                expected[first["obs"]] = {
                    "reward": reward,
                    "discount": 0.0 if last["terminated"] else discount,
                    "next_obs": last["next_obs"],
                    "action": first["action"],
                }
        return expected


def stream(num_envs: int, num_rows: int, seed: int, junk: bool = False) -> Iterator[dict[str, torch.Tensor]]:
    """Random episodes with unique observations: env * 1e6 + a counter; next_obs is the true one, also at an end."""
    rng = np.random.default_rng(seed)
    counter = np.arange(num_envs) * 1_000_000
    pending = np.zeros(num_envs, dtype=bool)
    for _ in range(num_rows):
        valid = ~pending if junk else np.ones(num_envs, dtype=bool)
        ended = (rng.random(num_envs) < 0.25) & valid
        terminated = ended & (rng.random(num_envs) < 0.5)
        obs = counter.copy()
        counter = counter + 1
        next_obs = counter.copy()
        row = {
            "obs": obs,
            "action": rng.integers(0, 4, num_envs),
            "reward": rng.normal(size=num_envs).astype(np.float32),
            "next_obs": next_obs,
            "terminated": terminated,
            "truncated": ended & ~terminated,
            "valid": valid,
        }
        if not junk:  # a new episode begins elsewhere: the final observation is not the next row's
            counter = counter + 10 * ended
        pending = ended
        yield {name: torch.from_numpy(value) for name, value in row.items()}


def stacked_rows(num_envs: int, num_rows: int, k: int, junk: bool) -> Iterator[dict[str, np.ndarray]]:
    """Rows of counting environments as gymnasium stacks them; observations [N, k, 2]."""
    mode = AutoresetMode.NEXT_STEP if junk else AutoresetMode.SAME_STEP
    thunks: Any = [
        lambda ends=ENDS[n]: FrameStackObservation(counting.Counting(ends, start=1), k)  # type: ignore[misc]
        for n in range(num_envs)
    ]
    envs, rng = SyncVectorEnv(thunks, autoreset_mode=mode), np.random.default_rng(num_rows)
    obs, _ = envs.reset(seed=0)
    pending = np.zeros(num_envs, bool)
    for t in range(num_rows):
        action = rng.integers(1, 4, num_envs)
        new, reward, terminated, truncated, infos = envs.step(action)
        ended, next_obs = terminated | truncated, new.copy()
        if not junk and ended.any():
            next_obs[ended] = np.stack(infos["final_obs"][ended])
        yield {
            "obs": obs,
            "action": action,
            "reward": reward.astype(np.float32),
            "next_obs": next_obs,
            "terminated": terminated,
            "truncated": truncated,
            "valid": ~pending if junk else np.ones(num_envs, bool),
            "id": np.arange(num_envs) + t * num_envs,
        }
        obs, pending = (next_obs if not ended.any() else new.copy()), ended


def expected_stacks(rows: list[dict], capacity_rows: int, n_step: int) -> dict[int, tuple]:
    """Of every drawable transition, by id: its stack and the stack n steps on, as they were added."""
    kept, expected = rows[-capacity_rows:], {}
    for t in range(len(kept) - n_step + 1):
        for n, valid in enumerate(kept[t]["valid"]):
            if valid:
                last = t
                while last < t + n_step - 1 and not (kept[last]["terminated"][n] or kept[last]["truncated"][n]):
                    last += 1
                expected[int(kept[t]["id"][n])] = (kept[t]["obs"][n], kept[last]["next_obs"][n])
    return expected
