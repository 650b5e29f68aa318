"""Whole runs that take longer than one call may: `python .ci/gpu --long OUT` trains PPO on Pong, and goes on with it.

`--long OUT dqn` and `--long OUT rainbow` learn Pong in 3M steps, `--long OUT r3gan` Fashion-MNIST (in $RLGEN_DATA).
Every call trains for $CHECK_SECONDS (480), saves, and prints where the run stands: a JSON object, also kept in
OUT/long.jsonl. The same command goes on, on the CPU or the GPU that it finds, until the run is finished.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SAVING = 60  # seconds that it may take to save
COMMON = {"checkpoint-minutes": 3, "keep": 1, "wandb": "disabled"}
PONG = COMMON | {"env": "ALE/Pong-v5", "vectorization": "native", "num-envs": 64, "hidden": 512, "eval-episodes": 8}
Q_LEARNING = {  # an update of 128 every 16 steps, rewards of three steps
    "steps": 3_000_000,
    "batch-size": 128,
    "buffer-size": 400_000,
    "learning-starts": 20_000,
    "train-every": 64,
    "gradient-steps": 4,
    "target-every": 500,
    "lr": 2.5e-4,
    "n-step": 3,
    "exploration-fraction": 0.1,
}
RUNS: dict[str, dict[str, Any]] = {  # algorithm: its options
    "ppo": PONG | {"steps": 10_000_000, "rollout-steps": 8_192, "num-epochs": 4, "batch-size": 2_048, "lr": 2.5e-4},
    "dqn": PONG | Q_LEARNING,
    "rainbow": PONG | Q_LEARNING,
    "r3gan": COMMON | {"data": "fashion-mnist", "steps": 5_000_000, "width": 64, "batch-size": 128},
}
TRIED = {"steps": 4_000, "batch-size": 16}  # where the script is only tried
SMALL = {"num-envs": 4, "eval-episodes": 1, "eval-every": 4_000}
BRIEF = {
    "ppo": TRIED | SMALL | {"rollout-steps": 64},
    "dqn": TRIED | SMALL | {"learning-starts": 1_000, "buffer-size": 2_000},
    "rainbow": TRIED | SMALL | {"learning-starts": 1_000, "buffer-size": 2_000},
    "r3gan": TRIED | {"width": 4, "eval-samples": 0},
}


def go_on(out: Path, command: list[str], seconds: float) -> dict[str, Any]:
    """Train for so long; returns the row that says where the run stands.

    Args:
        out: what is printed goes to long.log in it.
        command: begins or goes on with the run, and saves at SIGTERM.
        seconds: until then.
    """
    begin = time.perf_counter()
    with open(out / "long.log", "a", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            try:
                code = process.wait(SAVING)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                code = process.wait()
    row = {"part": "long", "rc": code, "seconds": round(time.perf_counter() - begin, 1)}
    return row | {"finished": code == 0, "to_be_continued": code == 128 + signal.SIGTERM}


def stands(run: Path) -> dict[str, Any]:
    """The step of a run, its speed and its scores."""
    from rlgen.runs.rows import read_metrics

    found: dict[str, Any] = {}
    for row in read_metrics(run):
        found |= row
    said = ("step", "charts/SPS", "eval/episodic_return", "eval/fd_lenet", "eval/recall_lenet", "eval/coverage_lenet")
    return {name: found[name] for name in said if name in found}


def main(out: Path, algo: str = "ppo") -> int:
    """One call; returns the exit code: 0 the run is finished or to be continued, 1 it failed."""
    is_trial = float(os.environ.get("CHECK_SCALE", "1")) < 1
    options = RUNS[algo] | (BRIEF[algo] if is_trial else {})
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    train = ["train", algo, "--name", algo, "--runs-dir", str(out), "--resume-if-exists", "--no-preset", *words]
    out.mkdir(parents=True, exist_ok=True)
    row = go_on(out, [sys.executable, "-m", "rlgen", *train], float(os.environ.get("CHECK_SECONDS", "480")))
    row |= {"algo": algo} | (stands(out / algo) if (out / algo).exists() else {})
    with open(out / "long.jsonl", "a", encoding="utf-8") as file:
        print(json.dumps(row), file=file)
    print(json.dumps(row), flush=True)
    return int(not (row["finished"] or row["to_be_continued"]))
