"""Scores of a set of images against held-out ones of a data set, beside those of real images: the floor."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlgen.features.script import Net
from rlgen.metrics import neighbours
from rlgen.metrics.images import (
    class_divergence,
    frechet_distance,
    kernel_distance,
    num_modes,
    sliced_wasserstein,
)

SHUFFLE_SEED = 0  # which images stand for a set of which there are more
CHUNK = 500  # images of a model that are drawn at once
LEAST = 2 * neighbours.DENSE  # images of a set
OF_ANY_NUMBER = {"kid", "precision", "density"}  # scores that are the same, on average, for more or fewer images


class Judge:
    """Compares images with the held-out ones of a data set, of which it keeps the features.

    A set is always compared with as many held-out images as it has, or with all of them. Its floor is what as many
    training images score. Where the network was trained on these too, other images of the distribution may score a
    little better.

    Args:
        train: images that a model learns from, uint8 [N, C, H, W].
        held_out: others of the same distribution, uint8 [M, C, H, W].
        net: of the features.
        device: where they are computed.
        train_label: classes of the training images, [N], from whose shares `class_kl` is measured. If None, or if the
            network does not know these classes, they are those that it finds in the held-out images.
        held_out_label: classes of the held-out images, [M]; they have a floor of `class_accuracy` only with these.
    """

    def __init__(
        self,
        train: NDArray[np.uint8],
        held_out: NDArray[np.uint8],
        net: Net,
        device: torch.device,
        train_label: NDArray[np.int64] | None = None,
        held_out_label: NDArray[np.int64] | None = None,
    ) -> None:
        self.train, self.held_out, self.device = train, held_out, device
        self.net = net.to(device)
        known = train_label is not None and len(train_label) and train_label.max() < net.num_classes
        self.labels = torch.from_numpy(train_label).to(device) if train_label is not None and known else None
        self.held_out_label = held_out_label
        self._floors: dict[int, dict[str, float]] = {}
        self._references: dict[int, tuple[Tensor, Tensor | None, Tensor]] = {}

    def count(self, most: int) -> int:
        """How many images are compared where `most` may be: no more than are held out; 0 where those are too few."""
        num = min(most, len(self.held_out))
        return num if num >= LEAST else 0

    def scores(self, images: Tensor, against_training: bool = False, asked: Tensor | None = None) -> dict[str, float]:
        """What `compared` finds of a set of images.

        Args:
            images: as many as `count` says, uint8 [N, C, H, W].
            against_training: look for copies of training images too, among all of them.
            asked: classes that the images should be of, [N]; none where the network does not know these classes.
        """
        num = len(images)
        features, classes = self.net(images)
        found = self.compared(images, features, classes, num)
        if asked is not None and classes is not None and self.labels is not None:
            found["class_accuracy"] = (classes == asked.to(classes.device)).double().mean().item()
        if against_training:
            held_out = self.reference(num)[0]
            chance, ratio, copies = neighbours.copied(features, held_out, self.of_training)
            found |= {"copied": chance, "nearest_ratio": ratio, "near_copies": copies}
        return finite(found)

    def compared(self, images: Tensor, features: Tensor, classes: Tensor | None, num: int) -> dict[str, float]:
        """Scores of images, whose features and classes are given, against the first `num` held-out ones."""
        real, real_classes, real_radii = self.reference(num)
        found = {"kid": kernel_distance(real, features)}
        if min(len(features), len(real)) > 2 * self.net.num_features:
            found["fd"] = frechet_distance(real, features)
        near = neighbours.compare(real, features, real_radii)
        found |= {name: getattr(near, name) for name in ("precision", "recall", "density", "coverage", "two_sample")}
        if classes is not None and real_classes is not None:
            found |= self.class_scores(classes, real_classes)
        held_out = torch.from_numpy(self.held_out[self.chosen(len(self.held_out), num)])
        found["swd"] = sliced_wasserstein(held_out.to(images.device), images)
        return found

    def class_scores(self, classes: Tensor, real_classes: Tensor) -> dict[str, float]:
        """How many classes occur, and the divergence of their shares from those of the training images."""
        expected = real_classes if self.labels is None else self.labels
        divergence = class_divergence(classes, expected, self.net.num_classes)
        return {"modes": num_modes(classes), "class_kl": divergence}

    def floor(self, num: int) -> dict[str, float]:
        """What as many training images score; nothing if they are too few to be compared.

        Where they are fewer than that, these are the scores alone that do not depend on how many images there are.
        `class_accuracy` is that of the held-out images, with each class as likely as among the training images: the
        network knows these by heart. Of another split than the published one it may know some of the others too.
        """
        if num not in self._floors:
            images = torch.from_numpy(self.train[self.chosen(len(self.train), num)]).to(self.device)
            features, classes = self.net(images)
            found = finite(self.compared(images, features, classes, num)) if len(images) >= LEAST else {}
            fewer = len(images) < min(num, len(self.held_out))
            self._floors[num] = {name: found[name] for name in OF_ANY_NUMBER & found.keys()} if fewer else found
            if self.labels is not None and self.held_out_label is not None:
                self._floors[num] |= self.real_accuracy(self.labels.cpu(), torch.from_numpy(self.held_out_label), num)
        return self._floors[num]

    def real_accuracy(self, train_label: Tensor, label: Tensor, num: int) -> dict[str, float]:
        """Share of held-out images of which the network finds the class, in the shares of classes to train on.

        Classes that no held-out image has are left out.
        """
        label, classes = label[self.chosen(len(label), num)], self.reference(num)[1]
        share, seen, right = (
            which.bincount(minlength=self.net.num_classes).double()
            for which in (train_label, label, label[classes.cpu() == label])  # type: ignore[union-attr]
        )
        share = share * (seen > 0)
        return finite({"class_accuracy": float((share * right / seen.clamp(min=1)).sum() / share.sum())})

    def reference(self, num: int) -> tuple[Tensor, Tensor | None, Tensor]:
        """Features [num, F], classes [num] and radii of held-out images."""
        if num not in self._references:
            features, classes = self.net(torch.from_numpy(self.held_out[self.chosen(len(self.held_out), num)]))
            self._references[num] = features, classes, neighbours.radii(features)
        return self._references[num]

    @cached_property
    def of_training(self) -> Tensor:
        """Features of all training images, [N, F]."""
        return self.net(torch.from_numpy(self.train))[0]

    @staticmethod
    def chosen(size: int, num: int) -> Any:
        """Which `num` images of a set of `size` stand for it, the same ones every time; all where it has no more."""
        return slice(None) if num >= size else np.random.RandomState(SHUFFLE_SEED).permutation(size)[:num]


def finite(found: dict[str, float]) -> dict[str, float]:
    """The scores that are finite numbers."""
    return {name: value for name, value in found.items() if math.isfinite(value)}


def in_shares(sample: Callable[..., Tensor], labels: NDArray[np.int64]) -> Callable[..., Tensor]:
    """A sampler for `drawn` of a model with labels: each label is as likely as among the training images.

    Args:
        sample: of the model: of a number of images, a label each, and a seed.
        labels: of the training images, [N].
    """
    return lambda num, seed: sample(num, label=_some(labels, num, seed), seed=seed)


def asked_labels(labels: NDArray[np.int64], num: int, seed: int) -> Tensor:
    """The labels that `drawn` asks a sampler of `in_shares` for, [num]."""
    return torch.cat([_some(labels, *part) for part in _parts(num, seed, CHUNK)])


def drawn(sample: Callable[..., Tensor], num: int, seed: int, chunk: int = CHUNK) -> Tensor:
    """Images of a model as they would be written to files, uint8 [num, C, H, W] on its device.

    They are drawn some at a time, each time with a seed of its own.

    Args:
        sample: of a model: of a number of images and a seed, float [N, C, H, W] in [0, 1].
        num: of images.
        seed: of the first ones.
        chunk: images drawn at once.
    """
    found = []
    for size, own_seed in _parts(num, seed, chunk):
        images = sample(size, seed=own_seed)  # whole: they may come class by class
        found.append((images.nan_to_num(0).clamp(0, 1) * 255).round().to(torch.uint8))
    return torch.cat(found)


def _parts(num: int, seed: int, chunk: int) -> Iterator[tuple[int, int]]:
    """How many of `num` images are drawn at once, and with which seed."""
    return ((min(chunk, num - i * chunk), seed + i) for i in range(math.ceil(num / chunk)))


def _some(labels: NDArray[np.int64], num: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed + 2**31)  # not that of the latents
    return torch.from_numpy(labels)[torch.randint(len(labels), (num,), generator=generator)]
