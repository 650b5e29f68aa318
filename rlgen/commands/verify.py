"""`rlgen verify RUN`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlgen.options.shares import check_alone


@dataclass(frozen=True)
class Options:
    """Train the first steps of a run again, and compare rows and weights bit for bit."""

    run: str  # a name, a directory, a unique prefix, or last
    steps: int | None = None  # how many (None: to the first checkpoint, 100,000 at most); in [1, 10**12]
    json: bool = False  # one JSON document on stdout
    runs_dir: str = "runs"  # where runs are looked for


def run(options: Options) -> dict[str, Any]:
    """What was compared, and the first difference."""
    from rlgen.verify import verify

    check_alone("verify")
    return verify(options.run, options.runs_dir, options.steps)
