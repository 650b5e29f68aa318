"""A gradient step as one CUDA graph: the drawing of the batch, loss, gradient and optimizer.

What a small step takes is the number of its kernels, 2 us each, however little they do. So gradients are clipped by the
kernel that moves the parameters, and a replay is told what has changed since the last one, and no more.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rlgen.core.batch import Batch, LazyBatch, Row, Rows
from rlgen.core.step import GradientStep
from rlgen.speed.optimizers import alike, move_as_one
from rlgen.speed.recording import Recording, own_batch


class GraphRecording(Recording):
    """A recorded step on CUDA: drawing, gradients and the optimizer's step in one graph.

    Args:
        steps: as of `Recording`.
        stacked: as of `Recording`.
        make_graph: a `CudaGraph`, or what stands for it.

    Attributes:
        branches: whether the batches of several seeds are drawn in branches of the graph that run side by side.
    """

    branches = False  # no GPU has shown yet what it gains

    def __init__(
        self,
        steps: Sequence[GradientStep],
        stacked: dict[str, Tensor] | None = None,
        make_graph: Callable[[], Any] | None = None,
    ) -> None:
        super().__init__(steps, stacked)
        self._graph = CudaGraph() if make_graph is None else make_graph()
        self._as_one = len(steps) > 1 and alike(self.optimizers)  # they move together
        self._upload()
        # What the graph reads: a batch that nobody has drawn yet is drawn in the graph itself.
        self._inputs = [own_batch(step.batch) for step in steps]
        if len(steps) > 1:  # kernels that no step has used yet cannot be loaded while a graph is captured
            before = self.state(steps)
            self.take([replace(step, batch=own_batch(step.batch)) for step in steps])
            before.put_back()
        captured = [replace(step, batch=batch) for step, batch in zip(steps, self._inputs, strict=True)]
        self._prepare(captured)
        generators = [step.learner.generator for step in steps]
        self._numbers: Tensor | None = None  # of several learners, [S, K]: the metrics that the log reads
        self._captured = self._graph.capture(lambda: self._with_numbers(self.take(captured)), generators)
        self._views = self.rows(self._captured)  # it fills always the same memory

    def _with_numbers(self, metrics: Sequence[Tensor]) -> Sequence[Tensor]:
        """The same metrics, those of several learners side by side: one copy keeps them for the logs of all."""
        numbers = [metric for metric in metrics if metric.ndim == 1]
        if len(self.optimizers) == 1 or not numbers:
            return metrics
        self._numbers = torch.stack(numbers, 1)
        columns = iter(self._numbers.unbind(1))
        return [next(columns) if metric.ndim == 1 else metric for metric in metrics]

    def take(self, steps: Sequence[GradientStep]) -> Sequence[Tensor]:
        return self._move(self._outputs(*self.tensors, *self._noisy_batch(steps).values()))

    def _move(self, outputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Move by the gradients, which come first; returns the metrics."""
        num = len(self.optimizers[0].moved)
        grads = [apart(outputs[begin : begin + num]) for begin in range(0, num * len(self.optimizers), num)]
        if counts := [count for optimizer in self.optimizers for count in optimizer.counts]:
            torch._foreach_add_(counts, 1)
        scales = divisors(grads, self._max_grad_norm)
        if self._as_one:
            for own, divisor in zip(grads, scales, strict=True):
                if divisor is not None:
                    torch._foreach_div_(own, divisor)
            move_as_one(self.optimizers, grads)
            return outputs[num * len(self.optimizers) :]
        for optimizer, own, divisor in zip(self.optimizers, grads, scales, strict=True):
            optimizer.move(own, divisor)
        return outputs[num * len(self.optimizers) :]

    def is_stale(self, steps: Sequence[GradientStep]) -> bool:
        return super().is_stale(steps) or (self._as_one and not alike(self.optimizers))

    def _upload(self) -> None:
        """Put learning rates where the graph reads them."""
        for optimizer in self.optimizers[: 1 if self._as_one else None]:
            optimizer.upload_lr()

    def _prepare(self, captured: Sequence[GradientStep]) -> None:
        """What a capture of these steps needs before it; nothing moves and nothing is drawn."""

    def _noisy_batches(self, steps: Sequence[GradientStep]) -> list[Batch]:
        if not self.branches or len(steps) == 1:
            return super()._noisy_batches(steps)
        here, batches = torch.cuda.current_stream(), []
        streams = [torch.cuda.Stream() for _ in steps]
        for stream, step in zip(streams, steps, strict=True):
            stream.wait_stream(here)
            with torch.cuda.stream(stream):
                batches.append(step.noisy_batch())
        for stream in streams:
            here.wait_stream(stream)
        return batches

    def _clipped(self, grads: Sequence[Tensor]) -> Sequence[Tensor]:
        return grads  # the optimizer divides them

    def __call__(self, steps: Sequence[GradientStep]) -> list[Batch]:
        for inputs, step in zip(self._inputs, steps, strict=True):
            if not isinstance(inputs, LazyBatch):
                copy_changed(inputs, step.batch)
        self._upload()
        self._graph.replay()
        for inputs, step in zip(self._inputs, steps, strict=True):
            if isinstance(inputs, LazyBatch):  # what the graph drew is the batch, for whoever reads it next
                step.batch.tensors = inputs.tensors  # type: ignore[attr-defined]
        if self._numbers is None:
            return [{**view} for view in self._views]
        rows = Rows(self._numbers)
        return [Row(view, rows, index) for index, view in enumerate(self._views)]


def divisors(grads: Sequence[Sequence[Tensor]], max_norm: float | None) -> list[Tensor | None]:
    """What to divide the gradients of each learner by, so that their global L2 norm is at most `max_norm`."""
    if max_norm is None:
        return [None] * len(grads)
    norms = torch.stack(torch._foreach_norm([grad for own in grads for grad in own]))  # type: ignore[arg-type]
    norm = torch.linalg.vector_norm(norms.view(len(grads), -1), dim=1)  # [S]
    return [*(norm / max_norm).clamp(min=1.0).unbind()]


def apart(grads: Sequence[Tensor]) -> list[Tensor]:
    """The same, no two in the same memory: what divides a gradient does so in place, and one may be that of two."""
    places = [grad.data_ptr() for grad in grads]
    return [grads[i].clone() if place in places[:i] else grads[i] for i, place in enumerate(places)]


class CudaGraph:
    """A torch.cuda.CUDAGraph whose captured function returns its outputs."""

    def __init__(self) -> None:
        self._graph = torch.cuda.CUDAGraph()
        self.replay = self._graph.replay

    def capture(
        self, function: Callable[[], Sequence[Tensor]], generators: Sequence[torch.Generator]
    ) -> Sequence[Tensor]:
        """Record `function`; nothing has moved after. Its outputs are filled by every `replay`."""
        with no_collections():
            try:
                # The stream is put back here too: should the capture fail, the graph leaves its own behind.
                with torch.cuda.stream(torch.cuda.current_stream()):
                    return capture_into(self._graph, function, generators)
            except BaseException:
                # Before torch 2.13 generators stay in a capture that failed. One that ends well takes them out.
                capture_into(torch.cuda.CUDAGraph(), lambda: [torch.zeros((), device="cuda")], generators)
                raise


def capture_into(graph: Any, function: Callable[[], Sequence[Tensor]], generators: Sequence[torch.Generator]) -> Any:
    """Capture `function`, which may draw from the generators; returns what it returned."""
    for generator in generators:
        graph.register_generator_state(generator)  # or every replay would draw the same numbers
    with torch.cuda.graph(graph):
        return function()


@contextlib.contextmanager
def no_collections() -> Iterator[None]:
    """Leave garbage alone: an older graph in it, destroyed during a capture, would end the capture."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def copy_changed(inputs: Batch, batch: Mapping[str, Tensor]) -> None:
    """Copy a batch to where a graph reads it; what is there already is not copied."""
    pairs = [(own, value) for own, value in zip(inputs.values(), batch.values(), strict=True) if own is not value]
    alike: dict[torch.dtype, list[tuple[Tensor, Tensor]]] = {}  # one kernel copies all that are
    for pair in pairs:
        for own, value in parts_of(*pair):
            alike.setdefault(own.dtype, []).append((own, value))
    for flat in alike.values():
        torch._foreach_copy_([own for own, _ in flat], [value for _, value in flat])


def parts_of(own: Any, value: Any) -> list[tuple[Tensor, Tensor]]:
    """A pair of tensors, or a pair for every part of an observation."""
    return [(own[part], value[part]) for part in own] if isinstance(own, dict) else [(own, value)]
