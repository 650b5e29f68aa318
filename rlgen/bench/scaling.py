"""`rlgen bench --scale`: what a step costs as environments, batch, buffer or seeds grow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeVar, cast

import torch

from rlgen.bench.measure import Costs, Took, memory, per, repeat, show_progress
from rlgen.bench.ours import Trainer
from rlgen.bench.works import WORKS, configure
from rlgen.core.buffer import Buffer
from rlgen.speed.stacked import Together

WARM_UPDATES = 50  # of each seed before it is timed: gradient steps are recorded in them

Result = TypeVar("Result")

Point = dict[str, Any]  # `axis`, `value` on it, by unit `costs` on the clock and in `cpu` time, and `bytes`


def point(axis: str, value: int, costs: Costs, nbytes: float) -> Point:
    """What was measured at one value of an axis."""
    show_progress(f"{axis} {value}")
    times = {
        "costs": {unit: cost.value for unit, cost in costs.items()},
        "cpu": {unit: cost.cpu for unit, cost in costs.items()},
    }
    return {"axis": axis, "value": value, **times, "bytes": nbytes}


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
            dict(buffer.sample(128))  # reads it: on a GPU it is drawn then
            return 1

        while len(buffer) < size:
            insert()
        count, took = repeat(seconds / 2, insert, where["device"])
        costs = per(took, insert=count)
        count, took = repeat(seconds / 2, sample, where["device"])
        yield point("fill", size, costs | per(took, sample=count), buffer.nbytes)


def seeds(where: dict[str, Any], seconds: float, counts: Sequence[int] = (1, 2, 4, 8, 16, 32)) -> Iterator[Point]:
    """Seeds trained together in one process, as `--seeds` does on a GPU; one window of all of them is timed."""
    for num in counts:
        with ExitStack() as stack:
            count, took = time_seeds(where, seconds, num, stack)
            yield point("seeds", num, per(took, env_step=count), memory(where["device"], True))


def time_seeds(where: dict[str, Any], seconds: float, num: int, stack: ExitStack) -> tuple[int, Took]:
    """Train so many seeds together; returns the env steps of all of them in a window of so many seconds, at least.

    The window begins once every seed is warm, and it ends for all of them in one turn: where the others
    went on, they would be stacked anew, which takes longer than many steps.
    """
    work, together, is_over = WORKS["dqn-1env"], Together(), False
    trainers = [Trainer(configure("dqn-1env", seed=seed, **where), work, stack) for seed in range(num)]
    for trainer in trainers:
        trainer.learner.executor = together

    def warm_up(trainer: Trainer) -> None:
        while trainer.learner.num_updates < WARM_UPDATES:
            trainer.step()

    def work_off(trainer: Trainer) -> int:
        nonlocal is_over
        count = 0
        while not is_over:
            count += trainer.step()
            if trainer is trainers[0] and time.perf_counter() - begin.wall >= seconds:
                is_over = True
        return count

    finished(together.run([partial(warm_up, trainer) for trainer in trainers]))
    begin = Took.until_now()
    counts = finished(together.run([partial(work_off, trainer) for trainer in trainers]))
    if trainers[0].learner.device.type == "cuda":
        torch.cuda.synchronize()
    return sum(counts), Took.until_now().since(begin)


def finished(results: Sequence[Result | BaseException]) -> list[Result]:
    """The results, where nothing was raised instead."""
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return list(cast(Sequence[Result], results))


SCALES: dict[str, Callable[[dict[str, Any], float], Iterator[Point]]] = {
    "envs": envs,
    "batch": batch,
    "fill": fill,
    "seeds": seeds,
}
