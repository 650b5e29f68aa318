"""Formats of config.json: what an older rlgen wrote is read as what reproduces its behaviour.

Format 1 has no entry `format`. An option that a run does not have gets its default of today. So the default of a new
option has to mean what runs did before there was this option. Where it cannot, raise FORMAT and say here what they did.
"""

from __future__ import annotations

from typing import Any

from rlgen.envs.namespaces import is_atari
from rlgen.errors import UsageError
from rlgen.options.algorithms import find
from rlgen.options.config import options
from rlgen.options.derived import PERIODS
from rlgen.options.fields import REQUIRED

FORMAT = 5
BEFORE: dict[int, dict[str, Any]] = {  # by the first format that differs: what runs of before did
    2: {"precision": "float32"},
    3: {"rescale_actions": False, "obs": "old", "frame_stack": 1},
    4: {"compile": "never"},
    5: {"eval_samples": 0},
}
BEFORE_OF_ATARI = {"atari": "raw"}  # the same of format 3, where a game of ALE is what is learned
RENAMED = {3: {"max_episode_steps": "eval_max_episode_steps"}}  # by format: options of before, and today's that mean it
ALWAYS_GIVEN = {"env", "data", "steps", "seed", *(f"{what}_every" for what in PERIODS)}  # in every format


def check(info: dict[str, Any], name: str) -> None:
    """Refuse a config.json of another version that this one does not know.

    Args:
        info: config.json, whole.
        name: of the run.

    Raises:
        UsageError: a newer rlgen wrote it.
    """
    found = info.get("format", 1)
    if isinstance(found, bool) or not isinstance(found, int) or not 1 <= found <= FORMAT:
        raise UsageError(
            f"run {name}: its config.json has format {found}, written by rlgen {info.get('rlgen_version')}; "
            f"this version of rlgen reads formats up to {FORMAT}: use that version, or a newer one"
        )


def upgraded(info: dict[str, Any], name: str) -> dict[str, Any]:
    """A run's config.json in today's format, with every option that its algorithm has today.

    Args:
        info: config.json, whole; it is not changed.
        name: of the run.

    Raises:
        UsageError: as `check`.
    """
    check(info, name)
    values = _defaults(info["config"]["algo"])
    for newer, did in BEFORE.items():
        if info.get("format", 1) < newer:
            values |= {name: value for name, value in did.items() if name in values}
    if info.get("format", 1) < 3 and is_atari(info["config"].get("env_id") or ""):
        values |= BEFORE_OF_ATARI
    config = dict(info["config"])
    for newer, names in RENAMED.items():
        if info.get("format", 1) < newer:
            config |= {new: config.pop(old) for old, new in names.items() if old in config}
    missing = {name: value for name, value in values.items() if name not in config}
    return {"format": FORMAT} | info | {"format": FORMAT, "config": config | missing}


def _defaults(algo: str) -> dict[str, Any]:
    """Today's defaults of the run's and the algorithm's options, as JSON holds them."""
    try:
        known = options(find(algo))
    except UsageError:  # an algorithm that is not installed here: its runs can be looked at all the same
        return {}
    return {
        name: list(option.default) if isinstance(option.default, tuple) else option.default
        for name, option in known.items()
        if name not in ALWAYS_GIVEN and option.default is not REQUIRED
    }
