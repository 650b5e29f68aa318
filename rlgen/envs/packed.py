"""Arrays as plain types, for the state of a run."""

from __future__ import annotations

from typing import Any

import numpy as np


def pack(array: np.ndarray) -> dict[str, Any]:
    """An array as types that `torch.load(weights_only=True)` reads."""
    return {"dtype": array.dtype.str, "shape": list(array.shape), "data": bytearray(array.tobytes())}


def unpack(packed: dict[str, Any]) -> np.ndarray:
    """The array again, in memory of its own."""
    return np.frombuffer(packed["data"], packed["dtype"]).reshape(packed["shape"]).copy()
