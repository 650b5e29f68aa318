"""The work `replay`: a replay buffer alone, with stacks of four frames of Atari's size.

Rows go in, batches come out, and its memory is counted. Ours is here; those of other libraries are in `peers/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import torch

from rlgen.bench.measure import Block, Cost, Costs, per, repeat
from rlgen.bench.works import Work
from rlgen.core.buffer import Buffer

CAPACITY = 100_000  # transitions
NUM_ENVS = 8  # transitions of a row
NUM_WARM = 20_000  # transitions that are there before anything is timed


def stacks(shape: tuple[int, ...], device: str) -> Iterator[torch.Tensor]:
    """Observations of endless episodes, each the last frames of noise that repeats: [N, 4, 84, 84] uint8."""
    frames = torch.randint(256, (NUM_ENVS, 64, *shape[1:]), dtype=torch.uint8)
    ready = [frames.roll(-t, 1)[:, : shape[0]].contiguous().to(device) for t in range(64)]
    while True:
        yield from ready


def insert_and_sample(
    insert: Callable[[], int], sample: Callable[[], int], nbytes: Callable[[], float], on: str
) -> Block:
    """Fill a replay buffer a little, now; then every block inserts for one half of it and samples for the other.

    Args:
        insert: puts a row in and returns its transitions.
        sample: takes a batch out and returns 1.
        nbytes: the buffer's memory.
        on: device.
    """
    for _ in range(NUM_WARM // NUM_ENVS):
        insert()

    def block(seconds: float) -> Costs:
        count, took = repeat(seconds / 2, insert, on)
        costs = per(took, insert=count)
        count, took = repeat(seconds / 2, sample, on)
        return costs | per(took, sample=count) | {"bytes": Cost(nbytes())}

    return block


def ours(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """Our buffer, which keeps each frame once."""
    generator = torch.Generator(config["device"]).manual_seed(0)
    buffer = Buffer(CAPACITY, frame_stack=work.shape[0], generator=generator)
    insert = inserter(buffer, work, config["device"])

    def sample() -> int:
        dict(buffer.sample(config["batch_size"]))  # reads it: on a GPU it is drawn then
        return 1

    return insert_and_sample(insert, sample, lambda: buffer.nbytes, config["device"])


def inserter(buffer: Buffer, work: Work, device: str) -> Callable[[], int]:
    """Puts the next row of stacks into our buffer, at every call, and returns its transitions."""
    rows, no = stacks(work.shape, device), torch.zeros(NUM_ENVS, dtype=torch.bool)
    obs = next(rows)
    action, reward = torch.zeros(NUM_ENVS, dtype=torch.int64), torch.zeros(NUM_ENVS)

    def insert() -> int:
        nonlocal obs
        next_obs = next(rows)
        row = {"obs": obs, "action": action, "reward": reward, "next_obs": next_obs}
        buffer.add(row | {"terminated": no, "truncated": no})
        obs = next_obs
        return NUM_ENVS

    return insert
