"""Options on the command line: tyro draws the help pages and splits the words, every value stays text."""

from __future__ import annotations

import contextlib
import io
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import field, make_dataclass
from typing import Any, Literal

from rlgen.errors import UsageError
from rlgen.options.checks import POSITIONAL, check_name, shown
from rlgen.options.fields import REQUIRED, Option
from rlgen.options.words import as_parsed, gathered, instead
from rlgen.text import wrapped


def parse(
    command: str,
    options: Mapping[str, Option],
    argv: Sequence[str],
    about: str,
    defaults: Mapping[str, Any] | None = None,
    absent: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The options given on the command line, as text (a flag that is on or off: as a bool), not checked yet.

    The rest are left out, so that lower layers can speak.

    Args:
        command: after `rlgen`.
        options: by name; `POSITIONAL` ones need no flag.
        argv: after the command.
        about: the help page's first lines.
        defaults: for the help page, of options that lower layers set; those that are on or off then get a `--no-` too.
        absent: as of `check_name`.

    Raises:
        UsageError: an unknown flag, or a missing value.
    """
    import tyro

    argv = gathered(as_parsed(argv, options, defaults or {}), options)
    given = [name for name, option in options.items() if option.default is REQUIRED or name in POSITIONAL]
    for token in argv:
        name = token.partition("=")[0].lstrip("-").replace("-", "_")
        if not re.match("--?[a-zA-Z]", token) or token in ("-h", "--help"):
            continue
        if name not in options and name.startswith("no_") and name[3:] in options and options[name[3:]].type is bool:
            name = name[3:]
        check_name(name, options, command, absent=absent)
        if not token.startswith("--"):
            raise UsageError(f"{token}: a flag has two dashes. Did you mean -{token}?")
        if name in given and name not in POSITIONAL and typing.get_origin(options[name].type) is tuple:
            raise UsageError(f"{shown(name)} is given twice: write all its values after one, with blanks")
        given.append(name)

    flags = make_dataclass("Flags", [as_field(option, defaults or {}) for option in options.values()])
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            page = "\n".join(wrapped(line, "") for line in about.split("\n"))
            parsed: Any = tyro.cli(flags, prog=f"rlgen {command}", description=page, args=argv)
    except SystemExit as stop:
        if not stop.code:
            raise
        message = message_in_box(errors.getvalue())
        if stray := re.match(r"Unrecognized options?: (.+?)(?:, .*)?\.$", message):
            raise UsageError(f"{stray[1]!r} belongs to no flag. {instead(stray[1], argv, options, command)}") from None
        if message.startswith("Missing from"):
            words = " ".join(metavar(option) for option in options.values() if option.default is REQUIRED)
            raise UsageError(f"type: rlgen {command} {words}. See `rlgen {command} --help`") from None
        raise UsageError(f"{message} See `rlgen {command} --help`") from None
    found = {name: getattr(parsed, name) for name in given}
    if missing := [name for name in found if options[name].default is REQUIRED and found[name] == ()]:
        raise UsageError(f"which {missing[0]}? rlgen {command} {missing[0].upper()}... See `rlgen {command} --help`")
    if empty := [name for name in given if found[name] == () and name not in POSITIONAL]:
        raise UsageError(f"{shown(empty[0])}: give it a value, or leave it out. See `rlgen {command} --help`")
    return found


def metavar(option: Option) -> str:
    """What stands for an option's value."""
    if typing.get_origin(option.type) is Literal:
        return "{" + ",".join(typing.get_args(option.type)) + "}"
    if option.name in POSITIONAL:
        return option.name.upper()
    kind = (*typing.get_args(option.type), option.type)[0]
    return {int: "INT", float: "FLOAT", str: "TEXT", dict: "NAME=VALUE"}[kind] + " ..." * takes_many(option)


def takes_many(option: Option) -> bool:
    """Whether an option is a list or a dictionary."""
    return typing.get_origin(option.type) is tuple or dict in (option.type, *typing.get_args(option.type))


def as_field(option: Option, defaults: Mapping[str, Any]) -> tuple[str, Any, Any]:
    """The option as a dataclass field for tyro: text, with its help and a name for its value."""
    from tyro import conf

    default = defaults.get(option.name, option.default)
    markers: list[Any] = [conf.Positional] if option.name in POSITIONAL else []
    if option.type is bool:
        markers += [] if option.name in defaults else [conf.FlagCreatePairsOff]
        return option.name, typing.Annotated[(bool, conf.arg(help=option.help), *markers)], field(default=default)
    many = takes_many(option)
    kind = tuple[str, ...] if many else str
    annotation = typing.Annotated[(kind, conf.arg(help=option.help, metavar=metavar(option)), *markers)]  # type: ignore[valid-type]
    if default is REQUIRED:
        return option.name, annotation, field()
    return option.name, annotation, field(default=tuple(map(str, default or ())) if many else str(default))


def message_in_box(text: str) -> str:
    """What a box of tyro's says between its title and its first rule, as one line."""
    words: list[str] = []
    for line in text.splitlines()[1:]:
        content = line.strip("│| ")
        if content.strip("─-"):
            words += content.split()
        elif words:
            break
    return " ".join(words).rstrip(".") + "."
