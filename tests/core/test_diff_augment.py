"""Differentiable augmentation against loops over pixels, and its slopes against differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from rlgen.core.diff_augment import NUM_CHANCES, POLICIES, color, cutout, diff_augment, translation

EVERY = tuple(POLICIES)


def images(num: int = 3, channels: int = 3, height: int = 9, width: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(num, channels, height, width, dtype=torch.float64, generator=generator) * 2 - 1


def chances(num: int) -> Tensor:
    return torch.rand(num, NUM_CHANCES, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("policies", [EVERY, *((name,) for name in EVERY)])
def test_what_is_seen_can_be_differentiated(policies: tuple[str, ...]) -> None:
    image = images(2, 3, 5, 8).requires_grad_()
    chance = chances(2).double()
    assert gradcheck(lambda image: diff_augment(image, chance, policies), image)
    (slope,) = torch.autograd.grad(diff_augment(image, chance, policies).square().sum(), image)
    assert slope.isfinite().all() and slope.any()


def test_color_is_brightness_saturation_and_contrast() -> None:
    image, chance = images(4), torch.tensor([[0.5, 0.5, 0.5], [0.75, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.9]])
    same, brighter, grey, stronger = color(image, chance)
    torch.testing.assert_close(same, image[0])
    torch.testing.assert_close(brighter, image[1] + 0.25)
    torch.testing.assert_close(grey, image[2].mean(0, keepdim=True).expand(3, -1, -1))
    mean = image[3].mean()
    torch.testing.assert_close(stronger, mean + (image[3] - mean) * 1.4, rtol=1e-6, atol=1e-6)


def test_translation_moves_by_up_to_an_eighth_and_leaves_grey() -> None:
    height, width, most_down, most_right = 16, 24, 2, 3
    image, seen = images(1, 2, height, width)[0], set()
    chance = torch.rand(400, 2, generator=torch.Generator().manual_seed(2))
    for moved, (first, second) in zip(translation(image.expand(400, -1, -1, -1), chance), chance.tolist(), strict=True):
        down, right = int(first * 5) - most_down, int(second * 7) - most_right
        expected = torch.zeros_like(image)
        for y in range(height):
            for x in range(width):
                if 0 <= y - down < height and 0 <= x - right < width:
                    expected[:, y, x] = image[:, y - down, x - right]
        if (down, right) not in seen:
            assert torch.equal(moved, expected), (down, right)
        seen.add((down, right))
    assert len(seen) == 5 * 7, "every shift there is"


def test_cutout_hides_half_the_height_and_width_around_any_place() -> None:
    image, chance = torch.ones(1, 2, 8, 6), torch.rand(300, 2, generator=torch.Generator().manual_seed(3))
    seen = cutout(image.expand(300, -1, -1, -1), chance)
    for one, (first, second) in zip(seen, chance.tolist(), strict=True):
        top, left = int(first * 8) - 2, int(second * 6) - 1
        expected = torch.ones(2, 8, 6)
        expected[:, max(top, 0) : max(top + 4, 0), max(left, 0) : max(left + 3, 0)] = 0
        assert torch.equal(one, expected), (top, left)
    assert (seen[:, 0] == 0).sum((1, 2)).max() == 12


def test_each_image_has_chances_of_its_own_and_needs_no_others() -> None:
    image = images(1).expand(5, -1, -1, -1)
    chance = chances(5)
    seen = diff_augment(image, chance, EVERY)
    assert all(not torch.equal(seen[i], seen[j]) for i in range(5) for j in range(i))
    torch.testing.assert_close(diff_augment(image[2:3], chance[2:3], EVERY), seen[2:3])


def test_policies_that_are_not_chosen_leave_images_alone() -> None:
    image, chance = images(), chances(3)
    assert diff_augment(image, chance, ()) is image
    for name, (policy, own) in POLICIES.items():
        assert torch.equal(diff_augment(image, chance, (name,)), policy(image, chance[:, own]))
    assert torch.equal(diff_augment(image, chance, EVERY[::-1]), diff_augment(image, chance, EVERY))


def test_grey_images_of_a_few_pixels_pass() -> None:
    image = images(2, 1, 2, 3)
    assert diff_augment(image, chances(2), EVERY).shape == image.shape
