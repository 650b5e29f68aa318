"""`rlgen bench --scale`: what a step costs as environments, batch, buffer or seeds grow."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import torch

from rlgen import experiment
from rlgen.bench.measure import Costs, memory, per, repeat, show_progress
from rlgen.bench.ours import Trainer
from rlgen.bench.works import WORKS, configure
from rlgen.core.buffer import Buffer
from rlgen.speed import recorded

SEED_STEPS = 1_000  # of every seed, timed

Point = dict[str, Any]  # `axis`, `value` on it, `costs` by unit, and `bytes`


def point(axis: str, value: int, costs: Costs, nbytes: float) -> Point:
    """What was measured at one value of an axis."""
    show_progress(f"{axis} {value}")
    return {"axis": axis, "value": value, "costs": costs, "bytes": nbytes}


def envs(where: dict[str, Any], seconds: float, counts: Sequence[int] = (1, 4, 16, 64, 256, 1024)) -> Iterator[Point]:
    """Environments stepped together, with as many updates for each env step."""
    for num in counts:
        config = configure("dqn-1env", num_envs=num, buffer_size=100_000, **where)
        with ExitStack() as stack:
            trainer = Trainer(config, WORKS["dqn-1env"], stack)
            trainer(seconds)
            yield point("envs", num, trainer(seconds), memory(where["device"]))


def batch(
    where: dict[str, Any], seconds: float, sizes: Sequence[int] = (32, 64, 128, 256, 512, 1024, 2048, 4096)
) -> Iterator[Point]:
    """Sampling and learning from larger batches, out of 5,000 transitions."""
    for size in sizes:
        config = configure("dqn-64env", batch_size=size, learning_starts=5_000, **where)
        with ExitStack() as stack:
            trainer = Trainer(config, WORKS["dqn-64env"], stack)
            while len(trainer.buffer) < 4_999:
                trainer.source.fill(trainer.buffer, trainer.learner)

            def step(trainer: Trainer = trainer, size: int = size) -> int:
                trainer.learner.learn(trainer.buffer.sample(size))
                return 1

            repeat(seconds, step, where["device"])
            count, took = repeat(seconds, step, where["device"])
            yield point("batch", size, per(took, update=count, transition=count * size), memory(where["device"]))


def fill(where: dict[str, Any], seconds: float, sizes: Sequence[int] = (10_000, 100_000, 1_000_000)) -> Iterator[Point]:
    """Transitions of CartPole's size in a full buffer, 50 in a row; `bytes` are the buffer's own."""
    num = 50
    for size in sizes:
        buffer = Buffer(size, generator=torch.Generator(where["device"]).manual_seed(0))
        obs, no = torch.randn(num, 4, device=where["device"]), torch.zeros(num, dtype=torch.bool)
        row = {"obs": obs, "action": torch.zeros(num, dtype=torch.int64), "reward": torch.zeros(num)}
        row |= {"next_obs": obs, "terminated": no, "truncated": no}

        def insert(buffer: Buffer = buffer, row: dict[str, torch.Tensor] = row) -> int:
            buffer.add(row)
            return num

        def sample(buffer: Buffer = buffer) -> int:
            buffer.sample(128)
            return 1

        while len(buffer) < size:
            insert()
        count, took = repeat(seconds / 2, insert, where["device"])
        costs = per(took, insert=count)
        count, took = repeat(seconds / 2, sample, where["device"])
        yield point("fill", size, costs | per(took, sample=count), buffer.nbytes)


def seeds(where: dict[str, Any], seconds: float, counts: Sequence[int] = (1, 2, 4, 8, 16, 32)) -> Iterator[Point]:
    """Seeds trained together, in whole runs.

    A longer run less a shorter one is what its steps cost. How long they take does not depend on `seconds`.
    """
    min_updates = recorded.MIN_UPDATES_LEFT
    recorded.MIN_UPDATES_LEFT = 0  # these runs are too short for their steps to be recorded; real ones are not
    try:
        train_seeds(where, 1)  # warm-up
        points = [
            point("seeds", num, per(train_seeds(where, num), env_step=num * SEED_STEPS), memory(where["device"], True))
            for num in counts
        ]
    finally:
        recorded.MIN_UPDATES_LEFT = min_updates
    yield from points


def train_seeds(where: dict[str, Any], num: int) -> float:
    """Train so many seeds together; returns how many seconds their last `SEED_STEPS` steps took."""
    took = {}
    for steps in (400, 400 + SEED_STEPS):
        rare = {"learning_starts": 200, "eval_episodes": 1, "eval_every": steps, "checkpoint_every": steps}
        config = configure("dqn-1env", steps=steps, **rare, **where)
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            for result in experiment.start_seeds(config | {"runs_dir": folder}, range(num), quiet=True).values():
                if isinstance(result, BaseException):
                    raise result
            took[steps] = time.perf_counter() - begin
    longer, shorter = took[400 + SEED_STEPS], took[400]
    return longer - shorter if longer > shorter else longer  # noise: then all of it, which is an upper bound


SCALES: dict[str, Callable[[dict[str, Any], float], Iterator[Point]]] = {
    "envs": envs,
    "batch": batch,
    "fill": fill,
    "seeds": seeds,
}
