"""Memory: how much is at hand, sizes as people write them, and a limit that is asked before anything is allocated."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path

from rlgen.errors import UsageError
from rlgen.text import Bytes

UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
UNITS |= {"ki": 1024, "mi": 1024**2, "gi": 1024**3, "ti": 1024**4}
CGROUPS = (  # of both versions: the limit, what is used, and the name of the cache in it, which can go
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


class Room:
    """A limit of memory, which is asked before anything is allocated.

    Args:
        max_memory: as `8GB` or `500MiB`; None is what is at hand now.

    Raises:
        UsageError: it is no size.
    """

    def __init__(self, max_memory: str | None = None) -> None:
        self.left = at_hand() if max_memory is None else parse_size(max_memory)  # bytes
        limit = Bytes(self.left)
        self._limit = f"the {limit} at hand" if max_memory is None else f"--max-memory {max_memory}"
        self._fix = "free memory or give less of it" if max_memory is None else "raise that or give less of it"

    def check(self, where: str, nbytes: int) -> None:
        """Refuse what does not fit.

        Args:
            where: what needs it; the message begins with it.
            nbytes: how much.

        Raises:
            UsageError: it is more than is left.
        """
        if nbytes > self.left:
            raise UsageError(
                f"{where} needs {Bytes(nbytes)} of memory, more than is left of {self._limit}: {self._fix}"
            )

    def take(self, where: str, nbytes: int) -> None:
        """As `check`; what fits is no longer left."""
        self.check(where, nbytes)
        self.left -= nbytes


def parse_size(text: str) -> int:
    """The bytes of a size as `8GB`, `500 MiB` or `1e9`.

    Raises:
        UsageError: it is no size.
    """
    match = re.fullmatch(r"([0-9.]+(?:e[0-9]+)?) *([kmgt]?i?)b?", text.strip().lower())
    with contextlib.suppress(ValueError, KeyError, OverflowError):
        if match and (size := int(float(match[1]) * UNITS[match[2]])) > 0:
            return size
    raise UsageError(f"{text!r} is no size of memory: write it as 8GB or 500MiB")


def at_hand(root: Path = Path("/")) -> int:
    """Bytes that this process could get: free or in caches of the machine, and within the limits of its control groups.

    Args:
        root: where `proc` and `sys` are.
    """
    known = "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {})
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if known else sys.maxsize]
    with contextlib.suppress(OSError, ValueError, KeyError):
        found.append(1024 * _table(root / "proc/meminfo")["MemAvailable:"])
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "memory"):
                top = root / "sys/fs/cgroup" / controllers
                for depth in range(len(parts := Path(path).parts[1:]) + 1):  # a limit of a group holds for those in it
                    found += _left_in(top.joinpath(*parts[:depth]))
    return max(0, min(found))


def peak() -> int:
    """The most bytes that this process ever had in memory; 0 where the platform does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _left_in(folder: Path) -> list[int]:
    """What a control group still lets its processes have; nothing where it has no limit."""
    for limit, used, cache in CGROUPS:
        with contextlib.suppress(OSError, ValueError):  # ValueError: `max`
            left = int((folder / limit).read_text()) - int((folder / used).read_text())
            with contextlib.suppress(OSError, KeyError):
                left += _table(folder / "memory.stat")[cache]
            return [left]
    return []


def _table(path: Path) -> dict[str, int]:
    """A file of names and numbers, a pair a line."""
    return {line.split()[0]: int(line.split()[1]) for line in path.read_text().splitlines()}
