"""The optimizers that an algorithm may be trained with, as options, and what each keeps of a parameter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from torch import nn

from rlgen.errors import UsageError


@dataclass(frozen=True)
class OptimizerOptions:
    """For an algorithm's `Config` to extend."""

    # fixed: the state of its optimizer
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] = "adam"  # adamw decouples weight decay from the gradient
    # fixed: the state of its optimizer
    momentum: float = 0.0  # of rmsprop and sgd; in [0, 1)
    weight_decay: float | None = None  # of all parameters (None: 0.01 of adamw, else 0); in [0, inf)


@dataclass(frozen=True)
class AdamOptions(OptimizerOptions):
    """With Adam's decays, for an algorithm that needs other ones than 0.9 and 0.999."""

    beta1: float = 0.9  # Adam's decay of the mean gradient, in [0, 1)
    beta2: float = 0.999  # Adam's decay of the squared gradient, in [0, 1)

    def betas(self) -> tuple[float, float]:
        """Both of them.

        Raises:
            UsageError: one was given, and the optimizer has none.
        """
        for field in fields(self):
            given = getattr(self, field.name)
            if self.optimizer in ("rmsprop", "sgd") and field.name in ("beta1", "beta2") and given != field.default:
                what = f"--{field.name} {given:g} with --optimizer {self.optimizer}"
                raise UsageError(f"{what}: it is Adam's; leave it out")
        return self.beta1, self.beta2


def make_optimizer(
    options: OptimizerOptions, params: Iterable[nn.Parameter], lr: float, **adam: Any
) -> torch.optim.Optimizer:
    """Make the optimizer that the options say, of PyTorch, fused where there is such a kernel.

    Adam (Kingma and Ba 2015), AdamW (Loshchilov and Hutter 2019), RMSProp (Hinton 2012), SGD with momentum.

    Args:
        options: which one, its momentum and its weight decay.
        params: that it owns.
        lr: step size.
        adam: `betas` of Adam and AdamW; `eps` of these and of RMSProp.

    Raises:
        UsageError: momentum of an optimizer that has it by another name.
    """
    kind, params = options.optimizer, list(params)
    if options.momentum and kind in ("adam", "adamw"):
        what = f"--momentum {options.momentum:g} with --optimizer {kind}"
        raise UsageError(f"{what}: it is of rmsprop and sgd; leave it out")
    decay: dict[str, Any] = {} if options.weight_decay is None else {"weight_decay": options.weight_decay}
    if kind == "sgd":
        return torch.optim.SGD(params, lr, momentum=options.momentum, fused=True, **decay)
    if kind == "rmsprop":
        own = {name: value for name, value in adam.items() if name == "eps"}
        on_gpu = params[0].is_cuda  # where a graph counts steps
        return torch.optim.RMSprop(params, lr, momentum=options.momentum, capturable=on_gpu, **decay, **own)
    cls = torch.optim.AdamW if kind == "adamw" else torch.optim.Adam
    return cls(params, lr=lr, fused=True, **decay, **adam)


def state_names(optimizer: torch.optim.Optimizer) -> tuple[str, ...]:
    """What an optimizer keeps of every parameter after its first step; () where that is nothing or is not known."""
    has_momentum = any(group.get("momentum") for group in optimizer.param_groups)
    if isinstance(optimizer, torch.optim.Adam):  # AdamW is one too
        return ("step", "exp_avg", "exp_avg_sq")
    if isinstance(optimizer, torch.optim.RMSprop):
        return ("step", "square_avg", *["momentum_buffer"] * has_momentum)
    return ("momentum_buffer",) if isinstance(optimizer, torch.optim.SGD) and has_momentum else ()
