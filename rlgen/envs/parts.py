"""What an observation is made of: its parts, what each one is, and where it lies in the one array that is stored.

An environment's observation may be a picture, numbers, one of n, or a `Dict` or `Tuple` of those. Whatever it is, one
array a step goes through stream, buffer and recorded steps; networks take it apart by the list of its parts. Of one
part alone it is that part's own array. Several are *packed*: as one float32 vector where none is a picture of bytes,
else as bytes, where float32 parts come first, so that they lie on multiples of four.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from gymnasium import spaces

from rlgen.errors import UsageError

MASK = "action_mask"  # the part, and the entry of `info`, that says which actions are valid
LARGEST_SCALE = 2**16  # a bound beyond it says nothing of the numbers that come
PICTURE_SIDE = 16  # of float numbers in two dimensions: a smaller table is no picture
_HEIGHT_WIDTH_CHANNELS = re.compile(r"MinAtar/|MiniGrid-|BabyAI-")  # whose sides may be as few as their channels


@dataclass(frozen=True)
class Part:
    """One part of an observation."""

    name: str  # its key in a Dict, its index in a Tuple, `a/b` where they lie in each other; "" where it is all
    kind: str  # image, vector, discrete (each number one of n), mask (of actions), left out (no numbers)
    shape: tuple[int, ...]  # without the environments' axis
    dtype: str  # as it is stored: uint8, bool or float32
    offset: int = 0  # of a packed array: entries before it, which are bytes or float32
    layout: str = ""  # of an image: the order of its axes, channels, height and width, such as chw; k is a stack's
    scale: float = 1.0  # its numbers are divided by this in the network
    sizes: tuple[int, ...] = ()  # of a discrete part: n of each number; of a mask of several choices: of each choice
    firsts: tuple[float, ...] = ()  # and the smallest value that it takes
    frames: int = 1  # k > 1: an observation is a stack [k, ...] of packed arrays, in each of which it lies so

    @property
    def size(self) -> int:
        """Numbers in it."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in a packed array of bytes."""
        return self.size * np.dtype(self.dtype).itemsize


def parts_of(
    space: spaces.Space,
    env_id: str,
    obs: str = "auto",
    layout: str = "auto",
    choices: tuple[int, ...] = (),
    masks: bool = False,
) -> tuple[Part, ...]:
    """The parts of a space's observations, and where each is packed.

    Args:
        space: any.
        env_id: for messages.
        obs: `auto` finds pictures by type, shape and bounds; `image` and `flat` say it.
        layout: of pictures, `chw` or `hwc`; `auto` takes the smallest axis for the channels.
        choices: of every number of an action; () where they are real.
        masks: the environment says beside its observations which of them are valid.

    Raises:
        UsageError: none of them has numbers, or it cannot be told which axis are the channels.
    """
    hint = "hwc" if layout == "auto" and _HEIGHT_WIDTH_CHANNELS.match(env_id.rpartition(":")[2]) else layout
    parts = [_part(name, leaf, env_id, obs, hint) for name, leaf in leaves(space)]
    names = [part.name for part in parts]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"environment {env_id!r}: two parts of its observations are called {twice[0]!r}: rename a key")
    of_mask = Part(MASK, "mask", (sum(choices),), "bool", sizes=choices if len(choices) > 1 else ())
    is_mask = [bool(choices) and part.name.rpartition("/")[2] == MASK and part.shape == of_mask.shape for part in parts]
    parts = [
        replace(of_mask, name=part.name, dtype=part.dtype) if is_one else part
        for part, is_one in zip(parts, is_mask, strict=True)
    ]
    if masks and choices and not any(is_mask):
        parts.append(of_mask)
    if not any(part.kind not in ("left out", "mask") for part in parts):
        raise UsageError(
            f"environment {env_id!r}: observations of {space} cannot be made a vector: give it Box, Discrete, "
            "MultiDiscrete, MultiBinary, or a Dict or Tuple with one, as by a gymnasium.ObservationWrapper"
        )
    return packed(parts)


def leaves(space: spaces.Space, name: str = "") -> Iterator[tuple[str, spaces.Space]]:
    """The spaces in a Dict or Tuple, however deep, by name; any other is its own."""
    if not isinstance(space, spaces.Dict | spaces.Tuple):
        yield name, space
        return
    inner = space.items() if isinstance(space, spaces.Dict) else enumerate(space)
    for key, each in inner:
        yield from leaves(each, f"{name}/{key}" if name else str(key))


def value_of(obs: Any, name: str) -> Any:
    """The part of that name in a dictionary or tuple, however deep; all of it where there is no name.

    Raises:
        LookupError: it has none.
    """
    if not name:
        return obs
    if isinstance(obs, Mapping) and name in obs:  # a key may have a slash
        return obs[name]
    if not isinstance(obs, Mapping | Sequence):
        raise LookupError(name)
    for key in obs if isinstance(obs, Mapping) else range(len(obs)):  # a key may be a number
        if name == str(key):
            return obs[key]
        if name.startswith(f"{key}/"):
            with contextlib.suppress(LookupError):
                return value_of(obs[key], name[len(f"{key}/") :])
    raise LookupError(name)


def packed(parts: Sequence[Part]) -> tuple[Part, ...]:
    """The same with their places in one array."""
    kept = [part for part in parts if part.kind != "left out"]
    if len(kept) < 2:
        return tuple(parts)
    as_bytes = any(part.kind == "image" and part.dtype != "float32" for part in kept)
    placed, offset = {}, 0
    for part in sorted(kept, key=lambda part: part.dtype != "float32") if as_bytes else kept:
        dtype = part.dtype if as_bytes else "float32"
        placed[part.name] = replace(part, dtype=dtype, offset=offset)
        offset += part.nbytes if as_bytes else part.size
    return tuple(placed.get(part.name, part) for part in parts)


def kept(parts: Sequence[Part]) -> list[Part]:
    """Those that are stored."""
    return [part for part in parts if part.kind != "left out"]


def stacked(parts: Sequence[Part], frames: int) -> tuple[Part, ...]:
    """The same of stacks [k, ...] of the last k frames; of several parts each lies in every frame."""
    if len(kept(parts)) > 1:
        return tuple(replace(part, frames=frames) for part in parts)
    return tuple(
        replace(part, shape=(frames, *part.shape), layout=f"k{part.layout}") if part.kind != "left out" else part
        for part in parts
    )


def stored_as(parts: Sequence[Part]) -> tuple[tuple[int, ...], str]:
    """Shape and dtype of the one array."""
    frames, (shape, dtype) = kept(parts)[0].frames, _frame_stored_as(parts)
    return (frames, *shape) if frames > 1 else shape, dtype


def _frame_stored_as(parts: Sequence[Part]) -> tuple[tuple[int, ...], str]:
    stored = kept(parts)
    if len(stored) == 1:
        return stored[0].shape, stored[0].dtype
    if all(part.dtype == "float32" for part in stored):
        return (sum(part.size for part in stored),), "float32"
    return (-(-sum(part.nbytes for part in stored) // 4) * 4,), "uint8"  # rows begin on multiples of four too


def num_floats(parts: Sequence[Part]) -> int:
    """Of an array of bytes: float32 numbers at its beginning."""
    return sum(part.size for part in kept(parts) if part.dtype == "float32")


def pack(parts: Sequence[Part], values: Mapping[str, Any], lead: tuple[int, ...] = ()) -> np.ndarray:
    """Put the parts of observations [*lead, ...] into one array.

    Args:
        parts: with their places; several.
        values: by name.
        lead: the axes before those of an observation, or of a frame in it.
    """
    shape, dtype = _frame_stored_as(parts)
    array = np.zeros((*lead, *shape), dtype)
    for part in kept(parts):
        value = np.asarray(values[part.name]).astype(part.dtype, copy=False).reshape(*lead, part.size)
        if dtype == "uint8" and part.dtype == "float32":
            value = np.ascontiguousarray(value).view(np.uint8)
        array[..., part.offset : part.offset + value.shape[-1]] = value
    return array


def about(parts: Sequence[Part]) -> str:
    """What a network will see, in a line; empty where an observation is plain numbers, or nothing is known of it."""
    if not parts or (len(parts) == 1 and parts[0].kind in ("vector", "discrete") and len(parts[0].shape) < 2):
        return ""
    stack = f"stacks of {parts[0].frames} frames, of " if parts[0].frames > 1 else ""
    return f"observations are {stack}" + "; ".join(_about(replace(part, frames=1)) for part in parts)


def _about(part: Part) -> str:
    what = f"{part.name}: " if part.name else ""
    if part.kind == "left out":
        return f"{what}left out, it has no numbers of a fixed shape"
    if part.kind == "mask":
        each = f" in {len(part.sizes)} choices" if part.sizes else ""
        return f"{what}which of {part.size} actions{each} are valid"
    if part.kind == "discrete":
        few = ", ".join(f"one of {size}" for size in part.sizes)
        return what + (few if part.size < 5 else f"{part.size} choices")
    if part.kind == "vector":
        numbers = "1 number" if part.size == 1 else f"{'x'.join(map(str, part.shape))} numbers"
        return what + numbers + (", no picture" if len(part.shape) > 1 else "")
    channels, height, width = planes(part)
    axis = {"chw": " (the first axis)", "hwc": " (the last axis)"}.get(part.layout, "")
    scale = f", divided by {part.scale:g}" if part.scale != 1 else ""
    return f"{what}pictures of {height} x {width} pixels, {channels} channel{'s' * (channels > 1)}{axis}{scale}"


def planes(part: Part) -> tuple[int, int, int]:
    """Channels, height and width of an image; a stack's are channels too."""
    sides = dict(zip(part.layout, part.shape, strict=True))
    return part.frames * sides.get("k", 1) * sides.get("c", 1), sides["h"], sides["w"]


def _part(name: str, space: spaces.Space, env_id: str, obs: str, layout: str) -> Part:
    if isinstance(space, spaces.Discrete):
        return Part(name, "discrete", (1,), "float32", sizes=(int(space.n),), firsts=(float(space.start),))
    if isinstance(space, spaces.MultiDiscrete):
        sizes, firsts = space.nvec.ravel().tolist(), space.start.astype(float).ravel().tolist()
        return Part(name, "discrete", tuple(space.shape), "float32", sizes=tuple(sizes), firsts=tuple(firsts))
    if isinstance(space, spaces.MultiBinary):
        return Part(name, "vector", tuple(space.shape), "bool")
    if not isinstance(space, spaces.Box) or 0 in space.shape:
        return Part(name, "left out", (), "float32")
    dtype = str(space.dtype) if space.dtype in (np.uint8, np.bool_) else "float32"
    shape = tuple(space.shape) or (1,)
    whole = space.dtype.kind in "biu"
    order = _layout(name, space, env_id, obs, layout)
    largest = float(max(abs(float(space.low.min())), abs(float(space.high.max())))) if space.low.size else 1.0
    is_scaled = bool(order) or dtype == "uint8"
    scale = largest if is_scaled and 1 < largest <= LARGEST_SCALE and (whole or (space.low == 0).all()) else 1.0
    return Part(name, "image" if order else "vector", shape, dtype, layout=order, scale=scale)


def _layout(name: str, space: spaces.Box, env_id: str, obs: str, layout: str) -> str:
    """The order of an image's axes; empty where it is none."""
    shape, is_bytes = space.shape, space.dtype in (np.uint8, np.bool_)
    if obs == "flat" or len(shape) < 2 or min(shape) < 1:
        if obs == "image" and not name:
            raise UsageError(f"environment {env_id!r}: --obs image, but observations of shape {shape} are no pictures")
        return ""
    if len(shape) == 2:
        bounded = bool(np.isin(space.high, (1, 255)).all() and (space.low == 0).all()) and min(shape) >= PICTURE_SIDE
        return "hw" if obs == "image" or (min(shape) > 1 and (is_bytes or bounded)) else ""
    if len(shape) > 4 or (len(shape) == 4 and not is_bytes and obs != "image"):
        return ""
    frame = shape[-3:]
    order = layout if layout in ("chw", "hwc") else {0: "chw", 2: "hwc"}.get(_smallest(frame), "")
    if not order:
        what = f"pictures {name!r}" if name else "pictures"
        raise UsageError(
            f"environment {env_id!r}: of {what} of shape {shape} it cannot be told which axis are the channels: "
            "give --obs-layout chw or --obs-layout hwc, or --obs flat if they are no pictures"
        )
    sides = frame[1:] if order == "chw" else frame[:2]
    return "k" * (len(shape) - 3) + order if min(sides) > 1 or obs == "image" else ""


def _smallest(frame: tuple[int, ...]) -> int:
    """The axis that is smaller than the others; -1 where there are two."""
    return frame.index(min(frame)) if frame.count(min(frame)) == 1 else -1
