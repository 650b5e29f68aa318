"""One gradient step as a value, and how it is taken eagerly.

An algorithm says *what* is minimized: a loss, its batch, an optimizer. An executor says *how* the step is taken.
`Eager` is the plain one: a debugger can stop at every line. Faster executors give the same numbers up to rounding.
They are handed to the learner from outside, and nothing here knows of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from rlgen.core.batch import Batch
from rlgen.core.functional import clip_norm, same_layout

Loss = Callable[[Any, Batch], tuple[Tensor, Batch]]  # (networks, batch) -> (0-d loss, metrics)
Noise = Callable[[Batch], Batch]  # batch -> batch with the random numbers that its loss reads


@dataclass
class GradientStep:
    """One step down a loss, in the parameters of one optimizer and in no others."""

    learner: Any  # its networks, its generator, and the precision that losses are computed in
    loss: Loss  # a pure function of (networks, batch)
    batch: Batch  # every value [B, ...], but `shared_...`
    optimizer: torch.optim.Optimizer
    max_grad_norm: float | None = None  # the gradient's global L2 norm is clipped to this
    noise: Noise | None = None  # adds random numbers from the learner's generator

    @property
    def params(self) -> list[Tensor]:
        """The parameters that move."""
        return [param for group in self.optimizer.param_groups for param in group["params"]]

    def noisy_batch(self) -> Batch:
        """The batch with the random numbers that the loss reads."""
        return self.batch if self.noise is None else self.noise(self.batch)


class Executor(Protocol):
    """How gradient steps are taken."""

    def minimize(self, step: GradientStep) -> Batch:
        """Take the step; returns the loss's metrics, detached."""


class Eager:
    """Autograd and the optimizer's own step, one operation after the other."""

    def minimize(self, step: GradientStep) -> Batch:
        params, batch = step.params, step.noisy_batch()
        with autocast(step.learner.device, step.learner.precision):
            loss, metrics = step.loss(step.learner, batch)

        grads = torch.autograd.grad(loss, params, materialize_grads=True)  # of these parameters and of nothing else
        if step.max_grad_norm is not None:
            grads = clip_norm(grads, step.max_grad_norm)

        for param, grad in zip(params, grads, strict=True):
            param.grad = same_layout(grad, param)
        step.optimizer.step()
        step.optimizer.zero_grad()  # nothing is left over for another loss
        return {name: metric.detach() for name, metric in metrics.items()}


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """What a loss is computed in: matrix products and convolutions in bfloat16 if `precision` is bf16."""
    if precision != "bf16":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)  # a cache would outlive a step
