"""Image files under a folder: which there are, and what their folders mean, a part of the split or a label."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rlgen.data.files import reason
from rlgen.data.splits import part_of
from rlgen.errors import UsageError

PREFIXED = re.compile(r"(.+?)[-_ ]([^-_ ]+)$")  # what folders have in common, and what tells them apart
SUFFIXES = {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
SUFFIXES |= {".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jp2", ".avif"}
HIDDEN = {"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"}  # beside those with a dot


class Place(NamedTuple):
    """What the folders of an image say about it."""

    part: str | None  # train, val or test; None where there is no split
    label: str | None


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is none of the user's: notebooks, archives and file managers leave it."""
    return name.startswith(".") or name.lower() in HIDDEN


def walk(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """The files in a folder and in those below it, linked ones too; not in hidden ones.

    Args:
        folder: where to begin.
        above: the folders that led there, by default all that it lies in; a link back to one of them is not followed.

    Raises:
        UsageError: a folder cannot be read.
    """
    real = os.path.realpath(folder)
    above = above or tuple(map(str, Path(real).parents))
    if real in above:
        return
    try:
        with os.scandir(folder) as found:
            entries = sorted((entry for entry in found if not is_hidden(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        raise UsageError(f"{folder} cannot be read ({reason(error)}): make it readable or remove it") from None
    for entry in entries:
        try:
            is_folder = entry.is_dir()
        except OSError as error:  # of what a link leads to
            raise UsageError(f"{entry.path} cannot be read ({reason(error)}): make it readable or remove it") from None
        if is_folder:
            yield from walk(Path(entry.path), (*above, real))
        else:
            yield Path(entry.path)


def is_image(name: str) -> bool:
    """Whether a file is one by the end of its name."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def places(folder: str, names: Sequence[str]) -> list[Place]:
    """Part and label of every image, from the folders in its name.

    `train`, `val` and `test`, however they are spelled, are parts of the split and no labels: at the top, or in each of
    the folders that are the labels. A folder that holds all the others is passed over.

    Args:
        folder: all of them are in; errors begin with it.
        names: paths of the images in it, as a/b/c.png.

    Raises:
        UsageError: images or other folders lie beside those that are a split or labels.
    """
    paths = without_prefix(unwrapped([tuple(name.split("/")) for name in names]))
    if any(part_of(path[0]) for path in paths if len(path) > 1):
        check_beside(folder, paths)
        return in_parts(folder, paths)
    labels = labels_of(folder, paths)
    parts = [next((part for name in path[:-1] if (part := part_of(name))), None) for path in paths]
    if any(parts) and not all(parts):
        inside, outside = ("/".join(paths[[*map(bool, parts)].index(there)]) for there in (True, False))
        raise UsageError(
            f"{folder}: {inside} is in a part of a split and {outside} is in none: "
            "move that into one too, or rename the folder if it is a label"
        )
    return [Place(part, label) for part, label in zip(parts, labels, strict=True)]


def in_parts(folder: str, paths: Sequence[tuple[str, ...]]) -> list[Place]:
    """Places of images that all lie in a part of the split; below that their folders are labels."""
    parts = [part_of(path[0]) or "" for path in paths]
    labels: dict[str, list[str | None]] = {}
    for part in set(parts):
        below = [path[1:] for path, own in zip(paths, parts, strict=True) if own == part]
        while {part_of(path[0]) if len(path) > 1 else None for path in below} == {part}:  # train/train/..
            below = [path[1:] for path in below]
        labels[part] = labels_of(f"{folder} ({part})", unwrapped(below))
    known = set(labels.get("train", ()))
    for part, own in labels.items():
        if len(set(own)) == 1 and not set(own) <= known:  # test/unknown/..: the folder that Keras needs
            labels[part] = [None] * len(own)
    left = {part: iter(own) for part, own in labels.items()}
    return [Place(part, next(left[part])) for part in parts]


def unwrapped(paths: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Paths without a first folder that all have in common and that holds nothing but folders, as archives have it."""
    while min(map(len, paths)) > 2 and len({path[0] for path in paths}) == 1 and not part_of(paths[0][0]):
        paths = [path[1:] for path in paths]
    return paths


def without_prefix(paths: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Paths where folders as `seg_train` and `seg_test` are called train and test; one `bullet_train` stays a label."""
    stems: dict[str, dict[str, str]] = {}  # by what they have in common, the parts that folders stand for
    for top in {path[0] for path in paths if len(path) > 1}:
        if (match := PREFIXED.match(top)) and not part_of(top) and (part := part_of(match[2])):
            stems.setdefault(match[1].lower(), {})[top] = part
    parts = {top: part for own in stems.values() if {"train"} < {*own.values()} for top, part in own.items()}
    return [(*(parts.get(name, name) for name in path[:-1]), path[-1]) for path in paths]


def check_beside(folder: str, paths: Sequence[tuple[str, ...]]) -> None:
    """Refuse what lies beside the parts of a split: it could be training or test data.

    Args:
        folder: that all of it is in; errors begin with it.
        paths: of the images in it.
    """
    tops = sorted({path[0] for path in paths if len(path) > 1})
    parts = [f"{top}/" for top in tops if part_of(top)]
    others = [f"{top}/" for top in tops if not part_of(top)] + [path[0] for path in paths if len(path) == 1]
    if others:
        raise UsageError(
            f"{folder}: {' and '.join(parts)} {'is a part' if len(parts) == 1 else 'are parts'} of a split, and "
            f"{listed(others)} beside {'it' if len(parts) == 1 else 'them'} is none: "
            "move that into one of them or elsewhere, or rename the folder if it is a label"
        )


def labels_of(folder: str, paths: Sequence[tuple[str, ...]]) -> list[str | None]:
    """The first folder of every path; None for all where there are no folders."""
    stray = ["/".join(path) for path in paths if len(path) == 1]
    if stray and len(stray) < len(paths):
        folders = sorted({f"{path[0]}/" for path in paths if len(path) > 1})
        raise UsageError(
            f"{folder} has images ({listed(stray)}) beside folders of images ({listed(folders)}): "
            "folders are labels, so move the images into them, or the folders elsewhere"
        )
    return [None if stray else path[0] for path in paths]


def listed(names: Sequence[str], most: int = 3) -> str:
    """Some names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")
