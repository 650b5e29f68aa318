"""Plain PyTorch's Q-learning from images: CleanRL's dqn_atari.py, with our arithmetic."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rlgen.bench import noise, replay
from rlgen.bench.measure import Block
from rlgen.bench.peers.counter import Counter
from rlgen.bench.peers.eager import net, q_update
from rlgen.bench.works import Work


class Scaled(nn.Module):
    """NatureCNN, which scales bytes itself."""

    def __init__(self, hidden: tuple[int, ...]) -> None:
        super().__init__()
        convs = [nn.Conv2d(4, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(), nn.Conv2d(64, 64, 3, 1)]
        head = net([3136, *hidden, noise.NUM_ACTIONS])
        self.layers = nn.Sequential(*convs, nn.ReLU(), nn.Flatten(), head)

    def forward(self, obs: Tensor) -> Tensor:
        return self.layers(obs / 255.0)


def update(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """Updates on one batch that is already on the device."""
    batch = noise.transitions(config["batch_size"], work.shape, config["device"])
    return updates_from(lambda: batch, config)


def sampled_update(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """Updates on batches out of a NumPy ring of whole stacks; the next stack is the one in the next row."""
    num, rows, used = replay.NUM_ENVS, config["buffer_size"] // replay.NUM_ENVS, replay.NUM_WARM // replay.NUM_ENVS
    obs_rows = np.zeros((rows, num, *work.shape), np.uint8)  # [R, N, 4, 84, 84]; memory is taken where it is written
    action_rows = np.zeros((rows, num), np.int64)
    reward_rows, end_rows = np.zeros((2, rows, num), np.float32)
    for row, stacks in zip(range(used + 1), replay.stacks(work.shape, "cpu"), strict=False):
        obs_rows[row] = stacks.numpy()

    def draw() -> dict[str, Tensor]:
        row = np.random.randint(used, size=config["batch_size"])
        column = np.random.randint(num, size=config["batch_size"])
        drawn = {
            "obs": obs_rows[row, column],
            "next_obs": obs_rows[row + 1, column],
            "action": action_rows[row, column],
            "reward": reward_rows[row, column],
            "discount": config["gamma"] * (1 - end_rows[row, column]),
        }
        return {name: torch.as_tensor(value).to(config["device"]) for name, value in drawn.items()}

    return updates_from(draw, config)


def updates_from(draw: Callable[[], dict[str, Tensor]], config: dict[str, Any]) -> Block:
    """Updates on batches as `draw` returns them."""
    q = Scaled(config["hidden"]).to(config["device"])
    target, optimizer = copy.deepcopy(q), torch.optim.Adam(q.parameters(), lr=config["lr"])

    def step(block: Counter) -> int:
        q_update(q, target, optimizer, draw(), config["max_grad_norm"])
        block.updates += 1
        return 1

    return Counter(step, "update", config["device"])
