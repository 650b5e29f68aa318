"""Acting many times in a row: what is the same for all acts of a turn happens once.

`with steady:` says that nobody learns: there are no gradients, and parameters stay where they are in memory.
"""

from __future__ import annotations

from contextlib import ContextDecorator
from typing import Any

import numpy as np
import torch

MAX_ACTS = 128  # whose random numbers are drawn at once


class Steady(ContextDecorator):
    """Only acting goes on.

    Attributes:
        is_on: it does.
        found: what was looked up of a network, and holds as long.
    """

    def __init__(self) -> None:
        self.is_on = self._had_gradients = False
        self.found: dict[Any, Any] = {}

    def __enter__(self) -> None:
        self.is_on, self._had_gradients = True, torch.is_grad_enabled()
        torch.set_grad_enabled(False)

    def __exit__(self, *_: object) -> None:
        torch.set_grad_enabled(self._had_gradients)
        self.is_on = False
        self.found.clear()


steady = Steady()


class Uniforms:
    """Uniform random numbers for acts. Those of many acts of a turn are drawn at once: the same as one by one.

    Args:
        generator: of the numbers; nobody else draws from it between the acts of a turn.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.begin(1)

    def begin(self, num_acts: int) -> None:
        """A turn of so many acts, of as many environments each; outside one, acts draw one by one."""
        self._num_due, self._drawn = num_acts, list[np.ndarray]()

    def __call__(self, num_envs: int) -> np.ndarray:
        """Of one act: [2, num_envs] float32, on the host."""
        if not self._drawn:
            num = min(max(self._num_due, 1), MAX_ACTS)
            self._num_due -= num
            self._drawn = [*torch.rand(num, 2, num_envs, generator=self.generator).numpy()[::-1]]
        return self._drawn.pop()
