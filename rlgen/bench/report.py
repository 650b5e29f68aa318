"""What `rlgen bench` measured: a dictionary for JSON, and tables for a terminal."""

from __future__ import annotations

from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table


class Report(dict[str, Any]):
    """What was measured, as JSON has it."""

    def text(self) -> str:
        """Tables, and everything that has to be known to read them."""
        console = Console(width=None if Console().is_terminal else 140)
        with console.capture() as captured:
            write(self, console)
        return captured.get().rstrip("\n")


def write(report: Report, console: Console) -> None:
    """Write the report for people."""
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    machine, method = report["machine"], report["method"]
    console.print(f"[bold]{report['command']}[/]\n{versions}", highlight=False)
    console.print(
        f"{machine['cpu']}, {machine['cores']} cores (load {machine['load']:.1f}), GPU {machine['gpu']}; "
        f"run on {machine['device']} with {machine['threads']} thread(s)",
        highlight=False,
    )
    if "profile" in report and machine["device"] != "cpu":
        console.print("What the GPU does is counted where something waits for it; update draws its batch, too.")
    for name, profile in report.get("profile", {}).items():
        console.print(profile_table(name, profile))
    if report.get("health"):
        write_health(report["health"], console)
    if report.get("scale"):
        console.print(scale_table(report["scale"]))
    if report.get("results"):
        console.print(results_table(report["results"], method["ratio_of"]))
    if "results" in report:
        blocks = f"{method['blocks']} blocks of {method['seconds_per_block']:g} s"
        console.print(
            f"{blocks}, contenders in turn; median (min to max); a cost is all the time of a block over what was "
            f"counted in it, on the clock and of all threads on the CPU; peer / rlgen is made of "
            f"{'CPU time' if method['ratio_of'] == 'cpu' else 'time on the clock'} (or memory) in blocks of the same "
            f"turn: above 1 the peer is slower or larger. Warm-up: {method['warm_up']}.",
            highlight=False,
        )
    for peer, install in report.get("not_installed", {}).items():
        console.print(f"{peer}: not installed: {install}", highlight=False)
    for peer, why in report.get("skipped", {}).items():
        console.print(f"{peer}: left out: {why}", highlight=False, markup=False)


def write_health(found: dict[str, Any], console: Console) -> None:
    """A line a case, and what they come to."""
    table = empty_table("planted", "command", ">runs", ">spoken of", ">median at", "said first")
    commands = dict.fromkeys(row["command"].rpartition(" --seed")[0] for row in found["runs"])
    for command in commands:
        rows = [row for row in found["runs"] if row["command"].rpartition(" --seed")[0] == command]
        said = [row for row in rows if row["said"]]
        words = ", ".join(dict.fromkeys(row["said"].partition(":")[0] for row in said))
        at = f"{median(row['at'] for row in said):.2f}" if said else ""
        table.add_row(rows[0]["fault"], command, str(len(rows)), str(len(said)), at, words)
    console.print(table)
    for name in ("recall", "false alarms"):
        if each := found.get(name):
            low, high = each["interval"]
            share = each["hits"] / each["of"]
            console.print(
                f"{name}: {each['hits']} of {each['of']}, {share:.0%} [{low:.0%}, {high:.0%}]", highlight=False
            )
    if "median detection" in found:
        console.print(f"median detection: {found['median detection']:.0%} of the run", highlight=False)


def results_table(rows: list[dict[str, Any]], ratio_of: str) -> Table:
    """The costs of each contender, a line a unit; the ratio is of `cpu` time, or of the time on the `wall`'s clock."""
    table = empty_table("work", "contender", "unit", ">cost", ">CPU", ">per second", ">peer / rlgen")
    last = ""
    for row in rows:
        if row["work"] != last:
            table.add_section()
        for unit, cost in row["measures"].items():
            cpu = row["cpu"].get(unit)
            of_cpu = ratio_of == "cpu" and cpu is not None
            ratio = row["cpu_ratio" if of_cpu else "ratio"].get(unit)
            times = f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})" if ratio else ""
            rate = f"{1e6 / cost['median']:,.0f}" if unit.startswith("us") else ""
            name = row["work"] if row["work"] != last else ""
            last = row["work"]
            costs = numbers(cost, unit), numbers(cpu, unit) if cpu else ""
            table.add_row(name, row["contender"], unit.replace("bytes", "MiB"), *costs, rate, times)
    return table


def numbers(cost: dict[str, Any], unit: str) -> str:
    """The median, smallest and largest of several blocks."""
    return f"{number(cost['median'], unit)} ({number(cost['min'], unit)} to {number(cost['max'], unit)})"


def number(value: float, unit: str) -> str:
    """A cost to three digits; bytes in MiB."""
    value = value / 2**20 if unit == "bytes" else value
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def profile_table(name: str, profile: dict[str, Any]) -> Table:
    """The parts of a step."""
    table = empty_table("part", f">us per {profile['unit']}", ">share")
    table.title = f"{name}: {profile['steps']:,} steps"
    for part, cost in profile["parts"].items():
        table.add_row(part, f"{cost['us']:.2f}", f"{cost['share']:.1%}")
    table.add_section()
    total, cpu, timers = profile["total_us"], profile["total_cpu_us"], profile["timer_us"]
    table.add_row("total", f"{total:.2f}", "100.0%")
    table.add_row("of which the timers", f"{timers:.2f}", f"{timers / total:.1%}")
    table.add_row("total in CPU time", f"{cpu:.2f}", f"{cpu / total:.1%}")
    return table


def scale_table(points: list[dict[str, Any]]) -> Table:
    """The costs at every value of every axis, a line a unit."""
    table = empty_table("axis", ">value", "unit", ">cost", ">CPU", ">per second", ">MiB")
    last = ""
    for point in points:
        axis, value, mib = point["axis"], f"{point['value']:,}", number(point["bytes"], "bytes")
        if axis != last:
            table.add_section()
        last = axis
        for unit, cost in point["costs"].items():
            times = number(cost, unit), number(point["cpu"][unit], unit)
            table.add_row(axis, value, unit, *times, f"{1e6 / cost:,.0f}", mib)
    return table


def empty_table(*columns: str) -> Table:
    """A table without lines; a column whose name begins with > is aligned to the right."""
    table = Table(box=None, pad_edge=False, title_justify="left")
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left")
    return table
