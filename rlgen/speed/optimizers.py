"""What `optimizer.step()` does, without its 100 us of Python; also on one piece of memory a group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from rlgen.core.optimizer import state_names

ALIGNED = 16  # numbers of 4 bytes
SHOWS_GRADIENT = ("exp_avg", "square_avg", "momentum_buffer")  # of a state, the first that there is

State = dict[str, list[Tensor]]  # what an optimizer keeps, by name: a tensor a parameter


def move_adam(group: Any, params: Any, grads: Any, state: State, lr: Any, divisor: Tensor | None) -> None:
    """Take the step of Adam or AdamW, but for its count; gradients are divided first, in place."""
    fused: Any = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
    fused(
        params, grads, state["exp_avg"], state["exp_avg_sq"], [], state["step"],
        lr=lr, beta1=group["betas"][0], beta2=group["betas"][1], weight_decay=group["weight_decay"],
        eps=group["eps"], amsgrad=False, maximize=group["maximize"], grad_scale=divisor,
    )  # fmt: skip


def move_sgd(group: Any, params: Any, grads: Any, state: State, lr: Any, divisor: Tensor | None) -> None:
    """Take the step of SGD, which is not the first one if it has momentum."""
    torch._fused_sgd_(
        params, grads, state.get("momentum_buffer", []), weight_decay=group["weight_decay"],
        momentum=group["momentum"], lr=lr, dampening=group["dampening"], nesterov=group["nesterov"],
        maximize=group["maximize"], is_first_step=False, grad_scale=divisor,
    )  # fmt: skip


def move_rmsprop(group: Any, params: Any, grads: Any, state: State, lr: Any, divisor: Tensor | None) -> None:
    """Take the step of RMSProp, of which torch has no kernel, but for its count."""
    if divisor is not None:
        torch._foreach_div_(grads, divisor)
    if group["maximize"]:
        grads = torch._foreach_neg(grads)
    if group["weight_decay"]:
        grads = torch._foreach_add(grads, params, alpha=group["weight_decay"])
    torch._foreach_mul_(state["square_avg"], group["alpha"])
    torch._foreach_addcmul_(state["square_avg"], grads, grads, value=1 - group["alpha"])
    root = torch._foreach_sqrt(state["square_avg"])
    torch._foreach_add_(root, group["eps"])
    if group["momentum"]:
        torch._foreach_mul_(state["momentum_buffer"], group["momentum"])
        torch._foreach_addcdiv_(state["momentum_buffer"], grads, root)
    if isinstance(lr, Tensor):  # a graph reads it at every replay; as a number it would be that of the capture
        moves = state["momentum_buffer"] if group["momentum"] else torch._foreach_div(grads, root)
        torch._foreach_sub_(params, torch._foreach_mul(moves, lr))
    elif group["momentum"]:
        torch._foreach_add_(params, state["momentum_buffer"], alpha=-lr)
    else:
        torch._foreach_addcdiv_(params, grads, root, value=-lr)


MOVES: dict[type, Callable[..., None]] = {
    torch.optim.Adam: move_adam,
    torch.optim.AdamW: move_adam,
    torch.optim.RMSprop: move_rmsprop,
    torch.optim.SGD: move_sgd,
}


class FastOptimizer:
    """Moves an optimizer's parameters by gradients that are handed in, as the optimizer would.

    Args:
        optimizer: has taken a step already, so that its state is there.

    Raises:
        ValueError: it is another optimizer than those of `MOVES`, not fused where it could be, or of a rare kind.

    Attributes:
        params: in the optimizer's order.
        moved: the tensors that gradients are handed in for.
        counts: of steps, which are part of its state.
        state_by_name: a tensor a parameter.
        move_tensors: of `MOVES`.
        parts: groups, what of `moved` is theirs, its state, and the learning rate as a tensor where a graph reads it.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        check(optimizer)
        groups = optimizer.param_groups
        self.move_tensors, names = MOVES[type(optimizer)], state_names(optimizer)
        self._keys = [param for group in groups for param in group["params"]]
        self.params = [param.detach() for param in self._keys]
        self.state_by_name: State = {name: [optimizer.state[param][name] for param in self._keys] for name in names}
        self.counts, on_cpu = self.state_by_name.get("step", []), self.params[0].device.type == "cpu"
        self._counts = [step.numpy() for step in self.counts] if on_cpu else []  # torch takes 5 us to add 1, NumPy 0.2
        self.moved = self.params
        self.parts: list[tuple[Any, slice, State, Tensor | None]] = []
        self._uploaded: list[float | None] = [None] * len(groups)  # what the tensors of learning rates hold
        begin = 0
        for group in groups:
            part = slice(begin, begin := begin + len(group["params"]))
            lr = torch.zeros((), device=self.params[0].device) if self.params[0].is_cuda else None
            self.parts.append((group, part, {name: own[part] for name, own in self.state_by_name.items()}, lr))

    @property
    def is_adam(self) -> bool:
        """Whether it is Adam or AdamW."""
        return self.move_tensors is move_adam

    @property
    def state(self) -> list[Tensor]:
        """All that a step changes beside the parameters."""
        return [tensor for own in self.state_by_name.values() for tensor in own]

    @property
    def shows_gradient(self) -> list[Tensor]:
        """Tensors that a step changes by its gradients: running means; of an optimizer without, the parameters."""
        return next((self.state_by_name[name] for name in SHOWS_GRADIENT if name in self.state_by_name), self.params)

    def joined(self, grads: Sequence[Tensor]) -> Sequence[Tensor]:
        """Gradients of `params` as those of `moved`."""
        return grads

    def is_stale(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether the optimizer's state or its parameters' memory are others than they were."""
        key = self._keys[0]
        now = optimizer.state.get(key, {})
        same = all(now.get(name) is own[0] for name, own in self.state_by_name.items())
        return not same or key.data_ptr() != self.params[0].data_ptr()

    def upload_lr(self) -> None:
        """Put the learning rates where a CUDA graph reads them."""
        for i, (group, *_, lr) in enumerate(self.parts):
            if lr is not None and group["lr"] != self._uploaded[i]:  # a launch, which a graph of 25 kernels would feel
                lr.fill_(group["lr"])
                self._uploaded[i] = group["lr"]

    def step(self, grads: Sequence[Tensor]) -> None:
        """Move the parameters."""
        if self._counts:
            for count in self._counts:
                count += 1
        elif self.counts:
            torch._foreach_add_(self.counts, 1)
        self.move(grads)

    def move(self, grads: Sequence[Tensor], divisor: Tensor | None = None) -> None:
        """Move the parameters; steps are counted elsewhere. Gradients are divided first, in place."""
        for group, part, state, lr in self.parts:
            self.move_tensors(group, self.moved[part], grads[part], state, group["lr"] if lr is None else lr, divisor)


def alike(optimizers: Sequence[FastOptimizer]) -> bool:
    """Whether they are of one kind with the same options, learning rates among them."""
    kinds = [(own.move_tensors, [{**group, "params": None} for group, *_ in own.parts]) for own in optimizers]
    return all(kind == kinds[0] for kind in kinds)


def move_as_one(optimizers: Sequence[FastOptimizer], grads: Sequence[Sequence[Tensor]]) -> None:
    """What `move` of each does, where they are alike: a kernel keeps as many threads busy as it has tensors to move."""
    first, parts = optimizers[0], zip(*(own.parts for own in optimizers), strict=True)
    for same in parts:
        group, part, state, lr = same[0]
        params = [tensor for own in optimizers for tensor in own.moved[part]]
        joined = {name: [tensor for _, _, own, _ in same for tensor in own[name]] for name in state}
        rate = group["lr"] if lr is None else lr
        first.move_tensors(group, params, [grad for own in grads for grad in own[part]], joined, rate, None)


def check(optimizer: torch.optim.Optimizer) -> None:
    """Refuse what takes other steps than those of `MOVES`.

    Raises:
        ValueError: which.
    """
    kind, groups = type(optimizer), optimizer.param_groups
    is_fused = kind is torch.optim.RMSprop or all(group.get("fused") for group in groups)
    if kind not in MOVES or not is_fused:
        known = ", ".join(sorted(cls.__name__ for cls in MOVES))
        raise ValueError(f"only {known} can be recorded, with fused=True where they have it, not {kind.__name__}")
    for option in ("amsgrad", "centered"):
        if any(group.get(option) for group in groups):
            raise ValueError(f"{kind.__name__} with {option} cannot be recorded")
    if len({bool(group.get("momentum")) for group in groups}) > 1:
        raise ValueError(f"{kind.__name__} with momentum of some parameters alone cannot be recorded")


class JoinedOptimizer(FastOptimizer):
    """The same, of which gradients are recorded as one row a group of parameters.

    In a row each begins where torch would have put it, at a multiple of 64 bytes: matrix products round by that.

    Raises:
        ValueError: as of `FastOptimizer`, or the entries of a parameter do not lie in their usual order.
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


class FlatOptimizer(JoinedOptimizer):
    """The same with the parameters of a group in one piece of memory, and their state: one tensor moves, not many.

    The parameters are views of that piece from now on.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        super().__init__(optimizer)
        wholes = {name: self.joined(own) for name, own in self.state_by_name.items()}
        self.state_by_name = {name: self._views(wholes[name], own) for name, own in self.state_by_name.items()}
        for name, own in self.state_by_name.items():
            for key, view in zip(self._keys, own, strict=True):
                optimizer.state[key][name] = view
        self.params = self._views(self.moved, self.params)
        for key, view in zip(self._keys, self.params, strict=True):
            key.data = view
        self.counts = self.state_by_name.get("step", [])
        self._counts = [whole.numpy() for whole in wholes.get("step", [])]
        self.parts = [
            (group, slice(i, i + 1), dict(one_tensor_each(wholes, i)), None)
            for i, group in enumerate(optimizer.param_groups)
        ]

    def _views(self, wholes: list[Tensor], tensors: list[Tensor]) -> list[Tensor]:
        """What `joined` put together, as tensors of their own shapes again."""
        views: list[Tensor] = []
        for whole, num in zip(wholes, self._numbers, strict=True):
            own = tensors[len(views) : len(views) + num]
            parts = whole.split([length for tensor in own for length in (tensor.numel(), -tensor.numel() % ALIGNED)])
            views += [part.view(tensor.shape) for part, tensor in zip(parts[::2], own, strict=True)]
        return views


def one_tensor_each(wholes: State, group: int) -> Iterator[tuple[str, list[Tensor]]]:
    """The state of a group whose parameters are one tensor; their count is one number."""
    for name, own in wholes.items():
        yield name, [own[group][0] if name == "step" else own[group]]


def padded(tensor: Tensor) -> list[Tensor]:
    """Its entries in a row, and zeros behind them."""
    return [tensor.reshape(-1), tensor.new_zeros(-tensor.numel() % ALIGNED)]
