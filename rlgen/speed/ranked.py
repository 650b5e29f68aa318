"""One gradient step of several ranks: each has a batch, and all of them move by the mean of their gradients."""

from __future__ import annotations

import torch

from rlgen.core.batch import Batch
from rlgen.core.functional import clip_norm, same_layout
from rlgen.core.ranks import Ranks, alike, one_batch
from rlgen.core.step import GradientStep, autocast


class Ranked:
    """An executor that takes the step of one process with the batches of all ranks together.

    The ranks' batches are equally large. Gradients and metrics cross in one piece, before gradients are clipped.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks

    def minimize(self, step: GradientStep) -> Batch:
        """Take the step; metrics are means over all ranks, but values [B], one a sample, stay those of this rank."""
        params, batch = step.params, alike(step.noisy_batch(), self.ranks)
        with one_batch(self.ranks), autocast(step.learner.device, step.learner.precision):
            loss, metrics = step.loss(step.learner, batch)
        grads = torch.autograd.grad(loss, params, materialize_grads=True)
        means = {name: value.detach() for name, value in metrics.items() if not value.ndim}

        flat = torch.cat([value.reshape(-1).to(grads[0].dtype) for value in (*grads, *means.values())])
        pieces = (self.ranks.sum(flat) / self.ranks.size).split([param.numel() for param in params] + [1] * len(means))
        grads = tuple(piece.view_as(param) for piece, param in zip(pieces, params, strict=False))
        if step.max_grad_norm is not None:
            grads = tuple(clip_norm(grads, step.max_grad_norm))

        for param, grad in zip(params, grads, strict=True):
            param.grad = same_layout(grad, param)
        step.optimizer.step()
        step.optimizer.zero_grad()
        own = {name: value.detach() for name, value in metrics.items() if value.ndim}
        return own | {name: piece.view(()) for name, piece in zip(means, pieces[len(params) :], strict=True)}
