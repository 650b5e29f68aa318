"""Losses against formulas written out, penalties against critics whose gradients are known."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from rlgen.core.adversarial import LOSSES, AdversarialOptions, drawn_packs, judge, lipschitz_penalty, packed
from rlgen.errors import UsageError


def log_sigmoid(logit: float) -> float:
    return -math.log(1 + math.exp(-logit))


FORMULAS: dict[str, Any] = {  # of (real, fake): the discriminator's loss, the generator's
    "non_saturating": lambda r, f: (-log_sigmoid(r) - log_sigmoid(-f), -log_sigmoid(f)),
    "hinge": lambda r, f: (-min(0, r - 1) - min(0, -f - 1), -f),
    "least_squares": lambda r, f: ((r - 1) ** 2 / 2 + f**2 / 2, (f - 1) ** 2 / 2),
    "wasserstein": lambda r, f: (f - r, -f),
    "relativistic": lambda r, f: (-log_sigmoid(r - f), -log_sigmoid(f - r)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_those_of_their_papers(name: str) -> None:
    logits = torch.linspace(-3, 3, 7, dtype=torch.float64)
    real, fake = torch.cartesian_prod(logits, logits).unbind(1)  # [B]
    expected = [FORMULAS[name](*pair) for pair in zip(real.tolist(), fake.tolist(), strict=True)]
    d, g = torch.tensor(expected, dtype=torch.float64).unbind(1)
    loss = LOSSES[name]
    torch.testing.assert_close(loss.d(real, fake), d)
    torch.testing.assert_close(loss.g(real if loss.paired else None, fake), g)


def test_the_roles_of_the_relativistic_loss_are_swapped() -> None:
    real, fake = torch.randn(2, 9)
    loss = LOSSES["relativistic"]
    assert torch.equal(loss.g(real, fake), loss.d(fake, real))
    assert torch.allclose(loss.d(real + 5, fake + 5), loss.d(real, fake), atol=1e-5), "only differences count"


def test_a_discriminator_that_cannot_tell_loses_at_least_so_much() -> None:
    """The least of its loss where both logits are equal; Wasserstein's falls for ever once they are not."""
    logits = torch.linspace(-3, 3, 6001, dtype=torch.float64)
    for loss in LOSSES.values():
        if loss.equal is not None:
            assert loss.d(logits, logits).min().item() == pytest.approx(loss.equal, abs=1e-6)
            assert loss.d(logits + 5, logits - 5).min() >= 0
    assert [name for name, loss in LOSSES.items() if loss.equal is None] == ["wasserstein"]


# Penalties


def linear(weight: Tensor) -> Any:
    return lambda images: images.flatten(1) @ weight


def test_penalties_of_a_linear_critic() -> None:
    """R1 and R2 are |w|^2, WGAN-GP's is (|w| - 1)^2; their slopes by w are 2 w and 2 (|w| - 1) w / |w|."""
    weight = torch.randn(12, dtype=torch.float64, requires_grad=True)
    real, fake = torch.randn(2, 5, 3, 2, 2, dtype=torch.float64)
    norm = weight.detach().norm()
    logits, zero_centred = judge(linear(weight), real, True)
    torch.testing.assert_close(logits, real.flatten(1) @ weight)
    torch.testing.assert_close(zero_centred, norm.square())
    torch.testing.assert_close(torch.autograd.grad(zero_centred, weight)[0], 2 * weight.detach())
    gp = lipschitz_penalty(linear(weight), real, fake, torch.rand(5, dtype=torch.float64))
    torch.testing.assert_close(gp, (norm - 1).square())
    expected = 2 * (norm - 1) * weight.detach() / norm
    torch.testing.assert_close(torch.autograd.grad(gp, weight)[0], expected)


def test_penalties_are_sums_over_pixels_and_means_over_inputs() -> None:
    """Of half the squared length of an input the gradient is the input itself."""

    def critic(images: Tensor) -> Tensor:
        return images.square().sum((1, 2, 3)) / 2

    real, fake = torch.randn(2, 6, 2, 3, 4, dtype=torch.float64)
    expected = torch.stack([image.square().sum() for image in real]).mean()
    torch.testing.assert_close(judge(critic, real, True)[1], expected)
    torch.testing.assert_close(judge(critic, torch.cat([real, real]), True)[1], expected)

    mix = torch.tensor([0.0, 1.0, 0.25, 0.5, 0.75, 0.1], dtype=torch.float64)
    between = [part * one + (1 - part) * other for part, one, other in zip(mix, real, fake, strict=True)]
    expected = torch.stack([(image.norm() - 1).square() for image in between]).mean()
    torch.testing.assert_close(lipschitz_penalty(critic, real, fake, mix), expected)


def test_without_a_penalty_nothing_but_logits_is_computed() -> None:
    calls = []
    logits, penalty = judge(lambda images: (calls.append(1), images.sum((1, 2, 3)))[1], torch.ones(2, 1, 2, 2), False)
    assert logits.tolist() == [4, 4] and penalty.item() == 0 and len(calls) == 1


def test_a_critic_without_slope_has_a_penalty_that_can_be_differentiated() -> None:
    weight = torch.zeros(4, requires_grad=True)
    gp = lipschitz_penalty(linear(weight), torch.ones(2, 1, 2, 2), torch.zeros(2, 1, 2, 2), torch.full((2,), 0.5))
    assert gp.item() == pytest.approx(1, abs=1e-5)
    assert torch.autograd.grad(gp, weight)[0].isfinite().all()


# Packs


def test_a_pack_has_its_images_one_behind_the_other() -> None:
    images = torch.arange(6 * 2 * 3 * 3).view(6, 2, 3, 3)
    packs = packed(images, 3)
    assert packs.shape == (2, 6, 3, 3)
    assert torch.equal(packs[1], torch.cat([images[3], images[4], images[5]]))
    assert packed(images, 1) is images


@pytest.mark.parametrize("num_images, num", [(7, 2), (6, 3), (1, 4), (3, 5)])
def test_packs_of_a_whole_set_are_mixed_and_repeat_themselves(num_images: int, num: int) -> None:
    images = torch.arange(num_images).view(-1, 1, 1, 1).expand(-1, 2, 3, 3)
    packs = drawn_packs(images, num)
    assert packs.shape == (max(num_images // num, 1), 2 * num, 3, 3)
    assert torch.equal(packs, drawn_packs(images, num))
    assert set(packs.flatten().tolist()) <= set(range(num_images))
    assert drawn_packs(images, 1) is images


def test_packs_of_a_sorted_set_do_not_hold_neighbours() -> None:
    images = torch.arange(1000).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    first, second = drawn_packs(images, 2)[:, :, 0, 0].unbind(1)
    assert (first - second).abs().double().mean() > 250, "of two that are drawn, 333"


@pytest.mark.parametrize(
    ("options", "num_classes", "why"),
    [
        ({"conditional": True}, None, "--conditional: the training images have no labels; leave it out"),
        ({"conditional": True, "pack": 2}, 10, "--pack 2 with --conditional: .*leave one of them out"),
        ({"pack": 3}, None, "--pack 3 with batches of 64: .*; make it 63 or 66 images$"),
        ({"loss": "wasserstein", "r1_gamma": 0}, None, "--loss wasserstein has no minimum by itself: add --gp-weight"),
        ({"diff_augment": ("color", "flip")}, None, "--diff-augment flip: must be color, translation, cutout"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(options: dict[str, Any], num_classes: int | None, why: str) -> None:
    with pytest.raises(UsageError, match=why) as error:
        AdversarialOptions(**options).check(64, num_classes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "options",
    [
        {"conditional": True},
        {"pack": 4},
        {"loss": "wasserstein", "r1_gamma": 0, "gp_weight": 10},
        {"loss": "wasserstein", "r1_gamma": 0, "spectral_norm": True},
        {"loss": "wasserstein", "r1_gamma": 0, "r2_gamma": 1},
        {"loss": "hinge", "r1_gamma": 0},
        {"spectral_norm": True, "gp_weight": 10, "diff_augment": ("cutout", "color")},
    ],
)
def test_what_goes_together_is_not_refused(options: dict[str, Any]) -> None:
    AdversarialOptions(**options).check(64, 10)
