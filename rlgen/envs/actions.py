"""The actions of the running episodes, kept so that repeating them leads back to where the environments stand."""

from __future__ import annotations

import math

import numpy as np

from rlgen.envs.spec import EnvSpec


class ActionLog:
    """The actions of every vector step since the oldest running episode began.

    An episode can be millions of steps long, so discrete actions take one byte each where they fit.

    Args:
        spec: of the environments.

    Attributes:
        packed: the actions as bytes, a row of N a vector step. Who takes a step appends its row here.
        packed_dtype: what they are before.
        start: vector steps taken before the first row.
    """

    def __init__(self, spec: EnvSpec):
        self.packed, self.start = bytearray(), 0
        most = spec.num_actions or max(spec.num_choices, default=0)
        self.packed_dtype = np.min_scalar_type(most) if most else np.dtype(np.float32)
        self._dtype = np.int64 if most else np.float32
        self._row_shape = (spec.num_envs, *spec.action_shape)
        self._row_bytes = math.prod(self._row_shape) * self.packed_dtype.itemsize

    def forget_before(self, step: int) -> None:
        """Drop the rows of the vector steps before `step`."""
        del self.packed[: (step - self.start) * self._row_bytes]  # a bytearray forgets its front in O(1)
        self.start = step

    def restart(self, start: int, packed: bytes | bytearray = b"") -> None:
        """Hold these rows, the first one after `start` vector steps, and no others."""
        self.packed, self.start = bytearray(packed), start

    def unpack(self, num_rows: int) -> np.ndarray:
        """The actions of all rows, int64 or float32 [num_rows, N, *action_shape]."""
        actions = np.frombuffer(self.packed, self.packed_dtype)
        return actions.reshape(num_rows, *self._row_shape).astype(self._dtype)
