"""The verdict on a run while it goes on: healthy, warn or failed, with the reason and the number behind it.

It is made of the rows alone, by the rules that the algorithm declares (`rlgen.core.watched`), and every row carries it.
So a run that goes on reads its rows again and stands where it stood. A rule speaks when it has read beyond its limit
all through `HOLD` of the run, twice at least: "warn". It has failed when that lasts for its `fails_after` of the run,
and is silent again when nothing was beyond the limit for `CLEAR` of it, twice at least. A number that is not finite is
a failure at once. No torch here: looking answers at once.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rlgen.core.history import History
from rlgen.core.watched import Measured, Rule
from rlgen.errors import DamagedError, DivergedError, NonFiniteEnvError
from rlgen.files import open_file
from rlgen.runs.rows import HEALTH, MAX_LINE, read_metrics, texts

HOLD, CLEAR = 0.05, 0.1  # shares of a run
TWICE = 2  # readings that a change of mind takes
LEVELS = ("healthy", "warn", "failed")
REASON, ADVICE = f"{HEALTH}/reason", f"{HEALTH}/try"  # of a row, where the verdict has changed
NOT_FINITE = "a number is not finite"
NUMBER = f"{HEALTH}/verdict"  # of a row to wandb: which of the levels
LOWER = "a smaller step size, or gradients clipped at less"
OF_ENV, MEND = "the environment returned what is not finite", "mending the environment"


@dataclass(frozen=True)
class Verdict:
    """What is thought of a run at a step.

    Args:
        level: healthy, warn or failed.
        says: what is wrong; empty where nothing is.
        metric: the number behind it is of this.
        value: the number, when the rule last read it.
        limit: beyond which it lies.
        step: when it was read.
        since: the step at which it was first beyond, without a break.
        advice: what to try.
    """

    level: Literal["healthy", "warn", "failed"] = "healthy"
    says: str = ""
    metric: str = ""
    value: float = 0.0
    limit: float = 0.0
    step: int = 0
    since: int = 0
    advice: str = ""

    @property
    def reason(self) -> str:
        """One sentence with the number; empty where nothing is wrong."""
        if not self.says:
            return ""
        beyond = "" if not math.isfinite(self.value) else f", the limit is {self.limit:.4g}"
        return f"{self.says}: {self.metric} is {self.value:.4g} at step {self.step:,}{beyond}"

    def message(self, run: str) -> tuple[str, str, str]:
        """An alert on a run: its title, text and level."""
        level = {"healthy": "INFO", "warn": "WARN", "failed": "ERROR"}[self.level]
        if not self.says:
            return f"{run} is healthy again", "what was wrong is so no more", level
        return f"{run}: {self.level}: {self.says}", f"{self.reason}; try: {self.advice}", level

    def record(self) -> dict[str, Any]:
        """As summary.json holds it."""
        if self.level == "healthy":
            return {"verdict": self.level}
        value = self.value if math.isfinite(self.value) else None
        limit = self.limit if math.isfinite(self.limit) else None
        return {
            "verdict": self.level, "reason": self.reason, "metric": self.metric, "value": value, "limit": limit,
            "step": self.step, "since": self.since, "try": self.advice,
        }  # fmt: skip


HEALTHY = Verdict()


@dataclass
class _State:
    """Where a rule stands: how long it has read the same, and what it says."""

    is_beyond: bool = False
    since: int = 0  # the step of the first reading of that kind without a break
    count: int = 0  # such readings
    speaks: bool = False
    began: int = 0  # the step of the first reading beyond the limit, of those that it speaks of
    measured: Measured | None = None  # the last one beyond the limit
    read_at: int = 0

    def verdict(self, rule: Rule, steps: int) -> Verdict | None:
        """What the rule says of a run of so many steps; None where it is silent."""
        if not self.speaks or self.measured is None:
            return None
        name, value, limit = self.measured.of or rule.metric, self.measured.value, self.measured.limit
        level: Any = "failed" if (self.read_at - self.began) / steps >= rule.fails_after - 1e-9 else "warn"
        return Verdict(level, rule.says, name, value, limit, self.read_at, self.began, rule.advice)


class Health:
    """Judges rows as they come.

    Args:
        rules: what is watched.
        steps: the run's length.

    Attributes:
        verdict: the newest.
    """

    def __init__(self, rules: Sequence[Rule], steps: int) -> None:
        self.rules, self._steps = rules, steps
        self.verdict = HEALTHY
        self._history = History([name for rule in rules for name in rule.needs], steps)
        self._states = [_State() for _ in rules]

    def add(self, row: Mapping[str, Any]) -> bool:
        """Judge the run by one more row; returns whether the verdict is another one."""
        before = self.verdict
        step: int = row["step"]
        bad = next((name for name, value in row.items() if not math.isfinite(value)), None)
        if bad is not None:
            self.verdict = Verdict("failed", NOT_FINITE, bad, row[bad], math.inf, step, step, LOWER)
            return (before.level, before.says) != ("failed", NOT_FINITE)
        found = self._history.add(row)
        for rule, state in zip(self.rules, self._states, strict=True):
            if rule.metric in found and self._history.share >= rule.after:
                self._update(state, rule.measure(self._history), step)
        self.verdict = self._worst()
        return (before.level, before.says) != (self.verdict.level, self.verdict.says)

    def _update(self, state: _State, measured: Measured | None, step: int) -> None:
        if measured is None:
            return
        if measured.is_beyond != state.is_beyond or not state.count:
            state.is_beyond, state.since, state.count = measured.is_beyond, step, 0
        state.count += 1
        if measured.is_beyond:
            state.measured, state.read_at = measured, step
        lasted = (step - state.since) / self._steps
        enough = state.count >= TWICE and lasted >= (HOLD if state.is_beyond else CLEAR) - 1e-9
        if enough and state.is_beyond != state.speaks:
            state.speaks, state.began = state.is_beyond, state.since

    def _worst(self) -> Verdict:
        """The verdict by the rule that speaks, has failed if any has, and began first."""
        verdicts = [state.verdict(rule, self._steps) for rule, state in zip(self.rules, self._states, strict=True)]
        found = [verdict for verdict in verdicts if verdict]
        return min(found, key=lambda each: (-LEVELS.index(each.level), each.since), default=HEALTHY)

    def at_the_end(self, exit_code: int, step: int, error: BaseException | None = None) -> Verdict:
        """The verdict on a run that has ended, maybe by an error; if it diverged it failed, whatever its rows say."""
        if isinstance(error, NonFiniteEnvError):
            return Verdict("failed", OF_ENV, error.what, error.value, math.inf, step, step, MEND)
        if exit_code == DivergedError.exit_code and self.verdict.says != NOT_FINITE:
            return Verdict("failed", NOT_FINITE, "a weight or a metric", math.nan, math.inf, step, step, LOWER)
        return self.verdict

    def words(self, changed: bool) -> dict[str, str]:
        """What a row says of it: the level, and where it has just changed the reason and what to try."""
        own: dict[str, str] = {HEALTH: self.verdict.level}
        if changed and self.verdict.says:
            own |= {REASON: self.verdict.reason, ADVICE: self.verdict.advice}
        return own


def of_rows(rules: Sequence[Rule], steps: int, path: Path) -> Health:
    """The health of a run as its rows leave it.

    Args:
        rules: what is watched.
        steps: the run's length.
        path: its directory, or its metrics.jsonl.
    """
    health = Health(rules, steps)
    with contextlib.suppress(DamagedError):  # it is said where a run goes on
        for row in read_metrics(path):
            health.add(row)
    return health


def written(path: Path) -> dict[str, str] | None:
    """What the rows of a run say of it now, read from the end of metrics.jsonl: `verdict`, `reason`, `try`.

    None where they say nothing, as those of an older version.

    Raises:
        DamagedError: the file cannot be read.
    """
    try:
        last = _last(path, HEALTH)
        if last is None or last[HEALTH] not in LEVELS:
            return None
        why = _last(path, REASON) if last[HEALTH] != LEVELS[0] else None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedError(path, f"{error.strerror or error}") from error
    return {"verdict": last[HEALTH]} | ({"reason": why[REASON], "try": why.get(ADVICE, "")} if why else {})


def is_told(verdict: Verdict, path: Path) -> bool:
    """Whether the rows of a metrics.jsonl say this; those of before or by other rules say something else."""
    with contextlib.suppress(DamagedError):
        told = written(path) or {"verdict": LEVELS[0]}
        return told["verdict"] == verdict.level and told.get("reason", "").startswith(verdict.says)
    return True


def _last(path: Path, name: str) -> dict[str, str] | None:
    """The texts of the last whole row that has one of this name."""
    with open_file(path) as file:
        if file.seek(0, os.SEEK_END) == 0:
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            end = text.rfind(b"\n") + 1
            while (hit := text.rfind(f'"{name}"'.encode(), 0, end)) >= 0:
                start, stop = text.rfind(b"\n", 0, hit) + 1, text.find(b"\n", hit) + 1
                found = texts(text[start:stop]) if stop - start <= MAX_LINE else {}
                if name in found:
                    return found
                end = start
    return None
