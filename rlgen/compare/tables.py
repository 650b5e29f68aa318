"""The tables of a comparison. They are made once, for every format."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rlgen.compare.aggregate import STATISTICS
from rlgen.compare.cells import MISSING, Cell, count_cell, duration, number_cell, range_cell, whole
from rlgen.compare.comparison import Comparison
from rlgen.compare.rules import ARROWS, FEW_SEEDS
from rlgen.metrics import FLOOR


@dataclass
class Table:
    """Rows of cells; a cell is text, or text and what it sorts by."""

    title: str
    columns: list[str]
    rows: list[list[Cell]]
    detail: bool = False  # folded away in HTML, left out of a terminal

    def texts(self) -> list[list[str]]:
        """The cells without what they sort by."""
        return [[cell[0] if isinstance(cell, tuple) else cell for cell in row] for row in self.rows]


@dataclass
class Section:
    """What there is to say about one task, or about all together."""

    title: str
    refusals: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


def sections(comparison: Comparison) -> list[Section]:
    """Everything that is shown, in order: what is refused, all tasks together, each task, how to read it."""
    found = [Section("Comparison", comparison["refusals"])] if comparison["refusals"] else []
    if comparison["left_out"]:
        rows: list[list[Cell]] = [[each["run"], each["reason"]] for each in comparison["left_out"]]
        found.append(Section("Left out", tables=[Table("", ["run", "reason"], rows)]))
    found += [_over_tasks(described) for described in comparison["aggregates"]]
    for task in comparison["tasks"]:
        found.append(Section(_title(task), task["refusals"], task["warnings"], _task_tables(task)))
    return [*found, _explanation(comparison)]


def _title(task: dict[str, Any]) -> str:
    """Task, metric, and the steps of each group where they are not the same."""
    groups: dict[int, list[str]] = {}
    for row in task["groups"]:
        groups.setdefault(row["steps"], []).append(row["group"])
    after = [
        f"{steps:,} step{'s' * (steps != 1)}" + f" ({', '.join(of)})" * (len(groups) > 1)
        for steps, of in sorted(groups.items())
    ]
    return f"{task['task']}: {task['metric']}{ARROWS[task['direction']]} after {', '.join(after)}"


def _task_tables(task: dict[str, Any]) -> list[Table]:
    tables = _score_tables(task)
    if task["pairs"]:
        tables.append(_pair_table(task["pairs"]))
    if task.get("more_seeds"):
        tables += _seed_tables(task["more_seeds"])
    if len({name for row in task["groups"] for name in row["metrics"]}) > 1:
        tables += _metric_tables(task)
    if task["differences"]:
        groups = [row["group"] for row in task["groups"]]
        rows: list[Any] = [[key, *(", ".join(by[name]) for name in groups)] for key, by in task["differences"].items()]
        tables.append(Table("Options that differ", ["option", *groups], rows, detail=True))
    return [*tables, _run_table(task)]


def _score_tables(task: dict[str, Any]) -> list[Table]:
    """A row for each group: statistics of its scores, steps and time to the threshold, speed; those without apart."""
    reaching = task["threshold"] is not None and any("reached" in row for row in task["groups"])
    unfinished = any(row["unfinished"] for row in task["groups"])
    columns = ["", "seeds", "failed", "IQM [95 % CI]", "mean", "median", "worst", "area"]
    if reaching:
        columns += [f"steps to {task['threshold']:g}", f"time to {task['threshold']:g}", "reached"]
    columns += ["steps/s", "wall time", *["unfinished"] * unfinished]
    found: dict[bool, list[list[Cell]]] = {True: [], False: []}
    for row in task["groups"]:
        cells: list[Cell] = [row["group"], count_cell(row["seeds"]), count_cell(row["failed"])]
        cells.append(range_cell(row["iqm"], row["low"], row["high"]))
        cells += [number_cell(row[name]) for name in ("mean", "median", "worst", "area")]
        if reaching:
            reached = row.get("reached", 0)
            cells.append(number_cell(row.get("steps_to_threshold"), whole))
            cells.append(number_cell(row.get("seconds_to_threshold"), duration))
            cells.append((f"{reached} of {row['seeds']}", reached))
        cells += [number_cell(row["steps_per_second"], whole), number_cell(row["seconds"], duration)]
        if unfinished:
            running = f" ({row['running']} running)" if row["running"] else ""
            cells.append((f"{row['unfinished']}{running}", row["unfinished"]))
        found[row["iqm"] is not None].append(cells)
    titles = {True: "", False: f"Without a score in {task['metric']}"}
    return [_full(Table(titles[scored], columns, rows)) for scored, rows in found.items() if rows]


def _full(table: Table) -> Table:
    """The table without the columns that are empty in every row."""
    nothing = (MISSING, ("0 of 0", 0))
    kept = [i for i in range(len(table.columns)) if any(row[i] not in nothing for row in table.rows)]
    rows = [[row[i] for i in kept] for row in table.rows]
    return Table(table.title, [table.columns[i] for i in kept], rows, table.detail)


def _pair_table(pairs: list[dict[str, Any]]) -> Table:
    rows: list[list[Cell]] = []
    for pair in pairs:
        x, y, low, high = pair["x"], pair["y"], pair["low"], pair["high"]
        if pair["seeds"] < FEW_SEEDS:
            verdict = "too few seeds to tell"  # all of 3 above all of 3 happens by chance in one of ten
        else:
            verdict = f"{x} is better" if low > 0.5 else f"{y} is better" if high < 0.5 else "not settled"
        rows.append([x, y, range_cell(pair["probability"], low, high, "{:.2f}".format), verdict])
    return Table("Probability of improvement", ["X", "Y", "P(X > Y) [95 % CI]", "at 95 %"], rows)


def _seed_tables(found: dict[str, Any]) -> list[Table]:
    """Which pairs are decided, and the seeds that the others need."""
    title = f"Sequential test of the means (AdaStop), level {found['level']:.0%}, at most {found['most']} seeds each"
    rows: list[list[Cell]] = [[pair["x"], pair["y"], pair["verdict"], str(pair["seeds"])] for pair in found["pairs"]]
    tables = [Table(title, ["X", "Y", "verdict", "seeds used"], rows)]
    if found["missing"]:
        needs: list[list[Cell]] = [[group, count_cell(count)] for group, count in found["missing"].items()]
        tables.append(Table("Seeds that the next look needs", ["group", "more seeds"], needs))
    if found["commands"]:
        tables.append(Table("They are trained by", ["command"], [[command] for command in found["commands"]]))
    return tables


def _metric_tables(task: dict[str, Any]) -> list[Table]:
    """A row for each metric of the evaluations; first the one that is ranked, then those of known direction.

    Below a score of samples is what real images score.

    Groups that do not have the same metrics, as VAE and GAN, have tables of their own, so that no cell is empty.
    """
    directions = {name: of["direction"] for row in task["groups"] for name, of in row["metrics"].items()}
    tables: dict[tuple[int, ...], Table] = {}

    def order(name: str) -> tuple[bool, bool, str, bool]:
        of = name.replace(FLOOR, "eval/", 1)
        return of != task["metric"], not directions.get(of), of, of != name

    for name in sorted(directions, key=order):
        having = tuple(i for i, row in enumerate(task["groups"]) if name in row["metrics"])
        groups = [task["groups"][i] for i in having]
        if having not in tables:
            labels = [row["group"] for row in groups]
            title = "Every evaluation figure, IQM [95 % CI]" if not tables else f"Those of {', '.join(labels)}"
            tables[having] = Table(title, ["metric", *labels], [], detail=task["kind"] == "agent")
        statistics = [row["metrics"][name] for row in groups]
        cells = [range_cell(of["iqm"], of["low"], of["high"]) for of in statistics]
        tables[having].rows.append([name + ARROWS[directions[name]], *cells])
    return [*tables.values()]


def _run_table(task: dict[str, Any]) -> Table:
    rows: list[list[Cell]] = [
        [
            run["run"],
            run["group"],
            count_cell(run["seed"]),
            run["status"],
            number_cell(run["step"], whole),
            number_cell(run["seconds"], duration),
            number_cell(run["last"]),
            number_cell(run["score"]),
        ]
        for run in task["runs"]
    ]
    columns = ["run", "group", "seed", "state", "step", "wall time", "last value", "counts as"]
    return Table("Runs", columns, rows, detail=True)


def _over_tasks(described: dict[str, Any]) -> Section:
    section = Section(f"All {len(described['tasks'])} tasks together, normalised scores", described["refusals"])
    if described["left_out"]:
        section.warnings = [f"left out, as they have no score on every task: {', '.join(described['left_out'])}"]
    if described["groups"]:
        columns = ["", "runs", *(f"{words} [95 % CI]" for words, _ in STATISTICS.values())]
        rows: list[list[Cell]] = [
            [row["group"], count_cell(row["runs"]), *(range_cell(*row[name]) for name in STATISTICS)]
            for row in described["groups"]
        ]
        section.tables = [Table("", columns, rows), _pair_table(described["pairs"])]
        columns = ["task", "0: worst", "1: threshold or best"]
        rows = [[name, *map(number_cell, ends)] for name, ends in described["range"].items()]
        section.tables.append(Table("What is 0 and what is 1", columns, rows, detail=True))
    return section


def _explanation(comparison: Comparison) -> Section:
    versions: list[list[Cell]] = [[name, ", ".join(found)] for name, found in comparison["versions"].items()]
    machines: list[list[Cell]] = [["machine", machine] for machine in comparison["machines"]]
    rules = Table("Conventions", ["rule"], [[rule] for rule in comparison["rules"]], detail=True)
    commands = Table("Commands", ["command"], [[command] for command in comparison["commands"]], detail=True)
    origins = Table("Versions", ["what", "version"], [*versions, *machines], detail=True)
    return Section("How to read this, and how to make it again", tables=[rules, commands, origins])
