"""Adam's step as operations that a compiler makes one kernel of, which the whole GPU works on.

torch's own kernel gives 65,536 numbers to a block of threads: two million of them keep a quarter of a large GPU busy.
"""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from rlgen.speed.optimizers import FastOptimizer, State


class AdamStep:
    """A function of tensors that takes the step of one learner's Adam or AdamW, and its count, in place.

    Args:
        optimizer: whose.
        max_norm: gradients are clipped to this; None leaves them as they are.

    Attributes:
        kinds: what it moves, and what it keeps of that, by name.
        tensors: what it is called with, before the gradients: these, and learning rates.
    """

    def __init__(self, optimizer: FastOptimizer, max_norm: float | None) -> None:
        self._max_norm, self._num, self._names = max_norm, len(optimizer.moved), list(optimizer.state_by_name)
        self._groups = [(group, part) for group, part, *_ in optimizer.parts]
        self.kinds = [optimizer.moved, *optimizer.state_by_name.values()]
        lrs = [lr for *_, lr in optimizer.parts if lr is not None]
        self.tensors = [*(tensor for kind in self.kinds for tensor in kind), *lrs]

    def __call__(self, *tensors: Tensor) -> tuple[()]:
        left = iter(tensors)
        params = list(islice(left, self._num))
        state = {name: list(islice(left, self._num)) for name in self._names}
        lrs = list(islice(left, len(self._groups)))
        grads: Any = list(left)
        if self._max_norm is not None:
            squares = [norm * norm for norm in torch._foreach_norm(grads)]
            norm = sum(squares[1:], squares[0]).sqrt()  # to stack them would be a kernel each
            grads = torch._foreach_div(grads, (norm / self._max_norm).clamp(min=1.0))
        torch._foreach_add_(state["step"], 1)
        for (group, part), lr in zip(self._groups, lrs, strict=True):
            move(group, params[part], grads[part], {name: own[part] for name, own in state.items()}, lr)
        return ()


def move(group: Any, params: list[Tensor], grads: Any, state: State, lr: Tensor) -> None:
    """What `optimizers.move_adam` does."""
    if group["maximize"]:
        grads = torch._foreach_neg(grads)
    if group["weight_decay"] and group["decoupled_weight_decay"]:
        torch._foreach_mul_(params, 1 - lr * group["weight_decay"])
    elif group["weight_decay"]:
        grads = torch._foreach_add(grads, params, alpha=group["weight_decay"])
    mean, square, (beta1, beta2) = state["exp_avg"], state["exp_avg_sq"], group["betas"]
    torch._foreach_mul_(mean, beta1)
    torch._foreach_add_(mean, grads, alpha=1 - beta1)
    torch._foreach_mul_(square, beta2)
    torch._foreach_addcmul_(square, grads, grads, value=1 - beta2)

    root = torch._foreach_div(torch._foreach_sqrt(square), [each.sqrt() for each in without(beta2, state["step"])])
    moves = torch._foreach_div(mean, torch._foreach_add(root, group["eps"]))
    torch._foreach_sub_(params, torch._foreach_mul(moves, [lr / each for each in without(beta1, state["step"])]))


def without(beta: float, counts: list[Tensor]) -> list[Tensor]:
    """1 - beta ** count, of which float32 would lose digits."""
    return [-torch.expm1(count * (math.log(beta) if beta else -math.inf)) for count in counts]
