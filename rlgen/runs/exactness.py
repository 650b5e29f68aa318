"""What is equal after a resume: three levels, one of which every run and every checkpoint names."""

from __future__ import annotations

from typing import Any, Protocol

from rlgen.text import warn

LEVELS = {
    "exact": "as if it had never stopped",
    "tried exact": "as if it had never stopped: its environment repeated itself in trials at the start",
    "approximate": "networks, buffer and generators are as they were, but what follows is not the same",
}


class Run(Protocol):
    """What is needed of a run that goes on."""

    name: str
    step: int
    resumed: str | None


class Source(Protocol):
    """What is needed of a source."""

    restores: str
    restores_why: str


def note(info: dict[str, Any], source: Source) -> str:
    """Note in a run's info, hence in its config.json, how exactly a resume will go on, and why.

    Args:
        info: of the run, which is not yet under way.
        source: whose environments are tried now, if they have not been.
    """
    level, why = source.restores, source.restores_why
    if info.get("together"):
        level, why = "approximate", "seeds that are trained together round otherwise than one that goes on alone"
        source.restores, source.restores_why = level, why
    info["resume"] = {"level": level, "means": LEVELS[level], "why": why}
    return f"{level} ({why})" if why else level


def say_resumed(run: Run, noted: str, quiet: bool) -> None:
    """Say how exactly a run goes on; if `quiet`, only where it is not exact.

    Args:
        run: after `restore`.
        noted: of `note`.
        quiet: say as little as may be.
    """
    level = run.resumed or "exact"
    if level == "approximate" or not quiet:
        why = noted if noted.startswith(level) else f"{level} (its environments did not come to where they were)"
        warn(f"{run.name} goes on at step {run.step:,}, {why}: {LEVELS[level]}", note=True)
