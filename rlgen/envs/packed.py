"""Arrays as plain types, for the state of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

PLACES = {"pos": 624, "buffer_pos": 4}  # of the next number among those that a generator has ready, by its entry's name


def pack(array: np.ndarray) -> dict[str, Any]:
    """An array as types that `torch.load(weights_only=True)` reads."""
    return {"dtype": array.dtype.str, "shape": list(array.shape), "data": bytearray(array.tobytes())}


def unpack(packed: dict[str, Any]) -> np.ndarray:
    """The array again, in memory of its own."""
    return np.frombuffer(packed["data"], packed["dtype"]).reshape(packed["shape"]).copy()


def check_place(state: Mapping[str, Any]) -> None:
    """Refuse the state of one of NumPy's generators that would read outside of its memory: NumPy does not look.

    Raises:
        ValueError: it would.
    """
    inner = state["state"]
    for entries in (state, inner if isinstance(inner, Mapping) else {}):
        for name in PLACES.keys() & entries.keys():
            if type(entries[name]) is not int or not 0 <= entries[name] <= PLACES[name]:
                raise ValueError(f"a generator's {name} is {entries[name]!r:.40}")
