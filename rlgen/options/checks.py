"""Options are checked, and what cannot be is refused in one line: a name, a value, two values that do not fit.

Text and values mean the same: `--steps 1e6` on the command line, `steps: 1e6` in a file and `steps=1e6` in Python are
converted alike and fail with the same line.
"""

from __future__ import annotations

import contextlib
import difflib
import math
import numbers
import re
import reprlib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from rlgen.errors import UsageError
from rlgen.options.arguments import arguments
from rlgen.options.fields import Option
from rlgen.text import nearest

FLAG = "--"  # the label of an option from the command line; that of a file is its name, a colon and a blank
BOUND = re.compile(r"\bin ([\[(])([^,\[\]()]+), ?([^,\[\]()]+)([\])])")  # in an option's help, as `in [0, 1)`
BRIEF = reprlib.Repr()  # of a value in a message
BRIEF.maxlevel, BRIEF.maxstring, BRIEF.maxother = 2, 200, 80
POSITIONAL = ("run", "what", "word", "shell", "study", "sets")  # options that need no flag
SYNONYMS = {  # what other libraries call an option of ours, or its value, for the hint
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
    "latent_dim": "latent",
    "total_steps": "steps",
    "num_steps": "steps",
    "timesteps": "steps",
    "exp_name": "name",
    "log_dir": "runs_dir",
    "output_dir": "runs_dir",
    "capture_video": "video",
    "record_video": "video",
    "wandb_project_name": "wandb_project",
    "track": "wandb online",
    "no_track": "wandb disabled",
    "offline": "wandb offline",
    "gpu": "device cuda",
    "cuda": "device cuda",
    "cpu": "device cpu",
    "no_cuda": "device cpu",
}
VALUES = {"gpu": "cuda", "cuda:0": "cuda", "on": "online", "true": "online", "off": "disabled", "false": "disabled"}
TRUTHS = {"true": True, "false": False}
THOUSANDS = {"k": 1_000, "m": 1_000_000}


def shown(name: str, label: str = FLAG) -> str:
    """An option as the user wrote it: `--batch-size`, or `file.yaml: batch_size`."""
    return label + (name.replace("_", "-") if label == FLAG else name)


def check_name(
    name: str, options: Mapping[str, Option], command: str, label: str = FLAG, absent: Mapping[str, str] | None = None
) -> None:
    """Refuse an option that there is not.

    Args:
        name: the option's.
        options: that there are, by name.
        command: whose help page lists them.
        label: where the name is from.
        absent: names that there are elsewhere, and why not here.

    Raises:
        UsageError: with the nearest that there is.
    """
    if name in options:
        return
    if absent and name in absent:
        raise UsageError(f"{shown(name, label)}: {absent[name]}")
    meant = SYNONYMS.get(name, name)
    hint = f" Did you mean {meant}?" if meant.partition(" ")[0] in options else nearest(meant, options)
    if len(name) == 1 and label == FLAG:
        hint = ", ".join(shown(option) for option in options if option.startswith(name.lower()))
        raise UsageError(
            f"-{name}: a flag has two dashes and a whole name{hint and f': {hint}'}. See `rlgen {command} --help`"
        )
    if label == FLAG:
        hint = hint.replace("Did you mean ", "Did you mean --").replace("_", "-")
    raise UsageError(f"{shown(name, label)}: there is no such option.{hint} See `rlgen {command} --help`")


def check_layer(
    layer: Mapping[str, Any],
    options: Mapping[str, Option],
    command: str,
    label: str = FLAG,
    absent: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Names and values from one place, the values converted; arguments as of `check_name`."""
    for name in layer:
        check_name(str(name), options, command, label, absent)
    return {name: check_value(options[name], value, label) for name, value in layer.items()}


def check_value(option: Option, value: Any, label: str = FLAG) -> Any:
    """The value in the option's type, inside the bound that its help states.

    Args:
        option: says which.
        value: text, or already a value.
        label: where it is from.

    Raises:
        UsageError: it is of another type or out of bounds.
    """
    name = option.name if option.name in POSITIONAL else shown(option.name, label)
    kinds = typing.get_args(option.type) if isinstance(option.type, types.UnionType) else (option.type,)
    for kind in sorted(kinds, key=lambda kind: kind is not type(None)):
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            converted = convert(kind, value)
            break
    else:
        wanted = describe(kinds[0]) + ", or None" * (type(None) in kinds)
        raise UsageError(f"{name} {BRIEF.repr(value)}: must be {wanted}{better(kinds[0], value)}")
    if bound := BOUND.search(option.help):
        opens, low, high, closes = bound[1], parse_number(bound[2]), parse_number(bound[3]), bound[4]
        for number in converted if isinstance(converted, tuple) else (converted,):
            if isinstance(number, (int, float)) and not (
                (low < number or (opens == "[" and low == number))
                and (number < high or (closes == "]" and number == high))
            ):
                raise UsageError(f"{name} {number}: must be {bound[0]}")
    return converted


def check_limits(options: Mapping[str, Option], values: Mapping[str, Any], labels: Mapping[str, str]) -> None:
    """Refuse values that are each in range and cannot go together.

    Args:
        options: whose rules are checked, by name.
        values: of these and other options.
        labels: where each is from; a flag if it is not there.

    Raises:
        UsageError: the first rule that is broken.
    """
    for name, option in options.items():
        for limit in option.limits:
            terms = [term.split(" * ") for term in (limit.terms or name).split(" + ")]
            names = [factor for term in terms for factor in term]
            if any(values.get(key) is None for key in (*names, limit.other)):
                continue
            small, large = sum(math.prod(values[factor] for factor in term) for term in terms), values[limit.other]
            if small > large or (limit.below and small == large):
                alone = len(names) == 1
                written = {
                    key: f"{shown(key, labels.get(key, FLAG) if alone else FLAG)} {values[key]}"
                    for key in (*names, limit.other)
                }
                first = " + ".join(" * ".join(written[factor] for factor in term) for term in terms)
                mend = "the first or raise the second" if alone else "one of those or raise the last"
                raise UsageError(f"{first} with {written[limit.other]}: {limit.why}; lower {mend}")


def convert(kind: Any, value: Any) -> Any:
    """The value in that type, or ValueError or TypeError. YAML reads 1e-3 as text, TOML 1e6 as a float."""
    inner = typing.get_args(kind)
    if kind is type(None) or typing.get_origin(kind) is Literal:
        allowed = {"None": None, None: None} if kind is type(None) else {choice: choice for choice in inner}
        if value not in allowed:
            raise ValueError
        return allowed[value]
    if kind is dict:
        return arguments(value)
    if typing.get_origin(kind) is tuple:
        if inner[0] is not str:
            value = separated(value)
        if not isinstance(value, (list, tuple)) or (inner[-1] is not Ellipsis and len(inner) != len(value)):
            raise TypeError
        return tuple(convert(inner[0] if inner[-1] is Ellipsis else inner[i], item) for i, item in enumerate(value))
    if kind is bool and isinstance(value, str):
        value = TRUTHS.get(value.lower())
    if kind is bool or isinstance(value, bool):
        if kind is not bool or not isinstance(value, bool):
            raise TypeError
        return value
    if kind is str:
        if not isinstance(value, (str, Path)) or not str(value).isprintable():
            raise TypeError
        return str(value)
    if isinstance(value, (list, tuple, dict, set)):
        raise TypeError  # a YAML file of a few bytes may hold a list that is too large to be written out
    text = str(value).strip()
    if kind is int and re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+", text):
        text = text.replace(",", "")
    if kind is int and (isinstance(value, numbers.Integral) or re.fullmatch(r"[+-]?\d[\d_]*", text)):
        return int(text)  # no detour through float, which would round a seed of 2**60
    if kind is int and text[-1:].lower() in THOUSANDS:
        value = round(float(text[:-1]) * THOUSANDS[text[-1].lower()], 6)  # 50k, 1.5M
    number = float(value)
    if math.isnan(number) or (kind is int and not number.is_integer()):
        raise ValueError
    return kind(number)


def separated(value: Any) -> Any:
    """The numbers of `64,64` or `[64, 64]`, of text or of each text in a list; what is neither as it is."""
    if not isinstance(value, (str, list, tuple)):
        return value
    texts = [value] if isinstance(value, str) else value
    pieces = [part for text in texts for part in ([text] if not isinstance(text, str) else re.split("[][(), ]+", text))]
    return [part for part in pieces if part != ""]


def describe(kind: Any) -> str:
    """A type in words."""
    inner = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, inner))
    if typing.get_origin(kind) is tuple:
        return f"a list{'' if inner[-1] is Ellipsis else f' of {len(inner)}'}, each {describe(inner[0])}"
    return {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "text",
        dict: "name=value, each name once, the value a number, true, false, None, text, or a list of these",
    }[kind]


def better(kind: Any, value: Any) -> str:
    """What to type instead of a value, as the end of a line; nothing where that cannot be told."""
    if not isinstance(value, (str, bool)) or len(str(value)) > 30:
        return ""
    choices, text = [*map(str, typing.get_args(kind))], str(value)
    if typing.get_origin(kind) is Literal:
        found = [VALUES[text.lower()]] if VALUES.get(text.lower()) in choices else None
        found = found or difflib.get_close_matches(text.lower(), choices, n=1, cutoff=0.75)
        return f". Did you mean {found[0]}?" if found else ""
    if kind is float and re.fullmatch(r"[+-]?\d*,\d+", text):
        return f", with a point: {text.replace(',', '.')}"
    return ""


def parse_number(text: str) -> float:
    """An end of a bound: `1e-3`, `inf` or `2**63`."""
    base, _, power = text.strip().partition("**")
    return int(base) ** int(power) if power else float(base)
