"""The executor that records gradient steps, and checks that a recorded step is the eager one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from rlgen.core.batch import Batch, LazyBatch, split_parts
from rlgen.core.optimizer import state_names
from rlgen.core.step import Eager, GradientStep
from rlgen.errors import InterruptedRunError, RlgenError
from rlgen.speed.graph import GraphRecording
from rlgen.speed.recording import ListRecording, Recording, own_batch

MIN_UPDATES_LEFT = 2_000  # of a run whose steps are worth recording: the first recording takes 2 s, a step saves 1 ms
MAX_SIZES = 4  # recordings of one loss; batches of ever new sizes are not worth recording
WARM_UP = 3  # steps on CUDA before a graph is captured: libraries allocate at their first use
TOLERANCE = {"bf16": 3e-2}  # relative difference between a recorded and an eager step, of gradients and metrics

Known = dict[tuple[Any, ...], Recording]
Record = Callable[[Sequence[GradientStep], dict[str, Tensor] | None], Recording]


class Recorded:
    """Records the gradient steps of a learner, or of several that step together, once they repay it.

    A step that cannot be recorded is taken eagerly, and a line says which and why. The 1st, 10th, 100th, ... recorded
    step is compared with the eager one, so that a loss that is not pure is found out.

    Args:
        verify: compare the first so many too.
        record: makes a recording of a step; by default a CUDA graph on CUDA, and a list of operations elsewhere.
        always: record at the first chance, as a run whose recordings round otherwise than eager steps has to:
            where it goes on after a pause, they must not begin at another update.

    Attributes:
        refused: name of a loss: why its step is not recorded.
    """

    def __init__(self, verify: int = 0, record: Record | None = None, always: bool = False) -> None:
        self.verify, self.record, self.always = verify, record, always
        self.refused: dict[str, str] = {}
        self.recordings: Known = {}
        self._num_warm: dict[str, int] = {}
        self._failed: set[str] = set()  # losses whose capture failed once
        self._eager = Eager()

    def __deepcopy__(self, memo: dict[int, Any]) -> Recorded:
        return Recorded(self.verify, self.record, self.always)  # a recording belongs to the tensors it was made with

    def minimize(self, step: GradientStep) -> Batch:
        metrics = self.minimize_together([step])
        return self._eager.minimize(step) if metrics is None else metrics[0]

    def minimize_together(
        self, steps: Sequence[GradientStep], stacked: dict[str, Tensor] | None = None
    ) -> list[Batch] | None:
        """Take the same step of every learner and return their metrics; None if it is to be taken eagerly.

        Args:
            steps: one a learner.
            stacked: parameters and buffers by name, [S, ...], whose rows are those of the S learners.

        Raises:
            RlgenError: a recorded step differs from the eager one.
        """
        name = steps[0].loss.__name__
        if name in self.refused:
            return None
        key = (name, *(recording_key(step) for step in steps))
        recording = self.recordings.get(key)
        if recording is None or recording.is_stale(steps):
            if not self._is_due(name, steps):
                return None
            try:
                recording = self._record(key, steps, stacked)
            except InterruptedRunError:
                raise
            except Exception as failure:  # whatever recording may stumble on
                on_cuda = steps[0].learner.device.type == "cuda"  # where the end of a capture hides what ended it
                if on_cuda and name not in self._failed:  # a capture may end by chance; it leaves nothing behind
                    self._failed.add(name)
                    return None
                error = (failure.__context__ if on_cuda else None) or failure
                self.refused[name] = " ".join(str(error).split())[:200] or type(error).__name__
                tqdm.write(f"note: {name} is slower than it could be, not recorded: {self.refused[name]}", sys.stderr)
                return None
        recording.count += 1
        if recording.count <= self.verify or recording.count == recording.next_check:
            recording.next_check = 10 ** len(str(recording.count))
            return verified(recording, steps)
        return recording(steps)

    def _is_due(self, name: str, steps: Sequence[GradientStep]) -> bool:
        """Whether to record now: what is asked is part of a checkpoint, so that a resumed run answers the same."""
        learner = steps[0].learner
        if learner.device.type == "cuda":  # what libraries allocate at their first use is not for a graph to hold
            self._num_warm[name] = self._num_warm.get(name, 0) + 1
            return self._num_warm[name] > WARM_UP
        taken = learner.num_updates - 1  # updates before this one; left are taken * (1 - progress) / progress
        worth_it = taken * (1 - learner.progress) >= MIN_UPDATES_LEFT * learner.progress
        made = all(step.optimizer.state or not state_names(step.optimizer) for step in steps)  # by the first step
        return (worth_it or self.always) and made

    def _record(
        self, key: tuple[Any, ...], steps: Sequence[GradientStep], stacked: dict[str, Tensor] | None
    ) -> Recording:
        self.recordings.pop(key, None)
        if is_undrawn(steps[0].batch):  # recordings that draw from tensors that have been replaced are let go
            rings = {ring: version for _, ring, version in key[1:]}
            for known in [known for known in self.recordings if known[0] == key[0]]:
                if any(len(part) == 3 and rings.get(part[1], part[2]) != part[2] for part in known[1:]):
                    del self.recordings[known]
        if sum(known[0] == key[0] for known in self.recordings) >= MAX_SIZES:
            raise ValueError(f"its batches come in more than {MAX_SIZES} sizes")
        on_cuda = steps[0].learner.device.type == "cuda"
        record = self.record or (GraphRecording if on_cuda else ListRecording)
        self.recordings[key] = recording = record(steps, stacked)
        return recording


def is_undrawn(batch: Mapping[str, Tensor]) -> bool:
    """Whether the batch is still to be drawn, by whoever reads it first."""
    return isinstance(batch, LazyBatch) and batch.tensors is None


def recording_key(step: GradientStep) -> tuple[Any, ...]:
    """Equal for two steps of one loss that one recording serves."""
    return step.batch.key if is_undrawn(step.batch) else size_key(step)  # type: ignore[attr-defined]


def size_key(step: GradientStep) -> tuple[Any, ...]:
    """Equal for steps of several learners that can be one step: names and shapes in their batches."""
    if is_undrawn(step.batch):
        return step.batch.key[:1]  # type: ignore[attr-defined]
    flat = split_parts(step.batch)
    return (*flat, *[value.shape for value in flat.values()])


def verified(recording: Recording, steps: Sequence[GradientStep]) -> list[Batch]:
    """Take the recorded step, and compare it with the eager one from the same state and the same random numbers.

    Raises:
        RlgenError: they differ.
    """
    before, starts = recording.state(steps), moments(recording)
    again = [replace(step, batch=own_batch(step.batch)) for step in steps]
    recorded = [{name: value.clone() for name, value in row.items()} for row in recording(steps)]
    after, ends = recording.state(steps), moments(recording)
    before.put_back()
    if not isinstance(recording, GraphRecording) or len(steps) == 1:
        eager = [Eager().minimize(step) for step in again]
    else:  # the same kernels without a graph: TF32 rounds those of one learner differently
        eager = recording.rows(recording.take(again))

    tolerance = TOLERANCE.get(steps[0].learner.precision, 1e-3)
    means = zip(starts, ends, moments(recording), strict=True)
    for step, metrics, expected, (start, mean, other_mean) in zip(steps, recorded, eager, means, strict=True):
        # What a gradient did to its running mean is the gradient, and leaves out what Adam makes of its rounding.
        gradient = length(torch._foreach_sub(other_mean, start))
        error = length(torch._foreach_sub(mean, other_mean))
        values = {"the gradient's length with its error": (gradient + error, gradient, 0.0)}
        values |= {name: (value, expected[name].float(), tolerance * 1e-2) for name, value in metrics.items()}
        for name, (value, other, slack) in values.items():
            if other.isfinite().all() and not torch.isclose(value, other, tolerance, slack).all():
                raise RlgenError(
                    f"recorded step {recording.count} of {step.loss.__name__} differs from the eager one: {name} is "
                    f"{value.mean().item():.6g}, not {other.mean().item():.6g}; a loss may read its networks and its "
                    "batch alone (what changes belongs in the batch), or train with --no-graph"
                )
    after.put_back()
    return recorded


def moments(recording: Recording) -> list[list[Tensor]]:
    """What shows the gradients of each learner, as it is now."""
    return [[tensor.clone() for tensor in optimizer.shows_gradient] for optimizer in recording.optimizers]


def length(tensors: Sequence[Tensor]) -> Tensor:
    """L2 norm of all of them together, on the CPU."""
    return torch.linalg.vector_norm(torch.cat([tensor.flatten() for tensor in tensors])).cpu()
