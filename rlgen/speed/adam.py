"""What `optimizer.step()` of Adam and AdamW does, without its 100 us of Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class FusedAdam:
    """Moves an optimizer's parameters by gradients that are handed in, with torch's fused kernel.

    Args:
        optimizer: has taken a step already, so that its state is there.

    Raises:
        ValueError: it is another optimizer, or not a fused one.
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
        """Put the learning rates where a CUDA graph reads them."""
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
