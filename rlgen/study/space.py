"""What a study tries: ranges and choices, as `lr=1e-4:1e-2:log hidden=64,64/128,128`, checked as flags are."""

from __future__ import annotations

import itertools
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rlgen.errors import UsageError
from rlgen.options.checks import check_name, check_value
from rlgen.options.fields import Option
from rlgen.options.words import NO, YES

MAX_GRID = 10_000  # combinations: all are written to the storage before the first is trained
LABEL = "--over "  # where the values are from
NOT_TRIED = {  # options that are no choice of a study, and why
    "seed": "its seeds are --seeds",
    "env": "scores of several tasks cannot be compared",
    "data": "scores of several tasks cannot be compared",
    "steps": "all trials have the same length, --steps",
    "epochs": "all trials have the same length, --steps",
}


class Trial(Protocol):
    """What suggests values: a trial of Optuna."""

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        """A number of a range."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        """A whole number of a range."""

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> str:
        """One of the choices."""


@dataclass(frozen=True)
class Parameter:
    """An option that is tried: a range of numbers, or choices.

    Attributes:
        option: which.
        text: as it was typed, behind the `=`.
        choices: as they were typed; none of a range.
        low: of a range, inclusive.
        high: of a range, inclusive.
        log: whether the range is even in the logarithm.
        step: between values of the range; 0: any.
    """

    option: Option
    text: str
    choices: tuple[str, ...] = ()
    low: float = 0
    high: float = 0
    log: bool = False
    step: float = 0

    @property
    def name(self) -> str:
        """Of the option."""
        return self.option.name

    def suggest(self, trial: Trial) -> Any:
        """A value by Optuna: a number of a range, the text of a choice."""
        if self.choices:
            return trial.suggest_categorical(self.name, self.choices)
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(self.name, self.low, self.high, step=int(self.step) or 1, log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, step=self.step or None, log=self.log)

    def value(self, suggested: Any) -> Any:
        """The option's value behind one of Optuna's."""
        return check_value(self.option, _as_typed(self.option, suggested), LABEL)

    def suggested(self, value: Any) -> Any:
        """What Optuna has for a value of the option; None where it is none of those that are tried."""
        if self.choices:
            return next((choice for choice in self.choices if self.value(choice) == value), None)
        if value is None or not self.low <= value <= self.high:
            return None
        steps = (value - self.low) / self.step if self.step else 0.0
        return value if math.isclose(steps, round(steps), abs_tol=1e-9) else None

    @property
    def ends(self) -> tuple[Any, Any]:
        """The first and the last value that it may have."""
        first, last = (self.choices[0], self.choices[-1]) if self.choices else (self.low, self.high)
        return self.value(first), self.value(last)


def parse_space(words: Sequence[str], options: Mapping[str, Option], command: str) -> list[Parameter]:
    """The parameters of `name=A:B`, `name=A:B:log`, `name=A:B:STEP` and `name=A/B/C`, in that order.

    Raises:
        UsageError: an unknown option, one that is no choice, or a value that the option cannot have.
    """
    if not words:
        raise UsageError("--over: say what is tried, as lr=1e-4:1e-2:log hidden=64,64/128,128")
    found: dict[str, Parameter] = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.lstrip("-").replace("-", "_")
        if not equals or not text:
            raise UsageError(f"--over {word}: type name=A:B, name=A:B:log, name=A:B:STEP or name=A/B/C")
        check_name(name, options, command, LABEL)
        why = NOT_TRIED.get(name)
        if options[name].learns_the_same:
            why = "no weight depends on it"
        elif options[name].other_scores:
            why = "scores of its values cannot be compared"
        if why:
            raise UsageError(f"--over {name}: is not tried, as {why}")
        if name in found:
            raise UsageError(f"--over {word}: {name} is given twice")
        found[name] = _parameter(options[name], text)
    return list(found.values())


def grid(space: Sequence[Parameter]) -> list[dict[str, Any]]:
    """Every combination, as Optuna takes it.

    Raises:
        UsageError: a range has no steps, or there are too many.
    """
    if (num := math.prod(map(_count, space))) > MAX_GRID:
        raise UsageError(f"--sampler grid: it has {num:,} combinations, at most {MAX_GRID:,} can be; take larger steps")
    columns: list[list[Any]] = [
        list(each.choices) or [each.low + i * (each.step or 1) for i in range(_count(each))] for each in space
    ]
    return [dict(zip((each.name for each in space), values, strict=True)) for values in itertools.product(*columns)]


def kinds(option: Option) -> set[Any]:
    """The types that one value may have."""
    return {*typing.get_args(option.type)} if isinstance(option.type, types.UnionType) else {option.type}


def _count(parameter: Parameter) -> int:
    """How many values it has in a grid."""
    if parameter.choices:
        return len(parameter.choices)
    if parameter.log or not (parameter.step or isinstance(parameter.low, int)):
        example = f"{parameter.low}/{parameter.high}"
        raise UsageError(f"--sampler grid with {parameter.name}={parameter.text}: list its values, as {example}")
    return 1 + round((parameter.high - parameter.low) / (parameter.step or 1))


def _parameter(option: Option, text: str) -> Parameter:
    if ":" in text and kinds(option) & {int, float}:
        return _range(option, text, int if int in kinds(option) else float)
    choices = tuple(text.split("/"))
    values = [check_value(option, _as_typed(option, choice), LABEL) for choice in choices]
    if len(values) == 1:
        raise UsageError(f"--over {option.name}={text}: one value is no choice; give it as a flag")
    if any(value in values[:i] for i, value in enumerate(values)):
        raise UsageError(f"--over {option.name}={text}: a value stands there twice")
    return Parameter(option, text, choices)


def _range(option: Option, text: str, kind: type) -> Parameter:
    said = f"--over {option.name}={text}"
    first, second, *more = text.split(":")
    if len(more) > 1:
        raise UsageError(f"{said}: a range is A:B, A:B:log or A:B:STEP")
    low, high = (check_value(option, end, LABEL) for end in (first, second))
    if low is None or high is None or not (math.isfinite(high) and math.isfinite(low) and low < high):
        raise UsageError(f"{said}: the first number must be smaller than the second, both finite")
    if more == ["log"]:
        if low <= 0:
            raise UsageError(f"{said}: a logarithmic range begins above 0")
        return Parameter(option, text, low=low, high=high, log=True)
    try:
        step = kind(more[0]) if more else 0
        fits = not more or (step > 0 and math.isclose((high - low) / step, round((high - low) / step), abs_tol=1e-9))
    except ValueError:
        fits = False
    if not fits:
        raise UsageError(f"{said}: behind the second colon is log, or a step that leads from {low} to {high}")
    return Parameter(option, text, low=low, high=high, step=step)


def _as_typed(option: Option, value: Any) -> Any:
    """A value as a file would give it: an option that is on or off is no text there."""
    if option.type is bool and str(value).lower() in (*YES, *NO):
        return str(value).lower() in YES
    return value
