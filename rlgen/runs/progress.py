"""Where a run stands, on stderr while it trains: a bar on a terminal, elsewhere a plain line a minute."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Sequence

from tqdm import tqdm

from rlgen.runs.run import Run


class Progress:
    """A bar on a terminal; elsewhere a plain line a minute, the first one early.

    Args:
        run: how far it is.
        metrics: names of those shown beside, where they have a value.
        values: newest value of every metric, by name; whoever made it keeps it up to date.
        quiet: show nothing.
    """

    def __init__(self, run: Run, metrics: Sequence[str], values: dict[str, float], quiet: bool) -> None:
        self._run, self._metrics, self._values = run, list(dict.fromkeys(metrics)), values
        self._terminal = sys.stderr.isatty()
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
        names = [name for name in self._metrics if name in self._values]
        names += [name for name in self._values if name.startswith("losses/")][:1] if not names else []
        parts = [f"{name.removeprefix('charts/').removeprefix('losses/')} {self._values[name]:.4g}" for name in names]
        if self._run.best:
            parts.append(f"best {self._run.best['value']:.4g}")
        if self._run.saved:
            parts.append(f"saved {self._run.saved:,}")
        return ", ".join(parts)

    def close(self) -> None:
        """Show where the run ended, and end the bar."""
        self._next = math.inf
        if self._bar is not None:
            with contextlib.suppress(OSError):
                self._bar.set_postfix_str(self._text(), refresh=False)
                self._bar.update(self._run.step - self._bar.n)
                self._bar.refresh()
                self._bar.close()


class _Bar(tqdm):
    monitor_interval = 0  # no thread beside the environments' processes: `tick` is called often enough
