"""RunLog: metrics.jsonl is the truth; wandb and the progress bar are sinks that can neither stop nor slow training."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from tqdm import tqdm

from rlgen.errors import DiskError, DivergedError, RlgenError
from rlgen.pictures import save_gif
from rlgen.runs.checkpoint import write_json
from rlgen.runs.run import STATUS, Run, strict
from rlgen.runs.wandb_sink import Row, Wandb, warn


class RunLog:
    """Collects metrics, writes rows, and shows where the run stands. Make it inside `run.running()`.

    Args:
        run: whose directory is written to.
        wandb_mode: auto (online with an account and a network, else offline), online, offline or disabled.
        figure: name of the metric that matters most, shown beside the bar.
        quiet: no bar, no lines and no summary; warnings stay.
    """

    def __init__(
        self,
        run: Run,
        wandb_mode: Literal["auto", "online", "offline", "disabled"],
        figure: str = "charts/episodic_return",
        quiet: bool = False,
    ) -> None:
        self._run, self._quiet = run, quiet
        self._sums = _Sums()
        self._last: dict[str, float] = {}  # newest value of every metric
        self._file: TextIO | None = None  # opened by the first row: a resume replaces the file before
        self._wandb = Wandb(run, wandb_mode)
        self._progress = _Progress(run, ["charts/episodic_return", figure], self._last, quiet)
        self._begin = time.monotonic()  # moved back by the time that earlier sessions took
        self._last_row = (run.step, 0.0)  # step and time of the newest training row, for charts/SPS
        self._closed = False

    def add(self, metrics: dict[str, Tensor]) -> None:
        """Count one update's metrics in: 0-d tensors, which stay on their device, so that nothing waits for it."""
        self._sums.add(metrics)
        self._progress.tick()

    def write(self, step: int, metrics: dict[str, Any] | None = None, kind: Literal["train", "eval"] = "train") -> Row:
        """Write one row: step, time in seconds, the means of what was added (training rows only), and `metrics`.

        Args:
            step: of the run's clock.
            metrics: numbers; pictures, uint8 [H, W, C], which go to `samples/` and wandb; and videos, [T, H, W, C],
                which go to `videos/` and wandb.
            kind: `eval` rows always reach wandb, others a few times a second at most.

        Raises:
            DivergedError: a value is not finite; the row is written.
            DiskError: it cannot be written.
        """
        seconds = time.monotonic() - self._begin
        row: Row = {"step": step, "time": round(seconds, 3)}
        if kind == "train":
            last_step, last_seconds = self._last_row
            row["charts/SPS"] = round((step - last_step) / max(seconds - last_seconds, 1e-9), 1)
            self._last_row = (step, seconds)
            row |= self._sums.means()
            self._sums = _Sums()
        pictures = {name: value for name, value in (metrics or {}).items() if isinstance(value, np.ndarray)}
        row |= {name: _number(value) for name, value in (metrics or {}).items() if name not in pictures}
        values = {name: value for name, value in row.items() if name not in ("step", "time")}
        self._last |= values

        line = json.dumps({name: strict(value) for name, value in row.items()}, allow_nan=False)
        try:
            if self._file is None:
                self._file = open(self._run.path / "metrics.jsonl", "a", buffering=1, encoding="utf-8")  # noqa: SIM115
            self._file.write(line + "\n")
            for name, picture in pictures.items():
                moves = picture.ndim == 4
                folder, ending = ("videos", "gif") if moves else ("samples", "png")
                path = self._run.path / folder / f"{name.rpartition('/')[2]}_{step:09d}.{ending}"
                path.parent.mkdir(exist_ok=True)
                if moves:
                    save_gif(list(picture), path, fps=30)
                else:
                    Image.fromarray(picture.squeeze()).save(path)
                self.image(step, name, path)
        except OSError as error:
            reason = f"cannot write in {self._run.path}: {error.strerror or error}"
            raise DiskError(f"{reason}; free space, then: {self._run.command('resume')}") from error
        self._wandb.log({**values, "global_step": step}, always=kind == "eval")
        self._progress.tick()
        self._check(values, step)
        return row

    def image(self, step: int, name: str, path: Path) -> None:
        """Show a picture or a video file in wandb."""
        self._wandb.image(step, name, path)

    def state_dict(self) -> dict[str, Any]:
        """What was added since the last row, and the clock.

        Raises:
            DivergedError: a metric added since then is not finite, so the state is not worth saving.
        """
        self._check(self._sums.means(), self._run.step)
        if self._file is not None:  # the rows of a checkpoint are as durable as the checkpoint
            os.fsync(self._file.fileno())
        return {
            "sums": self._sums.state_dict(),
            "time": time.monotonic() - self._begin,
            "last": dict(self._last),
            "last_row": list(self._last_row),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` returned."""
        self._sums.load_state_dict(state["sums"])
        self._begin = time.monotonic() - state["time"]
        self._last.clear()
        self._last |= state["last"]
        self._last_row = (state["last_row"][0], state["last_row"][1])

    def close(self, exit_code: int = 0) -> None:
        """End the bar and wandb, write summary.json and print what to do next."""
        if self._closed:
            return
        self._closed = True
        run, status = self._run, STATUS.get(exit_code, "failed")
        self._progress.close()
        self._wandb.finish(exit_code)
        if self._file is not None:
            self._file.close()
        summary = {
            "name": run.name,
            "status": status,
            "exit_code": exit_code,
            "step": run.step,
            "steps": run.steps,
            "time": round(time.monotonic() - self._begin, 3),
            "best": run.best,
            "checkpoint": run.saved,
            "metrics": {name: strict(value) for name, value in self._last.items()},
        }
        try:
            write_json(run.path / "summary.json", summary)
        except RlgenError as error:
            warn(str(error))  # whatever ended the run matters more
        if not self._quiet and status != "failed":
            self._print_summary(summary)

    def _check(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            if not math.isfinite(value):
                saved = f"step {self._run.saved:,} is saved" if self._run.saved else "nothing is saved"
                message = f"{name} is {value} at step {step:,}: the run has diverged ({saved})"
                self._wandb.alert(f"{self._run.name} has diverged", message)
                raise DivergedError(f"{message}; lower the learning rate or clip gradients, and train again")

    def _print_summary(self, summary: dict[str, Any]) -> None:
        run = self._run
        table = Table(show_header=False, title=f"{run.name}: {summary['status']}", title_justify="left")
        table.add_row("step", f"{run.step:,} of {run.steps:,} in {tqdm.format_interval(summary['time'])}")
        for name in ("charts/episodic_return", *(name for name in self._last if name.startswith("eval/"))):
            if name in self._last:
                table.add_row(name, f"{self._last[name]:.5g}")
        if run.best:
            table.add_row("best", f"{run.best['metric']} {run.best['value']:.5g} at step {run.best['step']:,}")
        console = Console(highlight=False, soft_wrap=True)  # lines to paste are never broken
        console.print(table)
        lines = {"directory": str(run.path)}
        if run.saved:
            lines["evaluate"] = run.command("eval")
            if not run.config.get("env_id"):
                lines["sample"] = run.command("sample", "--num", "64", "--out", "samples.png")
            lines["resume"] = run.command("resume", *(("--steps", str(2 * run.steps)) if run.step >= run.steps else ()))
        if self._wandb.note:
            lines["wandb"] = self._wandb.note
        for name, line in lines.items():
            console.print(f"{name + ':':10} {line}", markup=False)


class _Sums:
    """Sums of metrics on their device, folded in chunks of one size, so that a save in between changes no bit."""

    CHUNK = 256  # rows kept before they are folded into a sum

    def __init__(self) -> None:
        self._groups: dict[tuple[str, ...], _Group] = {}  # an update may not always return the same names

    def add(self, metrics: dict[str, Tensor]) -> None:
        if not metrics:
            return
        names = tuple(metrics)
        group = self._groups.get(names)
        if group is None:
            group = self._groups[names] = _Group()
        row = torch.stack(tuple(metrics.values()))  # [K]  a copy: a captured graph writes its outputs again
        group.rows.append(row)
        group.count += 1
        if len(group.rows) == self.CHUNK:
            group.total, group.rows = group.sum(), []

    def means(self) -> dict[str, float]:
        """Mean of every name, in one transfer to the host."""
        if not self._groups:
            return {}
        sums = [group.sum() for group in self._groups.values()]
        values = iter(torch.cat([value.to(sums[-1].device) for value in sums]).tolist())
        totals: dict[str, float] = {}
        counts: dict[str, int] = {}
        for names, group in self._groups.items():
            for name in names:
                totals[name] = totals.get(name, 0.0) + next(values)
                counts[name] = counts.get(name, 0) + group.count
        return {name: total / counts[name] for name, total in totals.items()}

    def state_dict(self) -> list[dict[str, Any]]:
        return [
            {
                "names": list(names),
                "count": group.count,
                "total": group.total,
                "rows": torch.stack(group.rows) if group.rows else None,
            }
            for names, group in self._groups.items()
        ]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        self._groups = {}
        for item in state:
            group = self._groups[tuple(item["names"])] = _Group()
            group.count, group.total = item["count"], item["total"]
            group.rows = list(item["rows"].unbind()) if item["rows"] is not None else []


class _Group:
    """Rows that hold the same names, and the sum of those already folded."""

    def __init__(self) -> None:
        self.count = 0
        self.total: Tensor | None = None  # [K] float64
        self.rows: list[Tensor] = []  # each [K]

    def sum(self) -> Tensor:
        if not self.rows:
            assert self.total is not None
            return self.total
        device = self.rows[-1].device  # rows from a checkpoint are on the CPU
        if self.rows[0].device != device:
            self.rows = [row.to(device) for row in self.rows]
        total = torch.stack(self.rows).double().sum(0)  # [K]
        return total if self.total is None else total + self.total.to(device)


class _Progress:
    """A bar on a terminal; elsewhere a plain line a minute, the first one early."""

    def __init__(self, run: Run, figures: list[str], values: dict[str, float], quiet: bool) -> None:
        self._run, self._figures, self._values, self._quiet = run, list(dict.fromkeys(figures)), values, quiet
        self._terminal = sys.stderr.isatty()
        self._bar: tqdm | None = None
        self._begin: tuple[int, float] | None = None  # step and time of the first tick: a resumed run starts late
        self._next = math.inf if quiet else 0.0

    def tick(self) -> None:
        """Show the current step, if it is time to; called at every update, so it has to cost nothing."""
        now = time.monotonic()
        if now < self._next:
            return
        step = self._run.step
        if self._begin is None:
            self._begin = (step, now)
            self._next = now + (0.25 if self._terminal else 5.0)
            if self._terminal:
                self._bar = _Bar(
                    total=self._run.steps,
                    initial=step,
                    desc=str(self._run.config["algo"]),
                    unit=" steps",
                    unit_scale=True,
                    mininterval=0.5,
                    dynamic_ncols=True,
                )
        elif self._bar is not None:
            self._next = now + 0.25
            self._bar.set_postfix_str(self._text(), refresh=False)
            self._bar.update(step - self._bar.n)
        else:
            self._next = now + 60.0
            rate = (step - self._begin[0]) / (now - self._begin[1])
            left = tqdm.format_interval((self._run.steps - step) / rate) if rate else "?"
            where = (
                f"step {step:,} of {self._run.steps:,} ({step / self._run.steps:.0%}), {rate:,.0f} steps/s, {left} left"
            )
            print(", ".join(filter(None, (where, self._text()))), file=sys.stderr, flush=True)

    def _text(self) -> str:
        names = [name for name in self._figures if name in self._values]
        names += [name for name in self._values if name.startswith("losses/")][:1] if not names else []
        parts = [f"{name.removeprefix('charts/').removeprefix('losses/')} {self._values[name]:.4g}" for name in names]
        if self._run.best:
            parts.append(f"best {self._run.best['value']:.4g}")
        if self._run.saved:
            parts.append(f"saved {self._run.saved:,}")
        return ", ".join(parts)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(self._text(), refresh=False)
            self._bar.update(self._run.step - self._bar.n)
            self._bar.refresh()
            self._bar.close()
        self._next = math.inf


class _Bar(tqdm):
    monitor_interval = 0  # no thread beside the environments' processes: `tick` is called often enough


def _number(value: Any) -> float:
    return value if isinstance(value, int) and not isinstance(value, bool) else float(value)
