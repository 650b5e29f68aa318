"""How results are written: tables, pages, cells, spans of time and sizes for people, JSON for programs."""

from __future__ import annotations

import contextlib
import difflib
import json
import math
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

NAME_WIDTH = 30  # columns that the names on a page take, with the gap behind them
CUT_WIDTH = 12  # that is left of a column which is cut, at least
WHOLE: Any = {"break_long_words": False, "break_on_hyphens": False}  # words, in lines that are broken
MANY = 20  # values; a list of more is counted, not written


class Seconds(int):
    """A span of time: a number in JSON, `3 h` for people."""

    def __str__(self) -> str:
        for unit, length in {"d": 86400, "h": 3600, "min": 60}.items():
            if self >= length:
                return f"{self / length:.0f} {unit}"
        return f"{self:d} s"


class Bytes(int):
    """A size: a number in JSON, `1.2 MiB` for people."""

    def __str__(self) -> str:
        power = min(3, max(0, self.bit_length() - 1) // 10)
        return f"{self / 1024**power:.{1 if power else 0}f} {('B', 'KiB', 'MiB', 'GiB')[power]}"


class Rows(list[dict[str, Any]]):
    """Rows with raw values, for JSON.

    Attributes:
        shown: the same rows as people read them.
        problems: what failed.
        spare: columns that a narrow terminal does without, the first one first.
    """

    shown: list[dict[str, Any]]
    problems: Sequence[str] = ()
    spare: Sequence[str] = ()


def safe(text: str) -> str:
    """The text on one line, without what a terminal would obey: control characters and their like are escaped."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def warn(message: str, note: bool = False) -> None:
    """One line on stderr, above a bar that may be there; a note is no warning."""
    from tqdm import tqdm

    with contextlib.suppress(OSError):  # nobody reads it, or it goes to a full disk: no reason to stop
        tqdm.write(safe(message if note else f"warning: {message}"), file=sys.stderr)


def readable(result: Any) -> str:
    """What a command found, for people: text, a table of rows, or a page of names and values."""
    if isinstance(result, list):
        rows = getattr(result, "shown", result)
        columns = [key for key in rows[0] if key != "path"] if rows else []
        cells = [[cell(row[key]) for key in columns] for row in rows]
        fitting = fitted(columns, cells, getattr(result, "spare", ())) if rows else ()
        result = table([*map(safe, fitting[0])], fitting[1:]) if fitting else "none"
    elif not isinstance(result, str):
        result = page(result)
    return "\n".join(map(safe, result.split("\n")))  # what went through no cell


def document(value: Any) -> str:
    """One JSON document that every parser reads."""
    return json.dumps(plain(value), indent=2, allow_nan=False)


def plain(value: Any) -> Any:
    """The value without NumPy, tuples, NaN and infinities, as strict JSON holds it."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return plain(value.tolist()) if hasattr(value, "tolist") else strict(value)


def strict(value: Any) -> Any:
    """A value that JSON can hold: NaN and infinities become strings, which `float` and JavaScript's `Number` read."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def page(values: dict[str, Any]) -> str:
    """A name and its value on each line; a dictionary's names are indented below its own."""
    lines = []
    for key, value in zip(map(safe, values), values.values(), strict=True):
        if isinstance(value, dict):
            lines.append(key)
            lines += [_beside(f"  {safe(name):{NAME_WIDTH - 2}}", item) for name, item in value.items()]
        elif key in ("commands", "problems"):  # one a line, so that they can be copied
            first, *others = map(safe, value or ["none"])
            if (line := _beside(f"{key:{NAME_WIDTH}}", first)).startswith(f"{key}\n"):
                lines += [line, *(f"    {other}" for other in others)]
            else:
                lines += [line, *(f"{'':{NAME_WIDTH}} {other}" for other in others)]
        else:
            lines.append(_beside(f"{key:{NAME_WIDTH}}", value))
    return "\n".join(lines)


def _beside(name: str, value: Any) -> str:
    """A name with its value beside it; below it where a command or a path fits the terminal only there."""
    written, most = _on_page(value), terminal_width()
    if len(name) + 1 + len(written) <= most or not isinstance(value, str) or "\n" in written or len(written) > most - 4:
        return f"{name} {written}"
    return f"{name.rstrip()}\n    {written}"


def _on_page(value: Any) -> str:
    """A value beside its name; a list or a dictionary in lines that fit the terminal, text as it is, to be pasted."""
    written = cell(value)
    if isinstance(value, (dict, list, tuple)):
        written = textwrap.fill(written, max(40, terminal_width() - NAME_WIDTH - 1), **WHOLE)
    return written.replace("\n", "\n" + " " * (NAME_WIDTH + 1))


def fitted(columns: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[str] = ()) -> list[Sequence[str]]:
    """The columns and the rows of a table that fits the terminal: without spare columns, then with the widest cut.

    The first column is what people paste: it stays whole.
    """
    lines, left = [columns, *rows], [name for name in spare if name in columns]
    while (excess := sum(map(width, zip(*lines, strict=True))) + 2 * len(lines[0]) - 2 - terminal_width()) > 0 and left:
        drop = lines[0].index(left.pop(0))
        lines = [[*line[:drop], *line[drop + 1 :]] for line in lines]
    widths = [width(column) for column in zip(*lines, strict=True)]
    if excess > 0 and len(widths) > 1:
        widest = max(range(1, len(widths)), key=lambda i: widths[i])
        most = max(CUT_WIDTH, widths[widest] - excess)
        lines = [[cut(text, most) if i == widest else text for i, text in enumerate(line)] for line in lines]
    return lines


def width(column: Iterable[str]) -> int:
    """Characters of the widest cell."""
    return max(map(len, column))


def cut(text: str, most: int) -> str:
    """The text, its end left out where it is too long."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def terminal_width() -> int:
    """Columns of the terminal; 80 where there is none, and $COLUMNS before both."""
    return shutil.get_terminal_size().columns


def takes(characters: str) -> bool:
    """Whether the terminal has these characters."""
    try:
        characters.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def wrapped(text: str, indent: str = "  ") -> str:
    """Prose in lines that fit the terminal; words, and so commands and paths, stay whole."""
    most = max(40, terminal_width())
    return textwrap.fill(text, most, subsequent_indent=indent, **WHOLE)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines of cells under the names of their columns, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (columns, *rows)]
    return "\n".join(line.rstrip() for line in lines)


def cell(value: Any) -> str:
    """A value in a few characters: `-` for None, six digits of a number, the items of a list or a dictionary."""
    if isinstance(value, dict):
        return ", ".join(f"{safe(str(key))} {cell(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return (" ".join(map(cell, value)) or "-") if len(value) <= MANY else f"{len(value)} values, see --json"
    if isinstance(value, str):
        return safe(value)
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, as in 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def nearest(word: str, words: Iterable[str]) -> str:
    """' Did you mean X?', or nothing where no word is near."""
    match = difflib.get_close_matches(word.lower(), list(words), n=1, cutoff=0.5)
    return f" Did you mean {match[0]}?" if match else ""
