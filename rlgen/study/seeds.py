"""The seeds of a trial, each an ordinary run in a process of its own: `rlgen train`, stopped by SIGTERM, gone on with.

A run is paused where it has been evaluated at the end of a rung, so its schedules are those of its whole length. Its
lock says that somebody trains it; a run that is finished is never trained again.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rlgen.errors import DiskError, DivergedError, MissingExtraError, RlgenError
from rlgen.files import made, write_whole, writing
from rlgen.runs import lock
from rlgen.runs.records import read_status
from rlgen.runs.rows import last_evaluation, read_metrics
from rlgen.study.record import Study, to_toml

LOOK = 0.3  # seconds between two looks at the processes
PATIENCE = 60.0  # seconds that a process may take to save its run
# A worker that is killed takes its runs with it: Linux tells them, and they save. Other systems let them go on.
FOLLOWING = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.executable, [sys.executable, "-m", "rlgen", *sys.argv[2:]])
"""


class FailedTrialError(RlgenError):
    """A trial that has no score: what it tried cannot be trained, diverged, or took too long."""


class DivergedTrialError(FailedTrialError):
    """A trial that failed because of its values, and for no other reason."""


class SeedRun:
    """A run of a trial.

    Args:
        study: whose.
        path: its directory.
        seed: its seed.
        options: the file that holds its options.
    """

    def __init__(self, study: Study, path: Path, seed: int, options: Path) -> None:
        self.study, self.path, self.seed = study, path, seed
        self.log = study.path / "logs" / f"{path.name}.txt"
        self.command = ["train", study.record["algo"], "--config", str(options), "--no-preset", "--resume-if-exists"]
        self.command += ["--seed", str(seed), "--name", path.name, "--runs-dir", str(path.parent)]
        self.process: subprocess.Popen[bytes] | None = None
        self._paused = False

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        return read_status(self.path) == "finished"

    def reached(self, step: int | None) -> bool:
        """Whether it has been evaluated at a step; None is its end."""
        return self.finished or (
            step is not None and last_evaluation(self.path / "metrics.jsonl").get("step", 0) >= step
        )

    def score(self, step: int | None) -> float:
        """Its score in the first evaluation from a step on; None is the last one.

        Raises:
            FailedTrialError: there is none, or it is not finite.
        """
        metric = self.study.record["metric"]
        rows = [row for row in read_metrics(self.path) if metric in row]
        rows = [row for row in rows if step is None or row["step"] >= step] or rows
        found = rows[-1 if step is None else 0][metric] if rows else math.nan
        if not math.isfinite(found):
            others = sorted({name for row in read_metrics(self.path) for name in row} - {"step", "time"})
            has = "" if rows else f"; it has {', '.join(others) or 'no rows'}"
            raise FailedTrialError(f"seed {self.seed} has no finite {metric}{has}")
        return float(found)

    def start(self) -> None:
        """Begin, or go on."""
        made(self.log.parent)
        made(self.path.parent)
        with writing(self.log), open(self.log, "ab") as log:
            words = [sys.executable, "-I", "-S", "-c", FOLLOWING, str(os.getpid()), *self.command]
            self._paused = False
            self.process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.study.home,
            )

    def pause(self) -> None:
        """Ask it to save and to end."""
        if self.process is not None and not self._paused:
            self._paused = True
            self.process.terminate()

    def look(self, step: int | None) -> bool:
        """Pause it where it has been evaluated at a step; returns whether its process has ended.

        Raises:
            FailedTrialError: it failed.
            DiskError: the disk is full.
            MissingExtraError: a package is not installed.
        """
        assert self.process is not None
        code = self.process.poll()
        if code is None:
            if step is not None and not self._paused and self.reached(step):
                self.pause()
            return False
        self.process = None
        # by a signal, ours or that of a queue: it is saved; -15: the signal came when a run that ends listens no more
        if code == 0 or code > 128 or code == -signal.SIGTERM:
            return True
        how = self.said() if code > 0 else f"its process ended by {signal.Signals(-code).name}"
        kinds: dict[int, type[RlgenError]] = {
            DiskError.exit_code: DiskError,
            DivergedError.exit_code: DivergedTrialError,
        }
        if code == MissingExtraError.exit_code:
            raise MissingExtraError(how)
        raise kinds.get(code, FailedTrialError)(f"seed {self.seed}: {how}")

    def said(self) -> str:
        """The last line of its process, without `error: `."""
        lines = self.log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        errors = [line for line in lines if line.startswith("error: ")]
        return (errors or lines)[-1].removeprefix("error: ")

    def stop(self, until: float) -> None:
        """Wait until its process has saved and ended; kill it after a time of the monotonic clock."""
        if self.process is None:
            return
        try:
            self.process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


def seed_runs(study: Study, params: dict[str, object], seeds: Sequence[int]) -> list[SeedRun]:
    """The runs of a set of parameters; the file with their options is written."""
    options = study.path / "trials" / f"{study.key(params)}.toml"
    made(options.parent)
    write_whole(options, to_toml(study.values(params)))
    return [SeedRun(study, study.run_path(params, seed), seed, options) for seed in seeds]


def advance(runs: Sequence[SeedRun], step: int | None, jobs: int, look: Callable[[], None]) -> None:
    """Train every run until it has been evaluated at a step, some at a time.

    Args:
        runs: of a trial.
        step: where they pause; None is their end.
        jobs: processes at a time.
        look: called all the time; what it raises ends the runs, saved.

    Raises:
        RlgenError: a run failed; the others are saved.
    """
    waiting = [run for run in runs if not run.reached(step)]
    running: list[SeedRun] = []
    try:
        while waiting or running:
            for run in waiting[: max(0, jobs - len(running))]:
                if not lock.is_held(run.path):  # by what a killed worker left, and which saves now
                    waiting.remove(run)
                    running.append(run)
                    run.start()
            time.sleep(LOOK)
            look()
            ended = [run for run in running if run.look(step)]
            running = [run for run in running if run not in ended]
            waiting += [run for run in ended if not run.reached(step)]
    finally:
        for run in running:
            run.pause()
        until = time.monotonic() + PATIENCE
        for run in running:
            with contextlib.suppress(ProcessLookupError):
                run.stop(until)
