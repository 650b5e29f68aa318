"""Neighbours against loops in NumPy, against prdc, and on sets whose answer is known."""

import numpy as np
import pytest
import torch
from torch import Tensor

from rlgen.metrics import neighbours
from rlgen.metrics.neighbours import DENSE, MANIFOLD, compare, copied, nearest_distances, radii


def cloud(num: int, seed: int, size: int = 6, shift: float = 0.0) -> Tensor:
    return torch.randn(num, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


@pytest.fixture(params=[1, 100, 2**22])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Distances in rows of one, of a few, and all at once."""
    monkeypatch.setattr(neighbours, "CHUNK_ELEMENTS", request.param)


def brute(real: Tensor, fake: Tensor) -> dict[str, float]:
    """Image by image, as the papers' equations have it."""
    x, y = real.numpy(), fake.numpy()

    def radius(points: np.ndarray, i: int, k: int) -> float:
        others = np.delete(points, i, 0)
        return float(np.sort(np.linalg.norm(others - points[i], axis=1))[k - 1])

    within = {
        (name, k): np.array(
            [[np.linalg.norm(a - b) <= radius(points, i, k) for b in others] for i, a in enumerate(points)]
        )
        for name, points, others in (("real", x, y), ("fake", y, x))
        for k in (MANIFOLD, DENSE)
    }
    both, is_real = np.concatenate([x, y]), np.arange(len(x) + len(y)) < len(x)
    right = []
    for i, point in enumerate(both):
        distance = np.linalg.norm(both - point, axis=1)
        distance[i] = np.inf
        right.append(is_real[distance.argmin()] == is_real[i])
    return {
        "precision": float(np.mean(within["real", MANIFOLD].any(0))),
        "recall": float(np.mean(within["fake", MANIFOLD].any(0))),
        "density": float(within["real", DENSE].sum() / (DENSE * len(y))),
        "coverage": float(np.mean(within["real", DENSE].any(1))),
        "two_sample": float((np.mean(np.array(right)[is_real]) + np.mean(np.array(right)[~is_real])) / 2),
    }


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize(("num", "shift"), [(40, 0.0), (31, 0.5), (52, 2.0)])
def test_every_score_is_what_loops_find(num: int, shift: float) -> None:
    real, fake = cloud(40, 0), 0.8 * cloud(num, 1, shift=shift)
    found = compare(real, fake)
    for name, value in brute(real, fake).items():
        assert getattr(found, name) == pytest.approx(value, abs=1e-12), name
    assert compare(real, fake, radii(real)) == found


def test_prdc_finds_the_same() -> None:
    prdc = pytest.importorskip("prdc")
    real, fake = cloud(200, 0), 0.9 * cloud(150, 1, shift=0.3)
    found = compare(real, fake)
    for nearest, names in ((3, ("precision", "recall")), (5, ("density", "coverage"))):
        expected = prdc.compute_prdc(real.numpy(), fake.numpy(), nearest_k=nearest)
        for name in names:
            assert getattr(found, name) == pytest.approx(expected[name], abs=1e-12), name


@pytest.mark.usefixtures("chunk")
def test_radii_leave_the_image_itself_out() -> None:
    line = torch.tensor([[0.0], [1.0], [3.0], [7.0], [7.0], [20.0]], dtype=torch.float64)
    assert radii(line, (1, 2)).tolist() == [[1, 1, 4, 0, 0, 169], [9, 4, 9, 16, 16, 169]]
    assert nearest_distances(line, line).tolist() == [0] * 6


def test_equal_distributions_and_sets_that_are_apart() -> None:
    same, apart = compare(cloud(1000, 0), cloud(1000, 1)), compare(cloud(1000, 0), cloud(1000, 1, shift=20.0))
    assert same.two_sample == pytest.approx(0.5, abs=0.04) and same.density == pytest.approx(1, abs=0.08)
    assert same.coverage == pytest.approx(1 - 0.5**DENSE, abs=0.03), "Naeem et al. 2020, section 3.3"
    assert (apart.precision, apart.recall, apart.density, apart.coverage, apart.two_sample) == (0, 0, 0, 0, 1)


def test_copies_of_the_real_images_are_told_from_new_ones() -> None:
    real = cloud(300, 0)
    found = compare(real, real + 1e-6)
    assert found.precision == found.recall == found.coverage == 1
    assert found.two_sample == 0, "the nearest neighbour of each is its own copy"


@pytest.mark.usefixtures("chunk")
def test_copies_of_an_image_are_at_no_distance_and_as_far_from_others() -> None:
    """Features of any size, with copies in each set and across: ties are those of exact distances."""
    originals = (50 * cloud(40, 0, size=32, shift=3.0)).round()  # whole numbers: exact in any order of summing
    real, fake = originals.repeat(5, 1), originals[:30].repeat(3, 1)[torch.randperm(90)]
    offset = torch.full((1, 32), 1 / 3, dtype=torch.float64)  # not exact
    found, expected = compare(real + offset, fake + offset), brute(real, fake)
    for name in ("precision", "recall", "density", "coverage"):
        assert getattr(found, name) == pytest.approx(expected[name], abs=1e-12), name
    assert found.two_sample == pytest.approx(0.5 * (0.5 + (0.75 * 0.5 + 0.25))), "ties, and a quarter has none"
    assert radii(real + offset, (1, 4)).eq(0).all() and radii(real + offset, (5,)).gt(0).all()
    assert copied(fake + offset, originals + offset, real + offset)[0] == 0.5
    assert compare(originals + offset, originals.flip(0) + offset).density == (DENSE + 1) / DENSE


def test_dropped_modes_move_recall_and_coverage_and_not_precision() -> None:
    centres = 30 * torch.eye(10, dtype=torch.float64)

    def modes(num: int, kept: int, seed: int) -> Tensor:
        return cloud(num, seed, size=10) + centres[torch.arange(num) % kept]

    whole, half = (compare(modes(1000, 10, 0), modes(1000, kept, 1)) for kept in (10, 5))
    assert half.precision > whole.precision - 0.05
    assert half.recall < 0.6 * whole.recall and half.coverage < 0.6 * whole.coverage


@pytest.mark.usefixtures("chunk")
def test_copies_of_training_images_are_found_among_all_of_them() -> None:
    train, held_out = cloud(600, 0), cloud(200, 1)
    chance, ratio, copies = copied(cloud(200, 2), held_out, train)
    assert chance == pytest.approx(0.5, abs=0.07) and ratio == pytest.approx(1, abs=0.1) and copies < 0.04
    chance, ratio, copies = copied(train[400:600] + 1e-3, held_out, train)
    assert chance == copies == 1 and ratio < 0.01
    mixed = torch.cat([train[:50], cloud(50, 2)])
    assert copied(mixed, held_out, train)[0] == pytest.approx(0.75, abs=0.06), "half of them are copies"
    assert copied(cloud(200, 2, shift=9.0), held_out, train)[0] == 0, "far from everything"
    assert copied(held_out, held_out, train) == (0.5, 1, 0.01), "ties are one half"


def test_a_few_copies_among_poor_samples_are_found() -> None:
    """They are far from all images otherwise, and so nearer to the training images than held-out ones never."""
    train, held_out = cloud(600, 0), cloud(200, 1)
    poor = cloud(180, 2, shift=4.0)
    chance, ratio, copies = copied(torch.cat([poor, train[:20] + 1e-3]), held_out, train)
    assert chance == pytest.approx(0.1) and ratio > 1, "neither says it"
    assert copies == pytest.approx(0.1)
    assert copied(poor, held_out, train)[2] == 0
    assert copied(train[:50], torch.cat([held_out, train[:4]]), train)[2] == 0, "held-out images are copies too"


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("num", [1, 4, 50])
def test_the_nearest_are_those_of_a_sort_of_all_distances(num: int) -> None:
    one, other = cloud(20, 0), cloud(30, 1)
    distances, which = neighbours.nearest(one, other, num)
    expected = np.linalg.norm(one.numpy()[:, None] - other.numpy(), axis=2)
    assert which.tolist() == expected.argsort(axis=1)[:, :num].tolist()
    np.testing.assert_allclose(distances, np.sort(expected, axis=1)[:, :num])
