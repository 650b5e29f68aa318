"""What nearest neighbours among features say: fidelity, diversity, whether two sets differ, and copies.

Sets of features are [N, F] float64. Distances are taken for some rows at a time, so memory grows with N alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlgen.metrics.images import CHUNK_ELEMENTS

NEAR = 0.01  # share of held-out images that lie nearer to a training image than the distance that makes a copy
NOISE = 1e-12  # times the squared norms; a smaller squared distance is rounding of single precision, and taken as 0
MANIFOLD, DENSE = 3, 5  # nearest neighbours of precision and recall, and of density and coverage


@dataclass(frozen=True)
class Neighbours:
    """What `compare` finds."""

    precision: float
    recall: float
    density: float
    coverage: float
    two_sample: float


def radii(features: Tensor, nearest: Sequence[int] = (1, MANIFOLD, DENSE)) -> Tensor:
    """Squared distances to the k-th nearest other member of the same set.

    Args:
        features: [N, F] float64, N larger than every k.
        nearest: the k.

    Returns:
        [len(nearest), N] float32.
    """
    found = []
    for start, squared in squared_distances(features, features):
        own = torch.arange(len(squared), device=squared.device)
        squared[own, start + own] = torch.inf
        found.append(squared.topk(max(nearest), largest=False).values)  # [rows, k], sorted
    return torch.cat(found)[:, [k - 1 for k in nearest]].T


def compare(real: Tensor, fake: Tensor, real_radii: Tensor | None = None) -> Neighbours:
    """Precision and recall, density and coverage, and a two-sample test of fake images against real ones.

    - precision: share of fakes within the ball of a real one, whose radius is the distance to its 3rd neighbour; recall
      the same with the sets exchanged (Kynkaanniemi et al. 2019, arXiv:1904.06991, equations 1 to 3).
    - density: number of balls of the 5th neighbour of real ones that a fake lies in, over 5, on average: 1 for equal
      distributions, and it may be larger. coverage: share of real ones with a fake in their ball (Naeem et al. 2020,
      arXiv:2002.09797, equations 5 and 6).
    - two_sample: accuracy of the nearest neighbour, the image itself left out, in telling real from fake, mean of both
      sets: 0.5 for equal distributions, 1 where the sets are apart, less than 0.5 where fakes are copies of these very
      real images (Lopez-Paz and Oquab 2017, arXiv:1610.06545; Xu et al. 2018, arXiv:1806.07755, find that this
      classifier tells models apart best; it needs no training and no held-out share). Sets of one size only.

    Args:
        real: [N, F] float64.
        fake: [M, F] float64.
        real_radii: of `radii(real)`, where they are at hand.
    """
    nearest_real, manifold_real, dense_real = radii(real) if real_radii is None else real_radii  # [N] each
    nearest_fake, manifold_fake, _ = radii(fake)  # [M] each
    inside, dense, nearest = [], [], []
    recalled, covered = (torch.zeros(len(real), dtype=torch.bool, device=real.device) for _ in range(2))
    nearest_of_real = torch.full_like(nearest_real, torch.inf)
    for start, squared in squared_distances(fake, real):  # [rows, N]
        own = manifold_fake[start : start + len(squared), None]
        inside.append((squared <= manifold_real).any(1))
        in_balls = squared <= dense_real
        dense.append(in_balls.sum(1))
        nearest.append(squared.min(1).values)
        recalled |= (squared <= own).any(0)
        covered |= in_balls.any(0)
        nearest_of_real = torch.minimum(nearest_of_real, squared.min(0).values)
    return Neighbours(
        precision=share(torch.cat(inside)),
        recall=share(recalled),
        density=torch.cat(dense).double().mean().item() / DENSE,
        coverage=share(covered),
        two_sample=(nearer(nearest_fake, torch.cat(nearest)) + nearer(nearest_real, nearest_of_real)) / 2,
    )


def copied(fake: Tensor, held_out: Tensor, train: Tensor) -> tuple[float, float, float]:
    """Whether fakes are nearer to the training images than images are that training never saw.

    Args:
        fake: [N, F] float64.
        held_out: [M, F] float64.
        train: [T, F] float64, all of them: a copy is found beside its original only.

    Returns:
        Chance that a fake is nearer to its nearest training image than a held-out image is to its own, ties one half:
        0.5 for new images of the same distribution, 1 for copies (Meehan et al. 2020, arXiv:2004.05675, section 3.1,
        whose statistic is the z-score of this). And the median distance of fakes to their nearest training image, over
        that of held-out images; not finite where held-out images are training images too. And the share of fakes that
        are nearer to a training image than 99 % of the held-out images are: 0.01 for new images; copies count there
        however far the other fakes are.
    """
    of_fake, of_held_out = nearest_distances(fake, train), nearest_distances(held_out, train)
    ordered = of_held_out.sort().values
    larger = len(ordered) - torch.searchsorted(ordered, of_fake, right=True)  # [N] held-out images that are farther
    equal = torch.searchsorted(ordered, of_fake, right=True) - torch.searchsorted(ordered, of_fake)
    chance = (larger + equal / 2).double().mean().item() / len(ordered)
    ratio = (of_fake.median() / of_held_out.median()).sqrt().item()
    return chance, ratio, share(of_fake < ordered[int(NEAR * len(ordered))])


def nearest_distances(features: Tensor, others: Tensor) -> Tensor:
    """Squared distances to the nearest of others: [N, F] and [M, F] -> [N]."""
    return torch.cat([squared.min(1).values for _, squared in squared_distances(features, others)])


def nearest(features: Tensor, others: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """The nearest of others, the nearest one first, all of them where they are fewer.

    Args:
        features: [N, F] float64.
        others: [M, F] float64.
        num: k.

    Returns:
        Distances, [N, k] float32, and which of the others they are, [N, k] int64.
    """
    found = [squared.topk(min(num, len(others)), largest=False) for _, squared in squared_distances(features, others)]
    return torch.cat([each.values for each in found]).sqrt(), torch.cat([each.indices for each in found])


def squared_distances(one: Tensor, other: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Squared Euclidean distances of some rows of a set to all of another: the first row, and [rows, M] float32.

    They are rounded so that copies of an image are at distance 0, and at equal distances from any other: in double
    precision they differ in the last digit, by their places in the sets.
    """
    norms = other.square().sum(1)
    rows = max(1, CHUNK_ELEMENTS // len(other))
    for start in range(0, len(one), rows):
        chunk = one[start : start + rows]
        both = chunk.square().sum(1, keepdim=True) + norms
        squared = both - 2 * chunk @ other.T
        yield start, squared.masked_fill_(squared <= NOISE * both, 0).float()


def nearer(one: Tensor, other: Tensor) -> float:
    """Share of places where the first is smaller, ties one half: [N] and [N]."""
    return ((one < other).double() + (one == other).double() / 2).mean().item()


def share(mask: Tensor) -> float:
    """Share of True in a mask."""
    return mask.double().mean().item()
