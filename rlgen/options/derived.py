"""Values that follow from other options, where nothing is said: how often a run does what, how long it is, frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlgen.envs.namespaces import is_atari

PERIODS = {"log": 200, "eval": 10, "checkpoint": 10}  # times a run, where the config does not give `<what>_every`
ATARI_FRAMES = 4  # in an observation


def periods(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a run does now and then, by its length where it is known and nothing else is said."""
    given = {f"{what}_every": config.get(f"{what}_every") for what in PERIODS}
    if config["steps"] is None:
        return given
    return {name: value or max(1, config["steps"] // PERIODS[name[:-6]]) for name, value in given.items()}


def frames(config: Mapping[str, Any]) -> dict[str, Any]:
    """How many frames an agent's observation holds, where nothing is said."""
    if "frame_stack" not in config or config["frame_stack"] is not None:
        return {}
    is_task = is_atari(config["env"]) and config["atari"] != "raw"
    return {"frame_stack": ATARI_FRAMES if is_task else 1}


def in_steps(config: Mapping[str, Any], images: int) -> dict[str, Any]:
    """The length of a run in steps, and its periods, where `epochs` are given.

    Args:
        config: flat.
        images: to train on.
    """
    if config["steps"] is not None:
        return {}
    steps = {"steps": max(1, round(config["epochs"] * images))}
    return steps | periods({**config, **steps})
