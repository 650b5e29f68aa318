"""Find the runs that are to be compared: directories on this machine, and runs of wandb projects."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path

from rlgen.compare import wandb_runs
from rlgen.compare.entry import Entries, Entry, left_out
from rlgen.errors import UsageError
from rlgen.runs.find import describe, directories, find_group
from rlgen.runs.records import read_config


def collect(
    words: Sequence[str] = (), runs_dir: str = "runs", algo: str = "", env: str = "", data: str = ""
) -> Entries:
    """The runs that were asked for, and those of them that cannot be compared.

    Args:
        words: names, directories of a run or of runs, unique prefixes, `last`, globs, wandb projects as
            `entity/project?key=value`; without any, every run is taken.
        runs_dir: where names are looked for.
        algo: only these algorithms; commas and globs, as in the next two.
        env: only these environments.
        data: only these data sets.

    Raises:
        UsageError: a word or a filter fits nothing, or nothing is left.
    """
    projects = [word for word in dict.fromkeys(words) if wandb_runs.is_project(word)]
    by_word = [find_group(word, runs_dir) for word in words if word not in projects]
    paths = [path for of_word in by_word for path in of_word] if words else directories(Path(runs_dir))
    read = [*map(wandb_runs.read_project, projects), _read_directories(paths)]
    everything = [entry for entries in read for entry in entries]
    filters = {"algo": algo, "env": env, "data": data}
    for name, patterns in filters.items():
        _refuse_unknown(name, patterns, everything)
    asked = " ".join(f"--{name} {patterns}" for name, patterns in filters.items() if patterns)
    named = {of_word[0].resolve() for of_word in by_word if len(of_word) == 1}
    found = Entries(left_out=[each for entries in read for each in entries.left_out])
    for entry in everything:
        if all(_matches(_value(entry, name), patterns) for name, patterns in filters.items()):
            found.append(entry)
        elif entry.path in named:
            found.left_out.append(left_out(entry.name, f"it does not fit {asked}"))
    if not found:
        raise nothing_left(f"no run to compare in {runs_dir} {asked}".rstrip(), found.left_out)
    return found


def nothing_left(message: str, left: Sequence[dict[str, str]]) -> UsageError:
    """The error that says why no run is left."""
    reasons = [f"{each['run']} is left out: {each['reason']}" for each in left[:3]]
    reasons += [f"and {len(left) - 3} more"] if len(left) > 3 else []
    return UsageError("; ".join([message, *(reasons or ["see rlgen list runs"])]))


def _read_directories(paths: Sequence[Path]) -> Entries:
    """An entry for each directory, each once. What cannot be compared is left out, with the reason."""
    entries = Entries()
    for path in dict.fromkeys(path.resolve() for path in paths):
        try:
            if (row := describe(path))["damaged"]:
                raise UsageError(row["damaged"])
            entry = Entry(row, read_config(path)[0])
            entry.check()
            entries.append(entry)
        except UsageError as error:
            entries.left_out.append(left_out(path.name, error))
    return entries


def _value(entry: Entry, name: str) -> str | None:
    """What the filter of that name looks at."""
    return entry.algo if name == "algo" else entry.config.get("env_id" if name == "env" else name)


def _refuse_unknown(name: str, patterns: str, entries: Sequence[Entry]) -> None:
    """Refuse a filter of which a pattern fits no run."""
    there = sorted({value for entry in entries if (value := _value(entry, name))})
    for pattern in filter(None, map(str.strip, patterns.split(","))):
        if entries and not fnmatch.filter(there, pattern):
            raise UsageError(f"no run to compare with --{name} {pattern}; there are {', '.join(there) or 'none'}")


def _matches(value: str | None, patterns: str) -> bool:
    """Whether the value fits one of the patterns, which are separated by commas; no pattern takes all."""
    return not patterns or any(fnmatch.fnmatch(value or "", pattern.strip()) for pattern in patterns.split(","))
