"""Which network's features images are compared by: one that comes with rlgen, one trained before, or a random one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from rlgen.data.images import ImageData
from rlgen.errors import DiskError, UsageError
from rlgen.features import recipe
from rlgen.features.net import ChannelwiseNet, FeatureNet, load
from rlgen.files import made, user_cache
from rlgen.text import warn

HERE = Path(__file__).parent
STACKED = "stacked-digits"  # its pictures are made of digits, one a channel
SHIPPED = ("digits", "fashion-mnist")
LEAST = 10  # training images of a class, on average: fewer teach a classifier little


def net_for(data: ImageData) -> FeatureNet:
    """The network by whose features images are compared with those of a data set.

    That of the published digits or Fashion-MNIST comes with rlgen. For other images with labels a classifier is trained
    once, and kept in the user's cache; without labels it is a network of random weights.

    Raises:
        DiskError: the cache is full, or cannot be written.
    """
    for name in SHIPPED:
        net = load(HERE / f"{name}.safetensors")
        if net.about["sha256"] == data.sha256 and net.shape == data.train.shape[1:]:
            return net
    if data.name == STACKED and (data.train.shape[1], data.num_classes) == (3, 1000):
        grey = load(HERE / "digits.safetensors")
        if grey.shape[1:] == data.train.shape[2:]:
            return ChannelwiseNet(grey, 3)
    if data.train_label is None or data.num_classes is None or data.num_classes < 2:
        return recipe.random(data)
    if len(np.unique(data.train_label)) < 2 or len(data.train) < LEAST * data.num_classes:
        return recipe.random(data)
    return kept(data)


def kept(data: ImageData) -> FeatureNet:
    """The classifier of a data set out of the user's cache, trained if it is not there."""
    made_by = hashlib.sha256(Path(recipe.__file__).read_bytes()).hexdigest()
    key = hashlib.sha256(f"{data.digest()} {made_by}".encode()).hexdigest()[:16]
    try:
        path = user_cache() / "features" / f"{key}.safetensors"
    except DiskError as error:
        warn(f"{error}; a classifier of {data.name} is trained and not kept")
        return recipe.classifier(data)
    if path.is_file():
        try:
            net = load(path)
            if (net.shape, net.num_classes) == (data.train.shape[1:], data.num_classes):
                return net
            warn(f"{path} is of other images than {data.name}; it is trained again")
        except UsageError as error:
            warn(f"{error}; it is trained again")
    warn(f"a classifier of {data.name} is trained once, to compare images by its features: {path}", note=True)
    net = recipe.classifier(data)
    try:
        made(made(path.parent.parent.parent) / "rlgen")
        made(path.parent)
        net.save(path)
    except DiskError as error:
        warn(f"{error}: the next run trains it again")
    return net
