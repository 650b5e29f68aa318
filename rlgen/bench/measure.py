"""How a cost is measured: wall time and CPU time over what was counted, several blocks of it, and memory."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch


class Cost(NamedTuple):
    """What one of something costs: the less the better."""

    value: float  # microseconds or seconds on the clock; of memory, bytes
    cpu: float | None = None  # the same in CPU time; memory takes none


class Took(NamedTuple):
    """Seconds that something took."""

    wall: float  # on the clock
    cpu: float  # of all threads of this process, and of processes that it started and waited for

    @classmethod
    def until_now(cls) -> Took:
        """Since some moment in the past, always the same one: only a difference means something."""
        ended = os.times()
        cpu = time.process_time() + ended.children_user + ended.children_system
        return cls(time.perf_counter(), cpu)

    def since(self, begin: Took) -> Took:
        """What is left without what came before."""
        return Took(self.wall - begin.wall, self.cpu - begin.cpu)


Costs = dict[str, Cost]  # by unit, "us per env step" or "bytes"
Block = Callable[[float], Costs]  # works for about so many seconds


def repeat(seconds: float, step: Callable[[], int], device: str) -> tuple[int, Took]:
    """Call `step` for so long, at least once.

    Args:
        seconds: how long.
        step: returns how many things it did.
        device: where it works; a GPU is waited for at the end.

    Returns:
        The sum of what `step` returned, and what that really took.
    """
    count, begin = 0, Took.until_now()
    while not count or time.perf_counter() - begin.wall < seconds:
        count += step()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return count, Took.until_now().since(begin)


def per(took: Took, **counts: float) -> Costs:
    """Microseconds for one of each: `per(took, env_step=1000)`; what did not happen is left out."""
    return {
        f"us per {unit.replace('_', ' ')}": Cost(1e6 * took.wall / count, 1e6 * took.cpu / count)
        for unit, count in counts.items()
        if count
    }


def spread(values: list[float]) -> dict[str, Any]:
    """Smallest, median and largest of the blocks, and the blocks themselves."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values), "blocks": values}


def process_memory(peak: bool = False) -> int:
    """Bytes that this process uses, now or at most; what its parent used does not count."""
    try:
        text = Path("/proc/self/status").read_text()
        return 1024 * int(text.partition("VmHWM:" if peak else "VmRSS:")[2].split()[0])
    except (OSError, IndexError):  # not Linux
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most * (1 if sys.platform == "darwin" else 1024)


def memory(device: str, peak: bool = False) -> int:
    """Bytes in use, now or at most: on a GPU torch's, else those of this process."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()
    return process_memory(peak)


def show_progress(text: str) -> None:
    """Say on a terminal what is being measured now."""
    if sys.stderr.isatty():
        print(f"\r{text}", end="\033[K\r", file=sys.stderr, flush=True)
