"""What people type on a command line, as the words that the parser takes; what to type where a word fits nothing."""

from __future__ import annotations

import re
import shlex
import typing
from collections.abc import Collection, Mapping, Sequence

from rlgen.options.fields import Option

YES, NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
OFF = "disabled"  # the choice that `--no-NAME` stands for
TARGETS = ("env", "data")  # options that a word alone is taken for
FLAG = re.compile(r"(?:--|[\u2013\u2014]-?)(?=[a-zA-Z])")  # also with a dash of a printed page


def as_parsed(argv: Sequence[str], options: Mapping[str, Option], pairs: Collection[str]) -> list[str]:
    """The words after a command: `--no-wandb` as `--wandb disabled`, `--anneal-lr false` as `--no-anneal-lr`.

    Args:
        argv: what was typed.
        options: by name.
        pairs: names of those that have a `--no-` flag.
    """
    words = [FLAG.sub("--", word, count=1) if FLAG.match(word) else word for word in argv]
    found = []
    while words:
        word = words.pop(0)
        flag, equals, value = word.partition("=")
        name = flag[2:].replace("-", "_") if flag.startswith("--") else ""
        option = options.get(name)
        if name.startswith("no_") and not equals and OFF in choices(options.get(name[3:])):
            found += [f"--{flag[5:]}", OFF]
        elif option is None or option.type is not bool:
            found.append(word)
        elif (value if equals else words[0] if words else "").lower() in ((*YES, *NO) if equals else (YES[0], NO[0])):
            on = (value if equals else words.pop(0)).lower() in YES
            found += [flag] if on else [f"--no-{flag[2:]}"] if name in pairs else []
        else:
            found.append(word)
    return found


def gathered(words: Sequence[str], options: Mapping[str, Option]) -> list[str]:
    """`--set lr=1 --set gamma=1` as `--set lr=1 gamma=1`: a list of texts may be given in pieces."""
    pieces: list[list[str]] = [[]]  # each but the first begins with a flag
    for word in words:
        if re.match("--[a-zA-Z]", word):
            pieces.append([])
        pieces[-1].append(word)
    lists: dict[str, list[str]] = {}  # the first piece of each
    found = [pieces[0]]
    for piece in pieces[1:]:
        flag, equals, value = piece[0].partition("=")
        option = options.get(flag[2:].replace("-", "_"))
        if option is None or option.type not in (tuple[str, ...], dict | None):
            found.append(piece)
            continue
        values = [value] * bool(equals) + piece[1:]
        if flag not in lists:
            lists[flag] = [flag]
            found.append(lists[flag])
        lists[flag] += values
    return [word for piece in found for word in piece]


def choices(option: Option | None) -> tuple[object, ...]:
    """The choices that an option has; none where it takes more than words of a list."""
    return typing.get_args(option.type) if option and typing.get_origin(option.type) is typing.Literal else ()


def instead(word: str, argv: Sequence[str], options: Mapping[str, Option], command: str) -> str:
    """What to type instead of a word that belongs to no flag, as the end of a line.

    Args:
        word: it.
        argv: all words after the command.
        options: by name.
        command: after `rlgen`.
    """
    name, equals, value = word.partition("=")
    key = name.lower().replace("-", "_")
    given = {token.partition("=")[0][2:].replace("-", "_") for token in argv if token.startswith("--")}
    before = argv[: argv.index(word)] if word in argv else []
    flag = next((token for token in reversed(before) if token.startswith("--")), "")
    target = next((name for name in TARGETS if name in options and name not in given), "")
    if equals and key in options:
        better = f"--{key.replace('_', '-')} {shlex.quote(value)}"
    elif equals and "set" in options:
        better = f"--set {shlex.quote(word)}"
    elif target and not flag:
        better = f"--{target} {shlex.quote(word)}"
    else:
        return takes(flag, options) if flag and "=" not in flag else f"See `rlgen {command} --help`"
    return f"Type: rlgen {command} {better}"


def takes(flag: str, options: Mapping[str, Option]) -> str:
    """How many values a flag takes, for one that was given more."""
    option = options.get(flag[2:].replace("-", "_"))
    if option and option.type is bool:
        return f"{flag} takes no value."
    several = f"{option.name}s" if option else ""
    return f"{flag} takes one value{f'; --{several} takes several' if several in options else ''}."
