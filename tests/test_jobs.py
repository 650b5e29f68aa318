"""Seeds in processes of their own: each run is what it would be alone, and a signal or a kill loses none of them."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny import comparable, tiny
from tiny_runs import DQN, TINY

from rlgen import experiment, jobs
from rlgen.errors import InterruptedRunError, RlgenError, UsageError
from rlgen.jobs import run_seeds
from rlgen.runs.find import describe
from rlgen.runs.run import Run

ENDLESS = ["train", "dqn", *TINY, *DQN, "--steps", "100_000_000", "--log-every", "200", "--eval-every", "10_000_000"]
ENDLESS += ["--seeds", "0:3", "--jobs", "2", "--name", "many"]


def trainer(path):
    """The process that trains a run."""
    return int((path / ".lock").read_text().split()[0])


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def started(tmp_path, words):
    """A command in a process of its own, once the runs of its first two seeds have rows."""
    process = subprocess.Popen(
        [sys.executable, "-m", "rlgen", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(experiment.__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not all((tmp_path / f"runs/many-{seed}/metrics.jsonl").exists() for seed in (0, 1)):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.1)
    return process


@pytest.mark.slow
def test_a_run_beside_others_is_the_run_it_would_be_alone(tmp_path):
    config = tiny("dqn", tmp_path / "many", name="many", steps=200)
    results = run_seeds(config, [3, 4], 2, quiet=True)
    assert [result.name for result in results.values()] == ["many-3", "many-4"]
    alone = experiment.start(tiny("dqn", tmp_path / "alone", name="one", steps=200, seed=4, threads=1), quiet=True)
    beside = Run.open(results[4].path, steps=201)
    assert comparable(beside.path) == comparable(alone.path)
    assert "together" not in beside.info and beside.config["threads"] == 1


@pytest.mark.slow
def test_where_the_first_cannot_begin_nothing_is_started_and_a_later_one_stops_no_other(tmp_path):
    config = tiny("dqn", tmp_path, name="many", steps=100)
    experiment.start(config | {"seed": 1, "name": "many-1"}, quiet=True)
    with pytest.raises(RlgenError, match="run many-1 exists") as it:
        run_seeds(config, [1, 2], 2, quiet=True)
    assert it.value.exit_code == UsageError.exit_code and not (tmp_path / "many-2").exists()
    results = run_seeds(config, [2, 1], 1, quiet=True)
    assert "run many-1 exists" in str(results[1]) and results[2].name == "many-2"


@pytest.mark.skipif(sys.platform != "linux", reason="signals of a parent's end")
def test_what_the_first_run_chose_holds_for_the_others(tmp_path, monkeypatch):
    chosen = []

    def start(config, seed, *_):
        chosen.append(config["compile"])
        ours, theirs = multiprocessing.Pipe(duplex=False)
        theirs.send(("began", ("rlgen resume it", {"compile": "always"})))
        theirs.send(("finished", str(tmp_path)))
        return jobs._Job(SimpleNamespace(join=lambda: None, kill=lambda: None), ours)

    monkeypatch.setattr(jobs, "_start", start)
    run_seeds(tiny("dqn", tmp_path), [1, 2, 3], 1, quiet=True)
    assert chosen == ["auto", "always", "always"]


def test_a_signal_saves_all_and_what_waits_is_not_begun(tmp_path):
    process = started(tmp_path, ENDLESS)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM
    assert err.count("stopping: ") == 1
    for seed in (0, 1):
        assert describe(tmp_path / f"runs/many-{seed}")["step"] > 0
        assert f"rlgen resume many-{seed}" in " ".join(out.split())
    assert not (tmp_path / "runs/many-2").exists() and "before it began" in out


@pytest.mark.skipif(sys.platform != "linux", reason="signals of a parent's end")
def test_a_signal_that_comes_before_a_run_begins_is_no_failure(tmp_path, monkeypatch):
    """It reaches the process while that is still loading what it needs."""
    start = multiprocessing.get_context("spawn").Process.start

    def start_and_signal(process):
        start(process)
        os.kill(process.pid, signal.SIGUSR1)

    monkeypatch.setattr(multiprocessing.get_context("spawn").Process, "start", start_and_signal)
    with pytest.raises(InterruptedRunError, match="SIGUSR1 before it began") as it:
        run_seeds(tiny("dqn", tmp_path, name="many", steps=100), [0], 1, quiet=True)
    assert it.value.exit_code == 128 + signal.SIGUSR1


@pytest.mark.skipif(sys.platform != "linux", reason="signals of a parent's end")
@pytest.mark.slow
def test_a_killed_process_is_named_and_the_others_go_on(tmp_path):
    words = [{"100_000_000": "20_000", "0:3": "0:2"}.get(word, word) for word in ENDLESS]
    process = started(tmp_path, words)
    os.kill(trainer(tmp_path / "runs/many-0"), signal.SIGKILL)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "SIGKILL" in out and "go on with: rlgen resume many-0" in " ".join(out.split())
    assert describe(tmp_path / "runs/many-1")["status"] == "finished"


@pytest.mark.skipif(sys.platform != "linux", reason="signals of a parent's end")
@pytest.mark.slow
def test_runs_whose_parent_is_killed_are_saved_and_end(tmp_path):
    process = started(tmp_path, ENDLESS)
    children = [trainer(tmp_path / f"runs/many-{seed}") for seed in (0, 1)]
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in children):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert all(describe(tmp_path / f"runs/many-{seed}")["step"] > 0 for seed in (0, 1))
