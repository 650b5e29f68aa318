"""How far a set of images is from another: distances of distributions, over whole sets of features or of pixels.

Features are [N, F] float64, one row an image; nothing is drawn but fixed projections, so the same sets give the same
numbers. Neighbours among features are in `neighbours.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK_ELEMENTS = 2**22  # of a matrix of distances or kernels that is in memory at once
PROJECTIONS = (16, 256)  # directions of the sliced Wasserstein distance, at least (of large images) and at most
PROJECTION_SEED = 0


def frechet_distance(one: Tensor, other: Tensor) -> float:
    """Frechet distance of the Gaussians with the means and covariances of two sets of features.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^1/2) (Dowson and Landau 1982; for images Heusel et al. 2017, arXiv:1706.08500,
    equation 6), with covariances over N - 1. It falls as N grows (Chong and Forsyth 2020, arXiv:1911.07023), so compare
    distances of equally many images only. For covariances of full rank N has to be larger than F.

    The trace of the root is the sum of the singular values of C1^1/2 C2^1/2: of a set with itself the distance is 0 to
    within 1e-12 of the variance.

    Args:
        one: [N, F] float64.
        other: [M, F] float64.
    """
    difference = one.mean(0) - other.mean(0)
    covariances = [torch.cov(features.T).reshape(features.shape[1], -1) for features in (one, other)]  # [F, F] each
    first, second = map(symmetric_root, covariances)
    trace = sum(covariance.trace() for covariance in covariances) - 2 * torch.linalg.svdvals(first @ second).sum()
    return max(0.0, (difference.square().sum() + trace).item())


def symmetric_root(covariance: Tensor) -> Tensor:
    """The root of a symmetric matrix without negative eigenvalues, but for rounding: [F, F] -> [F, F]."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def kernel_distance(one: Tensor, other: Tensor) -> float:
    """KID: the squared MMD of two sets with the kernel (x y / F + 1)^3 (Binkowski et al. 2018, arXiv:1801.01401).

    The unbiased estimator (Gretton et al. 2012, equation 3) over all pairs at once, in place of the mean over random
    subsets of the paper: no draw, and the smallest variance. It is 0 on average for sets of one distribution, whatever
    their sizes, and may be negative.

    Args:
        one: [N, F] float64, N at least 2.
        other: [M, F] float64, M at least 2.
    """

    def total(x: Tensor, y: Tensor, without_diagonal: bool) -> Tensor:
        sums = []
        rows = max(1, CHUNK_ELEMENTS // len(y))
        for start in range(0, len(x), rows):
            kernel = (x[start : start + rows] @ y.T / x.shape[1] + 1) ** 3  # [rows, M]
            sums.append(kernel.sum() - (kernel.diagonal(start).sum() if without_diagonal else 0))
        return torch.stack(sums).sum()

    n, m = len(one), len(other)
    within = total(one, one, True) / (n * (n - 1)) + total(other, other, True) / (m * (m - 1))
    return (within - 2 * total(one, other, False) / (n * m)).item()


def sliced_wasserstein(one: Tensor, other: Tensor) -> float:
    """Sliced 2-Wasserstein distance of two sets of images (Rabin et al. 2011; Bonneel et al. 2015, definition 2).

    The root of the mean squared Wasserstein distance along random directions, the same ones for images of one size. In
    grey values from 0 to 1, times the root of the number of pixels: a difference of d in every pixel is a distance of
    about d.

    Args:
        one: [N, C, H, W] uint8.
        other: [M, C, H, W] uint8.
    """
    num_pixels = one[0].numel()
    generator = torch.Generator().manual_seed(PROJECTION_SEED)
    num = max(PROJECTIONS[0], min(PROJECTIONS[1], CHUNK_ELEMENTS // num_pixels))
    directions = torch.randn(num_pixels, num, generator=generator, dtype=torch.float64).to(one.device)
    directions /= directions.norm(dim=0)  # [D, P]
    rows = max(1, CHUNK_ELEMENTS // num_pixels)
    first, second = (
        torch.cat([chunk.flatten(1).double() / 255 @ directions for chunk in images.split(rows)]).sort(0).values
        for images in (one, other)
    )  # [N, P], [M, P]
    return wasserstein_squared(first, second).mean().sqrt().item()


def wasserstein_squared(one: Tensor, other: Tensor) -> Tensor:
    """Squared 2-Wasserstein distances of distributions on a line: sorted [N, P] and [M, P] -> [P].

    The integral of the squared difference of quantiles, which are steps that change at multiples of 1 / N and 1 / M.
    """
    n, m = len(one), len(other)
    if n == m:
        return (one - other).square().mean(0)
    multiples = [torch.arange(1, n, device=one.device) * m, torch.arange(1, m, device=one.device) * n]
    ends = torch.cat([*multiples, torch.tensor([0, n * m], device=one.device)]).unique()  # in units of 1 / (N M)
    lengths, starts = ends.diff().double(), ends[:-1]
    difference = one[starts // m] - other[starts // n]  # [steps, P]
    return (lengths[:, None] * difference.square()).sum(0) / (n * m)


def class_shares(classes: Tensor, num_classes: int) -> Tensor:
    """Shares of the classes: [N] int64 -> [K] float64."""
    return torch.bincount(classes, minlength=num_classes).double() / len(classes)


def num_modes(classes: Tensor) -> int:
    """How many classes occur at all (Srivastava et al. 2017, VEEGAN, arXiv:1705.07761, section 4.1): of [N] int64."""
    return len(classes.unique())


def class_divergence(classes: Tensor, of_reference: Tensor, num_classes: int) -> float:
    """KL(P || Q) in nats of the classes of a set from those of a reference (VEEGAN, section 4.1; Lin et al. 2018).

    A class that the reference lacks counts there as half an image, so that the divergence is finite.

    Args:
        classes: [N] int64, P.
        of_reference: [M] int64, Q.
        num_classes: K.
    """
    share = class_shares(classes, num_classes)
    expected = torch.bincount(of_reference, minlength=num_classes).double().clamp(min=0.5)
    expected /= expected.sum()
    return max(0.0, (share.xlogy(share) - share.xlogy(expected)).sum().item())
