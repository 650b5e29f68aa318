"""Two sets of images are compared, whatever they come from: files, a known data set, or a trained model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlgen import inference
from rlgen.core.learner import Generative
from rlgen.data.images import ImageData
from rlgen.data.known import KNOWN
from rlgen.data.load import load as load_images
from rlgen.data.preparation import AS_THEY_ARE, Preparation
from rlgen.errors import UsageError
from rlgen.features import recipe
from rlgen.features.find import HERE, SHIPPED, net_for
from rlgen.features.judge import LEAST, Judge, asked_labels, drawn, in_shares
from rlgen.features.net import load
from rlgen.features.script import Net, ScriptNet
from rlgen.metrics import SAMPLE_SEED
from rlgen.runs.find import find
from rlgen.runs.records import read_config
from rlgen.speed.device import pick_device
from rlgen.text import warn

RUN = "run "  # begins the source of images that a model drew


def compare(
    samples: str,
    reference: str,
    num: int = 10_000,
    features: str = "auto",
    device: str = "auto",
    preparation: Preparation = AS_THEY_ARE,
    data_dir: str | None = None,
    max_memory: str | None = None,
    runs_dir: str = "runs",
) -> dict[str, Any]:
    """How far a set of images is from another.

    Args:
        samples: a folder or a zip of images, an `.npz`, a known data set, or a run, as a name or a directory.
        reference: the same; of data that have a split, the images that are held out. Data without one are split where
            `preparation` says how, and where a run is compared with what it learned from.
        num: images of each, at most; as many of one as of the other are compared, the same ones every time.
        features: auto, the name of a network that comes with rlgen, random, a `.safetensors` file of rlgen's, or a file
            of TorchScript: a module that maps images [N, 3, H, W] uint8 to features [N, F].
        device: where they are computed.
        preparation: size and mode of the images.
        data_dir: where known data sets are looked for.
        max_memory: that reading images may take.
        runs_dir: where runs are looked for.

    Returns:
        The features' name and digest, how many images were compared, `scores` by name, and in `floor` what other images
        of the reference score, as `Judge.floor` has it: its training images, or, without a split, the rest of them.

    Raises:
        UsageError: one of them cannot be read, or they do not fit together.
    """
    where = pick_device(device)
    held = read(reference, num, preparation, data_dir, max_memory, runs_dir)
    if is_split(held, reference, preparation, samples, runs_dir):
        held = replace(held, own_split=True)
    whole = held_out(held)
    given = read(samples, min(num, len(whole)), preparation, data_dir, max_memory, runs_dir, held)
    images = held_out(given)
    if images.shape[1:] != held.test.shape[1:]:
        shapes = " and ".join(f"{'x'.join(map(str, each.shape[1:]))}" for each in (images, held.test))
        raise UsageError(
            f"{samples} and {reference} have images of {shapes} [CxHxW]: --image-size and --image-mode make them alike"
        )
    net = chosen_net(features, held)
    train = held.train
    count = min(num, len(images), len(whole))
    part, more = ("held-out images", "; --holdout 0.3 holds more of them out") if held.own_split else ("images", "")
    for name, number, which in ((reference, len(whole), part), (samples, len(images), "images")):
        if number < LEAST:
            raise UsageError(f"{name} has {number} {which}: {LEAST} are needed{more if which == part else ''}")
    if not held.own_split:
        whole = whole[np.random.RandomState(1).permutation(len(whole))]
        whole, train = whole[:count], whole[count : 2 * count]
    its_own = features == "auto" or net.about.get("sha256") == held.sha256  # another's classes mean something else
    labels = (held.train_label, held.test_label) if held.own_split and its_own else (None, None)
    judge = Judge(train, whole, net, where, *labels)
    which = judge.chosen(len(images), count)
    of_model = given.source.startswith(RUN)
    asked = None  # classes of other sets may have other meanings
    if of_model and given.train_label is not None and learned_from(run_of(samples, runs_dir), held, reference):
        asked = torch.from_numpy(given.train_label[which])
    scores = judge.scores(torch.from_numpy(images[which]).to(where), held.own_split, asked)
    about: dict[str, Any] = {"features": net.label, "sha256": net.digest(), "images": count}
    if len(images) < num and of_model:
        images = held_out(read(samples, num, preparation, data_dir, max_memory, runs_dir, held))
    if net.num_classes and held.own_split and len(images) > count:
        about["classes"] = {"images": min(num, len(images))} | of_classes(judge, images[judge.chosen(len(images), num)])
        about["classes of real images"] = of_classes(judge, train[judge.chosen(len(train), num)])
    floor = {name: value for name, value in judge.floor(count).items() if name in scores} or None
    return {"samples": samples, "reference": reference, **about, "scores": scores, "floor": floor}


def read(
    what: str,
    num: int,
    preparation: Preparation,
    data_dir: str | None,
    max_memory: str | None,
    runs_dir: str,
    like: ImageData | None = None,
) -> ImageData:
    """Images by the name of what they come from; of a run, `num` of its model, of the classes of `like`."""
    if run := run_of(what, runs_dir):
        return of_run(what, run, num, like)
    return load_images(what, data_dir, max_memory, preparation)


def run_of(what: str, runs_dir: str) -> Path | None:
    """The run that images come from; None where they come from files."""
    path = Path(what).expanduser()
    if what in KNOWN or (path.exists() and not (path / "config.json").is_file()):
        return None
    try:
        return find(what, runs_dir)
    except UsageError as error:
        raise UsageError(
            f"{what!r} is neither a data set nor a file, a folder or a run in {runs_dir}: give one of these, see "
            "rlgen list data and rlgen list runs"
        ) from error


def is_split(held: ImageData, reference: str, preparation: Preparation, samples: str, runs_dir: str) -> bool:
    """Whether only the share of a reference that is held out is compared, where its images lay together.

    A run saw the others while it learned: it has to be compared with those that it did not see.
    """
    if held.own_split or held.source.startswith(RUN):
        return held.own_split
    if run := run_of(samples, runs_dir):
        if learned_from(run, held):
            return True
        if learned_from(run, held, reference):
            warn(f"{samples} learned from {reference}, split or prepared in another way: what it saw is compared too")
    return (preparation.holdout, preparation.holdout_seed) != (AS_THEY_ARE.holdout, AS_THEY_ARE.holdout_seed)


def learned_from(run: Path | None, held: ImageData, reference: str | None = None) -> bool:
    """Whether a run had these images and labels, split as here; with `reference`, its name, split in whatever way."""
    info = read_config(run)[0] if run else {"config": {}}
    if (info.get("spec") or {}).get("sha256") == held.digest():
        return True
    data = info["config"].get("data")
    return reference is not None and Path(str(data)).expanduser().resolve() == Path(reference).expanduser().resolve()


def of_run(name: str, path: Path, num: int, like: ImageData | None = None) -> ImageData:
    """Images of a trained model, none of which are held out; with labels, in the shares that those of others have."""
    learner = inference.load(path)
    if not isinstance(learner, Generative):
        raise UsageError(f"{name} is an agent, it has no images; see rlgen eval")
    sample: Callable[..., Tensor] = learner.sample
    labels = None
    if like and like.train_label is not None and learner.num_classes == like.num_classes:
        sample = in_shares(sample, like.train_label)
        labels = asked_labels(like.train_label, num, SAMPLE_SEED).numpy()
    images = drawn(sample, num, SAMPLE_SEED).numpy(force=True)
    return ImageData(name, images, images[:0], labels, None, None, RUN + str(path), {}, own_split=False)


def of_classes(judge: Judge, images: NDArray[np.uint8]) -> dict[str, float]:
    """Scores of the classes of any number of images: of many classes, more are needed than are held out."""
    _, classes = judge.net(torch.from_numpy(images))
    assert classes is not None
    return judge.class_scores(classes, classes)


def held_out(data: ImageData) -> NDArray[np.uint8]:
    """The images of a data set that are compared: those that are held out, or all where nothing was split."""
    return data.test if data.own_split else np.concatenate([data.train, data.test])


def chosen_net(features: str, reference: ImageData) -> Net:
    """The network that was asked for.

    Raises:
        UsageError: there is none, or it takes images of another size.
    """
    if features == "auto":
        return net_for(reference)
    if features == "random":
        return recipe.random(reference)
    path = HERE / f"{features}.safetensors" if features in SHIPPED else Path(features).expanduser()
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise UsageError(f"--features {features} is not a file: give one of a network of features")
    if is_zipfile(path):  # as TorchScript is
        return ScriptNet(path)
    net = load(path)
    if net.shape != reference.train.shape[1:]:
        raise UsageError(
            f"--features {features}: its images are {list(net.shape)} [C, H, W], these "
            f"{list(reference.train.shape[1:])}: leave it out, or give --image-size and --image-mode"
        )
    return net
