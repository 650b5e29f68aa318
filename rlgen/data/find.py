"""Read a known data set: found on this machine, else downloaded into the cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from rlgen.data.download import download
from rlgen.data.files import File, digests, find_files, read_archive
from rlgen.data.images import ImageData
from rlgen.data.known import KNOWN, KnownSet
from rlgen.data.npz import from_npz
from rlgen.data.preparation import Preparation
from rlgen.data.readers import from_cifar, from_idx
from rlgen.data.splits import fifth_of_every_class, join, split
from rlgen.errors import DiskError, UsageError
from rlgen.files import user_cache
from rlgen.memory import Room

NUM_STACKED = (50_000, 10_000)  # training and held-out images of stacked digits


def load_digits(preparation: Preparation) -> ImageData:
    """The digits of scikit-learn; without a share, a fifth of every class is held out."""
    import sklearn  # slow to import, and only this data set needs it
    from sklearn import datasets

    image, label = datasets.load_digits(return_X_y=True)
    image = np.rint(image * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)  # [N, C, H, W]   0..16 -> 0..255
    sha256 = {"images": hashlib.sha256(image.tobytes()).hexdigest()}
    source = f"scikit-learn {sklearn.__version__}"
    if preparation.holdout is not None:
        return join("digits", source, sha256, image, None, label, None, preparation)
    return split("digits", source, sha256, image, label, fifth_of_every_class(label, preparation.holdout_seed))


def load_stacked_digits(preparation: Preparation) -> ImageData:
    """Digits drawn in threes as red, green and blue; 100 r + 10 g + b is the class. Held-out ones of held-out digits.

    As the stacked MNIST of Metz et al. 2017 (arXiv:1611.02163): how many of the 1,000 classes a model's
    samples have says how much of its data it has left out.
    """
    digits, random = load_digits(preparation), np.random.RandomState(0)
    images, labels = [], []
    for image, label, num in (
        (digits.train, digits.train_label, NUM_STACKED[0]),
        (digits.test, digits.test_label, NUM_STACKED[1]),
    ):
        assert label is not None
        drawn = random.randint(len(image), size=(num, 3))  # [N, 3]
        images.append(image[drawn, 0])  # [N, 3, 8, 8]
        labels.append(label[drawn] @ (100, 10, 1))
    return replace(
        digits,
        name="stacked-digits",
        train=images[0],
        test=images[1],
        train_label=labels[0],
        test_label=labels[1],
        num_classes=1000,
        sha256={"images": hashlib.sha256(images[0].tobytes() + images[1].tobytes()).hexdigest()},
    )


MADE = {"digits": load_digits, "stacked-digits": load_stacked_digits}  # of no files


def load_known(name: str, data_dir: str | None, room: Room, preparation: Preparation) -> ImageData:
    """A data set of files; where it is looked for is said in `rlgen.data.load`.

    Raises:
        UsageError: no such directory, files that lack or are another data set's, or no mirror to download from;
            or they do not fit in memory.
        DiskError: the cache cannot be written.
    """
    entry = KNOWN[name]
    given = data_dir or os.environ.get("RLGEN_DATA")
    if given and not Path(given).expanduser().is_dir():
        option = "--data-dir" if data_dir else "$RLGEN_DATA"
        raise UsageError(f"{option} {given!r} is not a directory: name the one that holds {name}/, or leave it out")
    roots = ([Path(given).expanduser()] if given else []) + cache()
    searched = [place for root in roots for place in (root / name, root)]
    for place in (place / folder for place in searched for folder in ("", *entry.folders)):
        files = files_in(place, entry, room)
        lacking = [file for file in entry.sha256 if file not in files]
        if not lacking:
            break
        if files and not {*cache()} & {*place.parents}:  # in the cache a download was cut off: it goes on
            raise UsageError(f"{place} holds {next(iter(files))} but not {', '.join(lacking)}: add what is missing")
    else:
        for root in roots:
            if os.path.isfile(root / f"{name}.npz"):  # as Keras has it
                return replace(from_npz(root / f"{name}.npz", room, preparation, None), name=name)
        place = user_cache() / name
        download(name, place, searched, room)
        files = files_in(place, entry, room)

    found = digests(files)
    for file, digest in found.items():  # MNIST and its relatives share their file names
        for other in KNOWN.keys() - {name}:
            if digest in KNOWN[other].sha256.values():
                raise UsageError(
                    f"{files[file].path} is of {other}, not {name}: use --data {other} or another --data-dir"
                )
    source = str(place) if found == entry.sha256 else f"{place} (not the published bytes)"
    return (from_cifar if entry.archive else from_idx)(name, source, files, found, preparation)


def cache() -> list[Path]:
    """The user's cache; none where there is no home directory."""
    with contextlib.suppress(DiskError):
        return [user_cache()]
    return []


def files_in(folder: Path, entry: KnownSet, room: Room) -> dict[str, File]:
    """What a folder holds of a known data set, as files or in its archive."""
    files = find_files(folder, entry.sha256, room)
    if files or entry.archive is None or not os.path.isfile(folder / entry.archive):
        return files
    return read_archive(folder / entry.archive, entry.sha256, room)
