"""What options and environments mean to a comparison: which change nothing that is learned, and which the task.

Options say it themselves, in the comments of their lines (`rlgen.options.fields`). Here stands what else there is:
names of other programs, and what config.json says of the environment or the images.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Mapping
from functools import cache

from rlgen.compare.entry import Entry
from rlgen.envs.namespaces import is_atari
from rlgen.errors import UsageError
from rlgen.metrics import OF_SAMPLES
from rlgen.options import algorithms
from rlgen.options.config import run_options
from rlgen.options.fields import Option, OtherScores

IDENTITY = {"algo", "exp_name", "seed", "env_id", "data"}  # name the run's group, task and seed
ELSEWHERE = {  # options of CleanRL's runs that change what a score means
    "sticky_actions": OtherScores("", "sticky actions"),
    "repeat_action_probability": OtherScores("", "sticky action probability"),
    "frame_skip": OtherScores("", "frame skip"),
}
WORDS = {  # conditions that are no option
    "env_id": "versions of the environment",
    "atari": "tasks of one game: the standard one, raw frames, or native with clipped rewards",
    "sha256": "images, by their checksums",
    "obs_shape": "shapes of observations",
    "obs_dtype": "types of observations",
    "frame_padding": "frames before an episode's first one",
    "num_actions": "numbers of actions",
    "num_choices": "numbers of choices in an action",
    "action_shape": "shapes of actions",
    "action_low": "bounds of actions",
    "action_high": "bounds of actions",
    "actions": "meanings of actions, rescaled to their bounds and clipped",
    "shape": "shapes of images",
    "features": "networks of features",
    "compared": "numbers of samples",
}
NO_CONDITION = {  # none, or in other words
    *("env_id", "num_envs", "frame_stack", "action_rescaled", "action_dtype"),
    *("obs_parts", "network", "protocol", "reward_clip"),
}
LONGEST = 24  # characters of a value in a label; a longer one is written as its digest
UNKNOWN = "-"


def unlearned(algos: Iterable[str]) -> set[str]:
    """The options that runs of these algorithms may differ in and still be seeds of one group."""
    return IDENTITY | {option.name for algo in algos for option in _options(algo) if option.learns_the_same}


def other_scores(algos: Iterable[str]) -> dict[str, OtherScores]:
    """The options that change what a score of these algorithms, or of the house's own, means."""
    found = {
        option.name: option.other_scores
        for algo in dict.fromkeys((*algorithms.own_modules(), *algos))
        for option in _options(algo)
        if option.other_scores
    }
    return found | ELSEWHERE


def conditions(entries: Iterable[Entry], metric: str) -> dict[str, list[str]]:
    """What must be equal for scores to be those of one task: by name, the value that each run has.

    Args:
        entries: the runs.
        metric: whose scores they are.
    """
    entries = list(entries)
    rows = [_environment(entry) for entry in entries]
    scores = other_scores({entry.algo for entry in entries})
    for entry, row in zip(entries, rows, strict=True):
        row |= _judged(entry) if OF_SAMPLES.match(metric) else {}
        row |= {name: written(_of_option(entry, name)) for name, of in scores.items() if metric.startswith(of.prefix)}
    names = dict.fromkeys(name for row in rows for name in row)
    found = {name: [row.get(name, UNKNOWN) for row in rows] for name in names}
    return {name: values for name, values in found.items() if _differ(values, name in scores)}


def written(value: object) -> str:
    """The value of an option as text without blanks."""
    if isinstance(value, tuple):
        value = list(value)  # as config.json has it
    return UNKNOWN if value is None else f"{value:g}" if isinstance(value, float) else str(value).replace(" ", "")


def _of_option(entry: Entry, name: str) -> object:
    """The value of a run's option; a run from before there was the option did what its default does."""
    option = run_options().get(name)
    default = option.default if option and not entry.info.get("exp_name") else None
    return entry.config.get(name, default)


def _differ(values: list[str], is_option: bool) -> bool:
    """Whether there are several. An option that a run does not have is one; what config.json does not say is none."""
    return len(set(values) if is_option else set(values) - {UNKNOWN}) > 1


def _environment(entry: Entry) -> dict[str, str]:
    """What config.json says of the run's environment or images."""
    spec: Mapping[str, object] = entry.info.get("spec") or {}
    found = {"env_id": entry.target} if entry.kind == "agent" else {}
    protocol = spec.get("protocol")
    if isinstance(protocol, dict):  # how many frames are stacked is the agent's business
        found |= {f"protocol.{name}": _short(written(value)) for name, value in protocol.items() if name != "stack"}
    if is_atari(entry.target):
        by_itself = "native" if entry.config.get("vectorization") == "native" else "raw"
        found["atari"] = "standard" if protocol else by_itself
    for name, value in spec.items():
        if name not in NO_CONDITION and value not in (None, "") and (name, value) != ("action_low", []):
            found[name] = str(value)[:8] if name == "sha256" else _short(written(value))
    if spec.get("action_high"):
        rescaled = spec.get("action_rescaled")  # runs of before have none
        found["actions"] = "rescaled" if isinstance(rescaled, list) and any(rescaled) else "clipped"
    stack = spec.get("frame_stack")
    shape = spec.get("obs_shape")
    if isinstance(stack, int) and stack > 1 and isinstance(shape, list):
        found["obs_shape"] = _short(written(shape[1:]))  # of a frame: how many are stacked is the agent's business
    else:
        found.pop("frame_padding", None)
    if entry.config.get("time_in_obs"):  # what an agent sees of a task, not another task
        found = {name: value for name, value in found.items() if name not in ("obs_shape", "obs_dtype")}
    return found


def _judged(entry: Entry) -> dict[str, str]:
    """What config.json says of how samples are compared: by which features, and how many."""
    found = entry.info.get("judged") or {}
    counts = [str(found[name]) for name in ("samples", "at_end") if name in found]
    features = f"{found['features']}-{str(found['sha256'])[:8]}" if {"features", "sha256"} <= found.keys() else ""
    return {name: value for name, value in (("features", features), ("compared", "/".join(counts))) if value}


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else hashlib.sha256(text.encode()).hexdigest()[:8]


@cache
def _options(algo: str) -> tuple[Option, ...]:
    """The options of every run and of an algorithm; those of every run where it is not installed here."""
    with contextlib.suppress(UsageError):
        return (*run_options().values(), *algorithms.find(algo).options)
    return tuple(run_options().values())
