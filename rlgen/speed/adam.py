"""What `optimizer.step()` of Adam and AdamW does, without its 100 us of Python; also on one piece of memory a group."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

ALIGNED = 16  # numbers of 4 bytes


class FusedAdam:
    """Moves an optimizer's parameters by gradients that are handed in, with torch's fused kernel.

    Args:
        optimizer: has taken a step already, so that its state is there.

    Raises:
        ValueError: it is another optimizer, or not a fused one.

    Attributes:
        params: in the optimizer's order.
        exp_avg: their running means of the gradients.
        moved: the tensors that gradients are handed in for.
        state: all that a step changes beside the parameters.
        counts: of steps, which are part of it.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        groups = optimizer.param_groups
        if type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW) or not all(group["fused"] for group in groups):
            raise ValueError(f"only Adam and AdamW with fused=True can be recorded, not {type(optimizer).__name__}")
        if any(group["amsgrad"] for group in groups):
            raise ValueError("Adam with amsgrad cannot be recorded")
        self._keys = [param for group in groups for param in group["params"]]
        self.params = [param.detach() for param in self._keys]
        states = [optimizer.state[param] for param in self._keys]
        self.exp_avg, exp_avg_sq, steps = (
            [state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step")
        )
        self.state = [*self.exp_avg, *exp_avg_sq, *steps]
        self.counts, on_cpu = steps, self.params[0].device.type == "cpu"
        self._counts = [step.numpy() for step in steps] if on_cpu else []  # torch takes 5 us to add 1, NumPy 0.2
        self.moved = self.params
        self._parts = []
        self._uploaded: list[float | None] = [None] * len(groups)  # what the tensors of learning rates hold
        begin = 0
        for group in groups:
            part = slice(begin, begin := begin + len(group["params"]))
            lr = torch.zeros((), device=self.params[0].device) if self.params[0].is_cuda else None
            self._parts.append((group, part, self.exp_avg[part], exp_avg_sq[part], steps[part], lr))

    def joined(self, grads: Sequence[Tensor]) -> Sequence[Tensor]:
        """Gradients of `params` as those of `moved`."""
        return grads

    def is_stale(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether the optimizer's state or its parameters' memory are others than they were."""
        key = self._keys[0]
        state = optimizer.state.get(key)
        return state is None or state["exp_avg"] is not self.exp_avg[0] or key.data_ptr() != self.params[0].data_ptr()

    def upload_lr(self) -> None:
        """Put the learning rates where a CUDA graph reads them."""
        for i, (group, *_, lr) in enumerate(self._parts):
            if lr is not None and group["lr"] != self._uploaded[i]:  # a launch, which a graph of 25 kernels would feel
                lr.fill_(group["lr"])
                self._uploaded[i] = group["lr"]

    def step(self, grads: Sequence[Tensor]) -> None:
        """Move the parameters."""
        if self._counts:
            for count in self._counts:
                count += 1
        else:
            torch._foreach_add_(self.counts, 1)
        self.move(grads)

    def move(self, grads: Sequence[Tensor], divisor: Tensor | None = None) -> None:
        """Move the parameters; steps are counted elsewhere. Gradients are divided first, in place."""
        for group, part, exp_avg, exp_avg_sq, steps, lr in self._parts:
            fused: Any = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
            fused(
                self.moved[part], grads[part], exp_avg, exp_avg_sq, exp_avg[:0], steps,
                lr=group["lr"] if lr is None else lr, beta1=group["betas"][0], beta2=group["betas"][1],
                weight_decay=group["weight_decay"], eps=group["eps"], amsgrad=False, maximize=group["maximize"],
                grad_scale=divisor,
            )  # fmt: skip


class JoinedAdam(FusedAdam):
    """The same, of which gradients are recorded as one row a group of parameters.

    In a row each begins where torch would have put it, at a multiple of 64 bytes: matrix products round by that.

    Raises:
        ValueError: as of `FusedAdam`, or the entries of a parameter do not lie in their usual order.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        super().__init__(optimizer)
        self._numbers = [len(group["params"]) for group in optimizer.param_groups]
        if not all(param.is_contiguous() for param in self.params):
            raise ValueError("only parameters in their usual order of memory can be put together")
        self.moved = self.joined(self.params)

    def joined(self, grads: Sequence[Tensor]) -> list[Tensor]:
        """Tensors of a group in one row."""
        left = iter(grads)
        return [torch.cat([part for grad in islice(left, num) for part in padded(grad)]) for num in self._numbers]


class FlatAdam(JoinedAdam):
    """The same with the parameters of a group in one piece of memory, and their moments: one tensor moves, not many.

    The parameters are views of that piece from now on.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        super().__init__(optimizer)
        states = [optimizer.state[key] for key in self._keys]
        wholes = {}
        for name in ("exp_avg", "exp_avg_sq", "step"):
            wholes[name] = self.joined([state[name] for state in states])
            for state, view in zip(states, self._views(wholes[name], [state[name] for state in states]), strict=True):
                state[name] = view
        self.params = self._views(self.moved, self.params)
        for key, view in zip(self._keys, self.params, strict=True):
            key.data = view
        self.exp_avg = [state["exp_avg"] for state in states]
        self.state = [state[name] for name in wholes for state in states]
        self._counts = [whole.numpy() for whole in wholes["step"]]
        self._parts = [
            (group, slice(i, i + 1), [exp_avg], [exp_avg_sq], [step[0]], None)
            for i, (group, exp_avg, exp_avg_sq, step) in enumerate(
                zip(optimizer.param_groups, *wholes.values(), strict=True)
            )
        ]

    def _views(self, wholes: list[Tensor], tensors: list[Tensor]) -> list[Tensor]:
        """What `joined` put together, as tensors of their own shapes again."""
        views: list[Tensor] = []
        for whole, num in zip(wholes, self._numbers, strict=True):
            own = tensors[len(views) : len(views) + num]
            parts = whole.split([length for tensor in own for length in (tensor.numel(), -tensor.numel() % ALIGNED)])
            views += [part.view(tensor.shape) for part, tensor in zip(parts[::2], own, strict=True)]
        return views


def padded(tensor: Tensor) -> list[Tensor]:
    """Its entries in a row, and zeros behind them."""
    return [tensor.reshape(-1), tensor.new_zeros(-tensor.numel() % ALIGNED)]
