"""Whether a saved state of environments is one that they could have left: looked at before they go back to it."""

from __future__ import annotations

from typing import Any

from rlgen.envs.packed import check_place

MOST = 2**53  # episodes


def check_saved(saved: dict[str, Any], now: dict[str, Any]) -> None:
    """Look at numbers of steps and episodes, and at arrays; types have been looked at.

    Args:
        saved: the state of a source of transitions.
        now: the state of the one that it is for. It may have another number of environments: all begin anew then.

    Raises:
        ValueError: no environments left that.
    """
    envs, ours = saved["envs"], now["envs"]
    num_envs, taken = len(envs["episode"]), envs["num_steps"]
    for part, name, most in ((envs, "episode", MOST), (saved, "length", taken), (envs, "begun", taken)):
        if not all(0 <= value <= most for value in part.get(name, ())):
            raise ValueError(f"source: {name} has numbers that are not in [0, {most}]")
    lists = {"return": saved["return"], "length": saved["length"]}
    lists |= {name: envs[name] for name in ("begun", "ended") if name in envs}
    if any(len(values) != num_envs for values in lists.values()):
        found = ", ".join(f"{name} of {len(values)}" for name, values in lists.items())
        raise ValueError(f"source: {found}, and episodes of {num_envs} environments")
    if "generator" in envs:
        check_place(envs["generator"])
    if num_envs == len(ours["episode"]):
        _check_array("obs", envs, ours)
        for name in envs.get("arrays", {}):
            _check_array(name, envs["arrays"], ours.get("arrays", {}))


def _check_array(name: str, saved: dict[str, Any], now: dict[str, Any]) -> None:
    """A packed array, where both have it, is of one dtype and shape."""
    if name in saved and name in now:
        kinds = [(one[name]["dtype"], one[name]["shape"], len(one[name]["data"])) for one in (saved, now)]
        if kinds[0] != kinds[1]:
            raise ValueError(f"source.envs: {name} is {kinds[0]}, here it is {kinds[1]}")
