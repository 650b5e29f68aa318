"""A bonus for observations that were seldom seen: "Exploration by random network distillation" (Burda et al. 2018).

A predictor learns what a fixed random network says of observations; its error is large where it has learned little
(section 2.2 of arXiv:1810.12894). Vectors of numbers are whitened and clipped to [-5, 5], images are not (there they
are); the bonus is the error over its standard deviation so far (section 2.4), scaled so that a mean error has 10 at
most. Unlike there, the bonus is added to the reward, has no value function of its own and ends with the episode, and it
is the error that is divided, not a discounted sum of errors: a replay buffer has no such sums. Shapes: B batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rlgen.core.batch import Batch
from rlgen.core.functional import masked_mean
from rlgen.core.learner import Learner
from rlgen.core.normalization import Moments
from rlgen.envs.spec import EnvSpec
from rlgen.nets.networks import network

NUM_FEATURES = 64  # that are predicted
LIMIT = 5.0  # whitened numbers are clipped to [-LIMIT, LIMIT]
LARGEST_MEAN = 10.0  # of the bonus: errors that hardly differ, as those of a first batch may, have almost no deviation


@dataclass(frozen=True)
class NoveltyOptions:
    """For the `Config` of an agent that adds the bonus to its rewards."""

    rnd: float = 0.0  # weight of a bonus for what is novel, as RND, 0 none; in [0, inf); fixed at 0: other networks
    rnd_lr: float = 1e-4  # step size of the predictor; with a replay buffer 1e-5 is enough; in (0, inf)


class Novelty(nn.Module):
    """The fixed network, its predictor, and the statistics of observations and errors.

    Args:
        spec: of the environment.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, spec: EnvSpec) -> None:
        super().__init__()
        self.target = network(spec, (128,), NUM_FEATURES, init_gain=math.sqrt(2)).requires_grad_(False)
        self.predictor = network(spec, (128, 128), NUM_FEATURES, init_gain=math.sqrt(2))
        self.errors = Moments(())
        self.observed = Moments(spec.obs_shape) if spec.obs_dtype == "float32" else None  # pictures: by their network
        self.register_buffer("mean", torch.zeros(spec.obs_shape))
        self.register_buffer("scale", torch.ones(spec.obs_shape))

    def forward(self, obs: Tensor) -> Tensor:
        """Observations [B, ...] -> how far the predictor is off, the mean square over the features, [B]."""
        if self.observed is not None:
            obs = ((obs - self.mean) * self.scale).clamp(-LIMIT, LIMIT)
        return (self.predictor(obs) - self.target(obs)).square().mean(-1)

    @torch.no_grad()
    def bonus(self, obs: Tensor, valid: Tensor | None = None) -> Tensor:
        """Count observations in, [B, ...], and say how novel each is now, [B]; 1 is one standard deviation.

        Args:
            obs: as the agent sees them.
            valid: [B] bool; what is not valid is not counted.
        """
        if self.observed is not None:
            self.observed.add(obs if valid is None else obs[valid])
            self.mean.copy_(self.observed.mean)
            self.scale.copy_(self.observed.scale())
        error = self(obs)
        self.errors.add(error if valid is None else error[valid])
        scale = self.errors.scale().minimum(LARGEST_MEAN / self.errors.mean)
        return error * scale.to(error.dtype)


def novelty_loss(nets: Any, batch: Batch) -> tuple[Tensor, Batch]:
    """The mean error of the predictor on what followed; of `nets` it reads `novelty`."""
    error = nets.novelty(batch["next_obs"])  # [B]
    loss = masked_mean(error, batch["valid"]) if "valid" in batch else error.mean()
    return loss, {"losses/novelty": loss}


def with_bonus(novelty: Novelty, batch: Batch, weight: float) -> Batch:
    """A batch whose rewards are larger where the observation that followed is novel.

    Args:
        novelty: says how novel it is, now.
        batch: with `reward` and `next_obs`, of samples [B, ...] or of a rollout [T, N, ...]. Of a sum of n rewards the
            observation after the last of them counts, undiscounted: of n steps one has a bonus.
        weight: of the bonus, beside the reward.
    """
    shape = batch["reward"].shape
    valid = batch["valid"].flatten() if "valid" in batch else None
    bonus = novelty.bonus(batch["next_obs"].flatten(0, len(shape) - 1), valid).view(shape)
    return {**batch, "reward": batch["reward"] + weight * bonus}


def explore(learner: Learner, batch: Batch) -> tuple[Batch, Batch]:
    """The batch with the bonus, recomputed for it, and the metrics of a step of the predictor.

    Args:
        learner: has `novelty`, and `novelty_optimizer` of its predictor.
        batch: as of `with_bonus`, of samples.
    """
    nets: Any = learner
    found = with_bonus(nets.novelty, batch, learner.cfg.rnd)
    return found, learner.minimize(novelty_loss, {"next_obs": batch["next_obs"]}, nets.novelty_optimizer)
