"""One gradient step recorded: loss, gradient and clipping as a list of operations, without Python between them.

A loss is a pure function of (networks, batch), so the list is the same every time. `make_fx` writes it down. On the CPU
TorchScript's interpreter runs it where it takes it, else it runs as plain Python without autograd. What is recorded on
CUDA is in `graph.py`. The parameters of S learners may be stacked: a seed each.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from rlgen.core.batch import Batch, LazyBatch, join_parts, split_parts
from rlgen.core.functional import clip_norm, same_layout
from rlgen.core.step import GradientStep, Loss
from rlgen.speed.optimizers import FastOptimizer


class LossModule(nn.Module):
    """A loss as a module, so that `functional_call` can lend it other parameters."""

    def __init__(self, learner: Any, loss: Loss) -> None:
        super().__init__()
        self.learner, self.loss = learner, loss

    def forward(self, batch: Batch) -> tuple[Tensor, Batch]:
        with self.learner.autocast():
            return self.loss(self.learner, batch)


class Recording:
    """The gradient step of one learner, or of S learners whose parameters are rows of `stacked`.

    Args:
        steps: one a learner, all of the same loss.
        stacked: parameters and buffers by name, [S, ...]; None for one learner.

    Attributes:
        count: steps taken with it.
        next_check: the count at which it is compared with the eager step again.
    """

    def __init__(self, steps: Sequence[GradientStep], stacked: dict[str, Tensor] | None = None) -> None:
        self.count, self.next_check = 0, 1
        self.optimizers = [self._fast_optimizer(step.optimizer) for step in steps]
        self._max_grad_norm = steps[0].max_grad_norm
        self._module = LossModule(steps[0].learner, steps[0].loss)
        self._metrics: list[str] = []  # their names
        self._batch_names: list[str] = []  # of what the loss reads

        own = dict(self._module.named_parameters()) | dict(self._module.named_buffers())
        name_of = {id(tensor): name for name, tensor in own.items()}
        trained = [name_of[id(param)] for param in steps[0].params]
        self._names = trained + [name for name in own if name not in trained]
        self._num_trained = len(trained)
        whole = own if stacked is None else {name: stacked[name.removeprefix("learner.")] for name in own}
        self.tensors = [whole[name].detach() for name in self._names]
        self._listed: Callable[..., Sequence[Tensor]] | None = None  # `_outputs` as a list of operations

    def _fast_optimizer(self, optimizer: torch.optim.Optimizer) -> FastOptimizer:
        """What moves the parameters of an optimizer."""
        return FastOptimizer(optimizer)

    def is_stale(self, steps: Sequence[GradientStep]) -> bool:
        """Whether the tensors it was recorded with are no longer those of the learners."""
        return any(own.is_stale(step.optimizer) for own, step in zip(self.optimizers, steps, strict=True))

    def __call__(self, steps: Sequence[GradientStep]) -> list[Batch]:
        """Take the step; returns the metrics of each learner."""
        return self.rows(self.take(steps))

    def rows(self, metrics: Sequence[Tensor]) -> list[Batch]:
        """Metrics of all learners, [...] or [S, ...] each, as one dictionary a learner."""
        if len(self.optimizers) == 1:
            return [dict(zip(self._metrics, metrics, strict=True))]
        rows = zip(*(metric.unbind() for metric in metrics), strict=True)
        return [dict(zip(self._metrics, row, strict=True)) for row in rows]

    def take(self, steps: Sequence[GradientStep]) -> Sequence[Tensor]:
        """Draw noise, find the gradients and move; returns the metrics."""
        outputs = (self._listed or self._outputs)(*self.tensors, *self._noisy_batch(steps).values())
        begin = 0
        for optimizer in self.optimizers:
            optimizer.step(outputs[begin : (begin := begin + len(optimizer.moved))])
        return outputs[begin:]

    def _noisy_batch(self, steps: Sequence[GradientStep]) -> dict[str, Tensor]:
        batches = [split_parts(batch) for batch in self._noisy_batches(steps)]
        names = self._batch_names = self._batch_names or list(batches[0])  # in the order they were recorded in
        if len(steps) == 1:
            return {name: batches[0][name] for name in names}
        return {name: torch.stack([batch[name] for batch in batches]) for name in names}  # [S, B, ...]

    def _noisy_batches(self, steps: Sequence[GradientStep]) -> list[Batch]:
        return [step.noisy_batch() for step in steps]

    def _outputs(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Gradients, seed after seed, then metrics; of parameters, buffers and batch in one row."""
        num = len(self._names)
        batch = dict(zip(self._batch_names, tensors[num:], strict=True))

        def value(trained: list[Tensor], frozen: list[Tensor], batch: Batch) -> tuple[Tensor, list[Tensor]]:
            lent = dict(zip(self._names, [*trained, *frozen], strict=True))
            loss, metrics = functional_call(self._module, lent, (join_parts(batch),))
            self._metrics = list(metrics)
            return loss, [metric.detach().float() for metric in metrics.values()]

        def gradients(
            trained: list[Tensor], frozen: list[Tensor], batch: Batch
        ) -> tuple[Sequence[Tensor], list[Tensor]]:
            grads, (_, metrics) = grad_and_value(value, has_aux=True)(trained, frozen, batch)
            return self._clipped(self.optimizers[0].joined(grads)), metrics

        trained, frozen = list(tensors[: self._num_trained]), list(tensors[self._num_trained : num])
        if len(self.optimizers) == 1:
            grads, metrics = gradients(trained, frozen, batch)
        else:
            stacked, metrics = vmap(gradients)(trained, frozen, batch)
            grads = [grad[s] for s in range(len(self.optimizers)) for grad in stacked]
        moved = [tensor for optimizer in self.optimizers for tensor in optimizer.moved]
        return (*(same_layout(grad, tensor) for grad, tensor in zip(grads, moved, strict=True)), *metrics)

    def _clipped(self, grads: Sequence[Tensor]) -> Sequence[Tensor]:
        return grads if self._max_grad_norm is None else clip_norm(grads, self._max_grad_norm)

    def state(self, steps: Sequence[GradientStep]) -> State:
        """All that a step changes, as it is now."""
        tensors = [*self.tensors, *(tensor for optimizer in self.optimizers for tensor in optimizer.state)]
        return State(tensors, [step.learner.generator for step in steps])


class ListRecording(Recording):
    """A recorded step on the CPU."""

    def __init__(self, steps: Sequence[GradientStep], stacked: dict[str, Tensor] | None = None) -> None:
        super().__init__(steps, stacked)
        before = self.state(steps)
        steps = [replace(step, batch=own_batch(step.batch)) for step in steps]  # whoever takes the step draws it
        tensors = (*self.tensors, *self._noisy_batch(steps).values())
        before.put_back_generators()
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript
            self._listed = self._fast(self._list(tensors), tensors)

    def _list(self, tensors: tuple[Tensor, ...]) -> Any:
        """The operations that `_outputs` does, written down: a function of one line an operation."""
        recorded = make_fx(self._outputs)(*tensors)
        recorded.graph.eliminate_dead_code()
        recorded.recompile()
        return recorded

    def _fast(self, recorded: Any, tensors: tuple[Tensor, ...]) -> Callable[..., Sequence[Tensor]]:
        """The list of operations as something that runs fast."""
        try:
            traced = torch.jit.trace(recorded, tensors, check_trace=False)
            traced(*tensors)  # it takes some operations that it cannot run
        except Exception:  # it does not take every operation: the backward of a convolution, for one
            return recorded  # type: ignore[no-any-return]
        return traced  # type: ignore[no-any-return]


def own_batch(batch: Mapping[str, Tensor]) -> Any:
    """The same batch in other memory; one that is not drawn yet stays undrawn.

    What another graph has drawn stays where it is: it is filled in place at every replay.
    """
    if isinstance(batch, LazyBatch):
        return batch.undrawn() if batch.tensors is None else batch.tensors
    return join_parts({name: value.clone() for name, value in split_parts(batch).items()})


class State:
    """Values of tensors and generators, to be put back.

    Args:
        tensors: are changed in place.
        generators: draw.
    """

    def __init__(self, tensors: list[Tensor], generators: list[torch.Generator]) -> None:
        self._tensors, self._values = tensors, [tensor.clone() for tensor in tensors]
        self._generators, self._states = generators, [generator.get_state() for generator in generators]

    def put_back(self) -> None:
        """As it was."""
        torch._foreach_copy_(self._tensors, self._values)
        self.put_back_generators()

    def put_back_generators(self) -> None:
        """The random numbers alone."""
        for generator, state in zip(self._generators, self._states, strict=True):
            generator.set_state(state)
