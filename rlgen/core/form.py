"""Whether a saved state has the form of one that is saved now: what is loaded was perhaps written by something else."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

LARGEST = sys.float_info.max
SCALARS = (bool, int, float, str, bytearray)


def check_form(saved: Any, now: Any, name: str = "it") -> None:
    """Refuse what has other types, dtypes or ranks, or a number that is not finite, all the way down.

    Args:
        saved: the state.
        now: one of the same part. Of what is None in it, or a list without items, nothing is known.
        name: of the part.

    Raises:
        ValueError: the first place where they differ. What lacks is left to who reads it.
    """
    found = type(saved).__name__
    if isinstance(now, Mapping):
        _expect(isinstance(saved, Mapping), f"{name} is of type {found}")
        for key in now.keys() & saved.keys():
            check_form(saved[key], now[key], f"{name}.{key}")
    elif isinstance(now, list | tuple):
        _expect(isinstance(saved, list | tuple), f"{name} is of type {found}")
        if now and {*map(type, saved), *map(type, now)} in ({int}, {bool}, {str}):
            return  # of a generator: hundreds of numbers
        same_length = len(saved) == len(now)
        for number, item in enumerate(saved if now else ()):
            check_form(item, now[number if same_length else 0], f"{name}.{number}")
    elif hasattr(now, "dtype"):  # a tensor; torch takes seconds to import
        _expect(isinstance(saved, type(now)), f"{name} is of type {found}")
        _expect(saved.dtype == now.dtype, f"{name} is of {saved.dtype}, here it is {now.dtype}")
        _expect(saved.ndim == now.ndim, f"{name} has shape {list(saved.shape)}, here it is {list(now.shape)}")
    elif isinstance(now, SCALARS):
        is_number = type(now) is float and type(saved) is int
        _expect(is_number or type(saved) is type(now), f"{name} is {saved!r:.40}")
        _expect(type(saved) is not float or math.isfinite(saved), f"{name} is {saved!r:.40}")
        _expect(type(now) is not float or abs(saved) <= LARGEST, f"{name} is {str(saved)[:40]}")


def check_between(values: Tensor, least: int, end: int, name: str) -> None:
    """Refuse whole numbers below `least`, or from `end` on.

    Raises:
        ValueError: there are some.
    """
    inside = values.numel() == 0 or (int(values.min()) >= least and int(values.max()) < end)
    _expect(inside, f"{name} has numbers that are not in [{least}, {end})")


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)
