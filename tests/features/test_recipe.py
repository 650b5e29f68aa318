"""The recipe: a classifier that learns its classes, the same one every time, and random networks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rlgen.data.images import ImageData
from rlgen.data.load import load as load_images
from rlgen.features import recipe
from rlgen.features.find import HERE
from rlgen.features.net import load


def stripes(num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noisy images of three classes: which third is bright."""
    random = np.random.RandomState(seed)
    labels = np.arange(num) % 3
    images = random.randint(0, 120, (num, 1, 6, 6)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 2 * label : 2 * label + 2] += 100
    return images, labels


def data_of(num: int = 150) -> ImageData:
    (train, train_label), (test, test_label) = stripes(num), stripes(60, 1)
    return ImageData("stripes", train, test, train_label, test_label, 3, "memory", {"images": "abc"})


def test_a_classifier_learns_its_classes_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    net = recipe.classifier(data_of())
    assert torch.equal(before, torch.get_rng_state())
    assert net.about["accuracy"] > 0.95 and net.about["sha256"] == {"images": "abc"}
    assert not any(param.requires_grad for param in net.parameters())
    torch.manual_seed(6)
    assert recipe.classifier(data_of()).digest() == net.digest(), "the seed of a run does not matter"
    assert recipe.classifier(data_of(151)).digest() != net.digest()


def test_the_held_out_images_are_not_learned_from() -> None:
    data = data_of()
    other = replace(data, test=255 - data.test, test_label=None)
    assert recipe.classifier(other).digest() == recipe.classifier(data).digest()
    assert "accuracy" not in recipe.classifier(other).about


def test_random_networks_are_those_of_the_shape() -> None:
    data = data_of()
    net = recipe.random(data)
    assert net.name == "random" and net.num_classes == 0
    assert recipe.random(data).digest() == net.digest()
    assert recipe.random(load_images("digits")).digest() != net.digest()


@pytest.mark.slow
def test_the_recipe_makes_the_digits_classifier_that_comes_with_rlgen() -> None:
    """Bit for bit only on one kind of machine; anywhere, one that is as good."""
    digits, shipped = load_images("digits"), load(HERE / "digits.safetensors")
    made = recipe.classifier(digits)
    assert made.about["sha256"] == shipped.about["sha256"] and made.about["steps"] == shipped.about["steps"]
    assert made.about["accuracy"] == pytest.approx(shipped.about["accuracy"], abs=0.015)
