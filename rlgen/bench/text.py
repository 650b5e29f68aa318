"""What `rlgen bench` measured, as tables for a terminal and as a picture of the scaling."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from rlgen import __version__
from rlgen.errors import DiskError, MissingExtraError
from rlgen.speed.device import cores


def text(report: dict[str, Any]) -> str:
    """The report's tables and everything that has to be known to read them."""
    console = Console(width=None if Console().is_terminal else 140)
    with console.capture() as captured:
        versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
        machine, method = report["machine"], report["method"]
        console.print(f"[bold]{report['command']}[/]\n{versions}", highlight=False)
        console.print(
            f"{machine['cpu']}, {machine['cores']} cores (load {machine['load']:.1f}), GPU {machine['gpu']}; "
            f"run on {machine['device']} with {machine['threads']} thread(s)",
            highlight=False,
        )
        if "profile" in report and machine["device"] != "cpu":
            console.print("What the GPU does is counted where something waits for it.")
        for table in [*_results(report), *_profiles(report), *_scales(report)]:
            console.print(table)
        if "results" in report:
            blocks = f"{method['blocks']} blocks of {method['seconds_per_block']:g} s"
            console.print(
                f"{blocks}, contenders in turn; median (min to max); a cost is all the time of a block over what was "
                f"counted in it; peer / rlgen is the cost of the same block: above 1 the peer is slower or larger. "
                f"Warm-up: {method['warm_up']}.",
                highlight=False,
            )
        for peer, install in report.get("not_installed", {}).items():
            console.print(f"{peer}: not installed: {install}", highlight=False)
        for peer, why in report.get("skipped", {}).items():
            console.print(f"{peer}: left out: {why}", highlight=False, markup=False)
    return captured.get().rstrip("\n")


def _results(report: dict[str, Any]) -> list[Table]:
    if not report.get("results"):
        return []
    table = _table("work", "contender", "unit", ">cost", ">per second", ">peer / rlgen")
    last = ""
    for row in report["results"]:
        table.add_section() if row["work"] != last else None
        for unit, cost in row["measures"].items():
            ratio = row["ratio"].get(unit)
            times = f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})" if ratio else ""
            rate = f"{1e6 / cost['median']:,.0f}" if unit.startswith("us") else ""
            values = f"{number(cost['median'], unit)} ({number(cost['min'], unit)} to {number(cost['max'], unit)})"
            name = row["work"] if row["work"] != last else ""
            last = row["work"]
            table.add_row(name, row["contender"], unit.replace("bytes", "MiB"), values, rate, times)
    return [table]


def number(value: float, unit: str) -> str:
    """A cost to three digits; bytes in MiB."""
    value = value / 2**20 if unit == "bytes" else value
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _profiles(report: dict[str, Any]) -> list[Table]:
    tables = []
    for name, found in report.get("profile", {}).items():
        table = _table("part", f">us per {found['unit']}", ">share")
        table.title = f"{name}: {found['steps']:,} steps"
        for part, cost in found["parts"].items():
            table.add_row(part, f"{cost['us']:.2f}", f"{cost['share']:.1%}")
        table.add_section()
        table.add_row("total", f"{found['total_us']:.2f}", "100.0%")
        table.add_row("of which the timers", f"{found['timer_us']:.2f}", f"{found['timer_us'] / found['total_us']:.1%}")
        tables.append(table)
    return tables


def _scales(report: dict[str, Any]) -> list[Table]:
    if not report.get("scale"):
        return []
    table = _table("axis", ">value", "unit", ">cost", ">per second", ">MiB")
    last = ""
    for point in report["scale"]:
        table.add_section() if point["axis"] != last else None
        last = point["axis"]
        for unit, cost in point["costs"].items():
            table.add_row(
                point["axis"],
                f"{point['value']:,}",
                unit,
                number(cost, unit),
                f"{1e6 / cost:,.0f}",
                number(point["bytes"], "bytes"),
            )
    return [table]


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, title_justify="left")
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left")
    return table


def draw(report: dict[str, Any], path: str) -> None:
    """Rates over each axis and memory beside them, as a PNG.

    Raises:
        MissingExtraError: matplotlib is not installed.
        DiskError: it cannot be written.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("--out needs matplotlib: pip install 'rlgen[report]'") from None
    from rlgen.compare.figures import COLOURS, theme

    axes = list(dict.fromkeys(point["axis"] for point in report["scale"]))
    with matplotlib.rc_context(theme()):
        canvas = Figure(figsize=(4.3 * len(axes), 5.6), layout="constrained")
        panels = canvas.subplots(2, len(axes), squeeze=False)
        for column, axis in enumerate(axes):
            points = [point for point in report["scale"] if point["axis"] == axis]
            x = [point["value"] for point in points]
            for colour, unit in zip(COLOURS, points[0]["costs"], strict=False):
                rate = [1e6 / point["costs"][unit] for point in points]
                panels[0, column].plot(x, rate, "o-", color=colour, label=unit.removeprefix("us per "), markersize=3)
            panels[1, column].plot(x, [point["bytes"] / 2**20 for point in points], "o-", color="#555555", markersize=3)
            panels[0, column].set(xscale="log", yscale="log", xlabel=axis, ylabel="per second")
            panels[1, column].set(xscale="log", ylim=(0, None), xlabel=axis, ylabel="MiB")
            panels[0, column].legend()
        machine = report["machine"]
        where = f"{machine['cpu']}, {machine['device']}, {machine['threads']} thread(s)"
        canvas.suptitle(f"{where}, torch {report['versions']['torch']}")
        try:
            canvas.savefig(path, dpi=120)
        except OSError as error:
            raise DiskError(f"cannot write {path}: {error.strerror}") from None


def versions() -> dict[str, str]:
    """Of what the numbers depend on."""
    return {"rlgen": __version__, "python": platform.python_version(), "torch": torch.__version__} | {
        "numpy": np.__version__
    }


def machine() -> dict[str, Any]:
    """What the numbers were taken on."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        cpu = models[0].partition(":")[2].strip() if models else cpu
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {"cpu": cpu, "cores": cores(), "load": os.getloadavg()[0], "gpu": gpu, "system": platform.platform()}
