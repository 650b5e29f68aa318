"""A recorded step on the CPU as machine code, with flat parameters and without denormal numbers; and when it repays."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rlgen.core.learner import Agent, Learner
from rlgen.core.step import GradientStep
from rlgen.speed import machine_code
from rlgen.speed.device import cores
from rlgen.speed.fused import FusedRecording
from rlgen.speed.machine_code import CannotCompileError, Program
from rlgen.speed.optimizers import FastOptimizer, FlatOptimizer, JoinedOptimizer
from rlgen.speed.recorded import MIN_UPDATES_LEFT, Recorded
from rlgen.speed.recording import ListRecording
from rlgen.text import warn

REPAID = 150_000  # rounds of updates that repay a compilation: it takes some 15 s, a round gains 0.1 ms or more
REPAID_BY_PICTURES = 20_000  # of an agent that sees pictures: it takes up to a minute, a round gains 3 ms or more
# On a GPU kernels are fused, which takes 25 s. A round gains 40 us or more; of pictures or of a model, 120 or more.
REPAID_ON_GPU, LARGE_REPAID_ON_GPU = 600_000, 200_000
KEPT = 8  # where they were made before it takes 3 s: an eighth


class CompiledRecording(ListRecording):
    """A recorded step that runs as machine code; as a list of operations where it cannot be compiled.

    Adam's moments of units that died fall below the smallest normal number, and arithmetic with those is 5 times as
    slow. So they count as 0 during the step; environments, which run in the same thread, do not see it.

    Args:
        steps: as of `Recording`.
        stacked: as of `Recording`; not given.
        work: whose programs are counted together.
    """

    def __init__(self, steps: Sequence[GradientStep], stacked: dict[str, Tensor] | None = None, work: str = "") -> None:
        self._work = work
        super().__init__(steps, stacked)

    def _fast_optimizer(self, optimizer: torch.optim.Optimizer) -> FastOptimizer:
        try:
            return FlatOptimizer(optimizer)
        except ValueError:
            return FastOptimizer(optimizer)

    def take(self, steps: Sequence[GradientStep]) -> Sequence[Tensor]:
        torch.set_flush_denormal(True)
        try:
            return super().take(steps)
        finally:
            torch.set_flush_denormal(False)

    def _noisy_batch(self, steps: Sequence[GradientStep]) -> dict[str, Tensor]:
        # Machine code does not look at strides.
        return {name: value.contiguous() for name, value in super()._noisy_batch(steps).items()}

    def _fast(self, recorded: Any, tensors: tuple[Tensor, ...]) -> Callable[..., Sequence[Tensor]]:
        try:
            program = Program(recorded, tensors, self._work)
            function = program.load()
            if function is None:
                warn("compiling gradient steps to machine code, once on this machine: 10 s or more", note=True)
                program.compile()
                function = program.load()
            if function is None:
                raise CannotCompileError("the cache does not keep it")
            function(*tensors)
        except CannotCompileError as error:
            what = f"gradient steps are recorded, not compiled: {error}"
            warn(f"{what}; a run that had compiled ones goes on inexactly", note=True)
            return super()._fast(recorded, tensors)
        machine_code.note_work(program.folder, self._work, program.key)
        return function


class FillingRecording(ListRecording):
    """A recorded step whose machine code is made beside the run, for runs to come.

    Args:
        steps: as of `Recording`.
        stacked: as of `Recording`; not given.
        work: as of `CompiledRecording`.
    """

    def __init__(self, steps: Sequence[GradientStep], stacked: dict[str, Tensor] | None = None, work: str = "") -> None:
        self._work, self._steps = work, steps
        super().__init__(steps, stacked)

    def _fast(self, recorded: Any, tensors: tuple[Tensor, ...]) -> Callable[..., Sequence[Tensor]]:
        own = self.optimizers
        with contextlib.suppress(CannotCompileError, ValueError, OSError):
            self.optimizers = [JoinedOptimizer(step.optimizer) for step in self._steps]
            Program(self._list(tensors), tensors, self._work).compile_aside()
        self.optimizers = own
        return super()._fast(recorded, tensors)


def choose(config: dict[str, Any], work: dict[str, Any], learner: Learner, rounds: int, runs: int = 1) -> str:
    """Choose how a run's gradient steps are taken, before its first one, and hand that to the learner.

    `auto` compiles no generative model of pictures: large convolutions gain nothing by it.

    Args:
        config: of the run: its `graph`, `compile` and `verify_graph`.
        work: all that the operations of its steps depend on.
        learner: gets its executor.
        rounds: of updates that the run takes.
        runs: that do as this one chooses, and profit from what it compiles.

    Returns:
        `always` or `never`: what `compile` is from now on.
    """
    chosen, on_gpu = config["compile"], learner.device.type == "cuda"
    if not config["graph"]:
        return "never" if chosen == "auto" else chosen
    machine = [torch.cuda.get_device_name(learner.device)] if on_gpu else []
    key, fill = machine_code.hashed(json.dumps(work, sort_keys=True), *machine), False
    if chosen == "auto":
        with contextlib.suppress(CannotCompileError):
            filled = machine_code.was_fused(key) if on_gpu else machine_code.is_filled(key)
            convolutional = any(isinstance(each, nn.Conv2d) for each in learner.modules())
            if rounds >= MIN_UPDATES_LEFT and (isinstance(learner, Agent) or not convolutional):
                chosen = "always" if rounds * runs >= repaid(learner, convolutional, filled) else "never"
                fill = chosen == "never" and cores() > 1 and not on_gpu
        chosen = chosen.replace("auto", "never")
    if chosen == "always" or fill:
        kind = FusedRecording if on_gpu else CompiledRecording if chosen == "always" else FillingRecording
        learner.executor = Recorded(config["verify_graph"], partial(kind, work=key), always=chosen == "always")
    return chosen


def repaid(learner: Learner, convolutional: bool, filled: bool) -> int:
    """Rounds of updates from which on a run repays what its compiled steps cost it at the start.

    Args:
        learner: takes them.
        convolutional: it has convolutions.
        filled: they were compiled before.
    """
    if learner.device.type == "cpu":
        return 0 if filled else REPAID_BY_PICTURES if convolutional else REPAID
    rounds = LARGE_REPAID_ON_GPU if convolutional or not isinstance(learner, Agent) else REPAID_ON_GPU
    return rounds // KEPT if filled else rounds
