"""What is equal after a resume: three levels, one of which every run and every checkpoint names."""

from __future__ import annotations

from typing import Any, Protocol

import torch

from rlgen.text import warn

LEVELS = {
    "exact": "as if it had never stopped",
    "tried exact": "as if it had never stopped: its environment repeated itself in trials at the start",
    "approximate": "networks and buffer are as they were, but what follows is not the same",
}

DEVICES = {"cpu": "the CPU", "cuda": "the GPU"}


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


def last_device(info: dict[str, Any]) -> str:
    """Where a run was last, cpu or cuda; one of an older version, with `auto`, was on a GPU where it had one."""
    own: str = info.get("device") or info["config"]["device"]
    return own if own != "auto" else "cuda" if (info.get("hardware") or {}).get("gpus") else "cpu"


def device_of(info: dict[str, Any], asked: str | None = None) -> str:
    """The device that a run goes on with, as `--device` takes it.

    Args:
        info: of the run.
        asked: instead.
    """
    device: str = asked or info["config"]["device"]
    if asked or device != "auto":
        return device
    return last_device(info) if torch.cuda.is_available() else "cpu"


def moved(info: dict[str, Any], device: str) -> str:
    """Note the device of a run in its info, hence in its config.json; what is no longer exact if it was on another.

    Args:
        info: of the run.
        device: cpu or cuda.
    """
    then, info["device"] = info.get("device", device), device
    if then == device:
        return ""
    return f"it was on {DEVICES[then]} and is on {DEVICES[device]} now, which rounds otherwise and draws other numbers"


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
