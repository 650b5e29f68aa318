"""A folder of image files as a data set."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from rlgen.data.decode import read_images
from rlgen.data.images import ImageData
from rlgen.data.preparation import Preparation
from rlgen.data.splits import held_out_part, share_by_name, split
from rlgen.data.tree import SUFFIXES, is_image, places, walk
from rlgen.errors import UsageError
from rlgen.memory import Room


def from_folder(folder: Path, room: Room, preparation: Preparation, asked: str | None) -> ImageData:
    """The images under a folder; what its sub-folders mean says `rlgen.data.tree`.

    Args:
        folder: the folder.
        room: that the images take from.
        preparation: their size, mode and ground.
        asked: the part of the split that is held out, where it is not the usual one.

    Raises:
        UsageError: no images, some that cannot be read, or folders that do not fit together.
    """
    files = list(walk(folder))
    paths = sorted(path for path in files if is_image(path.name))
    if not paths:
        formats = " ".join(sorted(SUFFIXES))
        raise UsageError(f"{folder} holds no images but {len(files)} other files: put some there, of {formats}")
    names = [path.relative_to(folder).as_posix() for path in paths]
    found = places(str(folder), names)
    parts = {place.part for place in found if place.part}
    held = held_out_part(str(folder), parts, asked, preparation)
    used = [i for i, place in enumerate(found) if place.part in (None, "train", held)]

    chosen = [paths[i] for i in used], [names[i] for i in used]
    image, notes = read_images(str(folder), *chosen, room, preparation)  # [N, C, H, W]
    labels = [found[i].label for i in used]
    code = {label: i for i, label in enumerate(sorted({label for label in labels if label is not None}))}
    label = np.array([-1 if one is None else code[one] for one in labels]) if code else None  # [N]
    held_out = np.array([found[i].part == held for i in used]) if held else share_by_name(chosen[1], preparation)
    sha256 = {"images": hashlib.sha256(image.data).hexdigest()}
    data = split(folder.resolve().name, str(folder), sha256, image, label, held_out)

    notes += [f"{held} is held out" if held else f"about {preparation.share()}, by name"]
    aside = Counter(place.part for place in found if place.part not in (None, "train", held))
    notes += [f"{part} is left aside ({count:,} images)" for part, count in aside.items()]
    others = Counter(path.suffix.lower() or path.name for path in files if not is_image(path.name))
    if others:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in others.most_common(3))
        notes.append(f"other files are left out ({kinds}{', ..' if len(others) > 3 else ''})")
    return replace(data, notes=tuple(notes))
