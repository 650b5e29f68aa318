"""Images that a Python caller passes: known by a name made of their content, while the process lives."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlgen.data.images import ImageData
from rlgen.data.npz import Array, from_arrays
from rlgen.data.preparation import Preparation
from rlgen.errors import UsageError
from rlgen.memory import Room

NAME = re.compile(r"array-[0-9a-f]{12}")
HELD: dict[str, dict[str, NDArray[Any]]] = {}


def hold(images: Any) -> str:
    """Keep images for the runs of this process; the name that stands for them in a configuration.

    Args:
        images: an array, a tensor or a list, [N, H, W, C], [N, C, H, W] or [N, H, W]; a pair of these and labels [N];
            or a dictionary of arrays under the names that an `.npz` may have.

    Raises:
        UsageError: it is none of these.
    """
    given = images if isinstance(images, Mapping) else {"images": images}
    if isinstance(images, tuple):
        if len(images) != 2:
            raise UsageError(f"data is a tuple of {len(images)}: give (images, labels), or a dictionary of arrays")
        given = dict(zip(("images", "labels"), images, strict=True))
    held = {str(name): as_array(str(name), value) for name, value in given.items()}
    found = hashlib.sha256()
    for name, array in sorted(held.items()):
        found.update(f"{name} {array.dtype} {array.shape} ".encode())
        found.update(np.ascontiguousarray(array).data)
    name = f"array-{found.hexdigest()[:12]}"
    HELD[name] = held
    return name


def as_array(name: str, value: Any) -> NDArray[Any]:
    """One of them as an array of NumPy."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    try:
        array = np.asarray(value)
    except ValueError:  # a list of images of several sizes
        array = np.empty(0, object)
    if array.dtype.hasobject or array.ndim == 0:
        what = type(value).__name__
        raise UsageError(
            f"data: {name} is a {what}, no array of numbers: give a name or a path, an array of images [N, H, W, C], "
            "(images, labels), or a dictionary of arrays as in an .npz"
        )
    return array


def from_held(name: str, room: Room, preparation: Preparation, asked: str | None) -> ImageData:
    """The data set of images that are held; what the caller has stays as it is.

    Raises:
        UsageError: this process does not have them, or as `from_arrays`.
    """
    if name not in HELD:
        raise UsageError(
            f"data {name!r} is an array that was passed from Python: pass it again, as in "
            "rlgen.resume(run, data=images), or save it with numpy.save and train on that file"
        )
    found = [
        Array(key, f"{name}: {key}", array.shape, not array.flags.c_contiguous, array.dtype, array.copy)
        for key, array in HELD[name].items()
    ]
    return from_arrays(
        name, name, found, {"images": hashlib.sha256(name.encode()).hexdigest()}, room, preparation, asked
    )
