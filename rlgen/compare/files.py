"""A comparison as files: Markdown, CSV, JSON, PNG and HTML."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlgen.compare.comparison import Comparison
from rlgen.compare.figures import Figure
from rlgen.compare.page import html_page
from rlgen.compare.panels import panels
from rlgen.compare.tables import Section, sections
from rlgen.errors import MissingExtraError, UsageError
from rlgen.files import replaced, write_whole
from rlgen.pictures import theme
from rlgen.text import document

FORMATS = (".html", ".md", ".csv", ".json", ".png")
DRAWN = (".html", ".png")


def check(paths: Sequence[str | Path]) -> None:
    """Refuse what `write` could not write, before the work.

    Raises:
        UsageError: another ending, or no such directory.
        MissingExtraError: matplotlib is needed and not installed.
    """
    for path in map(Path, paths):
        if path.suffix not in FORMATS or not path.parent.is_dir():
            raise UsageError(f"--out {path}: must end in {', '.join(FORMATS)}, in a directory that exists")
        if path.suffix in DRAWN:
            try:
                import matplotlib  # noqa: F401
            except ImportError:
                raise MissingExtraError(f"{path.suffix} needs matplotlib", "matplotlib") from None


def write(comparison: Comparison, paths: Sequence[str | Path]) -> None:
    """Write the comparison to each file, in the format that its name ends in.

    Raises:
        UsageError: another ending, or no such directory.
        MissingExtraError: matplotlib is needed and not installed.
        DiskError: a file cannot be written.
    """
    check(paths)
    parts = sections(comparison)
    figures = panels(comparison) if any(Path(path).suffix in DRAWN for path in paths) else []
    for path in map(Path, paths):
        if path.suffix == ".png":
            with replaced(path) as temporary:
                _write_png(parts, figures, temporary)
        elif path.suffix == ".csv":
            lines = io.StringIO()
            csv.writer(lines).writerows(csv_rows(comparison))
            write_whole(path, lines.getvalue())
        elif path.suffix == ".json":
            write_whole(path, document(comparison))
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
    """A row for every task, group and metric; what belongs to the ranked metric alone is empty elsewhere."""
    common = ["mean", "median", "iqm", "low", "high"]
    ranked = ["area", "steps_to_threshold", "seconds_to_threshold", "steps_per_second", "seconds"]
    rows: list[list[Any]] = [["task", "group", "metric", "direction", "ranked", "seeds", "failed", *common, *ranked]]
    for task in comparison["tasks"]:
        for row in task["groups"]:
            for name, statistics in row["metrics"].items():
                main = name == task["metric"]
                cells = [task["task"], row["group"], name, statistics["direction"], task["ranked"] and main]
                cells += [len(statistics["scores"]), row["failed"], *(statistics[key] for key in common)]
                rows.append([*cells, *(row.get(key) if main else None for key in ranked)])
    return rows


def _write_png(parts: Sequence[Section], figures: Sequence[Sequence[Figure]], path: Path) -> None:
    """Every figure in one picture, three in a row; sample grids have rows of their own."""
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    rows: list[list[Figure]] = []
    titles: list[str] = []
    for part, of_part in zip(parts, figures, strict=True):
        plots = [figure for figure in of_part if not figure.picture]
        pictures = [figure for figure in of_part if figure.picture]
        own = [same[i : i + 3] for same in (plots, pictures) for i in range(0, len(same), 3)]
        rows += own
        titles += [part.title if i == 0 else "" for i in range(len(own))]
    heights = [max(figure.height + figure.legend for figure in row) + 1.1 for row in rows]
    with matplotlib.rc_context(theme()):
        canvas = Canvas(figsize=(15, sum(heights)), facecolor="white", layout="constrained")
        bands: Any = canvas.subfigures(len(rows), 1, height_ratios=heights, squeeze=False) if rows else []
        for (band,), row, title in zip(bands, rows, titles, strict=True):
            band.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
            for ax, figure in zip(band.subplots(1, 3, squeeze=False)[0], [*row, None, None], strict=False):
                if figure is None:
                    ax.set_axis_off()
                    continue
                figure.draw(ax)
                ax.set_title(figure.title, fontsize=10)
        canvas.savefig(path, format="png", dpi=110, bbox_inches="tight")
