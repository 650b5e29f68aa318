"""How rlgen does each kind of work."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from tempfile import TemporaryDirectory
from typing import Any

from rlgen import experiment
from rlgen.bench import noise, replay
from rlgen.bench.measure import Block, Cost, Costs, Took, per, repeat
from rlgen.bench.works import Maker, Work
from rlgen.core.batch import Batch
from rlgen.core.image_source import ImageSource
from rlgen.core.learner import Learner
from rlgen.core.loop import turn
from rlgen.data.images import ImageSpec
from rlgen.envs.spec import EnvSpec
from rlgen.speed.device import pick_device


class Trainer:
    """Training itself: `step` is one turn of the loop.

    Attributes:
        unit: what the run's clock counts, env_step or image.
        taken: how many of them were taken.
    """

    def __init__(self, config: dict[str, Any], work: Work, stack: ExitStack) -> None:
        self.config, self.unit, self.taken = config, "image" if work.kind == "image" else "env_step", 0
        if work.kind == "image":
            self.source: Any = ImageSource(noise.images(work.shape), pick_device(config["device"]))
        else:
            self.source = experiment.build_source(config)
        stack.enter_context(closing(self.source))
        self.learner = build_learner(config, self.source.spec)
        self.buffer = experiment.build_buffer(self.learner, self.source.spec)

    def step(self) -> int:
        """One turn; returns how far the clock went."""
        self.learner.progress = min(1.0, self.taken / self.config["steps"])
        ticks = turn(self.learner, self.source, self.buffer, forget)
        self.taken += ticks
        return ticks

    def __call__(self, seconds: float) -> Costs:
        """A block; before the first one it trains until something was learned."""
        while not self.learner.num_updates:
            self.step()
        before = self.learner.num_updates
        count, took = repeat(seconds, self.step, self.config["device"])
        return per(took, **{self.unit: count, "update": self.learner.num_updates - before})


def build_learner(config: dict[str, Any], spec: EnvSpec | ImageSpec) -> Learner:
    """A learner, whose gradient steps are compiled if they are to be."""
    learner = experiment.build_learner(config, spec)
    if config["compile"] == "always":
        experiment.choose_executor(config, learner, spec)
    return learner


def recorded(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """The same work without machine code."""
    return OURS[work.kind](config | {"compile": "never"}, work, stack)


def forget(metrics: Batch) -> None:
    """A log that keeps nothing."""


def update(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """Updates of an agent that sees images, on one batch that is already on the device."""
    spec = EnvSpec("synthetic", work.shape, "uint8", noise.NUM_ACTIONS, (), (), (), num_envs=1)
    learner = build_learner(config, spec)
    batch = noise.transitions(config["batch_size"], work.shape, learner.device)
    return updates_from(lambda: batch, learner, config)


def sampled_update(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """The same on batches that are drawn from a replay buffer, which keeps single frames."""
    frame_stack, num = work.shape[0], replay.NUM_ENVS
    spec = EnvSpec("synthetic", work.shape, "uint8", noise.NUM_ACTIONS, (), (), (), num, frame_stack)
    learner = build_learner(config, spec)
    buffer = experiment.build_buffer(learner, spec)
    insert = replay.inserter(buffer, work, config["device"])
    for _ in range(replay.NUM_WARM // num):
        insert()
    return updates_from(lambda: buffer.sample(config["batch_size"]), learner, config)


def updates_from(draw: Callable[[], Batch], learner: Learner, config: dict[str, Any]) -> Block:
    """Updates on batches as `draw` returns them."""

    def step() -> int:
        learner.learn(draw())
        return 1

    def block(seconds: float) -> Costs:
        count, took = repeat(seconds, step, config["device"])
        return per(took, update=count)

    return block


def start(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """New processes: the help page, and everything from the interpreter's start to the first step."""

    def block(seconds: float) -> Costs:
        begin = Took.until_now()
        subprocess.run([sys.executable, "-m", "rlgen", "--help"], check=True, capture_output=True)
        middle = Took.until_now()
        train_in_new_process(config, 1)
        help_page, first_step = middle.since(begin), Took.until_now().since(middle)
        return {"s per help page": Cost(*help_page), "s per first step": Cost(*first_step)}

    return block


def memory(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """A new process that trains until its buffer is full."""
    return lambda seconds: {"bytes": Cost(train_in_new_process(config, config["buffer_size"] + 1_000))}


def whole_run(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """The command line in a new process and an empty directory, with its evaluations and checkpoints."""
    argv = [sys.executable, "-m", "rlgen", "train", *shlex.split(work.command), "--compile", config["compile"]]

    def block(seconds: float) -> Costs:
        with TemporaryDirectory() as directory:
            begin = Took.until_now()
            subprocess.run([*argv, "--runs-dir", directory], check=True, capture_output=True)
            return {"s per run": Cost(*Took.until_now().since(begin))}

    return block


def train_in_new_process(config: dict[str, Any], steps: int) -> int:
    """Train for so many steps in a new process; returns its peak memory in bytes."""
    argv = [sys.executable, "-m", "rlgen.bench", json.dumps(config), str(steps)]
    return int(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)


OURS: dict[str, Maker] = {  # by kind of work
    "env": Trainer,
    "image": Trainer,
    "update": update,
    "sampled": sampled_update,
    "replay": replay.ours,
    "start": start,
    "memory": memory,
    "run": whole_run,
}
