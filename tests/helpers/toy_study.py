"""Studies whose runs are toys: processes that write rows, stop at a signal, go on and end, all in a moment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from rlgen.options import config
from rlgen.study import plan, seeds
from rlgen.study.record import Study

BODY = """
import json, os, signal, sys, time, tomllib
from pathlib import Path
from rlgen.runs import lock
train, algo, *words = sys.argv[1:]
flags = {words[i]: words[i + 1] for i in range(len(words) - 1) if words[i].startswith("--")}
options = tomllib.loads(Path(flags["--config"]).read_text())
path, seed = Path(flags["--runs-dir"]) / flags["--name"], int(flags["--seed"])
path.mkdir(exist_ok=True)
file, lr = path / "metrics.jsonl", options["lr"]
stopped = []
signal.signal(signal.SIGTERM, lambda *ignored: stopped.append(1))
with lock.hold(path):
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    step = rows[-1]["step"] if rows else 0
    with open(path.parent.parent / "starts.txt", "a") as starts:
        starts.write(f"{path.name} {step}\\n")
    print("a word on stdout", flush=True)
    if options.get("gamma") == 0.5:
        print("error: cannot be trained", file=sys.stderr)
        sys.exit(int(os.environ.get("TOY_EXIT", 5)))
    while step < options["steps"]:
        step += 10
        if seed == int(os.environ.get("TOY_STUCK", -1)) or lr == float(os.environ.get("TOY_STUCK_LR", -1)):
            while not stopped:
                time.sleep(0.02)
        time.sleep(float(os.environ.get("TOY_SECONDS", 0.01)))
        with open(file, "a") as out:
            print(json.dumps({"step": step, "time": 1.0, "eval/episodic_return": step * lr + seed}), file=out)
        if stopped:
            sys.exit(143)
    (path / "summary.json").write_text(json.dumps({"status": "finished", "step": step}))
"""
TOY = seeds.FOLLOWING.replace('"-m", "rlgen"', f'"-c", {BODY!r}')
WORKER = """
import sys
from rlgen.commands import main
from rlgen.study import seeds, worker
seeds.FOLLOWING, seeds.LOOK, worker.NAP = {toy!r}, 0.05, 0.1
sys.exit(main({words!r}))
"""
ASKED: dict[str, Any] = {
    "over": ("lr=0.25/0.5",),
    "seeds": "100:102",
    "trials": None,
    "sampler": "grid",
    "prune": "none",
    "rungs": None,
    "metric": None,
    "trial_minutes": None,
    "heartbeat": 1,
    "storage": None,
}


def planned(runs_dir: Path, options: dict[str, Any] | None = None, **asked: Any) -> Study:
    """A study of toys that is not made yet."""
    given = {"env": "CartPole-v1", "steps": 100, "learning_starts": 10, "no_preset": True} | (options or {})
    return plan.plan("toy", str(runs_dir), config.resolve("dqn", given), plan.Asked(**(ASKED | asked)))


def created(runs_dir: Path, options: dict[str, Any] | None = None, **asked: Any) -> Study:
    """A study of toys."""
    return plan.create(planned(runs_dir, options, **asked), {"seconds": 1.0, "disk": 1000})


def start_worker(study: Study, *flags: str, **environment: str) -> subprocess.Popen[str]:
    """A worker of it in a process of its own."""
    words = ["study", "work", study.name, "--runs-dir", str(study.path.parent.parent), *flags]
    return subprocess.Popen(
        [sys.executable, "-c", WORKER.format(toy=TOY, words=words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


def starts(study: Study) -> list[tuple[str, int]]:
    """Each start of a run, its name and the step at which it began."""
    file = study.path / "starts.txt"
    lines = file.read_text().splitlines() if file.exists() else []
    return [(line.split()[0], int(line.split()[1])) for line in lines]


def rows(path: Path) -> list[dict[str, Any]]:
    """Of a toy's metrics.jsonl."""
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
