"""A comparison as files: Markdown, LaTeX, CSV, JSON, HTML, and figures as PNG, SVG and PDF."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlgen.compare.comparison import Comparison
from rlgen.compare.latex import latex
from rlgen.compare.page import html_page
from rlgen.compare.panels import panels
from rlgen.compare.sheet import write_sheet
from rlgen.compare.tables import Section, sections
from rlgen.errors import MissingExtraError, UsageError, is_out_of_memory
from rlgen.files import replaced, write_whole
from rlgen.text import document

SHEETS = (".png", ".svg", ".pdf")
DRAWN = (".html", *SHEETS)
FORMATS = (".html", ".md", ".tex", ".csv", ".json", *SHEETS)


def check(paths: Sequence[str | Path], figure: str | None = None) -> None:
    """Refuse what `write` could not write, before the work.

    Raises:
        UsageError: another ending, no such directory, one of that name, or a figure alone that goes into no file.
        MissingExtraError: matplotlib is needed and not installed.
    """
    if figure and not any(Path(path).suffix in SHEETS for path in paths):
        raise UsageError(f"--figure {figure}: say where it goes, as --out {figure}.pdf ({', '.join(SHEETS)})")
    for path in map(Path, paths):
        if path.suffix not in FORMATS or not path.parent.is_dir():
            raise UsageError(f"--out {path}: must end in {', '.join(FORMATS)}, in a directory that exists")
        if path.is_dir():
            raise UsageError(f"--out {path} is a directory: give the name of a file")
        if path.suffix in DRAWN:
            try:
                import matplotlib  # noqa: F401
            except ImportError as error:
                if is_out_of_memory(error):
                    raise
                raise MissingExtraError(f"{path.suffix} needs matplotlib", "matplotlib") from None


@np.errstate(over="ignore", invalid="ignore")  # in figures of scores near the largest number that there is
def write(comparison: Comparison, paths: Sequence[str | Path], figure: str | None = None) -> None:
    """Write the comparison to each file, in the format that its name ends in.

    Args:
        comparison: what is written.
        paths: of the files.
        figure: name of the one that `SHEETS` hold alone; None is all of them.

    Raises:
        UsageError: another ending, or no such directory.
        MissingExtraError: matplotlib is needed and not installed.
        DiskError: a file cannot be written.
    """
    check(paths, figure)
    parts = sections(comparison)
    figures = panels(comparison) if any(Path(path).suffix in DRAWN for path in paths) else []
    alone = [[each for each in of_part if each.name == figure] for of_part in figures] if figure else figures
    if figure and not any(alone):
        names = dict.fromkeys(each.name for of_part in figures for each in of_part)
        raise UsageError(f"--figure {figure}: there is no such figure; there are {', '.join(names) or 'none'}")
    for path in map(Path, paths):
        if path.suffix in SHEETS:
            with replaced(path) as temporary:
                write_sheet([part.title for part in parts], alone, temporary, path.suffix[1:])
        elif path.suffix == ".csv":
            lines = io.StringIO()
            csv.writer(lines).writerows(csv_rows(comparison))
            write_whole(path, lines.getvalue())
        elif path.suffix == ".json":
            write_whole(path, document(comparison))
        elif path.suffix == ".tex":
            write_whole(path, latex(parts))
        elif path.suffix == ".md":
            write_whole(path, markdown(parts))
        else:
            write_whole(path, html_page(comparison, parts, figures))


def markdown(parts: Sequence[Section]) -> str:
    """Headings, notes and tables."""
    lines = []
    for part in parts:
        lines += [f"## {part.title}", ""]
        lines += [f"**Not ranked**: {reason}.\n" for reason in part.refusals]
        lines += [f"- warning: {warning}" for warning in part.warnings] + [""] * bool(part.warnings)
        for table in part.tables:
            rows = [[cell.replace("|", "\\|") for cell in row] for row in (table.columns, *table.texts())]
            rows.insert(1, ["---"] + ["---:"] * (len(table.columns) - 1))
            lines += [f"### {table.title}", ""] if table.title else []
            lines += [*("| " + " | ".join(row) + " |" for row in rows), ""]
    return "\n".join(lines)


def csv_rows(comparison: Comparison) -> list[list[Any]]:
    """A row for every task, group and metric, then one for every seed; what a row does not have is empty.

    Area and times belong to the ranked metric alone. A seed's row has `run`, `seed`, `state`, `step` and `score`.
    """
    common = ["mean", "median", "iqm", "low", "high"]
    ranked = ["area", "steps_to_threshold", "seconds_to_threshold", "steps_per_second", "seconds"]
    own = ["run", "seed", "state", "step", "score"]
    rows: list[list[Any]] = [
        ["task", "group", "metric", "direction", "ranked", "seeds", "failed", *common, *ranked, *own]
    ]
    for task in comparison["tasks"]:
        for row in task["groups"]:
            for name, statistics in row["metrics"].items():
                main = name == task["metric"]
                cells = [task["task"], row["group"], name, statistics["direction"], task["ranked"] and main]
                cells += [len(statistics["scores"]), row["failed"], *(statistics[key] for key in common)]
                rows.append([*cells, *(row.get(key) if main else None for key in ranked), *[None] * len(own)])
    for task in comparison["tasks"]:
        for run in task["runs"]:
            cells = [task["task"], run["group"], task["metric"], task["direction"], task["ranked"], None, None]
            cells += [None] * (len(common) + len(ranked) - 1) + [run["seconds"]]
            rows.append([*cells, run["run"], run["seed"], run["status"], run["step"], run["score"]])
    return rows
