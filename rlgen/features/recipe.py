"""The recipe by which classifiers are trained whose features images are compared by, and random networks are drawn.

`python -m rlgen.features.recipe digits fashion-mnist` writes those that come with rlgen, and prints their accuracy.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from rlgen.data.images import ImageData
from rlgen.data.load import load as load_images
from rlgen.features.net import FeatureNet

BATCH = 128  # images in a step
PASSES = 20  # over the training images, as far as the bounds allow
STEPS = (200, 3_000)  # of training, at least and at most
LR = 2e-3  # of Adam, falling linearly to 0
SEED = 0
SCALED_BY = 10_000  # training images that the scale of features is chosen by


def classifier(data: ImageData, threads: int | None = None) -> FeatureNet:
    """A classifier of the training images, by Adam and cross entropy; held-out ones only state its accuracy.

    The same images give the same weights, on one machine with one number of threads; PyTorch's generator stays as it
    was.

    Args:
        data: with labels.
        threads: of the CPU; None takes as many as there are.
    """
    assert data.train_label is not None and data.num_classes is not None
    images, labels = torch.from_numpy(data.train), torch.from_numpy(data.train_label)
    steps = min(max(PASSES * len(images) // BATCH, STEPS[0]), STEPS[1])
    with torch.random.fork_rng(devices=[]), torch.device("cpu"), torch.enable_grad():
        torch.manual_seed(SEED)
        net = FeatureNet(data.train.shape[1:], data.num_classes)
        optimizer = torch.optim.Adam(net.parameters(), LR)
        index = torch.empty(0, dtype=torch.int64)
        for step in range(steps):
            if len(index) < min(BATCH, len(images)):
                index = torch.randperm(len(images))
            batch, index = index[:BATCH], index[BATCH:]
            loss = cross_entropy(net.logits(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            for group in optimizer.param_groups:
                group["lr"] = LR * (1 - step / steps)
            optimizer.step()
    net.requires_grad_(False).eval().set_scale(images[:SCALED_BY])
    net.about = {"data": data.name, "sha256": data.sha256, "images": len(images), "steps": steps}
    if data.test_label is not None:
        right = net(torch.from_numpy(data.test))[1] == torch.from_numpy(data.test_label)
        net.about["accuracy"] = round(right.double().mean().item(), 4)
    return net


def random(data: ImageData) -> FeatureNet:
    """A network of random weights (He et al. 2015), the same ones for the same shape of images."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(SEED)
        net = FeatureNet(data.train.shape[1:])
        for layer in net.body:
            if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                torch.nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    net.requires_grad_(False).eval().set_scale(torch.from_numpy(data.train[:SCALED_BY]))
    return net


if __name__ == "__main__":
    for name in sys.argv[1:]:
        net = classifier(load_images(name))
        net.save(Path(__file__).with_name(f"{name}.safetensors"))
        print(name, net.label, f"accuracy {net.about['accuracy']:.2%}")
