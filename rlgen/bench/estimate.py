"""What a run is expected to cost, found by training for some seconds without a run directory."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rlgen import experiment
from rlgen.bench.measure import show_progress
from rlgen.core import loop
from rlgen.core.interruption import EvaluationInterrupted
from rlgen.core.play import MAX_ENVS, OTHERS, RETURNS, play
from rlgen.envs.find import check_env_id
from rlgen.memory import peak
from rlgen.metrics import EVAL_IMAGES
from rlgen.runs import checkpoint, notes, preflight, segments
from rlgen.runs.sums import Sums
from rlgen.runs.weights import digest
from rlgen.speed.device import few_collections
from rlgen.speed.recorded import Recorded

WAIT = 5.0  # seconds of steps before the first update; then it is asked for at once
WARM_UP, WARM_UPDATES = 1.0, 10  # seconds and updates that are slower than others: libraries allocate
WINDOW, WINDOWS, MOST = 0.5, 8, 8.0  # seconds of a window, how many are timed, and of all at most
MARGIN = 1.2  # of what is measured, up and down
PLAYED = 1.0  # seconds of evaluation that are timed
PADDED = 2**28  # bytes of the checkpoint that is timed, at most; a larger one takes longer in proportion


@dataclass(frozen=True)
class Seconds:
    """How long something takes: at least, about and at most."""

    low: float
    about: float
    high: float

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.low + other.low, self.about + other.about, self.high + other.high)


@dataclass(frozen=True)
class Estimate:
    """What a run is expected to cost."""

    parameters: int
    needs: preflight.Needs  # bytes
    memory: int  # bytes of the whole process while it learns, with a full buffer; without workers of environments
    memory_saving: int  # the same while it saves a checkpoint
    device: str
    threads: int
    steps: int  # that it will take
    rate: float  # steps a second while it learns
    training: Seconds
    evaluations: int
    episode: int  # steps of an evaluation's longest episode; 0 of a model
    evaluation: Seconds  # all of them
    checkpoints: int
    saving: Seconds  # all of them
    judged: tuple[str, ...] = ()  # metrics that an evaluation may have

    @property
    def parts(self) -> dict[str, Seconds]:
        """Of the run; the start of the process is not in it."""
        parts = {"training": self.training, "evaluation": self.evaluation, "saving": self.saving}
        return parts | {"total": self.training + self.evaluation + self.saving}


def estimate(config: dict[str, Any]) -> Estimate:
    """The cost of a run from its flat configuration; `steps` are filled in as `experiment.build` does.

    Raises:
        RlgenError: the run would be refused.
    """
    show_progress("training for some seconds")
    with experiment.built(config, config["runs_dir"]) as (learner, source, buffer), few_collections():
        notes.say(source, config)
        need = preflight.needs(config, learner, source, buffer)
        steps = preflight.end(learner, source, config["steps"])
        training, rate = Training(learner, source, buffer, steps).time()
        evaluations, checkpoints = (
            math.ceil(config["steps"] / config[every]) for every in ("eval_every", "checkpoint_every")
        )
        judged: tuple[str, ...] = (*RETURNS, *OTHERS)
        if source.streams:
            evaluation = time_playing(learner, source, evaluations, source.metrics().get("charts/episodic_length"))
        else:
            evaluation, judged = time_scoring(learner, source, evaluations)
        learning, saving = memory(need, len(buffer) if source.streams else 0, learner.device.type == "cpu")
        found = Estimate(
            parameters=sum(param.numel() for param in learner.parameters()),
            needs=need,
            memory=learning,
            memory_saving=saving,
            device=str(learner.device),
            threads=torch.get_num_threads(),
            steps=steps,
            rate=rate,
            training=training,
            evaluations=evaluations,
            episode=longest_episode(source) if source.streams else 0,
            evaluation=evaluation,
            checkpoints=checkpoints,
            saving=time_saving(learner, source, buffer, need, checkpoints),
            judged=judged,
        )
    show_progress("")
    return found


def memory(need: preflight.Needs, filled: int, buffer_is_here: bool) -> tuple[int, int]:
    """Bytes of the process while it learns and while it saves, from the most that it has had until now.

    Args:
        need: of the run.
        filled: transitions that the buffer holds; memory that was never written to is not in use yet.
        buffer_is_here: and not on a GPU; a checkpoint copies a part of it to here all the same.
    """
    grows = need.transition * (need.transitions - filled) if buffer_is_here else 0
    learning = peak() + grows
    return learning, learning + min(need.buffer, segments.LARGE)


CALLS = ("eval", "checkpoint")


class Training:
    """Turns of the loop that are timed: those before the first update, the first updates, and what follows."""

    def __init__(self, learner: Any, source: Any, buffer: Any, steps: int) -> None:
        self.learner, self.source, self.buffer, self.steps = learner, source, buffer, steps
        self.taken, self.sums = 0, Sums()

    def until(self, enough: Callable[[float], bool]) -> tuple[int, float]:
        """Take turns until `enough`, which is told the seconds, or until the run is over; returns steps and seconds."""
        before, begin = self.taken, time.perf_counter()
        while self.taken < self.steps and not enough(time.perf_counter() - begin):
            self.learner.progress = self.taken / self.steps
            self.taken += loop.turn(self.learner, self.source, self.buffer, self.sums.add)
        if self.learner.device.type == "cuda":
            torch.cuda.synchronize()
        return self.taken - before, time.perf_counter() - begin

    def time(self) -> tuple[Seconds, float]:
        """How long the run trains, and its steps a second while it learns."""
        learner, wait = self.learner, self.learner.min_added
        waited, waiting = self.until(lambda seconds: learner.num_updates > 0 or seconds > WAIT)
        window = self.buffer.n_step * self.buffer.ring.num_envs  # transitions, of which one at least can be drawn
        learner.min_added = min(wait, max(window, self.buffer.num_added))  # now it learns, if it did not yet
        updates = learner.num_updates + WARM_UPDATES
        first, cold = self.until(lambda seconds: seconds > WARM_UP and learner.num_updates >= updates)

        windows: list[tuple[int, float]] = []
        while self.taken < self.steps and len(windows) < WINDOWS and sum(took for _, took in windows) < MOST:
            recordings = self.recordings()
            count, took = self.until(lambda seconds: seconds > WINDOW)
            if self.recordings() == recordings:
                windows.append((count, took))
            else:  # to record a step takes a second, and comes once
                first, cold = first + count, cold + took

        timed, seconds = sum(count for count, _ in windows), sum(took for _, took in windows)
        if self.taken >= self.steps:
            all_of_it = waiting + cold + seconds
            return Seconds(all_of_it, all_of_it, all_of_it), self.taken / all_of_it
        begun = waiting * max(1, wait / waited) + cold
        left = self.steps - max(wait, waited) - first
        low, about, high = (
            begun + max(0, left) * took / count
            for count, took in (min(windows, key=slowness), (timed, seconds), max(windows, key=slowness))
        )
        return Seconds(low / MARGIN, about, high * MARGIN), timed / seconds

    def recordings(self) -> int:
        """Losses whose step has been recorded, or was tried to be."""
        executor = self.learner.executor
        return len(executor.recordings) + len(executor.refused) if isinstance(executor, Recorded) else 0


def slowness(window: tuple[int, float]) -> float:
    """Seconds a step."""
    count, seconds = window
    return seconds / count


def time_playing(agent: Any, source: Any, times: int, seen: float | None = None) -> Seconds:
    """Evaluations of an agent: their episodes end at once, or are the longest there are.

    Args:
        agent: plays.
        source: whose environments.
        times: how many there are.
        seen: steps of an episode in training; says more than a limit that is no part of the task.
    """
    num_envs = min(source.eval_episodes, MAX_ENVS)
    begin, steps = time.perf_counter(), 0

    def enough() -> bool:
        nonlocal steps
        steps += 1
        return time.perf_counter() - made > PLAYED

    with closing(source.make_for_play(num_envs, source.seed)) as envs:
        made = time.perf_counter()
        with suppress(EvaluationInterrupted):
            while True:
                play(agent, envs, source.eval_episodes, interrupted=enough)
        step = (time.perf_counter() - made) / steps
    rounds, most = math.ceil(source.eval_episodes / num_envs), longest_episode(source)
    about = most / 2 if seen is None or time_limit(source) else min(seen, most)
    return Seconds(*(times * (made - begin + step * rounds * length) for length in (0, about, most)))


def longest_episode(source: Any) -> int:
    """Steps of an evaluation's longest episode."""
    return time_limit(source) or int(source.eval_max_episode_steps)


def time_limit(source: Any) -> int | None:
    """Steps of an episode at most, as the environment or the user says."""
    return source.options.get("max_episode_steps") or check_env_id(source.env_id).max_episode_steps


def time_scoring(model: Any, source: Any, times: int) -> tuple[Seconds, tuple[str, ...]]:
    """Evaluations of a model, and their metrics.

    One is timed; the last one looks at all held-out images beside the first ones.
    """
    begin = time.perf_counter()
    metrics = source.evaluate(model)
    seconds = time.perf_counter() - begin
    images = len(source.data.test)
    seconds *= times + (images / EVAL_IMAGES if images > EVAL_IMAGES else 0)
    return Seconds(seconds / MARGIN, seconds, seconds * MARGIN), tuple(metrics)


def time_saving(learner: Any, source: Any, buffer: Any, need: preflight.Needs, times: int) -> Seconds:
    """Checkpoints: one is timed, with a buffer of zeros where the run's is not full yet."""
    written = need.learner + need.fresh
    missing = min(PADDED, written) - need.learner - need.transition * len(buffer)
    begin = time.perf_counter()
    state = {
        "learner": checkpoint.owned(learner.state_dict()),
        "source": source.state_dict(),
        "buffer": buffer.state_dict() if source.streams else None,
        "weights": digest(learner.state_dict()),
        "missing": torch.zeros(max(0, missing), dtype=torch.uint8),
    }
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(Path(folder), 0, state)
    seconds = times * (time.perf_counter() - begin) * max(1.0, written / PADDED)
    return Seconds(seconds / 2, seconds, seconds * MARGIN)  # at first the buffer is not full
