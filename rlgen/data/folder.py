"""Image files as a data set, in a folder or in a zip archive."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from os.path import basename, splitext
from pathlib import Path

import numpy as np

from rlgen.data.decode import Source, read_images
from rlgen.data.images import ImageData
from rlgen.data.preparation import Preparation
from rlgen.data.splits import held_out_part, share_by_name, split
from rlgen.data.tree import SUFFIXES, is_image, places, walk
from rlgen.data.zipped import members
from rlgen.errors import UsageError
from rlgen.memory import Room


def from_folder(folder: Path, room: Room, preparation: Preparation, asked: str | None) -> ImageData:
    """The images under a folder, as `from_files` reads them."""
    files: dict[str, Source] = {path.relative_to(folder).as_posix(): path for path in walk(folder)}
    return from_files(folder.resolve().name, str(folder), files, room, preparation, asked)


def from_zip(path: Path, room: Room, preparation: Preparation, asked: str | None) -> ImageData:
    """The images in a zip archive, as `from_files` reads them."""
    with members(path, room) as files:
        return from_files(path.stem, str(path), files, room, preparation, asked)


def from_files(
    name: str, source: str, files: Mapping[str, Source], room: Room, preparation: Preparation, asked: str | None
) -> ImageData:
    """The images among some files; what the folders in their names mean says `rlgen.data.tree`.

    Args:
        name: of the data set.
        source: where they are; errors begin with it.
        files: by name, as a/b/c.png.
        room: that the images take from.
        preparation: their size, mode and ground, and how many are held out.
        asked: the part of the split that is held out, where it is not the usual one.

    Raises:
        UsageError: no images, some that cannot be read, or folders that do not fit together.
    """
    names = sorted(filter(is_image, files), key=lambda name: name.split("/"))
    others = Counter(splitext(name)[1].lower() or basename(name) for name in files if not is_image(name))
    left_out = ", ".join(f"{count:,} {kind}" for kind, count in others.most_common(3)) + ", .." * (len(others) > 3)
    if not names:
        formats = " ".join(sorted(SUFFIXES))
        there = f"{sum(others.values())} other files" + (f" ({left_out})" if others else "")
        raise UsageError(f"{source} holds no images but {there}: put some there, of {formats}")
    found = dict(zip(names, places(source, names), strict=True))
    held = held_out_part(source, {place.part for place in found.values() if place.part}, asked, preparation)
    used = {name: place for name, place in found.items() if place.part in (None, "train", held)}

    image, notes = read_images(source, {name: files[name] for name in used}, room, preparation)  # [N, C, H, W]
    labels = [place.label for place in used.values()]
    code = {label: i for i, label in enumerate(sorted({label for label in labels if label is not None}))}
    label = np.array([-1 if one is None else code[one] for one in labels]) if code else None  # [N]
    held_out = (
        np.array([place.part == held for place in used.values()]) if held else share_by_name([*used], preparation)
    )
    sha256 = {"images": hashlib.sha256(image.data).hexdigest()}
    data = replace(split(name, source, sha256, image, label, held_out), own_split=held is not None)

    notes += [f"{held} is held out" if held else f"about {preparation.share()}, by name"]
    aside = Counter(place.part for place in found.values() if place.part not in (None, "train", held))
    notes += [f"{part} is left aside ({count:,} images)" for part, count in aside.items()]
    return data.noting(*notes, *([f"other files are left out ({left_out})"] if others else []))
