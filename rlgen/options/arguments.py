"""Arguments of a constructor, as `size=5 goal=[1,2] map_name=8x8`: a value is a literal of JSON or Python, or text.

They are kept as JSON holds them, so that a run that goes on passes what it passed before: a tuple is a list.
"""

from __future__ import annotations

import ast
import contextlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

WORD = re.compile(r"([A-Za-z_]\w*)[=:](.*)", re.DOTALL)  # RL Zoo has a colon
BETWEEN = re.compile(r"\s+(?=[A-Za-z_]\w*[=:])")  # of one text, as in a file
MANY = 10_000  # values; a YAML file of a few bytes may hold more than a memory does


def arguments(given: Any) -> dict[str, Any] | None:
    """Arguments by name; None where there are none.

    Args:
        given: words or one text as `name=value`, or a dictionary.

    Raises:
        ValueError: it is none of these, a name is there twice, or a value is nothing that JSON can hold.
        TypeError: the same.
    """
    if isinstance(given, str):
        given = BETWEEN.split(given.strip())
    if not isinstance(given, Mapping):
        pairs = [pair for word in given for pair in _pairs(word)]
        given = dict(pairs)
        if len(given) < len(pairs):
            raise ValueError
    found = _plain(given, iter(range(MANY)))
    return dict(sorted(found.items())) or None


def _pairs(word: Any) -> list[tuple[str, Any]]:
    """The arguments of one word; a word may be a whole JSON object."""
    if not isinstance(word, str):
        raise TypeError
    if word.lstrip().startswith("{") and isinstance(table := literal(word), Mapping):
        return [*table.items()]
    if (match := WORD.fullmatch(word.strip())) is None:
        raise ValueError
    return [(match[1], literal(match[2]))]


def literal(text: str) -> Any:
    """A value as JSON or Python writes it; anything else is text."""
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(text, parse_constant=_refuse)
    with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
        return ast.literal_eval(text.strip())
    return text


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and Infinity, which strict JSON does not have


def _plain(value: Any, room: Iterator[int]) -> Any:
    """The value as strict JSON gives it back."""
    if next(room, None) is None:
        raise ValueError
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise TypeError
        return {name: _plain(item, room) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        return [_plain(item, room) for item in value]
    if not (value is None or isinstance(value, bool | int | float | str)):
        raise TypeError
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError
    return value
