"""The tables of a comparison for LaTeX, with booktabs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rlgen.compare.tables import Section, Table
from rlgen.text import safe

MARKS = {
    "\\": r"\textbackslash{}",
    **{mark: "\\" + mark for mark in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "\N{UPWARDS ARROW}": r"$\uparrow$",
    "\N{DOWNWARDS ARROW}": r"$\downarrow$",
    "\N{EN DASH}": "--",
}
MARK = re.compile("|".join(map(re.escape, MARKS)))
MINUS = re.compile(r"(?<![\w.])-(?=\d)")
FITTING = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"  # a wide table shrinks to the page


def latex(parts: Sequence[Section]) -> str:
    """Every table that is not a detail, each with a caption, and what is not ranked as a comment above it."""
    lines = ["% needs \\usepackage{booktabs,graphicx}"]
    for part in parts:
        lines += [f"% not ranked: {safe(reason)}" for reason in part.refusals]
        lines += [f"% {safe(warning)}" for warning in part.warnings]
        for table in part.tables:
            if not table.detail and table.rows:
                lines += ["", *_tabular(part.title, table)]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """The text as LaTeX prints it."""
    return MARK.sub(lambda match: MARKS[match[0]], text)


def _tabular(title: str, table: Table) -> list[str]:
    words = [all(isinstance(row[i], str) for row in table.rows) for i in range(len(table.columns))]
    cells = [
        [escaped(text) if word else MINUS.sub("$-$", escaped(text)) for text, word in zip(row, words, strict=True)]
        for row in table.texts()
    ]
    rows = [" & ".join(row) + r" \\" for row in ([*map(escaped, table.columns)], *cells)]
    return [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(f'{title}. {table.title}'.removesuffix('. '))}}}",
        FITTING,
        rf"\begin{{tabular}}{{{''.join('l' if word else 'r' for word in words)}}}",
        r"\toprule",
        rows[0],
        r"\midrule",
        *rows[1:],
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]
