"""Options as flags and as values: one reading of text, one check of type and bound, for flags, files and notebooks.

tyro draws the help pages and splits the command line; it sees every value as text, so that `--steps 1e6` on the command
line, `steps: 1e6` in a file and `steps=1e6` in Python mean the same and fail with the same line.
"""

from __future__ import annotations

import contextlib
import io
import math
import numbers
import re
import types
import typing
from collections.abc import Callable
from dataclasses import field, make_dataclass
from pathlib import Path
from typing import Any, Literal

from rlgen.errors import UsageError
from rlgen.options.algorithms import REQUIRED, Option, nearest

BOUND = re.compile(r"\bin ([\[(])([^,\[\]()]+), ?([^,\[\]()]+)([\])])")  # in an option's help, as `in [0, 1)`
POSITIONAL = ("run", "what", "word", "shell")
SYNONYMS = {  # what other libraries call an option of ours, for the hint
    "learning_rate": "lr",
    "total_timesteps": "steps",
    "env_id": "env",
    "dataset": "data",
    "n_envs": "num_envs",
    "train_frequency": "train_every",
    "train_freq": "train_every",
    "target_network_frequency": "target_every",
    "target_update_interval": "target_every",
    "start_e": "epsilon_start",
    "end_e": "epsilon_end",
    "ent_coef": "entropy_coef",
    "vf_coef": "value_coef",
    "update_epochs": "num_epochs",
    "n_epochs": "num_epochs",
    "n_steps": "rollout_steps",
    "epochs": "steps",
    "latent_dim": "latent",
}


def shown(label: str, name: str) -> str:
    """An option as the user wrote it: `--batch-size`, or `file.yaml: batch_size`."""
    return label + (name.replace("_", "-") if label == "--" else name)


def unknown(name: str, options: dict[str, Option], label: str, command: str) -> UsageError:
    """The error for an option that there is not, with the nearest that there is."""
    hint = nearest(SYNONYMS.get(name, name), options)
    if label == "--":
        hint = hint.replace("Did you mean ", "Did you mean --").replace("_", "-")
    return UsageError(f"{shown(label, name)}: there is no such option.{hint} See `rlgen {command} --help`")


def check(option: Option, value: Any, label: str = "--") -> Any:
    """The value in the option's type, inside the bound that its help states.

    Args:
        option: says which.
        value: text, or already a value.
        label: where it is from: `--`, or a file's name with a colon and a blank.

    Raises:
        UsageError: it is of another type or out of bounds.
    """
    name = shown("" if option.name in POSITIONAL else label, option.name)
    kinds = typing.get_args(option.type) if isinstance(option.type, types.UnionType) else (option.type,)
    for kind in sorted(kinds, key=lambda kind: kind is not type(None)):
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            converted = _convert(kind, value)
            break
    else:
        raise UsageError(f"{name} {value!r}: must be {_describe(kinds[0])}")
    if bound := BOUND.search(option.help):
        opens, low, high, closes = bound[1], _number(bound[2]), _number(bound[3]), bound[4]
        for number in converted if isinstance(converted, tuple) else (converted,):
            if isinstance(number, (int, float)) and not (
                (low < number or (opens == "[" and low == number))
                and (number < high or (closes == "]" and number == high))
            ):
                raise UsageError(f"{name} {number}: must be {bound[0]}")
    return converted


def parse(
    command: str,
    options: dict[str, Option],
    argv: list[str],
    about: str,
    defaults: dict[str, Any] | None = None,
    refuse: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """The options given on the command line, checked; the rest are left out, so that lower layers can speak.

    Args:
        command: after `rlgen`.
        options: by name; `POSITIONAL` ones need no flag.
        argv: after the command.
        about: the help page's first lines.
        defaults: for the help page, of options that lower layers set; those that are on or off then get a `--no-` too.
        refuse: raises a better error than ours for an unknown name, where it knows one.

    Raises:
        UsageError: an unknown flag, a missing or a bad value.
    """
    import tyro

    given = [name for name, option in options.items() if option.default is REQUIRED or name in POSITIONAL]
    for token in argv:
        name = token.partition("=")[0].lstrip("-").replace("-", "_")
        if not re.match("--?[a-zA-Z]", token) or token in ("-h", "--help"):
            continue
        if name not in options and name.startswith("no_") and name[3:] in options and options[name[3:]].type is bool:
            name = name[3:]
        if name not in options:
            if refuse:
                refuse(name)
            raise unknown(name, options, "--", command)
        if not token.startswith("--"):
            raise UsageError(f"{token}: a flag has two dashes. Did you mean -{token}?")
        if name in given and name not in POSITIONAL and typing.get_origin(options[name].type) is tuple:
            raise UsageError(f"{shown('--', name)} is given twice: write all its values after one, with blanks")
        given.append(name)

    flags = make_dataclass("Flags", [_flag(option, defaults or {}) for option in options.values()])
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            parsed: Any = tyro.cli(flags, prog=f"rlgen {command}", description=about, args=argv)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UsageError(f"{_unbox(errors.getvalue())} See `rlgen {command} --help`") from None
    return {name: check(options[name], getattr(parsed, name)) for name in given}


def _flag(option: Option, defaults: dict[str, Any]) -> tuple[str, Any, Any]:
    """The option as a dataclass field for tyro: text, with its help and a name for its value."""
    from tyro import conf

    default = defaults.get(option.name, option.default)
    markers: list[Any] = [conf.Positional] if option.name in POSITIONAL else []
    if option.type is bool:
        markers += [] if option.name in defaults else [conf.FlagCreatePairsOff]
        return option.name, typing.Annotated[(bool, conf.arg(help=option.help), *markers)], field(default=default)
    many = typing.get_origin(option.type) is tuple
    if typing.get_origin(option.type) is Literal:
        metavar = "{" + ",".join(typing.get_args(option.type)) + "}"
    elif option.name in POSITIONAL:
        metavar = option.name.upper()
    else:
        kind = (*typing.get_args(option.type), option.type)[0]
        metavar = {int: "INT", float: "FLOAT", str: "TEXT"}[kind] + " ..." * many
    kind = tuple[str, ...] if many else str
    annotation = typing.Annotated[(kind, conf.arg(help=option.help, metavar=metavar), *markers)]  # type: ignore[valid-type]
    if default is REQUIRED:
        return option.name, annotation, field()
    return option.name, annotation, field(default=tuple(map(str, default)) if many else str(default))


def _unbox(text: str) -> str:
    """What a box of tyro's says between its title and its first rule, as one line."""
    words: list[str] = []
    for line in text.splitlines()[1:]:
        content = line.strip("│| ")
        if content.strip("─-"):
            words += content.split()
        elif words:
            break
    return " ".join(words).rstrip(".") + "."


def _number(text: str) -> float:
    base, _, power = text.strip().partition("**")
    return int(base) ** int(power) if power else float(base)


def _convert(kind: Any, value: Any) -> Any:
    """The value in that type, or ValueError or TypeError. YAML reads 1e-3 as text, TOML 1e6 as a float."""
    inner = typing.get_args(kind)
    if kind is type(None) or typing.get_origin(kind) is Literal:
        allowed = {"None": None, None: None} if kind is type(None) else {choice: choice for choice in inner}
        if value not in allowed:
            raise ValueError
        return allowed[value]
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, (list, tuple)) or (inner[-1] is not Ellipsis and len(inner) != len(value)):
            raise TypeError
        return tuple(_convert(inner[0] if inner[-1] is Ellipsis else inner[i], item) for i, item in enumerate(value))
    if kind is bool or isinstance(value, bool):
        if kind is not bool or not isinstance(value, bool):
            raise TypeError
        return value
    if kind is str:
        if not isinstance(value, (str, Path)) or not str(value).isprintable():
            raise TypeError
        return str(value)
    if kind is int and (isinstance(value, numbers.Integral) or re.fullmatch(r"[+-]?\d[\d_]*", str(value))):
        return int(value)  # no detour through float, which would round a seed of 2**60
    number = float(value)
    if math.isnan(number) or (kind is int and not number.is_integer()):
        raise ValueError
    return kind(number)


def _describe(kind: Any) -> str:
    inner = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, inner))
    if typing.get_origin(kind) is tuple:
        return f"a list{'' if inner[-1] is Ellipsis else f' of {len(inner)}'}, each {_describe(inner[0])}"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[kind]
