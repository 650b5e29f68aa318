"""Distances of distributions against closed forms, loops in NumPy, and torchmetrics."""

import math

import numpy as np
import pytest
import torch
from scipy import linalg, stats
from torch import Tensor, nn

from rlgen.metrics import images
from rlgen.metrics.images import (
    class_divergence,
    class_shares,
    frechet_distance,
    kernel_distance,
    num_modes,
    sliced_wasserstein,
    wasserstein_squared,
)


def gaussian(num: int, mean: list[float], scale: list[float], seed: int = 0) -> Tensor:
    """Features whose sample mean and covariance are exactly these: a diagonal of squares."""
    noise = torch.randn(num, len(mean), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    noise -= noise.mean(0)
    root = torch.linalg.cholesky(torch.cov(noise.T))
    white = torch.linalg.solve_triangular(root, noise.T, upper=False).T
    return white * torch.tensor(scale, dtype=torch.float64) + torch.tensor(mean, dtype=torch.float64)


def skewed(num: int, size: int, seed: int) -> Tensor:
    """Features as of a ReLU: correlated, some always zero."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(num, size, generator=generator, dtype=torch.float64) @ torch.randn(
        size, size, generator=torch.Generator().manual_seed(99), dtype=torch.float64
    )
    mixed[:, 0] = -1.0
    return mixed.relu()


# Frechet distance


def test_of_a_set_with_itself_it_is_zero() -> None:
    for features in (skewed(300, 64, 0), 1e3 * skewed(40, 64, 1), torch.zeros(20, 5, dtype=torch.float64)):
        assert frechet_distance(features, features) <= 1e-12 * features.var(0).sum().item()
        assert frechet_distance(features, features.flip(0)) <= 1e-10 * features.var(0).sum().item()


def test_of_two_gaussians_it_is_the_closed_form() -> None:
    """With diagonal covariances: |m1 - m2|^2 + sum of (s1 - s2)^2."""
    one = gaussian(500, [0, 1, -2], [1, 0.5, 3], seed=0)
    other = gaussian(700, [1, 1, 1], [2, 0.5, 0.1], seed=1)
    assert frechet_distance(one, other) == pytest.approx(1 + 0 + 9 + 1 + 0 + 2.9**2, rel=1e-10)
    assert frechet_distance(other, one) == pytest.approx(frechet_distance(one, other), rel=1e-10)


def test_of_correlated_features_it_is_that_of_the_matrix_root() -> None:
    one, other = skewed(400, 12, 0), 1.5 * skewed(300, 12, 1) + 0.2
    first, second = (np.cov(features.numpy().T) for features in (one, other))
    root = linalg.sqrtm(first @ second).real
    expected = ((one - other.mean(0)).mean(0) ** 2).sum().item() + np.trace(first + second - 2 * root)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-6)


class Given(nn.Module):
    """What torchmetrics takes for an extractor: it hands on features that were given as pictures."""

    num_features = 12

    def forward(self, pictures: Tensor) -> Tensor:
        return pictures.flatten(1)


def as_pictures(features: Tensor) -> Tensor:
    return features[:, :, None, None].expand(-1, -1, 1, 1)


def test_torchmetrics_finds_the_same_frechet_distance() -> None:
    fid = pytest.importorskip("torchmetrics.image.fid")
    pytest.importorskip("scipy")
    one, other = skewed(400, 12, 0), 1.5 * skewed(300, 12, 1)
    metric = fid.FrechetInceptionDistance(feature=Given(), input_img_size=(12, 1, 1), normalize=True)
    metric.set_dtype(torch.float64)
    metric.update(as_pictures(one), real=True)
    metric.update(as_pictures(other), real=False)
    assert frechet_distance(one, other) == pytest.approx(metric.compute().item(), rel=1e-6)


# Kernel distance


def brute_kernel_distance(one: Tensor, other: Tensor) -> float:
    def kernel(x: Tensor, y: Tensor) -> float:
        return float((x @ y / len(x) + 1) ** 3)

    n, m = len(one), len(other)
    within = [
        sum(kernel(x[i], x[j]) for i in range(k) for j in range(k) if i != j) / (k * (k - 1))
        for x, k in ((one, n), (other, m))
    ]
    return sum(within) - 2 * sum(kernel(x, y) for x in one for y in other) / (n * m)


@pytest.mark.parametrize("chunk", [1, 40, 2**22])
def test_kernel_distance_is_the_mean_over_pairs(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "CHUNK_ELEMENTS", chunk)
    one, other = skewed(11, 4, 0), 1.2 * skewed(17, 4, 1)
    assert kernel_distance(one, other) == pytest.approx(brute_kernel_distance(one, other), rel=1e-9)


def test_torchmetrics_finds_the_same_kernel_distance() -> None:
    kid = pytest.importorskip("torchmetrics.image.kid")
    one, other = skewed(200, 12, 0), 1.5 * skewed(200, 12, 1)
    metric = kid.KernelInceptionDistance(feature=Given(), subsets=1, subset_size=200, normalize=True)
    metric.set_dtype(torch.float64)
    metric.update(as_pictures(one), real=True)
    metric.update(as_pictures(other), real=False)
    assert kernel_distance(one, other) == pytest.approx(metric.compute()[0].item(), rel=1e-5)


def test_kernel_distance_is_unbiased() -> None:
    """Of sets of one distribution it is 0 on average, also of small ones; that with the diagonals would be above."""
    found = [kernel_distance(skewed(20, 4, 2 * seed), skewed(20, 4, 2 * seed + 1)) for seed in range(300)]
    assert abs(np.mean(found)) < 3 * np.std(found) / math.sqrt(len(found))
    assert min(found) < 0 < max(found)


# Sliced Wasserstein


def test_wasserstein_on_a_line_is_that_of_quantiles() -> None:
    generator = torch.Generator().manual_seed(0)
    for n, m in ((5, 5), (4, 6), (7, 1), (3, 8)):
        one, other = (torch.rand(k, 3, generator=generator, dtype=torch.float64).sort(0).values for k in (n, m))
        repeated = one.repeat_interleave(m, 0) - other.repeat_interleave(n, 0)  # both as n m equal pieces
        assert torch.allclose(wasserstein_squared(one, other), repeated.square().mean(0), atol=1e-12)


def test_wasserstein_of_the_first_order_agrees_with_scipy_on_shifted_points() -> None:
    one = torch.tensor([0.0, 1.0, 5.0], dtype=torch.float64)
    assert wasserstein_squared(one[:, None], one[:, None] + 2).item() == pytest.approx(
        stats.wasserstein_distance(one.numpy(), one.numpy() + 2) ** 2
    )


def test_a_shift_of_every_pixel_is_a_distance_of_about_that_shift() -> None:
    one = torch.randint(0, 150, (200, 1, 10, 10), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert sliced_wasserstein(one, one) == 0
    assert sliced_wasserstein(one, one.flip(0)) == pytest.approx(0, abs=1e-12), "the order does not matter"
    found = [sliced_wasserstein(one, one + shift) for shift in (25, 50, 100)]
    assert found == sorted(found)
    assert found[2] == pytest.approx(100 / 255, rel=0.15), "the mean over 256 directions, not over all"
    assert sliced_wasserstein(one, one[:77]) > 0
    assert sliced_wasserstein(one, one + 25) == found[0], "the directions are the same every time"


# Classes


def test_classes_are_counted() -> None:
    classes = torch.tensor([0, 0, 2, 2, 2, 3])
    assert class_shares(classes, 5).tolist() == pytest.approx([2 / 6, 0, 3 / 6, 1 / 6, 0])
    assert num_modes(classes) == 3


def test_divergence_of_classes() -> None:
    even, one = torch.arange(10), torch.zeros(10, dtype=torch.int64)
    assert class_divergence(even, even, 10) == 0
    assert class_divergence(one, even, 10) == pytest.approx(math.log(10))
    half = torch.arange(10) // 2
    assert class_divergence(half, even, 10) == pytest.approx(math.log(2))
    absent = class_divergence(torch.tensor([1]), torch.tensor([0, 0]), 2)
    assert absent == pytest.approx(-math.log(0.5 / 2.5)), "half an image for a class that the reference lacks"
