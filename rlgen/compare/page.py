"""A comparison as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Sequence

from rlgen.compare.cells import Cell
from rlgen.compare.comparison import Comparison
from rlgen.compare.figures import Figure, legend, line_style, svg
from rlgen.compare.tables import Section, Table
from rlgen.pictures import COLOURS

DASHES = {"-": "none", "--": "7 3", ":": "2 3", "-.": "7 3 2 3"}  # of a line, as SVG has them
STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5c6169; --page: #fff; --line: #d9dce1; --bad: #9c3b00;
  --shade: rgba(0, 0, 0, .28); --key0: #0072b2; --key5: #56b4e9; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #dcdde0; --soft: #9aa0a8; --page: #15171a; --line: #34383e; --bad: #f0a070;
    --shade: rgba(255, 255, 255, .3); --key0: #56b4e9; --key5: #0072b2; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; overflow-wrap: anywhere; }
h3, summary { font-size: .95rem; font-weight: 600; margin: 1.1rem 0 .4rem; } summary { cursor: pointer; }
.lead { color: var(--soft); margin-top: -.6rem; }
.wide { overflow-x: auto; scrollbar-width: thin; background:
  linear-gradient(to left, var(--page) 40%, transparent) right / 3rem 100% no-repeat local,
  radial-gradient(farthest-side at 100% 50%, var(--shade), transparent) right / 1.1rem 100% no-repeat scroll; }
.wide::-webkit-scrollbar { height: 8px; }
.wide::-webkit-scrollbar-thumb { background: var(--soft); border-radius: 4px; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; font-size: .88rem; }
.legend svg { margin-right: .45rem; stroke-width: 3; vertical-align: middle; }
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
  margin: 1rem 0; } .figures.two { grid-template-columns: repeat(auto-fill, minmax(min(100%, 27rem), 1fr)); }
.figures.one { max-width: 36rem; }
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


def html_page(comparison: Comparison, parts: Sequence[Section], figures: Sequence[Sequence[Figure]]) -> str:
    """The page.

    Args:
        comparison: what it is about.
        parts: its sections, in order.
        figures: of each section.
    """
    groups = dict.fromkeys(row["group"] for task in comparison["tasks"] for row in task["groups"])
    title = "Comparison of " + (", ".join(groups) if len(groups) < 7 else f"{len(groups)} groups")
    num_runs = sum(row["runs"] for task in comparison["tasks"] for row in task["groups"])
    lead = f"{num_runs} runs on {', '.join(task['task'] for task in comparison['tasks'])}"
    body = [f"<h1>{html.escape(title)}</h1>", f'<p class="lead">{html.escape(lead)}</p>']
    for part, of_part in zip(parts, figures, strict=True):
        body += _section_lines(part, of_part)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + f"\n<script>{SORT}</script>\n</body></html>\n"
    )


def _section_lines(part: Section, figures: Sequence[Figure]) -> list[str]:
    lines = [f"<section><h2>{html.escape(part.title)}</h2>"]
    notes = [f'<li class="bad">Not ranked: {html.escape(reason)}.</li>' for reason in part.refusals]
    notes += [f"<li>{html.escape(warning)}</li>" for warning in part.warnings]
    lines += ['<ul class="notes">', *notes, "</ul>"] if notes else []
    lines += [_table_element(table) for table in part.tables if not table.detail]
    lines += [_legend_element(figures)] if legend(figures) else []
    if figures:
        elements = [_picture_element(figure) if figure.picture else _plot_element(figure) for figure in figures]
        columns = "one" if len(figures) == 1 else "two" if len(figures) % 3 == 1 else "three"  # full rows
        lines += [f'<div class="figures {columns}">', *elements, "</div>"]
    lines += [_table_element(table) for table in part.tables if table.detail and table.rows]
    return [*lines, "</section>"]


def _table_element(table: Table) -> str:
    words = len(table.columns) <= 2  # long lines of text, which may wrap
    is_text = [all(not isinstance(row[i], tuple) for row in table.rows) for i in range(len(table.columns))]
    kinds = [' class="word"' * text for text in is_text]  # numbers are set flush right
    columns = zip(table.columns, kinds, strict=True)
    heads = "".join(f'<th scope="col"{kind}>{html.escape(name)}</th>' for name, kind in columns)
    rows = []
    for row in table.rows:
        cells = [_cell_element(cell, kind) for cell, kind in zip(row, kinds, strict=True)]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    inner = f"<table{' class=words' * words}><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    inner = f'<div class="wide">{inner}</div>'
    title = html.escape(table.title)
    if table.detail:
        return f"<details{' open' * words}><summary>{title}</summary>{inner}</details>"
    return (f"<h3>{title}</h3>" if title else "") + inner


def _cell_element(cell: Cell, kind: str) -> str:
    if isinstance(cell, str):
        return f"<td{kind}>{html.escape(cell)}</td>"
    text, value = cell
    key = "1e308" if math.isinf(value) else f"{value:.10g}"
    return f'<td{kind} data-value="{key}">{html.escape(text)}</td>'


def _legend_element(figures: Sequence[Figure]) -> str:
    """The groups that are drawn, once for all figures of a section."""
    keys = []
    for name, index in legend(figures).items():
        style = line_style(index)
        colour = f"var(--key{index % len(COLOURS)}, {style['color']})"
        line = f"stroke: {colour}; stroke-dasharray: {DASHES[style['linestyle']]}"
        key = f'<svg width="30" height="10"><path d="M0 5H30" style="{line}"/></svg>'
        keys.append(f"<span>{key}{html.escape(name)}</span>")
    return f'<p class="legend">{"".join(keys)}</p>'


def _plot_element(figure: Figure) -> str:
    title, alt = html.escape(figure.title), html.escape(figure.title, quote=True)
    light, dark = svg(figure)
    source = f'<source media="(prefers-color-scheme: dark)" srcset="{dark}">'
    return (
        f'<figure><figcaption>{title}</figcaption><picture>{source}<img alt="{alt}" src="{light}"></picture></figure>'
    )


def _picture_element(figure: Figure) -> str:
    assert figure.picture is not None
    title, alt = html.escape(figure.title), html.escape(figure.title, quote=True)
    data = base64.b64encode(figure.picture.read_bytes()).decode()
    image = f'<img class="picture" alt="{alt}" src="data:image/png;base64,{data}">'
    return f"<figure><figcaption>{title}</figcaption>{image}</figure>"
