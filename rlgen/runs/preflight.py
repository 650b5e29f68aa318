"""What a run will need of disk and memory, said before it begins and not when it has trained for a day."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlgen.core.ring import available_memory
from rlgen.errors import DiskError, UsageError
from rlgen.runs import segments
from rlgen.runs.table import size
from rlgen.text import Bytes, warn

if TYPE_CHECKING:
    from rlgen.core.buffer import Buffer
    from rlgen.core.learner import Learner

LARGE = 2**30  # bytes of disk that are said before a run begins
MARGIN = 0.8  # of what is free: beyond it, it is said that it may be too little
NOTABLE = 0.01  # of its steps: a run that goes further beyond its end says so before
OVERHEAD = 40_000  # of a checkpoint: names, the log and the state of its generators
PROCESS = 400 * 2**20  # bytes that one more process takes besides its buffer: Python, torch, wandb
ROW_BYTES = 500  # of metrics.jsonl and as much for wandb, about


@dataclass(frozen=True)
class Needs:
    """Bytes that a run needs, by what they are for; the buffer counts as full."""

    learner: int  # in a checkpoint: weights, targets, statistics, two moments a weight, and what is of no size
    transition: int  # in the buffer
    transitions: int
    changed: int  # of them, from one periodic checkpoint to the next
    checkpoints: int  # that are there at once: those that are kept, the best one, and the next one half-written
    sure: int  # of them, where the disk is almost full: the newest whole one, and the next one
    other: int  # rows and pictures
    memory: int  # of the buffer

    @property
    def buffer(self) -> int:
        """Bytes of the full buffer."""
        return self.transition * self.transitions

    @property
    def checkpoint(self) -> int:
        """Bytes of a checkpoint with a full buffer."""
        return self.learner + self.buffer

    @property
    def fresh(self) -> int:
        """Bytes of a full buffer that a checkpoint does not share with the one before it."""
        if self.buffer <= segments.LARGE:
            return self.buffer
        return min(self.buffer, self.transition * self.changed + 2 * segments.BLOCK)

    @property
    def disk(self) -> int:
        """Bytes on the disk at the moment when they are most."""
        return self.room(self.checkpoints) + self.other

    def room(self, checkpoints: int) -> int:
        """Bytes of so many checkpoints at once. The third one is the best, which may be old and share nothing."""
        old = self.buffer if checkpoints > 2 else 0
        return checkpoints * self.learner + self.buffer + old + (checkpoints - 1 - (old > 0)) * self.fresh


def needs(config: dict[str, Any], learner: Learner, source: Any, buffer: Buffer) -> Needs:
    """What a run that is built will need. Nothing is allocated or drawn for that.

    Args:
        config: flat.
        learner: whose weights are saved.
        source: its spec says how large an observation or an image is.
        buffer: not allocated yet.
    """
    steps, keep = config["steps"], config["keep"]
    saved = OVERHEAD + sum(value.nbytes for value in (*learner.parameters(), *learner.buffers()))
    saved += 2 * sum(param.nbytes for param in learner.parameters() if param.requires_grad)
    evaluations = steps // config["eval_every"] + 1
    periodic = math.ceil(steps / config["checkpoint_every"])
    other = ROW_BYTES * 2 * (steps // config["log_every"] + evaluations)
    transition = transitions = memory = 0
    if source.streams:
        spec = source.spec
        frame = spec.obs_shape[1:] if spec.frame_stack > 1 else spec.obs_shape
        action = (8 if spec.num_choices else 4) * math.prod(spec.action_shape)
        width = 4 if spec.obs_dtype == "float32" else 1  # of a number
        transition = math.prod(frame) * width + 16 + action
        rows = buffer.capacity or spec.num_envs
        transitions = min(rows, steps)
        saved += 8 * (rows - transitions)  # where each lies: two numbers, also of those that are never filled
        saved += buffer.index_bytes * transitions  # priorities change anywhere, so no two checkpoints share them
        memory = (transition + buffer.index_bytes) * transitions
    else:
        memory = source.data.train.nbytes
        other += 2 * 64 * math.prod(source.spec.shape) * evaluations  # two grids, which noise does not compress
    return Needs(
        learner=saved,
        transition=transition,
        transitions=transitions,
        changed=config["checkpoint_every"],
        checkpoints=min(keep + 2, periodic + evaluations),
        sure=min(2, periodic),
        other=other,
        memory=memory,
    )


def end(learner: Learner, source: Any, steps: int, begin: int = 0) -> int:
    """The step at which a run ends that stands at `begin`: turns of the loop are whole, so it may go beyond `steps`."""
    ticks = learner.rows_per_turn * (source.spec.num_envs if source.streams else 1)
    return begin + math.ceil((steps - begin) / ticks) * ticks


def say_end(learner: Learner, source: Any, steps: int, begin: int = 0) -> None:
    """Say before a run that it will go well beyond its end; arguments as of `end`."""
    last = end(learner, source, steps, begin)
    if last > (1 + NOTABLE) * steps:
        ticks = end(learner, source, 1)
        warn(f"this run will take about {last:,} steps, not {steps:,}: it learns from {ticks:,} at a time", note=True)


def free(folder: Path) -> int:
    """Bytes that are free on the disk where a folder is, or is going to be."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check(
    need: Needs,
    folder: Path,
    device: Any,
    runs: int = 1,
    quiet: bool = False,
    at_once: int | None = None,
) -> None:
    """Refuse a run whose checkpoints or buffer cannot fit, and warn of one that may not.

    Args:
        need: of one run.
        folder: the run's, or the one that it will be made in; checkpoints that are there make room.
        device: where the buffer is.
        runs: that are going to be trained.
        quiet: no warning.
        at_once: of them, each in a process of its own; None is all, in this one.

    Raises:
        DiskError: the disk is too small for the checkpoints alone.
        UsageError: the buffer does not fit in memory.
    """
    room = free(folder) + (size(folder / "checkpoints") if (folder / "checkpoints").exists() else 0)
    what = "this run" if runs == 1 else f"these {runs} runs"
    least, most = runs * need.room(need.sure), runs * need.disk
    free_here = f"{Bytes(room)} are free in {folder}"
    if least > room:
        raise DiskError(f"{what} will need {Bytes(least)} of disk; {free_here}: {_smaller(need, room // runs)}")
    if most > MARGIN * room and not quiet:
        fewer = ": older checkpoints go earlier where there is no room" if most > room else ""
        warn(f"{what} will need up to {Bytes(most)} of disk; {free_here}{fewer}")
    elif most > LARGE and not quiet:
        warn(f"{what} will need up to {Bytes(most)} of disk; {free_here}", note=True)
    memory, num = available_memory(device), runs
    if at_once is not None:
        num, what = at_once, "this run" if at_once == 1 else f"{at_once} of these runs at a time"
        memory -= PROCESS * (at_once - 1)
    at_hand = f"{Bytes(max(0, memory))} are at hand"
    if num * need.memory > memory:
        fits = _round(max(0, memory) // num * need.transitions // need.memory) if need.transition else 0
        advice = f"lower --buffer-size to {fits:,}" if fits else "free some"
        advice += ", or --jobs" if at_once is not None and at_once > 1 else ""
        raise UsageError(f"{what} will need {Bytes(num * need.memory)} of memory for the buffer; {at_hand}: {advice}")
    copied = need.memory if need.transition and need.buffer <= segments.LARGE else 0  # of one run that saves
    if num * need.memory + copied > MARGIN * memory and not quiet:
        warn(f"{what} will need {Bytes(num * need.memory + copied)} of memory for the buffer; {at_hand}")


def _smaller(need: Needs, room: int) -> str:
    """What would fit."""
    transitions = (room // need.sure - need.learner) // need.transition if need.transition else 0
    if 0 < transitions < need.transitions:
        return f"free some, or lower --buffer-size to {_round(transitions):,}"
    return "free some, or name another disk with --runs-dir"


def _round(number: int) -> int:
    """The number, down to two digits."""
    unit = 10 ** max(0, len(str(number)) - 2)
    return number // unit * unit
