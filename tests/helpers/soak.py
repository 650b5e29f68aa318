"""Train for a long time, and watch the memory, the open files and the threads of the process.

    python tests/helpers/soak.py ALGO MINUTES [flags of rlgen train ALGO]

A minute is left out at the beginning, in which buffers fill. A line says what was used then and at the end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

WARM = 60.0  # seconds


class Use(NamedTuple):
    """What a process uses."""

    rss: float  # MiB
    files: float
    threads: float


def use(pid: int) -> Use:
    """What it uses now."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    files = len(os.listdir(f"/proc/{pid}/fd"))
    return Use(int(status["VmRSS"].split()[0]) / 1024, files, int(status["Threads"]))


def soak(algo: str, seconds: float, *flags: str) -> tuple[Use, Use, int, int]:
    """Train for so long, with evaluations, checkpoints and rows all the time, and stop it by SIGTERM.

    Returns:
        The medians of the first and of the last fifth after the warm-up, how many evaluations and checkpoints the run
        had, and its exit code.
    """
    with tempfile.TemporaryDirectory() as folder:
        often = ("--log-every", "500", "--eval-every", "4000", "--checkpoint-every", "4000", "--steps", "100000000")
        command = [sys.executable, "-m", "rlgen", "train", algo, "--runs-dir", folder, "--name", "soak", *often, *flags]
        env = os.environ | {"WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env) as child:
            begin, found = time.monotonic(), []
            while child.poll() is None and time.monotonic() < begin + seconds:
                time.sleep(2.0)
                if time.monotonic() > begin + min(WARM, seconds / 3):
                    found.append(use(child.pid))
            child.send_signal(signal.SIGTERM)
            child.wait(120.0)
        rows = (Path(folder) / "soak" / "metrics.jsonl").read_text().splitlines()
    fifth = max(1, len(found) // 5)
    first, last = (Use(*map(median, zip(*part, strict=True))) for part in (found[:fifth], found[-fifth:]))
    return first, last, sum('"eval/' in row for row in rows), child.returncode


def main() -> None:
    """Soak, and say what was used."""
    algo, minutes, *flags = sys.argv[1:]
    first, last, evaluations, code = soak(algo, 60 * float(minutes), *flags)
    names = ("MiB", "open files", "threads")
    changes = ", ".join(f"{a:.0f} to {b:.0f} {name}" for name, a, b in zip(names, first, last, strict=True))
    print(f"{algo}, {minutes} min, {evaluations} evaluations and checkpoints: {changes}; exit code {code}")


if __name__ == "__main__":
    main()
