"""A comparison for a terminal: verdicts and tables, without the details, in lines that fit."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from rlgen.compare.comparison import Comparison
from rlgen.compare.tables import Table, sections
from rlgen.text import table as lines_of
from rlgen.text import takes, terminal_width, width, wrapped

INDENT, GAP = 2, 2  # columns before a table, and between two of its columns
NARROW, HEADING = 11, 20  # columns of a text that is wrapped, at least, and of a heading
WORDS = {  # for a terminal that has no such character
    "\N{UPWARDS ARROW}": "(higher is better)",
    "\N{DOWNWARDS ARROW}": "(lower is better)",
    "\N{EN DASH}": "-",
}


def text(comparison: Comparison) -> str:
    """What was found; a table that is too wide goes on below itself."""
    lines: list[str] = []
    for section in sections(comparison)[:-1]:
        lines.append(wrapped(said(section.title)))
        lines += [wrapped(said(f"  not ranked: {reason}"), "    ") for reason in section.refusals]
        for each in section.tables:
            if not each.detail:
                lines += ["", *([wrapped("  " + said(each.title), "  ")] if each.title else [])]
                lines.append(textwrap.indent("\n\n".join(parts(each, terminal_width() - INDENT)), " " * INDENT))
        lines += ["", *(wrapped(said(f"  warning: {warning}"), "    ") for warning in section.warnings), ""]
    return "\n".join(lines).replace("\n\n\n", "\n\n").rstrip()


def said(text: str) -> str:
    """The text in characters that the terminal has."""
    for mark, words in WORDS.items():
        text = text if takes(mark) else text.replace(mark, words)
    return text


def parts(table: Table, most: int) -> Iterator[str]:
    """The table in parts of at most so many columns of the terminal, each with the first column.

    A table of one column, of commands, stays as it is: they are copied.
    """
    lines = [[*map(said, row)] for row in (table.columns, *table.texts())]
    if len(table.columns) > 1:
        words = [all(isinstance(row[i], str) for row in table.rows) for i in range(len(table.columns))]
        lines = _narrowed(lines, words, most)
    widths = [*map(width, zip(*lines, strict=True))]
    least = len(_split(widths, most))
    even = next(at for at in range(most + 1) if len(_split(widths, at)) == least)  # no part is much narrower
    for columns in _split(widths, even):
        first, *rest = ([line[i] for i in (0, *columns)] for line in lines)
        yield lines_of(first, [row for row in rest if any(row)])  # without what a heading of another part wraps into


def _split(widths: Sequence[int], most: int) -> list[list[int]]:
    """The columns but the first in parts, each with as many as fit beside the first, and at least one."""
    found: list[list[int]] = [[]]
    room = most - widths[0]
    for column, needed in enumerate(widths[1:], 1):
        if found[-1] and room < needed + GAP:
            found.append([])
            room = most - widths[0]
        found[-1].append(column)
        room -= needed + GAP
    return found


def _narrowed(lines: list[list[str]], words: Sequence[bool], most: int) -> list[list[str]]:
    """The lines of a table that is too wide with columns of text wrapped, the widest ones first, and with headings."""
    columns = [*zip(*lines, strict=True)]
    widths = [*map(width, columns)]
    if (excess := sum(widths) + GAP * (len(widths) - 1) - most) <= 0:
        return lines
    numbers = [i for i, is_text in enumerate(words) if not is_text]
    for i in numbers:
        widths[i] = min(widths[i], max(HEADING, width(columns[i][1:])))
    excess = sum(widths) + GAP * (len(widths) - 1) - most
    texts = [i for i, is_text in enumerate(words) if is_text]
    least = max(NARROW, most // (len(texts) + 2))
    while excess > 0 and texts and max(widths[i] for i in texts) > least:
        widest = max(texts, key=lambda i: widths[i])
        widths[widest] -= 1
        excess -= 1
    found = []
    for line in lines:
        cells = [textwrap.wrap(cell, at, break_on_hyphens=False) or [""] for cell, at in zip(line, widths, strict=True)]
        for number in range(max(map(len, cells))):
            found.append([cell[number] if number < len(cell) else "" for cell in cells])
    return found
