"""How many more seeds a task needs until its groups are told apart, and the commands that train them."""

from __future__ import annotations

import shlex
from typing import Any

from rlgen.compare.groups import Group, Task
from rlgen.metrics.sequential import BLOCK, LEVEL, LOOKS, MOST_GROUPS, decide

WORDS = {
    "larger": "decided: {x} has the larger mean",
    "smaller": "decided: {y} has the larger mean",
    "equal": "no difference found in {seeds} seeds each",
    "open": "not decided",
}


def why_not(task: Task) -> str:
    """Why it cannot be said how many more seeds a task needs; empty where it can."""
    num = len(task.groups)
    if num == 1:
        return f"--until-decided: there is only {task.groups[0].label}; two groups can be told apart"
    if not task.ranked:
        return "--until-decided: these groups are not ranked, so more seeds decide nothing"
    return f"--until-decided: {num} groups; up to {MOST_GROUPS} are decided together" if num > MOST_GROUPS else ""


def more_seeds(task: Task) -> dict[str, Any]:
    """The decisions of `rlgen.metrics.sequential` on the scores of a task, and what is missing for the next one.

    Returns:
        `level` and `most`, seeds of a group, of the test; `pairs`, each with `x`, `y`, `verdict` in words, and `seeds`
        that it used of each group; `missing`, seeds by group; `commands` that train them, where they are known.
    """
    decisions = decide({group.label: group.scores for group in task.groups})
    open_pairs = [pair for pair in decisions if pair.verdict == "open"]
    needed = BLOCK * (max((pair.look for pair in open_pairs), default=0) + 1)
    waiting = [group for group in task.groups if any(group.label in pair[:2] for pair in open_pairs)]
    missing = [(group, needed - len(group.scores)) for group in waiting if len(group.scores) < needed]
    return {
        "level": LEVEL,
        "most": BLOCK * LOOKS,
        "pairs": [
            {
                "x": pair.x,
                "y": pair.y,
                "verdict": WORDS[pair.verdict].format(x=pair.x, y=pair.y, seeds=pair.look * BLOCK),
                "seeds": pair.look * BLOCK,
            }
            for pair in decisions
        ],
        "missing": {group.label: count for group, count in missing},
        "commands": [command for group, count in missing if (command := _command(group, count))],
    }


def _command(group: Group, count: int) -> str | None:
    """The line that trains `count` more seeds of a group, made from the command of one of its runs."""
    try:
        words = shlex.split(next(filter(None, (entry.info.get("command") for entry in group.entries)), None) or "")
    except ValueError:  # no shell reads it
        return None
    if "train" not in words:
        return None  # its runs were trained from Python, or forked
    kept = []
    while words:
        word = words.pop(0)
        if word in ("--seed", "--seeds", "--name"):
            words = words[1:]
        elif not word.startswith(("--seed=", "--seeds=", "--name=")):
            kept.append(word)
    first = max(entry.seed for entry in group.entries) + 1
    return shlex.join([*kept, "--seeds", f"{first}:{first + count}"])
