"""Several seeds in processes of their own, some at a time: every one is an ordinary run, as if it had been typed alone.

The process that was started only waits. It shows how far all of them are, passes a signal on to them, and ends them
when it must. A process whose parent is killed gets SIGTERM: it saves its run and ends (on Linux).
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from rlgen.envs.vector import PR_SET_PDEATHSIG
from rlgen.envs.watch import STOPPING
from rlgen.errors import InterruptedRunError, RlgenError, is_out_of_memory, one_line
from rlgen.runs import stopping
from rlgen.runs.progress import Overall

LOOK = 0.5  # seconds between two words of a process on where its run is


@dataclass(frozen=True)
class Ended:
    """A run that finished."""

    path: Path

    @property
    def name(self) -> str:
        """Of the run."""
        return self.path.name


@dataclass
class _Job:
    """A seed's process, and what it said last."""

    process: BaseProcess
    words: Connection
    resume: str = ""  # the line that goes on with its run, once that has begun
    chosen: dict[str, Any] = field(default_factory=dict)  # options that were open until its run began
    result: Ended | BaseException | None = None


def run_seeds(
    config: dict[str, Any], seeds: Sequence[int], jobs: int, command: Sequence[str] | None = None, quiet: bool = False
) -> dict[int, Ended | BaseException]:
    """Train one run a seed, in at most `jobs` processes at a time.

    The first one goes ahead until its run has begun: it finds out whether the machine has room for all. Where it fails
    before, no other is started. A run that fails later does not stop the others.

    Args:
        config: flat; a `name` gets the seed at its end. Without `threads`, a run beside others has one.
        seeds: of the runs.
        jobs: processes at a time, at least 1.
        command: what the user typed.
        quiet: no progress bar.

    Returns:
        By seed the finished run, or what ended it.

    Raises:
        RlgenError: the first run could not begin.
        KeyboardInterrupt: a second Ctrl-C; the processes are killed.
    """
    jobs = min(jobs, len(seeds))
    config = {**config, "threads": config["threads"] or (1 if jobs > 1 else 0)}
    waiting, running, results = list(seeds), dict[int, _Job](), dict[int, Ended | BaseException]()
    overall, passed_on, begun = Overall(config, len(seeds), quiet), 0, False
    with stopping.handling(), contextlib.closing(overall):
        try:
            while running or (waiting and not stopping.asked()):
                while waiting and len(running) < (jobs if begun else 1) and not stopping.asked():
                    seed = waiting.pop(0)
                    running[seed] = _start(
                        config, seed, command, (len(seeds), jobs) if not begun else (1, None), not begun and not quiet
                    )
                if stopping.asked() and not passed_on:
                    passed_on = stopping.asked()
                    for job in running.values():
                        _signal(job.process, passed_on)
                for words in wait([job.words for job in running.values()], LOOK):
                    seed, job = next((seed, job) for seed, job in running.items() if job.words is words)
                    _listen(job, seed, overall)
                    if not begun and job.resume:
                        begun, config = True, config | job.chosen  # one choice for all: they are compared
                    if job.result is not None:
                        results[seed] = running.pop(seed).result  # type: ignore[assignment]
                        if not begun:
                            raise job.result  # type: ignore[misc]
        except BaseException:
            for job in running.values():
                job.process.kill()
            raise
    for seed in waiting:
        results[seed] = InterruptedRunError("stopped before it began", stopping.asked() or passed_on)
    return {seed: results[seed] for seed in seeds}


def _start(
    config: dict[str, Any], seed: int, command: Sequence[str] | None, counts: tuple[int, int | None], first: bool
) -> _Job:
    # spawn: torch has threads, which a fork does not survive
    ours, theirs = multiprocessing.get_context("spawn").Pipe(duplex=False)
    name = config["name"] and f"{config['name']}-{seed}"
    args = (theirs, os.getpid(), {**config, "seed": seed, "name": name}, command, counts, first)
    process = multiprocessing.get_context("spawn").Process(target=_train, args=args, name=f"seed {seed}")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # inherited: one that comes early waits for its handler
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    return _Job(process, ours)


def _listen(job: _Job, seed: int, overall: Overall) -> None:
    """Take one word of a process, or its end."""
    try:
        word, value = job.words.recv()
    except (EOFError, OSError):  # it ended without a word
        job.process.join()
        code = job.process.exitcode or 0
        how = signal.Signals(-code).name if -code in set(signal.Signals) else f"exit code {code}"
        go_on = job.resume and f"; go on with: {job.resume}"
        job.result = RlgenError(f"the process of seed {seed} ended by {how}{go_on}")
        return
    if word == "began":
        job.resume, job.chosen = value
    elif word == "step":
        overall.show(seed, value)
    elif word == "finished":
        job.result = Ended(Path(value))
    else:
        code, line, signum = value
        job.result = InterruptedRunError(line, signum) if signum else RlgenError(line)
        job.result.exit_code = code
    if job.result is not None:
        job.process.join()
        overall.ended()


def _signal(process: BaseProcess, signum: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(process.pid or 0, signum)


def _train(
    words: Connection,
    parent: int,
    config: dict[str, Any],
    command: Sequence[str] | None,
    counts: tuple[int, int | None],
    first: bool,
) -> None:
    """What the process of a seed does: train, and tell its parent."""
    with contextlib.suppress(OSError):
        os.setsid()  # a Ctrl-C reaches the parent alone, which passes it on once
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            return

    from rlgen import experiment
    from rlgen.runs.run import Run

    talking = threading.Lock()

    def tell(word: str, value: Any) -> None:
        with talking, contextlib.suppress(OSError):  # nobody listens any more
            words.send((word, value))

    class Told(Run):
        @classmethod
        def create(cls, *args: Any, **kwargs: Any) -> Run:
            run = super().create(*args, **kwargs)
            tell("began", (run.command("resume"), {"compile": run.config["compile"]}))
            threading.Thread(target=keep_telling, args=(run,), daemon=True).start()
            return run

    def keep_telling(run: Run) -> None:
        while True:
            tell("step", run.step)
            time.sleep(LOOK)

    with stopping.handling(quiet=True):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        try:
            stopping.check()
            run = experiment.start(config, command, quiet=True, kind=Told, beside=counts, with_notes=first)
        except Exception as error:
            code = 2 if is_out_of_memory(error) else getattr(error, "exit_code", 1)
            signum = code - 128 if isinstance(error, InterruptedRunError) else 0
            tell("failed", (code, one_line(error), signum))
        else:
            tell("finished", str(run.path))
