"""A CUDA graph on the CPU.

`capture` writes down every operation that torch dispatches while a function runs, and puts everything back: a real
capture executes nothing. What it made holds nonsense until the first `replay`, which executes the operations again and
fills the very tensors of the capture. What a real capture forbids is an error here too: a number read on the host, or
one drawn from a generator that the graph does not know.

What torch does not dispatch is not captured, as on a GPU: arithmetic in Python and in NumPy. `GraphOptimizer` is
`FastOptimizer` without those: its counts and learning rates are tensors, as they are on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rlgen.core.step import GradientStep
from rlgen.speed.graph import GraphRecording
from rlgen.speed.optimizers import FastOptimizer

READS = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default, torch.ops.aten.equal.default}


class FakeGraph:
    """Captures and replays on the CPU.

    Attributes:
        operations: what was captured: function, positional and named arguments, and what it returned.
    """

    def __init__(self) -> None:
        self.operations: list[tuple[Any, Any, Any, list[Tensor]]] = []

    def capture(
        self, function: Callable[[], Sequence[Tensor]], generators: Sequence[torch.Generator]
    ) -> Sequence[Tensor]:
        """Record `function`; nothing has moved after. Its outputs are filled by every `replay`."""
        states = [generator.get_state() for generator in generators]
        recorder = Recorder(self.operations, generators)
        try:
            with recorder:
                outputs = function()
        finally:
            for tensor, value in reversed(recorder.before):
                tensor.copy_(value)
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)
        for tensor in recorder.made:
            tensor.fill_(nonsense(tensor))
        return outputs

    def replay(self) -> None:
        """Execute what was captured."""
        with torch.no_grad():
            for function, args, kwargs, kept in self.operations:
                results = [each for each in tree_leaves(function(*args, **kwargs)) if isinstance(each, Tensor)]
                for own, result in zip(kept, results, strict=True) if kept else ():
                    own.copy_(result)


class Recorder(TorchDispatchMode):
    """Writes down operations while it is active.

    Args:
        operations: where to.
        generators: that may be drawn from.

    Attributes:
        before: tensors that an operation changed, with what they held.
        made: tensors that did not exist before.
    """

    def __init__(self, operations: list[Any], generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.operations, self.generators = operations, generators
        self.before: list[tuple[Tensor, Tensor]] = []
        self.made: list[Tensor] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function in READS:
            raise RuntimeError(f"{function} waits for the device: not permitted when a stream is capturing")
        generator = kwargs.get("generator")  # another Python object than was passed, of the same generator
        if generator is not None and generator._cdata not in {known._cdata for known in self.generators}:
            raise RuntimeError(f"{function} draws from a generator that the graph does not know")
        written = list(changed(function, args, kwargs))
        self.before += [(tensor, tensor.clone()) for tensor in written]
        outputs = function(*args, **kwargs)

        is_view = any(result.alias_info is not None for result in function._schema.returns)
        kept = [] if is_view else [each for each in tree_leaves(outputs) if isinstance(each, Tensor)]
        inputs = {each.untyped_storage().data_ptr() for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)}
        self.made += [each for each in kept if each.untyped_storage().data_ptr() not in inputs]
        if written or kept:  # a view is there already, and shows what its base is filled with
            self.operations.append((function, args, kwargs, kept))
        return outputs


def changed(function: Any, args: Any, kwargs: Any) -> Iterator[Tensor]:
    """The arguments that an operation writes to."""
    for i, argument in enumerate(function._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[i] if i < len(args) else kwargs.get(argument.name)
            yield from (each for each in tree_leaves(value) if isinstance(each, Tensor))


def nonsense(tensor: Tensor) -> Any:
    """What memory that nobody has filled yet may hold: whoever reads it is found out."""
    if tensor.dtype == torch.bool:
        return False
    return torch.nan if tensor.dtype.is_floating_point else torch.iinfo(tensor.dtype).min


class GraphOptimizer(FastOptimizer):
    """`FastOptimizer` on the CPU as it is on a GPU: a captured step reads the learning rates of its replay."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        super().__init__(optimizer)
        self._counts = []
        self.parts = [(*part[:-1], torch.zeros((), dtype=torch.float64)) for part in self.parts]


def record_graph(
    steps: Sequence[GradientStep],
    stacked: dict[str, Tensor] | None = None,
    kind: type[GraphRecording] = GraphRecording,
) -> GraphRecording:
    """For `Recorded(record=...)`, where `rlgen.speed.recording.FastOptimizer` is `GraphOptimizer`."""
    return kind(steps, stacked, make_graph=FakeGraph)
