"""Ways to take Adam's step of NatureCNN, 1.7 million numbers, without a compiler: which keeps all of a GPU busy?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

SHAPES = ((32, 4, 8, 8), (32,), (64, 32, 4, 4), (64,), (64, 64, 3, 3), (64,), (512, 3136), (512,), (6, 512), (6,))
PIECE = 2**14  # numbers; torch gives 2**16 to a block of threads
BRANCHES = 4  # of a graph


@dataclass
class State:
    """Tensors of each kind, one a parameter; the count of steps and the learning rate."""

    params: list[Tensor]
    grads: list[Tensor]
    mean: list[Tensor]
    square: list[Tensor]
    count: Tensor
    lr: Tensor

    @property
    def kinds(self) -> tuple[list[Tensor], ...]:
        """All but the last two."""
        return self.params, self.grads, self.mean, self.square


def make_state(device: str) -> State:
    """Random numbers."""
    kinds = [[torch.rand(shape, device=device) for shape in SHAPES] for _ in range(4)]
    return State(*kinds, torch.zeros((), device=device), torch.full((), 1e-3, device=device))


def whole(own: State) -> None:
    """By torch's kernel, as it is taken now."""
    fused(*own.kinds, own)


def flat(own: State) -> None:
    """By operations on all numbers in a row. Of what is put in a row, only gradients would be new in every step."""
    if len(own.params) > 1:
        own.params, own.mean, own.square = ([joined(kind)] for kind in (own.params, own.mean, own.square))
    grad, [param], [mean], [square] = joined(own.grads), own.params, own.mean, own.square
    mean.lerp_(grad, 0.1)
    square.mul_(0.999).addcmul_(grad, grad, value=0.001)
    root = (square / -torch.expm1(own.count * math.log(0.999))).sqrt_().add_(1e-8)
    param.sub_(mean.div(root).mul_(own.lr / -torch.expm1(own.count * math.log(0.9))))


def branched(own: State) -> None:
    """By torch's kernel on pieces, in branches of the graph that run side by side."""
    pieces = [[piece for each in kind for piece in each.view(-1).split(PIECE)] for kind in own.kinds]
    here, streams = torch.cuda.current_stream(), [torch.cuda.Stream() for _ in range(BRANCHES)]
    for i, stream in enumerate(streams):
        stream.wait_stream(here)
        with torch.cuda.stream(stream):
            fused(*(kind[i::BRANCHES] for kind in pieces), own)
    for stream in streams:
        here.wait_stream(stream)


def joined(tensors: list[Tensor]) -> Tensor:
    """One row of all numbers."""
    return torch.cat([each.view(-1) for each in tensors])


def fused(params: Any, grads: Any, mean: Any, square: Any, own: State) -> None:
    """torch's kernel."""  # noqa: D403
    options: dict[str, Any] = {"beta1": 0.9, "beta2": 0.999, "weight_decay": 0.0, "eps": 1e-8}
    options |= {"amsgrad": False, "maximize": False}
    torch._fused_adam_(params, grads, mean, square, [], [own.count] * len(params), lr=own.lr, **options)


WAYS = {"torch's kernel": whole, "flat memory": flat, "pieces in branches": branched}
