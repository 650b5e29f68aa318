"""Where a run stands, on stderr while it trains: a bar on a terminal, elsewhere a plain line a minute."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from tqdm import tqdm

from rlgen.runs.best import better
from rlgen.runs.health import Verdict
from rlgen.runs.run import Run


class Progress:
    """A bar on a terminal; elsewhere a plain line a minute, the first one early.

    Args:
        run: how far it is.
        metrics: names of those shown beside, where they have a value.
        values: newest value of every metric, by name; whoever made it keeps it up to date.
        quiet: show nothing.
        verdict: says what is thought of the run; shown where that is not healthy.
    """

    def __init__(
        self,
        run: Run,
        metrics: Sequence[str],
        values: dict[str, float],
        quiet: bool,
        verdict: Callable[[], Verdict] = Verdict,
    ) -> None:
        self._verdict = verdict
        self._run, self._metrics, self._values = run, list(dict.fromkeys(metrics)), values
        self._bars = bars()
        self._bar: tqdm | None = None
        self._begin: tuple[int, float] | None = None  # step and time of the first tick: a resumed run starts late
        self._next = math.inf if quiet else 0.0  # time of the next look

    def tick(self) -> None:
        """Show the current step, if it is time to; called at every update, so it has to cost nothing."""
        now = time.monotonic()
        if now >= self._next:
            with contextlib.suppress(OSError):
                self._show(now)

    def _show(self, now: float) -> None:
        step = self._run.step
        if self._begin is None:
            self._begin = (step, now)
            self._next = now + (0.25 if self._bars else 5.0)
            if self._bars:
                self._bar = self._bars(
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
            self._bar.update(min(step, self._run.steps) - self._bar.n)  # the last turn may go beyond
        else:
            self._next = now + 60.0
            rate = (step - self._begin[0]) / (now - self._begin[1])
            left = tqdm.format_interval(max(0, self._run.steps - step) / rate) if rate else "?"
            share = min(1.0, step / self._run.steps)
            where = f"step {step:,} of {self._run.steps:,} ({share:.0%}), {rate:,.0f} steps/s, {left} left"
            print(", ".join(filter(None, (where, self._text()))), file=sys.stderr, flush=True)

    def _text(self) -> str:
        names = [name for name in self._metrics if name in self._values]
        names += [name for name in self._values if name.startswith("losses/")][:1] if not names else []
        parts = [f"{name.removeprefix('charts/').removeprefix('losses/')} {self._values[name]:.4g}" for name in names]
        best = better(self._values, self._run.best, self._run.step) or self._run.best  # it may not be saved yet
        if best:
            parts.append(f"best {best['value']:.4g}")
        if self._run.saved:
            parts.append(f"saved {self._run.saved:,}")
        if (verdict := self._verdict()).says:
            parts.append(f"{verdict.level}: {verdict.says}")
        return ", ".join(parts)

    def close(self) -> None:
        """Show where the run ended, and end the bar."""
        self._next = math.inf
        if self._bar is not None:
            with contextlib.suppress(OSError):
                self._bar.set_postfix_str(self._text(), refresh=False)
                self._bar.update(min(self._run.step, self._run.steps) - self._bar.n)
                self._bar.refresh()
                self._bar.close()


class Overall:
    """How far several runs are, together: a bar on a terminal, elsewhere a plain line a minute.

    Args:
        config: flat, of all of them.
        num_runs: how many there are.
        quiet: show nothing.
    """

    def __init__(self, config: dict[str, Any], num_runs: int, quiet: bool) -> None:
        self._steps, self._num_runs = config["steps"], num_runs
        self._total = self._steps and self._steps * num_runs
        self._at, self._num_ended = dict[int, int](), 0
        self._name, self._bars = str(config["algo"]), bars()
        self._bar: tqdm | None = None
        self._next = math.inf if quiet else 0.0  # time of the next look

    def show(self, seed: int, step: int) -> None:
        """The run of a seed is at a step."""
        now = time.monotonic()
        self._at[seed] = min(step, self._steps) if self._steps else step
        if now < self._next:
            return
        with contextlib.suppress(OSError):
            if self._bars:
                self._draw(now, sum(self._at.values()))
            elif self._next:
                self._print(now, sum(self._at.values()))
            else:
                self._next = now + 60.0

    def _draw(self, now: float, step: int) -> None:
        self._next = now + 0.25
        self._bar = self._bar or self._bars(  # type: ignore[misc]
            total=self._total, desc=self._name, unit=" steps", unit_scale=True, mininterval=0.5, dynamic_ncols=True
        )
        self._bar.set_postfix_str(f"{self._num_ended} of {self._num_runs} runs ended", refresh=False)
        self._bar.update(step - self._bar.n)

    def _print(self, now: float, step: int) -> None:
        self._next = now + 60.0
        share = f" ({step / self._total:.0%})" if self._total else ""
        ended = f"{self._num_ended} of {self._num_runs} runs ended"
        print(f"{step:,} steps of all runs{share}, {ended}", file=sys.stderr, flush=True)

    def ended(self) -> None:
        """One of the runs has ended."""
        self._num_ended += 1

    def close(self) -> None:
        """End the bar."""
        self._next = math.inf
        if self._bar is not None:
            with contextlib.suppress(OSError):
                self._bar.close()


class _Bar(tqdm):
    monitor_interval = 0  # no thread beside the environments' processes: `tick` is called often enough


def bars() -> type[tqdm] | None:
    """The kind of bar for where this runs: a terminal's, a notebook's, or none."""
    if "ipykernel" not in sys.modules:
        return _Bar if sys.stderr.isatty() else None
    if importlib.util.find_spec("ipywidgets") is None:
        return _Bar  # a notebook shows a terminal's
    from tqdm.notebook import tqdm_notebook

    return type("NotebookBar", (tqdm_notebook,), {"monitor_interval": 0})
