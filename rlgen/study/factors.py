"""The factors of an ablation: the levels of each, and options that are tuned for each level of one of them."""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rlgen.errors import UsageError
from rlgen.options.checks import check_value
from rlgen.options.fields import Option
from rlgen.study.space import LABEL, Parameter, grid, kinds, parse_space

SHARE = re.compile(r"\bin [\[(]0, 1[\])]")
WORD = re.compile(r"(\w+)(?:=([^:]+))?:(\w+)=(.+)")
FORM = "type FACTOR:OPTION=A/B/C, or FACTOR=LEVEL:OPTION=A/B/C for one level"
APART = 3  # a number for which no values are given: its default, and this many times less and more


@dataclass(frozen=True)
class Tuning:
    """Options that each level of a factor has values of its own for.

    Attributes:
        factor: which; "" where nothing is tuned.
        tried: by level, and then by option, the values that are tried, as Optuna has them.
        space: the tuned options, with the values of all levels.
    """

    factor: str = ""
    tried: dict[Any, dict[str, list[str]]] = field(default_factory=dict)
    space: list[Parameter] = field(default_factory=list)


def spelled_out(words: Sequence[str], options: Mapping[str, Option]) -> list[str]:
    """What is tried, with values: those of `optimizer,norm` are its choices, or near the default of a number.

    Raises:
        UsageError: an option's values have to be said.
    """
    found = []
    for word in words:
        names = [word] if "=" in word else [name for name in word.split(",") if name]
        found += [name if "=" in name else _with_values(name, options) for name in names]
    return found


def _with_values(name: str, options: Mapping[str, Option]) -> str:
    option = options.get(name.lstrip("-").replace("-", "_"))
    if option is None:
        return f"{name}=?"  # is refused with the nearest that there is
    types = kinds(option)
    values: list[Any] = [choice for choice in typing.get_args(option.type) if isinstance(choice, str)]
    if bool in types:
        values = ["on", "off"]
    elif not values and types & {int, float} and isinstance(option.default, (int, float)):
        near = [option.default / APART, option.default, option.default * APART]
        values = [value for number in near if (value := _possible(option, number, int in types)) is not None]
    if len({*values}) < 2 or SHARE.search(option.help):  # a share has no multiples
        raise UsageError(f"--over {name}: list its values, as {name}=A/B/C")
    return f"{option.name}={'/'.join(map(str, dict.fromkeys(values)))}"


def _possible(option: Option, number: float, whole: bool) -> float | None:
    """The number as the option may have it."""
    try:
        return typing.cast(float, check_value(option, round(number) if whole else float(f"{number:.4g}"), LABEL))
    except UsageError:
        return None


def parse_tuning(words: Sequence[str], factors: Sequence[Parameter], options: Mapping[str, Option]) -> Tuning:
    """What `--tune optimizer:lr=1e-4/1e-3 optimizer=sgd:lr=1e-2/1e-1` says; one level's values go before all levels'.

    Raises:
        UsageError: it says no such thing, or a level has no values.
    """
    if not words:
        return Tuning()
    levels = {factor.name: list(dict.fromkeys(cell[factor.name] for cell in grid(factors))) for factor in factors}
    tuned: dict[str, dict[Any, list[str]]] = {}  # by option and level
    name = ""
    for word in sorted(words, key=lambda word: "=" in word.partition(":")[0]):
        match = WORD.fullmatch(word)
        if match is None:
            raise UsageError(f"--tune {word}: {FORM}")
        factor, level, option, text = match.groups()
        if factor not in levels:
            raise UsageError(f"--tune {word}: {factor} is none of the factors {', '.join(levels)}")
        if name not in ("", factor):
            raise UsageError(f"--tune {word}: values are tuned for each level of one factor, here of {name}")
        if option in levels:
            raise UsageError(f"--tune {word}: {option} is a factor itself")
        name = factor
        texts = [str(each) for each in levels[factor]]
        if level is not None and level not in texts:
            raise UsageError(f"--tune {word}: {factor} has the levels {', '.join(texts)}")
        for each in levels[factor]:
            if level in (None, str(each)):
                tuned.setdefault(option, {})[each] = text.split("/")
    for option, by_level in tuned.items():
        if lacking := [str(level) for level in levels[name] if level not in by_level]:
            of_it = f"{name}={lacking[0]}"
            raise UsageError(f"--tune {option}: no values for {of_it}; add {of_it}:{option}=A/B/C")
    words = [_all_values(option, by_level, options) for option, by_level in tuned.items()]
    space = parse_space(words, options, "study ablate")
    as_typed = {(each.name, each.value(choice)): choice for each in space for choice in each.choices}
    tried: dict[Any, dict[str, list[str]]] = {level: {} for level in levels[name]}
    for each in space:
        for level, texts in tuned[each.name].items():
            tried[level][each.name] = [as_typed[each.name, each.value(text)] for text in texts]
    return Tuning(name, tried, space)


def _all_values(name: str, by_level: Mapping[Any, Sequence[str]], options: Mapping[str, Option]) -> str:
    """The values of all levels as one list, each once."""
    found: dict[str, str] = {}
    for text in (text for texts in by_level.values() for text in texts):
        found.setdefault(repr(check_value(options[name], text, LABEL)) if name in options else text, text)
    return f"{name}={'/'.join(found.values())}"
