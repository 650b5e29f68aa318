"""Gradient steps recorded once and replayed: the same operations without Python and autograd between them.

A small network's step is about a hundred operations of a microsecond each; most of its time passes between them. A loss
is a pure function of (networks, batch), so loss, gradient and clipping can be recorded as a list of operations. On the
CPU TorchScript's interpreter runs the list: recorded in 0.2 s without a compiler, twice as fast as autograd and as
fast as torch.compile on a network of 120-84 units. On CUDA the drawing of the batch, the list and Adam are one CUDA
graph. The networks of several learners may be stacked, a seed each. Shapes: S seeds.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from tqdm import tqdm

from rlgen.core.functional import clip_norm, same_layout
from rlgen.errors import RlgenError

if TYPE_CHECKING:
    from rlgen.core.learner import Batch, Draw, Learner, Loss

REPAID = 2_000  # steps still to come that repay the 2 s of a first recording
MAX_SHAPES = 4  # recordings of one loss; batches of ever new sizes are not worth recording
WARM_UP = 3  # steps on CUDA before a graph is captured: libraries allocate at their first use
TOLERANCE = {"bf16": 3e-2}  # relative difference of gradients and metrics between a replay and the step as it is


class Lazy(Mapping[str, Tensor]):
    """A batch that is drawn when it is first read, so that a CUDA graph can hold the drawing too.

    Args:
        draw: device work alone; the host's part comes before.
        size: of the batch.
        layout: another object whenever a graph that holds an earlier `draw` would be stale.
    """

    def __init__(self, draw: Callable[[], Batch], size: int, layout: object) -> None:
        self.draw, self.size, self.layout = draw, size, layout
        self.key = size, layout
        self._drawn: Batch | None = None

    def again(self) -> Lazy:
        """The same, not drawn yet."""
        return Lazy(self.draw, self.size, self.layout)

    def _batch(self) -> Batch:
        if self._drawn is None:
            self._drawn = self.draw()
        return self._drawn

    def __getitem__(self, name: str) -> Tensor:
        return self._batch()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._batch())

    def __len__(self) -> int:
        return len(self._batch())


@dataclass
class Work:
    """The arguments of one `Learner.minimize`."""

    learner: Learner
    loss: Loss
    batch: Mapping[str, Tensor]
    optimizer: torch.optim.Optimizer
    max_grad_norm: float | None
    draw: Draw | None

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for two works that one recording serves."""
        if isinstance(self.batch, Lazy):
            return self.loss.__name__, self.batch.key
        return self.kind

    @property
    def kind(self) -> tuple[Any, ...]:
        """Equal for works of several learners that can be one step."""
        if isinstance(self.batch, Lazy):
            return self.loss.__name__, self.batch.size
        return self.loss.__name__, *self.batch, *[value.shape for value in self.batch.values()]

    def drawn(self) -> Batch:
        """The batch with the random numbers that the loss needs."""
        batch: Any = self.batch
        return batch if self.draw is None else self.draw(batch)


class Replay:
    """The recorded steps of one learner, or of several that step together.

    A step that cannot be recorded runs as it is, and a warning says which and why. The 1st, 10th, 100th, ... replay of
    every step is compared with the step as it is, so that a loss that is not pure is found out.

    Args:
        verify: compare the first so many replays too.
    """

    def __init__(self, verify: int = 0) -> None:
        self.verify = verify
        self.refused: dict[str, str] = {}  # name of a loss: why its step is not replayed
        self._num_warm: dict[str, int] = {}
        self._steps: dict[tuple[Any, ...], _Step] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Replay:
        return Replay(self.verify)  # a recording belongs to the tensors it was made with

    def minimize(self, works: Sequence[Work], stacked: dict[str, Tensor] | None = None) -> list[Batch] | None:
        """Take the same step of every learner and return their metrics; None if it is to be taken as it is.

        Args:
            works: one a learner.
            stacked: parameters and buffers by name, [S, ...], whose rows are those of the S learners.

        Raises:
            RlgenError: a replay differs from the step as it is.
        """
        name = works[0].loss.__name__
        if name in self.refused:
            return None
        key = works[0].key if len(works) == 1 else (name, *(work.key for work in works))
        step = self._steps.get(key)
        if step is None or step.is_stale(works):
            if not self._is_due(name, works):
                return None
            try:
                step = self._record(key, works, stacked)
            except Exception as failure:  # whatever recording may stumble on
                on_cuda = works[0].learner.device.type == "cuda"  # where the end of a capture hides what ended it
                error = (failure.__context__ if on_cuda else None) or failure
                self.refused[name] = " ".join(str(error).split())[:200] or type(error).__name__
                tqdm.write(f"note: {name} is slower than it could be, not recorded: {self.refused[name]}", sys.stderr)
                return None
        step.count += 1
        if step.count <= self.verify or step.count == step.next_check:
            step.next_check = 10 ** len(str(step.count))
            return step.verified(works)
        return step(works)

    def _is_due(self, name: str, works: Sequence[Work]) -> bool:
        """Whether to record now: what is asked is part of a checkpoint, so that a resumed run answers the same."""
        learner = works[0].learner
        if learner.device.type == "cuda":  # what libraries allocate at their first use is not for a graph to hold
            self._num_warm[name] = self._num_warm.get(name, 0) + 1
            return self._num_warm[name] > WARM_UP
        repaid = learner.num_updates * (1 - learner.progress) >= REPAID * learner.progress
        adams = [work.optimizer for work in works if isinstance(work.optimizer, torch.optim.Adam)]
        return repaid and all(adam.state for adam in adams)  # which its first step makes

    def _record(self, key: tuple[Any, ...], works: Sequence[Work], stacked: dict[str, Tensor] | None) -> _Step:
        self._steps.pop(key, None)
        if isinstance(works[0].batch, Lazy):  # drawn from tensors that have been replaced
            self._steps = {known: step for known, step in self._steps.items() if known[0] != key[0]}
        if sum(known[0] == key[0] for known in self._steps) >= MAX_SHAPES:
            raise ValueError(f"its batches come in more than {MAX_SHAPES} sizes")
        self._steps[key] = step = _Step(works, stacked)
        return step


class _Loss(nn.Module):
    """A loss as a module, so that `functional_call` can lend it other parameters."""

    def __init__(self, learner: Learner, loss: Loss) -> None:
        super().__init__()
        self.learner, self.loss = learner, loss

    def forward(self, batch: Batch) -> tuple[Tensor, Batch]:
        with self.learner.autocast():
            return self.loss(self.learner, batch)


class _Step:
    """One recorded step, of one learner or of S whose parameters are rows of `stacked`, by name."""

    def __init__(self, works: Sequence[Work], stacked: dict[str, Tensor] | None) -> None:
        self.count, self.next_check = 0, 1
        self._adams = [_Adam(work.optimizer) for work in works]
        self._max_grad_norm = works[0].max_grad_norm
        self._module = _Loss(works[0].learner, works[0].loss)
        self._metrics: list[str] = []  # their names

        own = dict(self._module.named_parameters()) | dict(self._module.named_buffers())
        name_of = {id(tensor): name for name, tensor in own.items()}
        trained = [name_of[id(param)] for group in works[0].optimizer.param_groups for param in group["params"]]
        self._names = trained + [name for name in own if name not in trained]
        self._num_trained = len(trained)
        whole = own if stacked is None else {name: stacked[name.removeprefix("learner.")] for name in own}
        self._tensors = [whole[name].detach() for name in self._names]

        self._graph: torch.cuda.CUDAGraph | None = None
        self._run: Callable[..., tuple[Tensor, ...]] = self._outputs
        (self._capture if works[0].learner.device.type == "cuda" else self._trace)(works)

    def is_stale(self, works: Sequence[Work]) -> bool:
        """Whether the tensors it was recorded with are no longer those of the learners."""
        return any(adam.is_stale(work.optimizer) for adam, work in zip(self._adams, works, strict=True))

    def __call__(self, works: Sequence[Work]) -> list[Batch]:
        """Take the step."""
        if self._graph is None:
            metrics = self._take(works)
        else:
            for static, work in zip(self._static, works, strict=True):
                if not isinstance(static, Lazy):
                    torch._foreach_copy_(list(static.values()), list(work.batch.values()))
            for adam in self._adams:
                adam.upload_lr()
            self._graph.replay()
            metrics = self._replayed
        return self._rows(metrics)

    def _rows(self, metrics: Sequence[Tensor]) -> list[Batch]:
        """Metrics, 0-d or [S] each, by name, one dictionary a learner."""
        if len(self._adams) == 1:
            return [dict(zip(self._metrics, metrics, strict=True))]
        rows = zip(*(metric.unbind() for metric in metrics), strict=True)
        return [dict(zip(self._metrics, row, strict=True)) for row in rows]

    def _take(self, works: Sequence[Work]) -> Sequence[Tensor]:
        """Draw, find the gradients and move; returns the metrics, K of 0-d or of [S]."""
        outputs = self._run(*self._tensors, *self._draw(works).values())
        for i, adam in enumerate(self._adams):
            adam.step(outputs[i * self._num_trained : (i + 1) * self._num_trained])
        return outputs[len(self._adams) * self._num_trained :]

    def _draw(self, works: Sequence[Work]) -> Batch:
        drawn = [work.drawn() for work in works]
        self._keys = list(drawn[0])
        if len(works) == 1:
            return dict(drawn[0])
        return {name: torch.stack([batch[name] for batch in drawn]) for name in drawn[0]}  # [S, B, ...]

    def _outputs(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Gradients, seed after seed, then metrics, 0-d or [S] each; of parameters, buffers and batch in one row."""
        num = len(self._names)
        batch = dict(zip(self._keys, tensors[num:], strict=True))

        def value(trained: list[Tensor], frozen: list[Tensor], batch: Batch) -> tuple[Tensor, list[Tensor]]:
            lent = dict(zip(self._names, [*trained, *frozen], strict=True))
            loss, metrics = functional_call(self._module, lent, (batch,))
            self._metrics = list(metrics)
            return loss, [metric.detach().float() for metric in metrics.values()]

        def gradients(trained: list[Tensor], frozen: list[Tensor], batch: Batch) -> tuple[list[Tensor], list[Tensor]]:
            grads, (_, metrics) = grad_and_value(value, has_aux=True)(trained, frozen, batch)
            return grads if self._max_grad_norm is None else clip_norm(grads, self._max_grad_norm), metrics

        trained, frozen = list(tensors[: self._num_trained]), list(tensors[self._num_trained : num])
        if len(self._adams) == 1:
            grads, metrics = gradients(trained, frozen, batch)
        else:
            stacked, metrics = vmap(gradients)(trained, frozen, batch)
            grads = [grad[s] for s in range(len(self._adams)) for grad in stacked]
        params = [param for adam in self._adams for param in adam.params]
        return (*(same_layout(grad, param) for grad, param in zip(grads, params, strict=True)), *metrics)

    def _trace(self, works: Sequence[Work]) -> None:
        """Record the gradients, for TorchScript's interpreter where it can run them all; nothing has moved after."""
        states = [work.learner.generator.get_state() for work in works]
        tensors = (*self._tensors, *self._draw(works).values())
        for work, state in zip(works, states, strict=True):
            work.learner.generator.set_state(state)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript; torch is pinned to tested versions
            recorded = make_fx(self._outputs)(*tensors)
            recorded.graph.eliminate_dead_code()
            recorded.recompile()
            self._run = recorded  # a Python function of one line an operation, without autograd
            convolutional = any("convolution" in str(node.target) for node in recorded.graph.nodes)
            if not convolutional:  # whose backward TorchScript does not take, and which are not held up by Python
                self._run = torch.jit.trace(recorded, tensors, check_trace=False)

    def _capture(self, works: Sequence[Work]) -> None:
        """Record drawing, gradients and Adam in one CUDA graph; nothing has moved after."""
        graph = torch.cuda.CUDAGraph()
        for work in works:
            graph.register_generator_state(work.learner.generator)  # or every replay would draw the same numbers
        for adam in self._adams:
            adam.upload_lr()
        self._static = [_undrawn(work.batch) for work in works]
        if len(works) > 1:  # kernels that no step has used yet cannot be loaded while a graph is captured
            state = self._state(works)
            self._take([replace(work, batch=_undrawn(work.batch)) for work in works])
            _put_back(*state)
        try:
            # The stream is put back here too: should the capture fail, `graph` leaves its own behind.
            with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(graph):
                static = zip(works, self._static, strict=True)
                self._replayed = self._take([replace(work, batch=batch) for work, batch in static])
        except BaseException:
            for work in works:  # before torch 2.13 a generator is left in a capture that failed
                work.learner.generator.graphsafe_set_state(work.learner.generator.clone_state())
            raise
        self._graph = graph

    def _state(self, works: Sequence[Work]) -> tuple[list[Tensor], list[Tensor], list[torch.Generator], list[Tensor]]:
        """All that a step changes, tensors and generators, each followed by its value now."""
        tensors = [*self._tensors, *(tensor for adam in self._adams for tensor in adam.state)]
        generators = [work.learner.generator for work in works]
        values, seeds = [tensor.clone() for tensor in tensors], [generator.get_state() for generator in generators]
        return tensors, values, generators, seeds

    def verified(self, works: Sequence[Work]) -> list[Batch]:
        """Take the step, and compare it with the step as it is, from the same state and the same random numbers.

        Raises:
            RlgenError: they differ.
        """
        before, starts = self._state(works), self._moments()
        replayed = [{name: value.clone() for name, value in row.items()} for row in self(works)]
        after, moments = self._state(works), self._moments()
        _put_back(*before)
        again = [replace(work, batch=_undrawn(work.batch)) for work in works]
        if self._graph is None or len(works) == 1:
            taken = [work.learner.minimize_eagerly(work) for work in again]
        else:  # the same kernels without a graph: TF32 rounds those of one learner differently
            taken = self._rows(self._take(again))

        tolerance = TOLERANCE.get(works[0].learner.precision, 1e-3)
        means = zip(starts, moments, self._moments(), strict=True)
        for work, metrics, expected, (start, mean, other_mean) in zip(works, replayed, taken, means, strict=True):
            # What a gradient did to its running mean is the gradient, and leaves out what Adam makes of its rounding.
            gradient = _norm(torch._foreach_sub(other_mean, start))
            error = _norm(torch._foreach_sub(mean, other_mean))
            values = {"the gradient's length with its error": (gradient + error, gradient, 0.0)}
            values |= {name: (value, expected[name].float(), tolerance * 1e-2) for name, value in metrics.items()}
            for name, (value, other, slack) in values.items():
                if other.isfinite() and not torch.isclose(value, other, tolerance, slack):
                    raise RlgenError(
                        f"replay {self.count} of {work.loss.__name__} differs from the step as it is: {name} is "
                        f"{value.item():.6g}, not {other.item():.6g}; a loss may read its networks and its batch alone "
                        "(what changes belongs in the batch), or train with --no-graph"
                    )
        _put_back(*after)
        return replayed

    def _moments(self) -> list[list[Tensor]]:
        return [[moment.clone() for moment in adam.exp_avg] for adam in self._adams]


class _Adam:
    """What `optimizer.step()` of Adam or AdamW does, without its 100 us of Python."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        groups = optimizer.param_groups
        if type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW) or not all(group["fused"] for group in groups):
            raise ValueError(f"only Adam and AdamW with fused=True are, not {type(optimizer).__name__}")
        if any(group["amsgrad"] for group in groups):
            raise ValueError("Adam with amsgrad is not")
        self._keys = [param for group in groups for param in group["params"]]
        self.params = [param.detach() for param in self._keys]
        states = [optimizer.state[param] for param in self._keys]
        self.exp_avg, exp_avg_sq, steps = (
            [state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step")
        )
        self.state = [*self.exp_avg, *exp_avg_sq, *steps]
        self._steps, on_cpu = steps, self.params[0].device.type == "cpu"
        self._counts = [step.numpy() for step in steps] if on_cpu else []  # torch takes 5 us to add 1, NumPy 0.2
        self._parts = []
        begin = 0
        for group in groups:
            part = slice(begin, begin := begin + len(group["params"]))
            lr = torch.zeros((), device=self.params[0].device) if self.params[0].is_cuda else None
            self._parts.append((group, part, self.exp_avg[part], exp_avg_sq[part], steps[part], lr))

    def is_stale(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether the optimizer's state or its parameters' memory are others than they were."""
        key = self._keys[0]
        state = optimizer.state.get(key)
        return state is None or state["exp_avg"] is not self.exp_avg[0] or key.data_ptr() != self.params[0].data_ptr()

    def upload_lr(self) -> None:
        """Put the learning rates where a graph reads them."""
        for group, *_, lr in self._parts:
            if lr is not None:
                lr.fill_(group["lr"])

    def step(self, grads: Sequence[Tensor]) -> None:
        """Move the parameters."""
        if self._counts:
            for count in self._counts:
                count += 1
        else:
            torch._foreach_add_(self._steps, 1)
        for group, part, exp_avg, exp_avg_sq, steps, lr in self._parts:
            fused: Any = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
            fused(
                self.params[part], grads[part], exp_avg, exp_avg_sq, exp_avg[:0], steps,
                lr=group["lr"] if lr is None else lr, beta1=group["betas"][0], beta2=group["betas"][1],
                weight_decay=group["weight_decay"], eps=group["eps"], amsgrad=False, maximize=group["maximize"],
            )  # fmt: skip


def _undrawn(batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The batch as it was given: to be drawn again, or a copy."""
    return batch.again() if isinstance(batch, Lazy) else {name: value.clone() for name, value in batch.items()}


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    return torch.linalg.vector_norm(torch.cat([tensor.flatten() for tensor in tensors])).cpu()


def _put_back(
    tensors: list[Tensor], values: list[Tensor], generators: list[torch.Generator], seeds: list[Tensor]
) -> None:
    torch._foreach_copy_(tensors, values)
    for generator, seed in zip(generators, seeds, strict=True):
        generator.set_state(seed)
