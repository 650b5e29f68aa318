"""`rlgen bench --profile` and `--scale`: where the time of a step goes, and what it costs as work grows."""

from __future__ import annotations

import inspect
import tempfile
import time
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import torch

from rlgen import experiment
from rlgen.bench import AXES, WORKS, Costs, Trainer, configure, note, per, repeat, resident
from rlgen.core.buffer import Buffer
from rlgen.core.loop import train
from rlgen.runs.log import RunLog
from rlgen.runs.run import Run
from rlgen.speed import recorded as replay

SEED_STEPS = 1_000  # of every seed, timed


class Timer:
    """Adds up the time inside wrapped methods by part; what a method spends inside another one is the other's."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls = 0
        self._inside = [0.0]  # time of the wrapped calls below each open one

    def wrap(self, owner: Any, name: str, part: str) -> None:
        """Time `owner.name` for as long as the owner lives; of a generator, each of its items."""
        method = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            return self._call(part, lambda: method(*args, **kwargs))

        def items(*args: Any, **kwargs: Any) -> Any:
            iterator, end = iter(method(*args, **kwargs)), object()
            while (item := self._call(part, lambda: next(iterator, end))) is not end:
                yield item

        self.seconds.setdefault(part, 0.0)
        object.__setattr__(owner, name, items if inspect.isgeneratorfunction(method) else timed)

    def _call(self, part: str, function: Callable[[], Any]) -> Any:
        self.calls += 1
        self._inside.append(0.0)
        begin = time.perf_counter()
        try:
            return function()
        finally:
            took = time.perf_counter() - begin
            self.seconds[part] += took - self._inside.pop()
            self._inside[-1] += took

    @staticmethod
    def overhead(calls: int = 20_000) -> float:
        """Seconds that timing one call costs."""
        timer, owner = Timer(), types.SimpleNamespace(nothing=lambda: None)
        timer.wrap(owner, "nothing", "")
        begin = time.perf_counter()
        for _ in range(calls):
            owner.nothing()
        return (time.perf_counter() - begin) / calls


def split(name: str, where: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Where the time of a step goes, in the loop itself with its log; evaluation and checkpoints are left out.

    Returns:
        `parts`: microseconds per step and share by part, `total`, and what timing itself cost per step.
    """
    work, config = WORKS[name], configure(name, **where)
    with ExitStack() as stack:
        trainer = Trainer(config, work, stack)
        trainer(seconds / 8)  # steps that are compiled or recorded are so by now
        cost = trainer(seconds / 8)[f"us per {trainer.unit.replace('_', ' ')}"]
        learner, source, buffer = trainer.learner, trainer.source, trainer.buffer
        steps = max(1, round(seconds * 1e6 / cost))
        once = {"eval_every": 2 * steps, "checkpoint_every": 2 * steps, "log_every": max(1, steps // 20)}
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        run = Run.create(folder, "profile", config | once | {"steps": steps}, None, asdict(source.spec))
        log = RunLog(run, "disabled", quiet=True)
        timer = Timer()
        wrapped = [(learner, "batches", "sample"), (learner, "update", "update"), (log, "add", "log")]
        wrapped += [(log, "write", "log"), (source, "evaluate", "outside"), (run, "save", "outside")]
        if work.kind == "env":
            wrapped += [(source.envs, "step", "env"), (learner, "act", "act"), (buffer, "add", "insert")]
        for owner, name, part in wrapped:
            timer.wrap(owner, name, part)
        with run.running():
            begin = time.perf_counter()
            train(learner, source, buffer, run, log)
            took = time.perf_counter() - begin
        log.close()
    took -= timer.seconds.pop("outside")
    timer.seconds["other"] = took - sum(timer.seconds.values())
    parts = {part: {"us": 1e6 * value / run.step, "share": value / took} for part, value in timer.seconds.items()}
    result = {"command": f"rlgen train {work.command}", "unit": trainer.unit.replace("_", " "), "steps": run.step}
    spent = 1e6 * timer.calls * Timer.overhead() / run.step
    return result | {"parts": parts, "total_us": 1e6 * took / run.step, "timer_us": spent}


def _point(axis: str, value: int, costs: Costs, nbytes: float) -> dict[str, Any]:
    note(f"{axis} {value}")
    return {"axis": axis, "value": value, "costs": costs, "bytes": nbytes}


def used(where: dict[str, Any], peak: bool = False) -> int:
    """Bytes in use, or used at most: of the GPU's memory, else of this process."""
    if where["device"].startswith("cuda"):
        return torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()
    return resident("VmHWM" if peak else "VmRSS")


def envs(
    where: dict[str, Any], seconds: float, counts: Sequence[int] = (1, 4, 16, 64, 256, 1024)
) -> Iterator[dict[str, Any]]:
    """Environments stepped together, with as many updates a step."""
    for num in counts:
        config = configure("dqn-1env", num_envs=num, buffer_size=100_000, **where)
        with ExitStack() as stack:
            trainer = Trainer(config, WORKS["dqn-1env"], stack)
            trainer(seconds)
            yield _point("envs", num, trainer(seconds), used(where))


def batch(
    where: dict[str, Any], seconds: float, sizes: Sequence[int] = (32, 64, 128, 256, 512, 1024, 2048, 4096)
) -> Iterator[dict[str, Any]]:
    """Sampling and learning from larger batches; the buffer is full."""
    for size in sizes:
        config = configure("dqn-64env", batch_size=size, learning_starts=5_000, **where)
        with ExitStack() as stack:
            trainer = Trainer(config, WORKS["dqn-64env"], stack)
            while len(trainer.buffer) < 4_999:
                trainer.source.fill(trainer.buffer, trainer.learner)

            def step(trainer: Trainer = trainer, size: int = size) -> int:
                trainer.learner.update(trainer.buffer.sample(size))
                return 1

            repeat(seconds, step, where["device"])
            count, took = repeat(seconds, step, where["device"])
            yield _point("batch", size, per(took, update=count, transition=count * size), used(where))


def fill(
    where: dict[str, Any], seconds: float, sizes: Sequence[int] = (10_000, 100_000, 1_000_000)
) -> Iterator[dict[str, Any]]:
    """Transitions of CartPole's size in the buffer, 50 side by side."""
    num = 50
    for size in sizes:
        buffer = Buffer(size, generator=torch.Generator(where["device"]).manual_seed(0))
        obs, no = torch.randn(num, 4, device=where["device"]), torch.zeros(num, dtype=torch.bool)
        items = {"obs": obs, "action": torch.zeros(num, dtype=torch.int64), "reward": torch.zeros(num)}
        items |= {"next_obs": obs, "terminated": no, "truncated": no}

        def insert(buffer: Buffer = buffer, items: dict[str, torch.Tensor] = items) -> int:
            buffer.add(items)
            return num

        def sample(buffer: Buffer = buffer) -> int:
            buffer.sample(128)
            return 1

        while len(buffer) < size:
            insert()
        count, took = repeat(seconds / 2, insert, where["device"])
        costs = per(took, insert=count)
        count, took = repeat(seconds / 2, sample, where["device"])
        yield _point("fill", size, costs | per(took, sample=count), buffer.nbytes)


def seeds(
    where: dict[str, Any], seconds: float, counts: Sequence[int] = (1, 2, 4, 8, 16, 32)
) -> Iterator[dict[str, Any]]:
    """Seeds trained together, whole runs: the cost of a step is the difference between longer and shorter ones."""
    repaid, replay.MIN_UPDATES_LEFT = replay.MIN_UPDATES_LEFT, 0  # these runs are too short to record their steps, real ones are not
    try:
        yield from _seeds(where, counts)
    finally:
        replay.MIN_UPDATES_LEFT = repaid


def _seeds(where: dict[str, Any], counts: Sequence[int]) -> Iterator[dict[str, Any]]:
    points = []
    for num in (1, *counts):  # the first one warms up
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
        spent = longer - shorter if longer > shorter else longer  # noise: then everything, an upper bound
        points.append(_point("seeds", num, per(spent, env_step=num * SEED_STEPS), used(where, peak=True)))
    yield from points[1:]


SCALES = dict(zip(AXES, (envs, batch, fill, seeds), strict=True))
