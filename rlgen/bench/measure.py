"""How a cost is measured: time over what was counted, several blocks of it, and memory."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Costs = dict[str, float]  # by unit, "us per env step" or "bytes": the less the better
Block = Callable[[float], Costs]  # works for about so many seconds


def repeat(seconds: float, step: Callable[[], int], device: str) -> tuple[int, float]:
    """Call `step` for so long, at least once.

    Args:
        seconds: how long.
        step: returns how many things it did.
        device: where it works; a GPU is waited for at the end.

    Returns:
        The sum of what `step` returned, and the seconds that were really taken.
    """
    count, begin = 0, time.perf_counter()
    while not count or time.perf_counter() - begin < seconds:
        count += step()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return count, time.perf_counter() - begin


def per(seconds: float, **counts: float) -> Costs:
    """Microseconds for one of each: `per(2.0, env_step=1000)`; what did not happen is left out."""
    return {f"us per {unit.replace('_', ' ')}": 1e6 * seconds / count for unit, count in counts.items() if count}


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
