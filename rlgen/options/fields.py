"""Options are the fields of a dataclass, read from its text: name, type, default, and what its comments say.

    # at most buffer_size: a batch cannot be larger than the buffer
    batch_size: int = 128  # transitions in an update; in [1, 10**6]
    n_step: int = 1  # rewards summed before bootstrapping; in [1, 1000]; fixed: a buffer of other windows

The comment at the end of the line is the help page's, and `in [1, 10**6]` in it is the bound that values are checked
against. Rules stand there too, after a semicolon, or above the field. `fixed: WHAT`: a fork takes the value from its
parent, whose checkpoint holds that; `fixed at 0: WHAT`: a 0 stays 0, and other numbers stay others. `at most OPTION:
WHY` and `below OPTION: WHY`: two options have to fit together; `A + B * C at most OPTION: WHY` has more of them.
`learns the same`: no weight depends on it, so runs that differ in it alone are seeds of one group. `other scores: WHAT`
and `other scores in eval/: WHAT`: scores, or those named so, of runs that differ in it are never pooled or ranked.
`divided by ranks`: where several processes train one run, each has its share of it.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rlgen.errors import UsageError
from rlgen.options.parsed_module import ParsedModule, find_module

REQUIRED = object()  # the default of an option that has none
TYPES = {"bool": bool, "int": int, "float": float, "str": str, "tuple": tuple, "dict": dict, "Literal": typing.Literal}
FIXED = re.compile(r"fixed( at 0)?: (.+)")
LIMIT = re.compile(r"(?:(\w+(?: [+*] \w+)+) )?(at most|below) (\w+): (.+)")
SAME = re.compile(r"learns the same")
SCORES = re.compile(r"other scores(?: in (\S+))?: (.+)")
DIVIDED = re.compile(r"divided by ranks")
RULES = (FIXED, LIMIT, SAME, SCORES, DIVIDED)


@dataclass(frozen=True)
class Limit:
    """An option, or a sum of products of options, may not be larger than another."""

    other: str
    below: bool  # nor equal to it
    why: str
    terms: str = ""  # the sum, as `a + b * c`; "" is the option itself


@dataclass(frozen=True)
class OtherScores:
    """What an option does to scores: those of other values mean something else."""

    prefix: str  # of the metrics; "" for all
    what: str  # differs


@dataclass(frozen=True)
class Option:
    """A field: its name, type and default, the comment at the end of its line, and the rules above it."""

    name: str
    type: Any
    default: Any  # REQUIRED where the field has none
    help: str
    fixed: str = ""  # what the checkpoint holds, so that a fork cannot change it; "" where it can
    fixed_at_0: bool = False  # a fork can change it, but neither from 0 nor to 0
    limits: tuple[Limit, ...] = ()
    learns_the_same: bool = False  # whatever its value
    other_scores: OtherScores | None = None  # None where a score means the same with every value
    divided: bool = False  # each of several ranks has a share of it


@cache
def read_options(parsed: ParsedModule, name: str = "Config") -> tuple[Mapping[str, Option], tuple[Path, ...]]:
    """The fields of a config class, inherited ones first, and the files they were inherited from; read once a process.

    Raises:
        UsageError: a field has no literal default or an annotation beyond the built-in types, Literal and tuple.
    """
    options, extends = inherited(parsed, name)
    for field in parsed.classes[name].fields if name in parsed.classes else ():
        if "ClassVar" in field.annotation:
            continue
        try:
            kind = eval(field.annotation, {"__builtins__": {}} | TYPES)
            default = REQUIRED if field.default is None else eval(field.default, {"__builtins__": {}} | TYPES)
        except Exception:
            where = f"{parsed.path} line {field.line}: {name}.{field.name}"
            raise UsageError(f"{where} needs a built-in type, Literal or tuple, and a literal default") from None
        base = options.get(field.name, Option(field.name, kind, default, ""))
        words = [] if field.comment is None else field.comment.split("; ")
        rules = [rule for line in field.above for rule in line.split("; ")] + words
        fixed = [(match[2], bool(match[1])) for rule in rules if (match := FIXED.fullmatch(rule))]
        limits = [Limit(m[3], m[2] == "below", m[4], m[1] or "") for rule in rules if (m := LIMIT.fullmatch(rule))]
        scores = [OtherScores(match[1] or "", match[2]) for rule in rules if (match := SCORES.fullmatch(rule))]
        shown = [word for word in words if not any(rule.fullmatch(word) for rule in RULES)]
        options[field.name] = Option(
            name=field.name,
            type=kind,
            default=default,
            help=base.help if field.comment is None else "; ".join(shown),
            fixed=fixed[0][0] if fixed else base.fixed,
            fixed_at_0=fixed[0][1] if fixed else base.fixed_at_0,
            limits=tuple(limits) or base.limits,
            learns_the_same=any(map(SAME.fullmatch, rules)) or base.learns_the_same,
            other_scores=scores[0] if scores else base.other_scores,
            divided=any(map(DIVIDED.fullmatch, rules)) or base.divided,
        )
    return options, extends


def inherited(parsed: ParsedModule, name: str) -> tuple[dict[str, Option], tuple[Path, ...]]:
    """The fields that a config class has from its bases, and the files of those, nearest first."""
    options: dict[str, Option] = {}
    extends: list[Path] = []
    if name in parsed.classes:
        bases = parsed.classes[name].bases
    else:  # no Config of its own: that of the learner it extends
        bases = tuple((module, name) for cls in parsed.classes.values() for module, _ in cls.bases)
    for module, cls in bases:
        base = parsed if module == parsed.module else find_module(module)
        if base and (cls in base.classes or name not in parsed.classes):
            found, further = read_options(base, cls)
            options = {**found, **options}  # as Python has it: fields of the last base first, the first base wins
            if found and base is not parsed:
                extends += [base.path, *further]
    return options, tuple(dict.fromkeys(extends))
