"""`rlgen __complete WORDS`: what may follow these words, for the scripts of `rlgen completion`; on no help page."""

from __future__ import annotations

import itertools
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlgen.commands import listed, options_of
from rlgen.errors import UsageError
from rlgen.options import algorithms, config
from rlgen.options.checks import POSITIONAL, shown
from rlgen.options.fields import Option
from rlgen.options.files import presets
from rlgen.study.flags import KINDS
from rlgen.study.flags import options_of as flags_of


def parse(words: Sequence[str]) -> Sequence[str]:
    """The words are not flags of this command."""
    return words


def run(words: Sequence[str]) -> str:
    """What may stand for the last word, one a line."""
    return "\n".join(candidates(words))


def candidates(words: Sequence[str]) -> list[str]:
    """What may stand for the last word; nothing means a file or free text.

    Args:
        words: of the line up to the cursor, `rlgen` first; the last one is what is typed of it so far, maybe "".
    """
    before, current, prefix = [word for word in words[1:-1] if word != "="], words[-1] if words[1:] else "", ""
    current = "" if current == "=" else current  # bash splits `--flag=value` in three
    if current.startswith("--") and "=" in current:  # zsh and fish do not
        flag, _, current = current.partition("=")
        before, prefix = [*before, flag], f"{flag}="
    try:
        found = after(before, current)
    except UsageError:  # an algorithm that there is not
        found = []
    return [prefix + word for word in found if word.startswith(current)]


def after(before: Sequence[str], current: str) -> list[str]:
    """What may follow these words, whatever is typed of it; flags only where it begins with a dash, or is one."""
    if not before:
        return [*listed(), "--help", "--version"]
    command, *rest = before
    if command not in listed():
        return []
    options, algorithm = options_of(command), None
    if command == "study":
        if not rest:
            return [*KINDS, "--help"]
        what = rest.pop(0)
        if what not in KINDS:
            return []
        options = flags_of(what)
        if named := algorithm_of(what, rest):
            algorithm = algorithms.find(named)
            options = config.options(algorithm) | options
    if command == "train":
        if not rest:
            return [*algorithms.names(), "--help"]
        algorithm = algorithms.find(rest.pop(0))
        options |= config.options(algorithm)

    line = read_line(rest, options)
    waiting = line.waiting
    if waiting is None:
        slots = [option for name, option in options.items() if name in POSITIONAL]
        many = bool(slots) and typing.get_origin(slots[-1].type) is tuple
        if current.startswith("-") or (line.num_positional >= len(slots) and not many):
            return [*(shown(name) for name in options if name not in POSITIONAL), "--help"]
        waiting = slots[min(line.num_positional, len(slots) - 1)]
    if algorithm is not None and waiting.name in ("env", "data"):
        return targets(algorithm, waiting)
    if command == "study" and what == "ablate" and waiting.name == "study":
        return [*algorithms.names(), *values(waiting, line.runs_dir)]
    return values(waiting, line.runs_dir)


def algorithm_of(what: str, rest: Sequence[str]) -> str:
    """The algorithm that is named behind `rlgen study WHAT`; "" where none is yet."""
    if what == "ablate":
        return rest[0] if rest and rest[0] in algorithms.names() else ""
    return next((after for flag, after in itertools.pairwise(rest) if flag == "--algo"), "") if what == "create" else ""


@dataclass
class Line:
    """What the words after a command say."""

    waiting: Option | None = None  # the flag whose value comes next
    num_positional: int = 0  # words that belong to no flag
    runs_dir: str = "runs"


def read_line(words: Iterable[str], options: dict[str, Option]) -> Line:
    """Go through the words after a command."""
    line = Line()
    for word in words:
        if word.startswith("--"):
            flag, equals, value = word[2:].partition("=")
            option = options.get(flag.replace("-", "_"))
            line.waiting = option if option and option.type is not bool and not equals else None
            if flag == "runs-dir" and equals:
                line.runs_dir = value
        elif line.waiting:
            if line.waiting.name == "runs_dir":
                line.runs_dir = word
            line.waiting = None
        else:
            line.num_positional += 1
    return line


def targets(algorithm: algorithms.Algorithm, option: Option) -> list[str]:
    """What an algorithm can be trained on: sets that have a name, what it has presets for, the default."""
    found = [name for name in presets(algorithm) if "*" not in name]
    if option.name == "data":
        from rlgen.data.known import known

        found = [*(name for name, _, _ in known()), *found]
    if isinstance(option.default, str):
        found.append(option.default)
    return list(dict.fromkeys(found))


def values(option: Option, runs_dir: str) -> list[str]:
    """What an option may be: names of runs, columns of the table of runs, or the choices that it has."""
    if option.name == "run":
        from rlgen.runs.find import directories

        found = [path.name for path in directories(Path(runs_dir)) if path.name.isprintable()]
        return [*found, "last"] if found else []
    if option.name == "study":
        return sorted(path.parent.name for path in Path(runs_dir).glob("studies/*/study.toml"))
    if option.name == "algo":
        return [*algorithms.names()]
    if option.name == "sort":
        from rlgen.runs.table import COLUMNS

        return list(COLUMNS)
    return [str(choice) for choice in typing.get_args(option.type) if isinstance(choice, str)]
