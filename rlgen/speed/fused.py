"""A CUDA graph of fewer kernels: torch's Inductor joins what is between matrix products and convolutions.

`--compile auto` chooses it where a run is long enough; what it gains stands in `rlgen/bench/README.md`. To make kernels
takes a C++ compiler and up to 25 s, once: they are kept beside other compiled steps. Where anything fails, or the
numbers are others, the graph has the kernels that it would have had, and a line says why.

What is compiled is a pure function: random numbers are drawn outside of it, and all tensors that it reads are its
inputs, those of the ring too. Inductor would take a tensor of one number that is none for a constant.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rlgen.core.batch import LazyBatch, join_parts, split_parts
from rlgen.core.step import GradientStep
from rlgen.errors import one_line
from rlgen.speed import machine_code
from rlgen.speed.fused_adam import AdamStep
from rlgen.speed.graph import GraphRecording
from rlgen.speed.recorded import TOLERANCE, is_undrawn, length
from rlgen.speed.recording import State
from rlgen.text import warn

Function = Callable[..., Sequence[Tensor]]


class FusedRecording(GraphRecording):
    """A recorded step on CUDA in which the reading of the batch, loss, gradient and what is between them are fused.

    Args:
        given: as of `GraphRecording`.
        work: whose kernels are kept, for `machine_code.was_fused`.
        options: as of `GraphRecording`.
    """

    _own: Sequence[GradientStep] = ()  # that are captured
    _fused: Function | None = None
    _step: Function | None = None  # of the optimizer

    def __init__(self, *given: Any, work: str = "", **options: Any) -> None:
        self._work = work
        super().__init__(*given, **options)

    def _prepare(self, captured: Sequence[GradientStep]) -> None:
        self._own, name = captured, captured[0].loss.__name__
        before, outputs = self.state(captured), None
        tolerance = TOLERANCE.get(captured[0].learner.precision, 1e-3)
        with torch.no_grad(), explained(name):
            if self._work and not machine_code.was_fused(self._work):
                warn(f"fusing the kernels of {name}, once on this machine: up to 25 s", note=True)
            draws = Draws()
            with draws:
                self._noisy_batch(undrawn(captured))
            self._draws, inputs = draws.calls, (*self.tensors, *draws.drawn)
            function = fused(self._whole, inputs)
            # It also loads kernels: while a graph is captured none can be.
            outputs = function(*inputs)
            check_same(outputs, self._whole(*inputs), tolerance)
            self._fused = function
        if self._fused is not None and outputs is not None and len(captured) == 1 and self.optimizers[0].is_adam:
            with torch.no_grad(), explained(f"the optimizer of {name}"):
                self._step = self._fused_step(outputs, before)
        if self._fused is not None and self._work and len(captured) == 1:  # those of several seeds are others
            machine_code.note_fused(self._work)
        before.put_back()

    def _fused_step(self, outputs: Sequence[Tensor], before: State) -> Function:
        """The optimizer's step, compiled, once it has been compared with torch's."""
        [optimizer] = self.optimizers
        step, grads = AdamStep(optimizer, self._max_grad_norm), outputs[: len(optimizer.moved)]
        function = fused(step, (*step.tensors, *grads))
        found = []
        for move in (lambda: function(*step.tensors, *grads), lambda: self._move(outputs)):
            before.put_back()
            move()
            found.append([[tensor.clone() for tensor in alike] for alike in step.kinds])
        for own, expected in zip(*found, strict=True):
            check_same(own, expected, 1e-5)
        return lambda *grads: function(*step.tensors, *grads)

    def take(self, steps: Sequence[GradientStep]) -> Sequence[Tensor]:
        if steps is not self._own or self._fused is None:  # others are to check it
            return super().take(steps)
        random = [function(*args, **kwargs) for function, args, kwargs in self._draws]
        outputs = self._fused(*self.tensors, *random)
        num = len(outputs) - sum(map(len, self._read))
        values = iter(outputs[num:])
        for step, names in zip(filter_undrawn(steps), self._read, strict=True):
            step.batch.tensors = join_parts({name: next(values) for name in names})  # type: ignore[attr-defined]
        if self._step is None:
            return self._move(outputs[:num])
        num_moved = len(self.optimizers[0].moved)
        self._step(*outputs[:num_moved])
        return outputs[num_moved:num]

    def _whole(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Gradients, metrics, and the batches that were drawn; of the parameters and the random numbers."""
        steps = undrawn(self._own)
        lazy = filter_undrawn(steps)
        with Draws(tensors[len(self.tensors) :]):
            noisy = self._noisy_batch(steps)
        drawn = [split_parts(step.batch.tensors or {}) for step in lazy]  # type: ignore[attr-defined]
        self._read = [list(batch) for batch in drawn]  # names in each
        outputs = self._outputs(*tensors[: len(self.tensors)], *noisy.values())
        return (*outputs, *(value for batch in drawn for value in batch.values()))


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Go on without it where `what` cannot be fused, whatever a compiler may stumble on, and say why in one line."""
    try:
        yield
    except Exception as error:
        why = str(error) if isinstance(error, machine_code.CannotCompileError) else one_line(error)[:200]
        warn(f"note: the kernels of {what} are not fused: {why}", note=True)


def undrawn(steps: Sequence[GradientStep]) -> list[GradientStep]:
    """The same steps; a batch that is still to be drawn is another one of the same draw."""
    return [replace(step, batch=step.batch.undrawn()) if is_undrawn(step.batch) else step for step in steps]  # type: ignore[attr-defined]


def filter_undrawn(steps: Sequence[GradientStep]) -> list[GradientStep]:
    """Those whose batches are still to be drawn."""
    return [step for step in steps if isinstance(step.batch, LazyBatch) and is_undrawn(step.batch)]


class Draws(TorchDispatchMode):
    """While it is active, random numbers are noted, or come from elsewhere.

    Args:
        given: to be used instead of what would be drawn, in this order; None to note what is drawn.

    Attributes:
        calls: function, positional and named arguments of what drew.
        drawn: what it returned.
    """

    def __init__(self, given: Sequence[Tensor] | None = None) -> None:
        super().__init__()
        self._given = None if given is None else iter(given)
        self.calls: list[tuple[Any, Any, Any]] = []
        self.drawn: list[Tensor] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in function.tags:
            return function(*args, **kwargs)
        if any(isinstance(each, Tensor) for each in tree_leaves((args, kwargs))):
            raise ValueError(f"{function} draws numbers that depend on a tensor")
        if self._given is not None:
            return next(self._given)
        self.calls.append((function, args, kwargs))
        self.drawn.append(function(*args, **kwargs))
        return self.drawn[-1]


def fused(function: Function, tensors: Sequence[Tensor]) -> Function:
    """A function of tensors of these sizes as Inductor compiles it.

    Raises:
        Exception: whatever keeps it from that.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        recorded = make_fx(function)(*tensors)
        others = lifted(recorded)
        compiled = inductor(recorded, [*tensors, *others])
    return lambda *tensors: compiled(*tensors, *others)


def inductor(recorded: torch.fx.GraphModule, tensors: list[Tensor]) -> Any:
    """A list of operations compiled, for tensors of these sizes."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(machine_code.folder() / machine_code.INDUCTOR))
    return torch._inductor.compile(recorded, [*tensors])


def lifted(recorded: torch.fx.GraphModule) -> list[Tensor]:
    """Make inputs of the tensors that a list of operations holds; returns them."""
    others: dict[str, Tensor] = {}
    inputs: dict[str, torch.fx.Node] = {}
    last = [node for node in recorded.graph.nodes if node.op == "placeholder"][-1]
    for node in list(recorded.graph.nodes):
        if node.op == "get_attr":
            if node.target not in others:
                others[node.target] = getattr(recorded, node.target)
                with recorded.graph.inserting_after(last):
                    last = inputs[node.target] = recorded.graph.placeholder(f"{node.target}_input")
            node.replace_all_uses_with(inputs[node.target])
            recorded.graph.erase_node(node)
    recorded.graph.eliminate_dead_code()
    recorded.recompile()
    return [tensor.detach() for tensor in others.values()]


def check_same(found: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float) -> None:
    """What was compiled gives the numbers of the eager step.

    Raises:
        ValueError: they differ by more than `tolerance`, relative to the length of all of them.
    """
    differences = [one.double() - other.double() for one, other in zip(found, expected, strict=True)]
    error, size = length(differences), length([each.double() for each in expected])
    if error > tolerance * size:
        raise ValueError(f"their numbers differ by {error.item():.3g} of {size.item():.3g}")
