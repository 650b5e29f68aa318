"""Latents of a standard normal prior, N(0, I), that are looked at: moved along an arc, or kept near the origin."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.special import ndtr, ndtri

STRAIGHT = 1e-6  # sine of an angle below which an arc has no direction of its own


def slerp(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """Spherical interpolation (Shoemake 1985; White 2016, "Sampling generative networks", arXiv:1609.04468, section 2).

    Latents of many dimensions lie near a sphere of radius sqrt(Z), and the straight line between two of them runs
    inside of it, where the prior has next to nothing. Where two point the same or opposite ways, the line is taken.

    Args:
        start: latents, [P, Z].
        end: as many, [P, Z].
        share: of the way, [K] in [0, 1].

    Returns:
        [P, K, Z], of the type of `start`.
    """
    one, other, share = start.double()[:, None], end.double()[:, None], share.double()[:, None]  # [K, 1]
    norms = one.norm(dim=-1, keepdim=True) * other.norm(dim=-1, keepdim=True)
    angle = ((one * other).sum(-1, keepdim=True) / norms).clamp(-1, 1).acos()  # [P, 1, 1]; NaN of a zero
    straight = ~(angle.sin() > STRAIGHT)
    sine = torch.where(straight, 1.0, angle.sin())
    before = torch.where(straight, 1 - share, ((1 - share) * angle).sin() / sine)  # [P, K, 1]
    after = torch.where(straight, share, (share * angle).sin() / sine)
    return (before * one + after * other).to(start.dtype)


def truncated(latent: Tensor, limit: float) -> Tensor:
    """Latents of a normal distribution truncated to [-limit, limit], any shape, each one from the latent beside it.

    Brock et al. 2019, "Large scale GAN training", arXiv:1809.11096, section 3.1, draw a number again where it lies
    beyond the limit. This has the same distribution and draws nothing: each number takes the same quantile of the
    truncated distribution that it has of the whole one, so a smaller limit moves the same images nearer to the mean.
    """
    low, high = (ndtr(torch.tensor(each, dtype=torch.float64, device=latent.device)) for each in (-limit, limit))
    return ndtri(low + ndtr(latent.double()) * (high - low)).clamp(-limit, limit).to(latent.dtype)
