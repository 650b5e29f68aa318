"""`rlgen bench --profile`: where the time of a training step goes."""

from __future__ import annotations

import inspect
import tempfile
import time
import types
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from rlgen.bench.measure import Took
from rlgen.bench.ours import Trainer
from rlgen.bench.works import WORKS, configure
from rlgen.core.loop import train
from rlgen.runs.log import RunLog
from rlgen.runs.run import Run

ROWS = 20  # of metrics that a profiled run logs


class Timer:
    """Adds up the time inside methods by part; what one of them spends inside another one counts for the other alone.

    Args:
        clock: that is looked at; None is the wall's.

    Attributes:
        seconds: by part.
        calls: how many calls were timed.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or time.perf_counter
        self.seconds: dict[str, float] = {}
        self.calls = 0
        self._inside = [0.0]  # of each call that is open, the time that timed calls inside it took

    def wrap(self, owner: Any, name: str, part: str) -> None:
        """Time the method `owner.name` from now on; of a generator, each of its items."""
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
        begin = self._clock()
        try:
            return function()
        finally:
            took = self._clock() - begin
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


def profile_work(name: str, where: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Split the time of a work's steps into parts, in the loop itself with its log.

    Evaluation and checkpoints are left out.

    Args:
        name: of the work.
        where: device and threads.
        seconds: how long it trains, about.

    Returns:
        `parts`: microseconds per step and share, by part; `total_us` per step, `total_cpu_us`, the same in CPU time,
        and `timer_us`, what timing itself cost; `command`, `unit` (a step of what) and `steps`.
    """
    work, config = WORKS[name], configure(name, **where)
    with ExitStack() as stack:
        trainer = Trainer(config, work, stack)
        unit = trainer.unit.replace("_", " ")
        trainer(seconds / 8)  # after it gradient steps are recorded
        cost = trainer(seconds / 8)[f"us per {unit}"].value
        learner, source, buffer = trainer.learner, trainer.source, trainer.buffer
        steps = max(1, round(seconds * 1e6 / cost))
        periods = {"eval_every": 2 * steps, "checkpoint_every": 2 * steps, "log_every": max(1, steps // ROWS)}
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        run = Run.create(folder, "profile", config | periods | {"steps": steps}, None, asdict(source.spec))
        log = RunLog(run, "disabled", quiet=True)

        timer, cpu_timer = Timer(), Timer(time.process_time)
        for owner, name in ((source, "evaluate"), (run, "save")):  # once, when the run ends
            cpu_timer.wrap(owner, name, "outside")
            timer.wrap(owner, name, "outside")
        timer.wrap(learner, "batches", "sample")
        timer.wrap(learner, "learn", "update")
        timer.wrap(log, "add", "log")
        timer.wrap(log, "write", "log")
        if work.kind == "env":
            timer.wrap(source.envs, "step", "env")
            timer.wrap(learner, "act", "act")
            timer.wrap(buffer, "add", "insert")
        with run.running():
            begin = Took.until_now()
            train(learner, source, buffer, run, log)
            took, cpu = Took.until_now().since(begin)
        log.close()

    took -= timer.seconds.pop("outside")
    cpu -= cpu_timer.seconds["outside"]
    timer.seconds["other"] = took - sum(timer.seconds.values())
    return {
        "command": f"rlgen train {work.command}",
        "unit": unit,
        "steps": run.step,
        "parts": {part: {"us": 1e6 * spent / run.step, "share": spent / took} for part, spent in timer.seconds.items()},
        "total_us": 1e6 * took / run.step,
        "total_cpu_us": 1e6 * cpu / run.step,
        "timer_us": 1e6 * timer.calls * Timer.overhead() / run.step,
    }
