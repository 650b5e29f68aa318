"""A comparison as text, Markdown, CSV, JSON, one PNG, or one HTML file that needs nothing else.

The tables are made once, for every format. Pictures are in `figures.py`; they need matplotlib.
"""

from __future__ import annotations

import base64
import csv
import html
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rlgen.compare import figures
from rlgen.compare.judge import ARROWS, FEW_SEEDS, Comparison
from rlgen.errors import DiskError, MissingExtraError, UsageError
from rlgen.runs.run import strict

FORMATS = (".html", ".md", ".csv", ".json", ".png")


@dataclass
class Table:
    """Cells are text, or text and what it sorts by."""

    title: str
    columns: list[str]
    rows: list[list[Any]]
    detail: bool = False  # folded away in HTML, left out of a terminal

    def text(self) -> list[list[str]]:
        """The cells without what they sort by."""
        return [[cell[0] if isinstance(cell, tuple) else str(cell) for cell in row] for row in self.rows]


@dataclass
class Section:
    """What there is to say about one task, or about all together."""

    title: str
    refusals: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: list[figures.Figure] = field(default_factory=list)


def write(comparison: Comparison, paths: Sequence[str | Path]) -> None:
    """Write the comparison to each file, in the format that its name ends in.

    Raises:
        UsageError: another ending, or no such directory.
        MissingExtraError: matplotlib is needed and not installed.
        DiskError: a file cannot be written.
    """
    check(paths)
    drawn = any(Path(path).suffix in (".html", ".png") for path in paths)
    parts = sections(comparison, draw=drawn)
    for path in map(Path, paths):
        try:
            if path.suffix == ".png":
                _png(parts, path)
            elif path.suffix == ".csv":
                with open(path, "w", newline="", encoding="utf-8") as file:
                    csv.writer(file).writerows(_long(comparison))
            else:
                if path.suffix == ".json":
                    content = json.dumps(_plain(comparison), indent=2, allow_nan=False)
                else:
                    content = _markdown(parts) if path.suffix == ".md" else _html(comparison, parts)
                path.write_text(content, encoding="utf-8")
        except OSError as error:
            raise DiskError(f"cannot write {path}: {error.strerror}") from None


def check(paths: Sequence[str | Path]) -> None:
    """Refuse what `write` could not write, before the work."""
    for path in map(Path, paths):
        if path.suffix not in FORMATS or not path.parent.is_dir():
            raise UsageError(f"--out {path}: must end in {', '.join(FORMATS)}, in a directory that exists")
        if path.suffix in (".html", ".png"):
            try:
                import matplotlib  # noqa: F401
            except ImportError:
                raise MissingExtraError(f'{path.suffix} needs matplotlib: pip install "rlgen[report]"') from None


def text(comparison: Comparison) -> str:
    """For a terminal: verdicts and tables, without the details."""
    lines: list[str] = []
    for part in sections(comparison)[:-1]:
        lines += [part.title, *(f"  not ranked: {reason}" for reason in part.refusals)]
        for table in part.tables:
            if not table.detail:
                lines += ["", *(["  " + table.title] if table.title else [])]
                lines += ["  " + line for line in _aligned(table.columns, table.text())]
        lines += ["", *(f"  warning: {warning}" for warning in part.warnings), ""]
    return "\n".join(lines).replace("\n\n\n", "\n\n").rstrip()


def sections(comparison: Comparison, draw: bool = False) -> list[Section]:
    """Everything that is shown, in order."""
    parts = [Section("Comparison", comparison["refusals"])] if comparison["refusals"] else []
    palettes = {
        kind: {label: i for i, label in enumerate(dict.fromkeys(g.label for t in tasks for g in t.groups))}
        for kind in ("agent", "generative")
        if (tasks := [task for task in comparison.tasks if task.kind == kind])
    }
    parts += [_over_tasks(found, draw, palettes[found["kind"]]) for found in comparison["aggregates"]]
    for task, found in zip(comparison.tasks, comparison["tasks"], strict=True):
        part = Section(
            f"{task.name}: {task.metric}{ARROWS[task.direction]} after {task.budget:,} steps",
            task.refusals,
            task.warnings,
        )
        part.tables = _task_tables(found)
        part.figures = figures.task_figures(task, found, palettes[task.kind]) if draw else []
        parts.append(part)
    foot = Section("How to read this, and how to make it again")
    foot.tables = [
        Table("Conventions", ["rule"], [[rule] for rule in comparison["rules"]], True),
        Table("Commands", ["command"], [[command] for command in comparison["commands"]], True),
        Table(
            "Versions",
            ["what", "version"],
            [
                *([name, ", ".join(found)] for name, found in comparison["versions"].items()),
                *(["machine", machine] for machine in comparison["machines"]),
            ],
            True,
        ),
    ]
    return [*parts, foot]


def _task_tables(found: dict[str, Any]) -> list[Table]:
    rows = []
    reaching = found["threshold"] is not None and any("reached" in row for row in found["groups"])
    unfinished = any(row["unfinished"] for row in found["groups"])
    columns = ["", "seeds", "failed", "IQM [95 % CI]", "mean", "median", "worst", "area"]
    columns += [f"steps to {found['threshold']:g}", f"time to {found['threshold']:g}", "reached"] if reaching else []
    columns += ["steps/s", "wall time", *["unfinished"] * unfinished]
    for row in found["groups"]:
        cells: list[Any] = [row["group"], _count(row["seeds"]), _count(row["failed"])]
        cells.append(_range(row["iqm"], row["low"], row["high"]))
        cells += [_cell(row[name]) for name in ("mean", "median", "worst", "area")]
        if reaching:
            at, seconds = row.get("steps_to_threshold"), row.get("seconds_to_threshold")
            cells += [_cell(at, _steps), _cell(seconds, _duration)]
            cells.append((f"{row.get('reached', 0)} of {row['seeds']}", row.get("reached", 0)))
        cells += [_cell(row["steps_per_second"], lambda rate: f"{rate:,.0f}"), _cell(row["seconds"], _duration)]
        running = f" ({row['running']} running)" if row["running"] else ""
        rows.append([*cells, *[(f"{row['unfinished']}{running}", row["unfinished"])] * unfinished])
    tables = [Table("", columns, rows)]
    if found["pairs"]:
        tables.append(_pair_table(found["pairs"]))
    names = {name: stats["direction"] for row in found["groups"] for name, stats in row["metrics"].items()}
    if len(names) > 1:
        rows = []
        for name, better in sorted(names.items(), key=lambda item: (item[0] != found["metric"], not item[1], item[0])):
            stats = [row["metrics"].get(name, {}) for row in found["groups"]]
            rows.append([name + ARROWS[better], *(_range(s.get("iqm"), s.get("low"), s.get("high")) for s in stats)])
        groups = [row["group"] for row in found["groups"]]
        title = "Every evaluation figure, IQM [95 % CI]"
        tables.append(Table(title, ["metric", *groups], rows, found["kind"] == "agent"))
    if found["differences"]:
        groups = [row["group"] for row in found["groups"]]
        rows = [[key, *(", ".join(by[name]) for name in groups)] for key, by in found["differences"].items()]
        tables.append(Table("Options that differ", ["option", *groups], rows, True))
    rows = [
        [
            *(run["run"], run["group"], _count(run["seed"]), run["status"], _cell(run["step"], _steps)),
            *(_cell(run["seconds"], _duration), _cell(run["last"]), _cell(run["score"])),
        ]
        for run in found["runs"]
    ]
    columns = ["run", "group", "seed", "state", "step", "wall time", "last value", "counts as"]
    return [*tables, Table("Runs", columns, rows, True)]


def _pair_table(pairs: list[dict[str, Any]]) -> Table:
    rows = []
    for pair in pairs:
        low, high = pair["low"], pair["high"]
        if pair["seeds"] < FEW_SEEDS:
            verdict = "too few seeds to tell"  # all of 3 above all of 3 happens by chance in one of ten
        else:
            verdict = (
                f"{pair['x']} is better" if low > 0.5 else f"{pair['y']} is better" if high < 0.5 else "not settled"
            )
        value = _range(pair["probability"], low, high, lambda share: f"{share:.2f}")
        rows.append([pair["x"], pair["y"], value, verdict])
    return Table("Probability of improvement", ["X", "Y", "P(X > Y) [95 % CI]", "at 95 %"], rows)


def _over_tasks(found: dict[str, Any], draw: bool, palette: figures.Palette) -> Section:
    part = Section(f"All {len(found['tasks'])} tasks together, normalised scores", found["refusals"])
    if found["left_out"]:
        part.warnings.append(f"left out, as they have no score on every task: {', '.join(found['left_out'])}")
    names = {"iqm": "IQM", "median": "median", "mean": "mean", "optimality_gap": f"optimality gap{ARROWS[-1]}"}
    if found["groups"]:
        columns = ["", "runs", *(f"{words} [95 % CI]" for words in names.values())]
        rows = [[row["group"], _count(row["runs"]), *(_range(*row[name]) for name in names)] for row in found["groups"]]
        ranges = [[name, *map(_cell, ends)] for name, ends in found["range"].items()]
        part.tables = [Table("", columns, rows), _pair_table(found["pairs"])]
        part.tables.append(Table("What is 0 and what is 1", ["task", "0: worst", "1: threshold or best"], ranges, True))
    if draw and found["groups"]:
        groups = found["groups"]
        for name, words in names.items():
            points: Any = [(row["group"], row[name], []) for row in groups]
            part.figures.append(
                figures.intervals(
                    f"{words.capitalize() if name != 'iqm' else words}", "normalised score", points, palette
                )
            )
        scores = {row["group"]: [np.array(task) for task in row["scores"]] for row in groups}
        part.figures.append(figures.profiles("Performance profiles", "normalised score", scores, 1, palette))
    return part


def _drawn(part: Section) -> list[figures.Figure]:
    return [figure for figure in part.figures if not figure.picture]


def _pictures(part: Section) -> list[figures.Figure]:
    """Sample grids: a row of their own, side by side."""
    return [figure for figure in part.figures if figure.picture]


def _png(parts: list[Section], path: Path) -> None:
    """Every panel in one picture, three in a row."""
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    rows, titles = [], []
    for part in parts:
        kinds = (_drawn(part), _pictures(part))
        own = [of_kind[i : i + 3] for of_kind in kinds for i in range(0, len(of_kind), 3)]
        rows += own
        titles += [part.title if i == 0 else "" for i in range(len(own))]
    heights = [max(figure.height + figure.legend for figure in row) + 1.1 for row in rows]
    with matplotlib.rc_context(figures.theme()):
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
        canvas.savefig(path, dpi=110, bbox_inches="tight")


def _markdown(parts: list[Section]) -> str:
    lines = []
    for part in parts:
        lines += [f"## {part.title}", ""]
        lines += [f"**Not ranked**: {reason}.\n" for reason in part.refusals]
        lines += [f"- warning: {warning}" for warning in part.warnings] + [""] * bool(part.warnings)
        for table in part.tables:
            rows = [[cell.replace("|", "\\|") for cell in row] for row in (table.columns, *table.text())]
            rows.insert(1, ["---"] + ["---:"] * (len(table.columns) - 1))
            lines += [f"### {table.title}", ""] if table.title else []
            lines += [*("| " + " | ".join(row) + " |" for row in rows), ""]
    return "\n".join(lines)


def _long(comparison: Comparison) -> list[list[Any]]:
    """A row for every task, group and metric; what belongs to the ranked metric alone is empty elsewhere."""
    common = ["mean", "median", "iqm", "low", "high"]
    ranked = ["area", "steps_to_threshold", "seconds_to_threshold", "steps_per_second", "seconds"]
    rows: list[list[Any]] = [["task", "group", "metric", "direction", "ranked", "seeds", "failed", *common, *ranked]]
    for task in comparison["tasks"]:
        for row in task["groups"]:
            for name, stats in row["metrics"].items():
                main = name == task["metric"]
                cells = [task["task"], row["group"], name, stats["direction"], task["ranked"] and main]
                cells += [len(stats["scores"]), row["failed"], *(stats[key] for key in common)]
                rows.append([*cells, *(row.get(key) if main else None for key in ranked)])
    return rows


STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5c6169; --page: #fff; --line: #d9dce1; --bad: #9c3b00; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #dcdde0; --soft: #9aa0a8; --page: #15171a; --line: #34383e; --bad: #f0a070; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; overflow-wrap: anywhere; }
h3, summary { font-size: .95rem; font-weight: 600; margin: 1.1rem 0 .4rem; } summary { cursor: pointer; }
.lead { color: var(--soft); margin-top: -.6rem; } .wide { overflow-x: auto; }
table { border-collapse: separate; border-spacing: 0; font-size: .86rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .45rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
.word { text-align: left; }
.words td:last-child { white-space: normal; overflow-wrap: anywhere; }
th:first-child, td:first-child:not(:last-child) { position: sticky; left: 0; background: var(--page); }
@media (max-width: 40rem) { td:first-child:not(:last-child) { white-space: normal; max-width: 45vw; } }
th { cursor: pointer; color: var(--soft); font-weight: 600; } th[aria-sort=ascending]::after { content: " \\25B4"; }
th[aria-sort=descending]::after { content: " \\25BE"; }
.notes { padding-left: 1.1rem; color: var(--soft); font-size: .88rem; } .notes .bad { color: var(--bad); }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20.5rem), 1fr)); gap: 1rem;
  margin: 1rem 0; }
figure { margin: 0; } figcaption { font-size: .88rem; font-weight: 600; margin-bottom: .3rem; }
figure img { width: 100%; height: auto; } .picture { image-rendering: pixelated; max-width: 24rem; }
"""
SORT = """
for (const head of document.querySelectorAll("th")) head.addEventListener("click", () => {
  const table = head.closest("table"), body = table.tBodies[0], column = head.cellIndex;
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const other of table.querySelectorAll("th")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
  const order = (a, b) => (isNaN(a) || isNaN(b)) ? String(a).localeCompare(b) : a - b;
  [...body.rows].sort((a, b) => (down ? -1 : 1) * order(key(a), key(b))).forEach(row => body.append(row));
});
"""


def _html(comparison: Comparison, parts: list[Section]) -> str:
    groups = dict.fromkeys(row["group"] for task in comparison["tasks"] for row in task["groups"])
    title = "Comparison of " + (", ".join(groups) if len(groups) < 7 else f"{len(groups)} groups")
    num_runs = sum(row["runs"] for task in comparison["tasks"] for row in task["groups"])
    lead = f"{num_runs} runs on {', '.join(task['task'] for task in comparison['tasks'])}"
    esc = html.escape
    body = [f"<h1>{esc(title)}</h1>", f'<p class="lead">{esc(lead)}</p>']
    for part in parts:
        body.append(f"<section><h2>{esc(part.title)}</h2>")
        notes = [f'<li class="bad">Not ranked: {esc(reason)}.</li>' for reason in part.refusals]
        notes += [f"<li>{esc(warning)}</li>" for warning in part.warnings]
        body += ['<ul class="notes">', *notes, "</ul>"] if notes else []
        body += [_html_table(table) for table in part.tables if not table.detail]
        for row in (_drawn(part), _pictures(part)):
            if row:
                body += ['<div class="figures">', *map(_html_figure, row), "</div>"]
        body += [_html_table(table) for table in part.tables if table.detail and table.rows]
        body.append("</section>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{esc(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + f"\n<script>{SORT}</script>\n</body></html>\n"
    )


def _html_table(table: Table) -> str:
    words = len(table.columns) <= 2  # long lines of text, which may wrap
    texts = [all(not isinstance(row[i], tuple) for row in table.rows) for i in range(len(table.columns))]
    kinds = [' class="word"' * text for text in texts]  # numbers are set flush right
    columns = zip(table.columns, kinds, strict=True)
    heads = "".join(f'<th scope="col"{kind}>{html.escape(name)}</th>' for name, kind in columns)
    rows = []
    for row in table.rows:
        cells = []
        for cell, kind in zip(row, kinds, strict=True):
            shown, value = cell if isinstance(cell, tuple) else (cell, None)
            sortable = "" if value is None else f' data-value="{_sortable(value)}"'
            cells.append(f"<td{kind}{sortable}>{html.escape(shown)}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    inner = f"<table{' class=words' * words}><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    inner = f'<div class="wide">{inner}</div>'
    if table.detail:
        return f"<details{' open' * words}><summary>{html.escape(table.title)}</summary>{inner}</details>"
    return (f"<h3>{html.escape(table.title)}</h3>" if table.title else "") + inner


def _html_figure(figure: figures.Figure) -> str:
    caption, alt = f"<figcaption>{html.escape(figure.title)}</figcaption>", html.escape(figure.title, quote=True)
    if figure.picture:
        data = base64.b64encode(figure.picture.read_bytes()).decode()
        return f'<figure>{caption}<img class="picture" alt="{alt}" src="data:image/png;base64,{data}"></figure>'
    light, dark = figures.svg(figure)
    source = f'<source media="(prefers-color-scheme: dark)" srcset="{dark}">'
    return f'<figure>{caption}<picture>{source}<img alt="{alt}" src="{light}"></picture></figure>'


def _aligned(columns: list[str], rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (columns, *rows)
    ]


def _number(value: float) -> str:
    size = abs(value)
    return f"{value:,.0f}" if size >= 10_000 else f"{value:.1f}" if size >= 100 else f"{value:#.4g}"


def _steps(value: float) -> str:
    return f"{value:,.0f}"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _cell(value: float | None, write: Callable[[float], str] = _number) -> tuple[str, float]:
    """A number and what it sorts by; what is missing sorts last, and what was never reached says so."""
    if value is None or math.isnan(value):
        return "\N{EN DASH}", math.inf
    return ("not reached", value) if math.isinf(value) else (write(value), value)


def _count(value: int) -> tuple[str, int]:
    return str(value), value


def _range(
    value: float | None, low: float | None, high: float | None, write: Callable[[float], str] = _number
) -> tuple[str, float]:
    ends = "" if low is None or high is None else f" [{write(low)}, {write(high)}]"
    return _cell(value, lambda number: write(number) + ends)


def _sortable(value: float) -> str:
    return "1e308" if math.isinf(value) else f"{value:.10g}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else strict(value)
