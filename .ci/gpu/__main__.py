"""Everything there is to measure on one real GPU: `python .ci/gpu OUT`, in less than eight minutes.

Needs torch with CUDA and rlgen's other dependencies, ale-py and pytest among them; rlgen need not be installed. Every
part is a process with a time limit, so that one that fails or hangs hides nothing of the others. What a part finds is
printed as it comes, a JSON object a line, and kept in OUT/results.jsonl; all that a part prints is in OUT/PART.log.
`CHECK_ONLY=micro,learn` runs some parts. `CHECK_SCALE=0.05` only tries the script: its figures mean nothing.
`python .ci/gpu --long OUT [ALGO]` is work for several calls, see long.py.

Exit codes: 0 all is well, 1 something failed (see `problems` of each part), 2 there is no GPU or no such part.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

USABLE = os.sched_getaffinity(0)  # importing torch may put this thread, and so all parts, on one of these cores

import checks  # noqa: E402
import long  # noqa: E402

os.sched_setaffinity(0, USABLE)

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent
SLOW = 4  # a machine that only tries the script gets so many times as long


def main(argv: list[str]) -> int:
    """Run the parts one after the other; returns the exit code."""
    is_long = argv[:1] == ["--long"]
    if len(argv) == 2 and not is_long:  # a part in its own process
        getattr(checks, argv[1])()
        return 0
    names = argv[1:] if is_long else argv
    if not 1 <= len(names) <= 1 + is_long or any(name.startswith("-") for name in names):
        print("usage: python .ci/gpu OUT, or python .ci/gpu --long OUT [ALGO]", file=sys.stderr)
        return 2
    if names[1:] and names[1] not in long.RUNS:
        print(f"--long: no run of {names[1]}; there are {', '.join(long.RUNS)}", file=sys.stderr)
        return 2
    chosen = [name for name in os.environ.get("CHECK_ONLY", "").split(",") if name] or list(checks.LIMITS)
    unknown = sorted(set(chosen) - set(checks.LIMITS))
    if unknown:
        print(f"CHECK_ONLY: no part {', '.join(unknown)}; there are {', '.join(checks.LIMITS)}", file=sys.stderr)
        return 2
    if not checks.has_gpu():
        print("torch finds no CUDA device: nothing to check here", file=sys.stderr)
        return 2
    out = Path(names[0]).resolve()
    if is_long:
        os.chdir(ROOT)
        os.environ.update(environment())
        sys.path.insert(0, str(ROOT))
        return long.main(out, *names[1:])
    out.mkdir(parents=True, exist_ok=True)
    results = [run(name, out) for name in checks.LIMITS if name in chosen]
    return int(any(result["rc"] or result["problems"] for result in results))


def run(name: str, out: Path) -> dict[str, Any]:
    """Run a part in a process of its own, and end it at its limit.

    Returns:
        The row that closes the part: its exit code, seconds, and how many of its rows tell of a problem.
    """
    begin, limit = time.perf_counter(), checks.LIMITS[name] * (SLOW if checks.IS_TRIAL else 1)
    process = subprocess.Popen(
        [sys.executable, "-u", str(FOLDER), str(out), name],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=environment(),
        start_new_session=True,
    )
    timer = threading.Timer(limit, os.killpg, [process.pid, signal.SIGKILL])  # its own children too
    timer.start()
    problems, last = 0, ""
    assert process.stdout is not None
    with open(out / f"{name}.log", "w", encoding="utf-8") as log:
        for line in process.stdout:
            log.write(line)
            log.flush()
            if line.startswith(checks.ROW):
                row = json.loads(line)
                problems += bool(row.get("error") or row.get("refused"))
                show(row, out)
            elif line.strip():
                last = line.strip()
    code: int | str = process.wait()
    timer.cancel()
    seconds = time.perf_counter() - begin
    if code == -signal.SIGKILL and seconds >= limit:
        code = "timeout"
    closing = {"part": name, "rc": code, "seconds": round(seconds, 1), "problems": problems}
    show(closing | ({"last": last[-300:]} if code else {}), out)
    return closing


def environment() -> dict[str, str]:
    """Of a part: this checkout is what is imported, and nothing is sent anywhere."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}


def show(row: dict[str, Any], out: Path) -> None:
    """Print a row, and keep it."""
    line = json.dumps(row)
    print(line, flush=True)
    with open(out / "results.jsonl", "a", encoding="utf-8") as file:
        file.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
