"""How a run ended: summary.json, and what is printed at the end."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from rlgen.metrics import FLOOR, SUBSET
from rlgen.runs.exactness import LEVELS
from rlgen.runs.health import Verdict
from rlgen.runs.rows import strict
from rlgen.runs.run import Run

STATUS = {0: "finished", 5: "diverged"}  # by exit code


def status_of(exit_code: int) -> str:
    """How a run ended: finished, diverged, interrupted (128 + n, by signal n) or failed."""
    return STATUS.get(exit_code, "interrupted" if exit_code > 128 else "failed")


def summarize(
    run: Run, exit_code: int, seconds: float, metrics: dict[str, float], verdict: Verdict | None = None
) -> dict[str, Any]:
    """What summary.json holds.

    Args:
        run: where it stands.
        exit_code: of what ended it.
        seconds: that it took, earlier sessions among them.
        metrics: newest value of every metric.
        verdict: what is thought of the run; None where nothing was watched.
    """
    return {
        "name": run.name,
        "status": status_of(exit_code),
        "exit_code": exit_code,
        "step": run.step,
        "steps": run.steps,
        "time": round(seconds, 3),
        "best": run.best,
        "checkpoint": run.saved,
        "resume": run.resumable,  # one of `exactness.LEVELS`
        **({"health": verdict.record()} if verdict else {}),
        "metrics": {name: strict(value) for name, value in metrics.items()},
    }


def print_summary(run: Run, summary: dict[str, Any], wandb_note: str) -> None:
    """Print a table of the last metrics, and the commands to go on with.

    Args:
        run: that ended.
        summary: of `summarize`.
        wandb_note: the address of the run, or the command that uploads it; empty without wandb.
    """
    metrics = summary["metrics"]
    table = Table(show_header=False, title=f"{run.name}: {summary['status']}", title_justify="left")
    table.add_row("step", f"{run.step:,} of {run.steps:,} in {tqdm.format_interval(summary['time'])}")
    evaluated = [
        name for name in metrics if name.startswith("eval/") and not SUBSET.match(name) and not name.startswith(FLOOR)
    ]
    for name in ("charts/episodic_return", *evaluated):
        if name in metrics:
            floor = metrics.get(FLOOR + name.removeprefix("eval/"))  # what real images score
            beside = "" if floor is None else f" (floor {float(floor):.5g})"
            table.add_row(name, f"{float(metrics[name]):.5g}{beside}")
    if run.best:
        table.add_row("best", f"{run.best['metric']} {run.best['value']:.5g} at step {run.best['step']:,}")
    health = summary.get("health", {})
    if health.get("reason"):
        table.add_row("health", f"{health['verdict']}: {health['reason']}")
        table.add_row("to try", health["try"])
    if run.resumable != "exact":
        table.add_row("resume", f"{run.resumable}: {LEVELS[run.resumable]}")
    lines = {"directory": str(run.path)}
    if run.saved:
        lines["evaluate"] = run.command("eval")
        if not run.config.get("env_id"):
            lines["sample"] = run.command("sample", "--num", "64", "--out", "samples.png")
        longer = ("--steps", str(2 * run.steps)) if run.step >= run.steps and not run.eval_due else ()
        lines["resume"] = run.command("resume", *longer)
    if wandb_note:
        lines["wandb"] = wandb_note
    console = Console(highlight=False, soft_wrap=True, markup=False)  # lines to paste are never broken
    console.print(table)
    for name, line in lines.items():
        console.print(f"{name + ':':10} {line}", markup=False)
