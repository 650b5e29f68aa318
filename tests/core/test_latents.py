"""Latents between others, and near the origin, against sums by hand in float64."""

import math
from statistics import NormalDist

import pytest
import torch

from rlgen.core.latents import slerp, truncated


def by_hand(start: list[float], end: list[float], share: float) -> list[float]:
    dot = sum(a * b for a, b in zip(start, end, strict=True))
    angle = math.acos(dot / math.hypot(*start) / math.hypot(*end))
    before, after = (math.sin(each * angle) / math.sin(angle) for each in (1 - share, share))
    return [before * a + after * b for a, b in zip(start, end, strict=True)]


def test_an_arc_is_shoemakes() -> None:
    pairs = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    share = torch.linspace(0, 1, 4)
    found = slerp(*pairs, share)
    assert found.shape == (3, 4, 5) and found.dtype == torch.float32
    for i in range(3):
        for j in range(4):
            expected = by_hand(pairs[0, i].tolist(), pairs[1, i].tolist(), share[j].item())
            torch.testing.assert_close(found[i, j], torch.tensor(expected))
    torch.testing.assert_close(found[:, [0, -1]], pairs.transpose(0, 1))


def test_points_of_an_arc_stay_on_the_sphere_and_those_of_a_line_do_not() -> None:
    start, end = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 3.0]])
    middle = slerp(start, end, torch.tensor([0.5]))[0, 0]
    torch.testing.assert_close(middle, torch.tensor([3 / math.sqrt(2)] * 2))
    assert middle.norm() == pytest.approx(3) and ((start + end) / 2).norm() < 2.2


@pytest.mark.parametrize("end", [2.0, -2.0, 0.0])
def test_where_there_is_no_arc_there_is_a_line(end: float) -> None:
    """A latent of one number: two of them point the same way, or opposite ways."""
    found = slerp(torch.tensor([[1.0]]), torch.tensor([[end]]), torch.tensor([0.0, 0.25, 1.0]))
    torch.testing.assert_close(found.flatten(), torch.tensor([1.0, 0.75 + 0.25 * end, end]))


@pytest.mark.parametrize("limit", [0.1, 0.7, 2.0])
def test_a_truncated_latent_has_the_distribution_of_drawing_again(limit: float) -> None:
    """As Brock et al. draw: what lies beyond the limit once more. Kolmogorov and Smirnov's distance, of 20,000."""
    draw = torch.Generator().manual_seed(0)
    pool = torch.randn(400_000, generator=draw)
    again = pool[pool.abs() <= limit][:20_000].sort().values
    found = truncated(torch.randn(20_000, generator=draw), limit).sort().values
    assert len(again) == 20_000 and found.abs().max() <= limit
    below = torch.searchsorted(again, found, right=True) / 20_000
    assert (below - torch.arange(1, 20_001) / 20_000).abs().max() < 0.02  # 1.95 sqrt(2 / n), p 0.001


def test_a_latent_keeps_its_quantile() -> None:
    normal, limit = NormalDist(), 0.5
    low, high = normal.cdf(-limit), normal.cdf(limit)
    latent = torch.tensor([[-2.0, -0.3], [0.0, 3.0]])
    expected = [[normal.inv_cdf(low + normal.cdf(z) * (high - low)) for z in row] for row in latent.tolist()]
    torch.testing.assert_close(truncated(latent, limit), torch.tensor(expected))
    torch.testing.assert_close(truncated(latent, 30.0), latent)
    far = truncated(torch.tensor([-40.0, 40.0]), limit)
    torch.testing.assert_close(far, torch.tensor([-limit, limit]))
