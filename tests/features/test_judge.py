"""Scores of sets of images whose quality is known: real ones, worse and worse ones, parts, and copies."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from rlgen.data.images import ImageData
from rlgen.data.load import load as load_images
from rlgen.features.find import net_for
from rlgen.features.judge import LEAST, Judge, asked_labels, drawn, in_shares
from rlgen.features.net import FEATURES

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_images("digits")


@pytest.fixture(scope="module")
def judge(digits: ImageData) -> Judge:
    return Judge(digits.train, digits.test, net_for(digits), CPU)


@pytest.fixture(scope="module")
def real(digits: ImageData) -> Tensor:
    """As many training images as are held out, none of which the floor is of: 359 of 1,438."""
    return torch.from_numpy(digits.train[np.random.RandomState(7).permutation(1438)[:359]])


def blurred(images: Tensor, weight: float) -> Tensor:
    smooth = avg_pool2d(pad(images.float(), (1, 1, 1, 1), mode="replicate"), 3, 1)
    return (images.float().lerp(smooth, weight)).round().to(torch.uint8)


def noisy(images: Tensor, size: float) -> Tensor:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images + size * noise).clamp(0, 255).round().to(torch.uint8)


@pytest.mark.parametrize(("spoil", "levels"), [(blurred, (0.0, 0.3, 0.6, 1.0)), (noisy, (0.0, 20.0, 40.0, 80.0))])
def test_scores_fall_with_blur_and_noise(judge: Judge, real: Tensor, spoil: object, levels: tuple[float, ...]) -> None:
    found = [judge.scores(spoil(real, level)) for level in levels]  # type: ignore[operator]
    for name, better in {"fd": -1, "kid": -1, "swd": -1, "precision": 1, "density": 1, "coverage": 1}.items():
        values = [better * scores[name] for scores in found]
        assert values == sorted(values, reverse=True), (name, values)
    assert found[0]["two_sample"] < 0.56 and found[-1]["two_sample"] > 0.65
    assert found[-1]["fd"] > 3 * found[0]["fd"]


def test_samples_of_the_classes_that_were_asked_for_are_counted(digits: ImageData) -> None:
    net, label = net_for(digits), torch.from_numpy(digits.train_label)
    judge = Judge(digits.train, digits.test, net, CPU, digits.train_label, digits.test_label)
    images = torch.from_numpy(digits.train[:300])
    right = (net(images)[1] == label[:300]).double().mean().item()
    assert judge.scores(images, asked=label[:300])["class_accuracy"] == right > 0.9
    assert judge.scores(images, asked=(label[:300] + 1) % 10)["class_accuracy"] < 0.1
    half = torch.cat([label[:150], (label[150:300] + 1) % 10])
    assert judge.scores(images, asked=half)["class_accuracy"] == pytest.approx(right / 2, abs=0.06)
    found = (net(torch.from_numpy(digits.test))[1].numpy() == digits.test_label).mean()
    assert judge.floor(359)["class_accuracy"] == pytest.approx(found, abs=2e-3), "of images that it did not learn from"
    for other in (judge.scores(images), Judge(digits.train, digits.test, net, CPU).scores(images, asked=label[:300])):
        assert "class_accuracy" not in other, "nothing was asked for, or the classes mean something else"
    few = np.flatnonzero(digits.train_label < 2)
    shares = Judge(digits.train[few], digits.test, net, CPU, digits.train_label[few], digits.test_label).floor(359)
    of_class = [(net(torch.from_numpy(digits.test))[1].numpy() == k)[digits.test_label == k].mean() for k in (0, 1)]
    expected = np.average(of_class, weights=np.bincount(digits.train_label[few]))
    assert shares["class_accuracy"] == pytest.approx(expected), "as likely as samples are"
    absent = np.zeros_like(digits.test_label)
    only = Judge(digits.train[few], digits.test[:40], net, CPU, digits.train_label[few], absent[:40]).floor(40)
    assert 0 < only["class_accuracy"] < 0.4, "of the class that is held out"
    sampler = in_shares(lambda num, label, seed: label.view(-1, 1, 1, 1).expand(-1, 1, 8, 8) / 255, digits.train_label)
    asked = asked_labels(digits.train_label, 1234, 5)
    assert torch.equal(drawn(sampler, 1234, 5)[:, 0, 0, 0], asked.to(torch.uint8)), "of each of its chunks"


def test_dropped_classes_move_diversity_and_not_fidelity(judge: Judge, digits: ImageData) -> None:
    """Half of the ten classes, as many images."""
    order = np.random.RandomState(7).permutation(1438)
    half = torch.from_numpy(digits.train[order[digits.train_label[order] < 5][:359]])
    found, floor = judge.scores(half), judge.floor(359)
    assert found["precision"] > floor["precision"] - 0.03
    assert found["recall"] < floor["recall"] - 0.25 and found["coverage"] < 0.65 * floor["coverage"]
    assert found["fd"] > 5 * floor["fd"]
    assert found["modes"] <= 7 < floor["modes"] == 10 and 1 > found["class_kl"] > 0.5 > 0.1 > floor["class_kl"]


def test_real_images_score_the_floor(judge: Judge, real: Tensor) -> None:
    found, floor = judge.scores(real), judge.floor(359)
    for name, within in {"fd": 0.25, "precision": 0.04, "recall": 0.04, "coverage": 0.03, "two_sample": 0.05}.items():
        assert found[name] == pytest.approx(floor[name], abs=within), name
    assert abs(found["kid"]) < 0.2


def test_copies_of_training_images_are_found(judge: Judge, digits: ImageData, real: Tensor) -> None:
    slightly = noisy(real, 4.0)
    found = judge.scores(slightly, against_training=True)
    assert found["copied"] > 0.9 and found["nearest_ratio"] < 0.5
    new = judge.scores(torch.from_numpy(digits.test), against_training=True)
    assert new["copied"] == 0.5 and new["nearest_ratio"] == 1
    assert "copied" not in judge.scores(real)
    few = torch.cat([torch.from_numpy(digits.train[:36]), noisy(torch.from_numpy(digits.test[36:]), 60.0)])
    found = judge.scores(few, against_training=True)
    assert found["copied"] < 0.4 and found["near_copies"] == pytest.approx(0.1, abs=0.02), "a tenth are copies"
    assert new["near_copies"] <= 0.01


def test_the_same_images_are_compared_every_time(digits: ImageData, real: Tensor) -> None:
    first, second = (Judge(digits.train, digits.test, net_for(digits), CPU).scores(real[:200]) for _ in range(2))
    assert first == second
    held_out = torch.from_numpy(digits.test)
    part = Judge(digits.train, digits.test, net_for(digits), CPU).reference(200)[0]
    whole = net_for(digits)(held_out)[0]
    assert not torch.equal(part, whole[:200]), "they are taken from all of them: files may lie by class"


def test_few_images_have_no_frechet_distance(digits: ImageData, real: Tensor) -> None:
    judge = Judge(digits.train, digits.test, net_for(digits), CPU)
    few, enough = judge.scores(real[: 2 * FEATURES]), judge.scores(real[: 2 * FEATURES + 1])
    assert "fd" not in few and "kid" in few and "fd" in enough
    assert "fd" not in judge.floor(2 * FEATURES)
    assert (judge.count(10_000), judge.count(100), judge.count(LEAST - 1)) == (359, 100, 0)
    alone = Judge(digits.train[:5], digits.test, net_for(digits), CPU)
    assert alone.floor(100) == {}, "too few training images"
    fewer = Judge(digits.train[:40], digits.test, net_for(digits), CPU)
    assert fewer.floor(100).keys() == {"kid", "precision", "density"}, "others are better or worse of 40 than of 100"
    assert "recall" in fewer.floor(40)


def test_a_set_without_variety_has_scores_that_are_numbers(judge: Judge, real: Tensor) -> None:
    """As of a generator that has collapsed, or that gives nothing but NaN."""
    for images in (real[:1].expand(359, -1, -1, -1), torch.zeros(359, 1, 8, 8, dtype=torch.uint8)):
        found = judge.scores(images, against_training=True)
        assert all(np.isfinite(value) for value in found.values())
        assert found["recall"] < 0.05 and found["coverage"] < 0.05 and found["modes"] == 1


def test_samples_are_drawn_in_parts_each_with_a_seed() -> None:
    def sample(num: int, seed: int) -> Tensor:
        return torch.rand(num, 1, 2, 2, generator=torch.Generator().manual_seed(seed)) * 1.2 - 0.1

    few, many = drawn(sample, 15, 3, chunk=10), drawn(sample, 30, 3, chunk=10)
    assert few.shape == (15, 1, 2, 2) and few.dtype == torch.uint8
    assert torch.equal(drawn(sample, 15, 3, chunk=10), few) and torch.equal(many[:10], few[:10])
    assert not torch.equal(many[10:20], many[:10]) and not torch.equal(many[:10], drawn(sample, 10, 4, chunk=10))
    sizes = list[int]()
    drawn(lambda num, seed: sizes.append(num) or sample(num, seed), 25, 0, chunk=10)  # type: ignore[func-returns-value]
    assert sizes == [10, 10, 5], "a model that draws class by class draws all of them"
    assert torch.equal(few[:10], (sample(10, 3).clamp(0, 1) * 255).round().to(torch.uint8))
    assert drawn(lambda num, seed: torch.full((num, 1, 2, 2), torch.nan), 3, 0).eq(0).all()
