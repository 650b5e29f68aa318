"""The watchdog's own process; `watch.py` starts it and says what it is for. Python's standard library alone, no rlgen.

python watchdog.py PID COUNTER SIGNALS SOFT HARD TIMEOUT; on stdin a line of JSON a run:
[directory, [length in steps, line that goes on]].
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import select
import signal
import sys
import time
from pathlib import Path

PATIENCE = 10.0  # seconds for a call to end after it was asked to


def main(pid: int, counter: int, signals: int, soft: int, hard: int, timeout: float) -> None:
    """Watch process `pid` until it ends.

    Args:
        pid: the parent's.
        counter: file descriptor of two numbers; the first is odd while an environment is called, the second is ours.
        signals: file descriptor of the signals it gets.
        soft: signal that raises in the call.
        hard: signal that ends the process.
        timeout: seconds a call may take.
    """
    calls = memoryview(mmap.mmap(counter, 16)).cast("Q")
    runs: dict[str, tuple[int, str]] = {}
    limit, last, waited, longest, asked = timeout, 0, 0.0, 0.0, False
    tick, before = min(0.5, timeout / 4), time.monotonic()
    while os.getppid() == pid:
        for readable in select.select([0, signals], [], [], tick)[0]:
            data = os.read(readable, 65536)
            if readable == signals:
                if set(data) - {soft}:  # once more patient than the longest call so far, if that is a slow environment
                    limit = min(limit, max(PATIENCE, 2 * longest))
            elif not data:
                return  # it has ended
            else:
                runs |= dict(json.loads(line) for line in data.splitlines())
        now = time.monotonic()
        passed, before = min(now - before, 2 * tick), now  # a machine that slept counts for nothing
        if calls[0] != last or calls[0] % 2 == 0:
            last, waited, asked = calls[0], 0.0, False
        elif not is_stopped(pid):
            waited += passed
            longest = max(longest, waited if waited < limit else 0.0)
        if waited < limit:
            continue
        if not asked:
            calls[1] = round(waited)
            asked, limit, waited = True, PATIENCE, 0.0
            os.kill(pid, soft)
        else:
            runs = {run: known for run, known in runs.items() if is_held(Path(run), pid)}
            said = message(round(waited) + calls[1], runs)
            with contextlib.suppress(OSError):
                os.write(2, f"\n{said}\n".encode())
            for run, (steps, _) in runs.items():
                with contextlib.suppress(OSError):
                    note_end(Path(run), steps, said, hard)
            os.kill(pid, hard)
            time.sleep(2)
            os.kill(pid, signal.SIGKILL)
            return


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped, as by Ctrl-Z, and so cannot go on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "Tt"
    except OSError:
        return False


def is_held(run: Path, pid: int) -> bool:
    """Whether a process trains a run still: it may have ended, and its directory may be another's by now."""
    try:
        return (run / ".lock").read_text().startswith(f"{pid} ")
    except (OSError, UnicodeDecodeError):
        return False


def saved_step(run: Path) -> int:
    """The step of a run's newest checkpoint, 0 without one."""
    names = [path.name for path in Path(run, "checkpoints").glob("step_*")]
    return max((int(name[5:]) for name in names if name[5:].isdigit()), default=0)


def note_end(run: Path, steps: int, said: str, exit_code: int) -> None:
    """Leave what a run leaves that fails: error.txt, and summary.json as far as it is known from outside."""
    step = saved_step(run)
    summary = {"name": run.name, "status": "failed", "exit_code": exit_code, "step": step, "steps": steps}
    for name, text in (("error.txt", said), ("summary.json", json.dumps(summary | {"checkpoint": step}, indent=2))):
        temporary = run / f".tmp-{os.getpid()}-{name}"
        temporary.write_text(f"{text}\n", encoding="utf-8")
        os.replace(temporary, run / name)


def message(seconds: int, runs: dict[str, tuple[int, str]]) -> str:
    """What happened, where the runs stand, and the lines that go on."""
    said = []
    for run, (_, go_on) in runs.items():
        step = saved_step(Path(run))
        said.append(f"step {step:,} is saved; go on with: {go_on}" if step else "nothing is saved")
    why = f"error: an environment has not come back for {seconds} s and does not let go of Python"
    return "; ".join([f"{why}, so the process ends; --step-timeout allows more", *said])


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, ProcessLookupError):
        pid, counter, signals, soft, hard = (int(word) for word in sys.argv[1:6])
        main(pid, counter, signals, soft, hard, float(sys.argv[6]))
