"""`rlgen delete RUN...`."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from rlgen.errors import UsageError


@dataclass(frozen=True)
class Options:
    """Delete runs, after a question."""

    run: tuple[str, ...]  # whole names, or directories
    yes: bool = False  # do not ask
    runs_dir: str = "runs"  # where runs are looked for


def run(options: Options) -> str:
    """Ask, and delete."""
    from rlgen.runs.delete import chosen, delete
    from rlgen.runs.table import size

    paths = chosen(options.run, options.runs_dir)
    what = ", ".join(f"{path.name} ({size(path) / 2**20:,.1f} MiB)" for path in paths)
    if not options.yes:
        if not sys.stdin.isatty():
            raise UsageError(f"--yes is needed to delete {what}, as nobody can be asked here")
        if input(f"delete {what}? [y/N] ").strip().lower() not in ("y", "yes"):
            return "nothing was deleted"
    for path in paths:
        delete(path)
    return f"deleted {what}"
