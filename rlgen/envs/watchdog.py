"""The watchdog's own process; `watch.py` starts it and says what it is for. Python's standard library alone, no rlgen.

python watchdog.py PID COUNTER SIGNALS SOFT HARD TIMEOUT; on stdin a line of JSON a run: [directory, line that goes on].
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
    runs: dict[str, str] = {}
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
            with contextlib.suppress(OSError):
                os.write(2, f"\n{message(round(waited) + calls[1], runs)}\n".encode())
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


def message(seconds: int, runs: dict[str, str]) -> str:
    """What happened, where the runs stand, and the lines that go on."""
    said = []
    for run, go_on in runs.items():
        steps = [int(path.name[5:]) for path in Path(run, "checkpoints").glob("step_*") if path.name[5:].isdigit()]
        said.append(f"step {max(steps):,} is saved; go on with: {go_on}" if steps else "nothing is saved")
    why = f"error: an environment has not come back for {seconds} s and does not let go of Python"
    return "; ".join([f"{why}, so the process ends; --step-timeout allows more", *said])


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, ProcessLookupError):
        pid, counter, signals, soft, hard = (int(word) for word in sys.argv[1:6])
        main(pid, counter, signals, soft, hard, float(sys.argv[6]))
