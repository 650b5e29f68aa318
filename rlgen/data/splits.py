"""Which images are held out, and whether the parts of a data set fit together.

A split is a property of the data, never of a run's seed, so that runs can be compared.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlgen.data.images import ImageData
from rlgen.data.preparation import AS_THEY_ARE, Preparation
from rlgen.errors import UsageError

PIECE = 2**20  # bytes
TENTH = 0.1  # is held out where nothing says how many are
THINGS = "images?|imgs?|pictures?|data|set|split"
TRAIN = (
    "train(?:ing)?|trainings(?:daten|bilder)?|entrenamiento|entra[iî]nement|apprentissage|trein(?:o|amento)|"
    "addestramento|训练集?|訓練|学習"
)
VAL = (
    "val(?:id(?:ation)?)?|eval(?:uation)?|dev|validierung|validaci[oó]n|valida[cç][aã]o|convalida|validazione|"
    "验证集?|驗證|検証"
)
TEST = "test(?:ing)?|test(?:daten|bilder)|hold[-_ ]?out|pruebas?|testes?|测试集?|測試|テスト"
PART = re.compile(  # as train, Training, val, validation_set, test-images, images_train, train2017, entrenamiento
    rf"(?:(?:{THINGS})[-_ ])?(?:(?P<train>{TRAIN})|(?P<val>{VAL})|(?P<test>{TEST}))"
    rf"(?:[-_ ]?(?:{THINGS}))?[-_ ]?\d{{0,4}}",
    re.IGNORECASE,
)


def part_of(name: str) -> str | None:
    """The part of a split that a name stands for, however it is spelled: train, val or test; None for other names."""
    match = PART.fullmatch(unicodedata.normalize("NFC", name.strip()))
    return match.lastgroup if match else None


def held_out_part(source: str, parts: Collection[str], asked: str | None, preparation: Preparation) -> str | None:
    """The part of a split that is held out: `val` where there is one, as it is looked at while a model trains.

    Args:
        source: where the data came from; errors begin with it.
        parts: that there are, of train, val and test; none where the data are not split.
        asked: another one.
        preparation: whether a share of the training images is held out instead.

    Returns:
        None where some of the training images have to be held out.

    Raises:
        UsageError: there are no training images, or not the part that was asked for.
    """
    if parts and "train" not in parts:
        raise UsageError(
            f"{source} has {' and '.join(sorted(parts))} images but none to train on: give those too, "
            "or these alone under a name that is no part of a split"
        )
    if asked is not None and asked not in parts:
        there = ", ".join(sorted(parts)) or "no split"
        raise UsageError(f"{source} has no {asked} images, it has {there}: leave --split out")
    if asked is None and preparation.holdout is not None:
        return None
    return asked or next((part for part in ("val", "test") if part in parts), None)


def fifth_of_every_class(label: NDArray[Any], seed: int = 0) -> NDArray[np.bool_]:
    """A fixed random fifth of every class is held out: labels [N] -> mask [N]."""
    held_out = np.zeros(len(label), bool)
    random = np.random.RandomState(seed)  # its stream never changes between NumPy versions; default_rng's may
    for one in np.unique(label):
        index = random.permutation(np.flatnonzero(label == one))
        held_out[index[: round(len(index) / 5)]] = True
    return held_out


def share_at_random(num: int, preparation: Preparation) -> NDArray[np.bool_]:
    """A fixed random share of `num` images is held out, a tenth if none is given, at least one: mask [num]."""
    held_out = np.zeros(num, bool)
    share = TENTH if preparation.holdout is None else preparation.holdout
    most = max(1, min(num - 1, int(share * num + 1e-9)))  # 0.29 * 100 is a little under 29
    held_out[np.random.RandomState(preparation.holdout_seed).permutation(num)[:most]] = True
    return held_out


def share_by_name(names: Sequence[str], preparation: Preparation) -> NDArray[np.bool_]:
    """About a share is held out, a tenth if none is given, at least one and not all, by the file's name: mask [N].

    More files move none from one side to the other.
    """
    share = TENTH if preparation.holdout is None else preparation.holdout
    salt = f"{preparation.holdout_seed}/" if preparation.holdout_seed else ""
    score = np.array([int(hashlib.sha256((salt + name).encode()).hexdigest()[:8], 16) / 2**32 for name in names])
    return (score <= max(share, score.min())) & ((score < score.max()) | (len(names) == 1))


def split(
    name: str,
    source: str,
    sha256: dict[str, str],
    image: NDArray[Any],
    label: NDArray[Any] | None,
    held_out: NDArray[np.bool_],
) -> ImageData:
    """A data set of images [N, C, H, W] and labels [N], with those in the mask `held_out` [N] held out.

    Labels of -1 are none: where a part has them, it has no labels. The array of images is used up: those of training
    move to its front, as there may be no memory for a second one.
    """
    test, kept = image[held_out], np.flatnonzero(~held_out)
    for part in pieces(image):
        images = image[kept[part]]  # copies, of images that stand further back
        image[part.start : part.start + len(images)] = images
    labels = [None, None] if label is None else [label[~held_out], label[held_out]]
    train_label, test_label = (None if one is None or (one == -1).any() else one for one in labels)
    return join(name, source, sha256, image[: len(kept)], test, train_label, test_label)


def pieces(image: NDArray[Any]) -> Iterator[slice]:
    """The images in pieces of a megabyte or one image, to change them in place."""
    step = max(1, PIECE // max(1, image[:1].nbytes))
    for start in range(0, len(image), step):
        yield slice(start, start + step)


def join(
    name: str,
    source: str,
    sha256: dict[str, str],
    train: NDArray[Any],
    test: NDArray[Any] | None,
    train_label: NDArray[Any] | None,
    test_label: NDArray[Any] | None,
    preparation: Preparation = AS_THEY_ARE,
) -> ImageData:
    """A data set of its parts; without test images, a fixed random share of the others is held out.

    Args:
        name: of the data set.
        source: where it came from; errors begin with it.
        sha256: by file.
        train: [N, C, H, W] uint8.
        test: [M, C, H, W] uint8, or None.
        train_label: [N] integers, or None.
        test_label: [M] integers, or None.
        preparation: how many are held out; where it says so, the test images are left aside.

    Raises:
        UsageError: the parts do not fit together, or one of them is empty.
    """
    for part, images, labels in (("training", train, train_label), ("test", test, test_label)):
        if labels is not None and images is not None and len(labels) != len(images):
            raise UsageError(f"{source}: {len(images)} {part} images but {len(labels)} labels: they must pair up")
        if labels is not None and len(labels) and labels.min() < 0:
            raise UsageError(f"{source}: {part} label {labels.min()} is negative: labels count from 0")
    aside = () if test is None or preparation.holdout is None else (f"{len(test):,} test images are left aside",)
    if test is None or aside:
        if len(train) >= 2:
            data = split(name, source, sha256, train, train_label, share_at_random(len(train), preparation))
            return replace(data.noting(preparation.share(), *aside), own_split=False)
        test = train[:0]
    if not len(train) or not len(test):
        raise UsageError(f"{source}: {len(train)} training and {len(test)} test images: at least one of each is needed")
    if train.shape[1:] != test.shape[1:]:
        raise UsageError(f"{source}: training images are {train.shape[1:]}, test images {test.shape[1:]} [C, H, W]")
    train_label, test_label = (None if one is None else one.astype(np.int64) for one in (train_label, test_label))
    parts = [part for part in (train_label, test_label) if part is not None]
    if not parts:
        return ImageData(name, train, test, None, None, None, source, sha256)
    occur = np.unique(np.concatenate(parts))
    num_classes = 1 + int(occur[-1])
    absent = num_classes - len(occur)
    notes = (f"{absent} classes have no image: they count from 0 to the largest label",) if absent else ()
    return ImageData(name, train, test, train_label, test_label, num_classes, source, sha256, notes)
