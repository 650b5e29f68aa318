"""Ranks that are threads of this process: what each of them has is exchanged at a barrier."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch


class Meeting:
    """Where `size` threads meet."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.barrier = threading.Barrier(size, timeout=60)
        self.values: list[Any] = [None] * size

    def exchange(self, rank: int, value: Any) -> list[Any]:
        """What each thread brings."""
        self.values[rank] = value
        self.barrier.wait()
        found = list(self.values)
        self.barrier.wait()
        return found


class ThreadRanks:
    """What `rlgen.core.ranks.Ranks` is to one of them."""

    def __init__(self, rank: int, meeting: Meeting) -> None:
        self.rank, self.size, self._meeting = rank, meeting.size, meeting

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        found = self._meeting.exchange(self.rank, values.clone())
        return values.copy_(torch.stack(found).sum(0))

    def least(self, value: torch.Tensor) -> torch.Tensor:
        return torch.stack(self._meeting.exchange(self.rank, value.clone())).amin(0)

    def gather(self, value: Any) -> list[Any]:
        return self._meeting.exchange(self.rank, value)

    def first(self, value: Any) -> Any:
        return self.gather(value)[0]


def at_once(bodies: Sequence[Callable[[ThreadRanks], Any]]) -> list[Any]:
    """Run a body a rank."""
    meeting = Meeting(len(bodies))
    with ThreadPoolExecutor(len(bodies)) as pool:
        futures = [pool.submit(body, ThreadRanks(rank, meeting)) for rank, body in enumerate(bodies)]
        return [future.result() for future in futures]
