"""Agents whose actions are known beforehand, and a buffer that keeps what it is given."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from rlgen.core.learner import Agent


class Constant(Agent):
    """Always the same action; its estimate of the return is a constant."""

    discount = 0.5

    def __init__(self, rows_per_turn: int = 1, estimate: float = 3.0) -> None:
        super().__init__(SimpleNamespace())
        self.rows_per_turn, self.estimate = rows_per_turn, estimate

    def act(self, obs: torch.Tensor, greedy: bool = False) -> dict[str, torch.Tensor]:
        action = torch.ones(len(obs), dtype=torch.int64)
        return {"action": action} | ({"q_estimate": torch.full((len(obs),), self.estimate)} if greedy else {})


class Seeing(Constant):
    """Keeps the types of what it was shown."""

    def act(self, obs: Any, greedy: bool = False) -> dict[str, Any]:
        self.seen = {*getattr(self, "seen", ()), type(obs)}
        return super().act(torch.as_tensor(obs), greedy)


class Signs(Agent):
    """Acts on the sign of the first number it sees, and counts how often."""

    rows_per_turn, calls, acts_ahead = 3, 0, True

    def __init__(self) -> None:
        super().__init__(SimpleNamespace())

    def act(self, obs: torch.Tensor, greedy: bool = False) -> dict[str, torch.Tensor]:
        self.calls += 1
        return {"action": (obs[:, 0] > 0).long()}


class Remembering(Signs):
    """Remembers how many steps of the episode it has acted in."""

    memory_spec = {"steps": (1,)}  # noqa: RUF012

    def act(self, obs: torch.Tensor, greedy: bool = False, memory: Any = None) -> dict[str, Any]:
        return super().act(obs, greedy) | {"memory": {"steps": memory["steps"] + 1}}


class Rows:
    """A buffer that keeps the rows it is given, as they are."""

    def __init__(self) -> None:
        self.rows: list[dict] = []

    def add(self, *rows: dict) -> None:
        self.rows += rows
