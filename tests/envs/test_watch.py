"""An environment that hangs ends its run at the last checkpoint, in a line; a worker is named."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny

from rlgen import experiment, inference
from rlgen.envs import watch, watchdog
from rlgen.envs.make import make_envs
from rlgen.errors import StuckEnvError
from rlgen.runs import records, stopping

HELPERS = Path(__file__).parents[1] / "helpers"
ROOT = HELPERS.parents[1]


def step_until_it_hangs(envs):
    for _ in range(100):
        envs.step(np.zeros(envs.num_envs, int))


@pytest.mark.parametrize("how", ["wait", "spin"])
def test_a_hung_environment_of_this_process_is_ended_and_named(how, make):
    with watch.watching(0.4):
        envs = make(f"hanging:Hanging-{how}-v0", 2, "sync")
        with pytest.raises(
            StuckEnvError, match=r"environment 0 in step 7 of episode 5, of 2 .* not come back for \d s;"
        ):
            step_until_it_hangs(envs)
    assert watch.calls == [0, 0]


@pytest.mark.parametrize("how", ["wait", "lock", "stop"])
def test_a_hung_worker_is_killed_and_named_alone(how, make):
    with watch.watching(0.4):
        envs = make(f"hanging:Hanging-{how}-v0", 1, "async")  # its steps are counted in its own process
        pids = [process.pid for process in envs.vector_env.processes]
        with pytest.raises(StuckEnvError, match=r"environment 0 in step 7 of episode 5, of 1 .*its worker was killed"):
            step_until_it_hangs(envs)
        envs.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_of_several_workers_those_are_named_that_do_not_answer(make):
    envs = make("counting:Counting-v0", 4, "async")
    envs.step(np.zeros(4, int))
    for i in (1, 3):
        os.kill(envs.vector_env.processes[i].pid, signal.SIGSTOP)
    with watch.watching(0.4), pytest.raises(StuckEnvError, match=r"environment 1 in step 2 of episode 0, 3 in step"):
        envs.step(np.zeros(4, int))


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_a_reset_hangs(vectorization, make):
    with watch.watching(0.4):
        envs = make("hanging:HangingReset-v0", 1, vectorization)
        with pytest.raises(StuckEnvError, match=r"environment 0 in step 1 of episode 2, of 1"):
            step_until_it_hangs(envs)


def test_drawing_and_closing_hang():
    with watch.watching(0.4):
        envs = make_envs("hanging:HangingRender-v0", 1, "sync", render_mode="rgb_array")
        with pytest.raises(StuckEnvError, match="drawing 'hanging:HangingRender-v0' has not come back"):
            envs.render()
        envs.close()
    with watch.watching(0.4):
        envs = make_envs("hanging:HangingClose-v0", 1, "sync")
        begin = time.monotonic()
        envs.close()  # what does not close is left
        assert time.monotonic() - begin < 5


def test_what_is_not_watched_or_comes_back_in_time_is_left_alone(make):
    with watch.watching(0):
        assert watch.calls == [0, 0] and watch._watchdog is None
    with watch.watching(1.0):
        watchdog_pid = watch._watchdog.pid
        with watch.watching(1.0):
            assert watch._watchdog.pid == watchdog_pid
        envs = make("counting:Counting-v0", 2, "sync")
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            envs.step(np.zeros(2, int))
        with watch.call("a slow one"):
            time.sleep(0.6)
        time.sleep(1.5)  # outside of calls
        assert watch.calls[0] % 2 == 0
    with pytest.raises(ProcessLookupError):
        os.kill(watchdog_pid, 0)
    assert signal.set_wakeup_fd(-1) == -1

    def elsewhere():
        with watch.watching(1.0):
            found.append(watch._watchdog)

    found = []
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == [None]


def test_a_stopped_process_is_not_hung():
    """Ctrl-Z and a scheduler's suspension stop the process in the middle of a step."""
    code = """
import os, signal, subprocess, sys, time
from rlgen.envs import watch
with watch.watching(0.4), watch.call("a step"):
    subprocess.Popen(["sh", "-c", f"sleep 2; kill -CONT {os.getpid()}"])
    os.kill(os.getpid(), signal.SIGSTOP)
print("goes on")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "goes on\n"), done.stderr


def less_patient(folder, seconds):
    """The watchdog's file with another patience."""
    path = folder / "watchdog.py"
    path.write_text(Path(watchdog.__file__).read_text().replace("PATIENCE = 10.0", f"PATIENCE = {seconds}"))
    return path


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_a_run_ends_at_its_last_checkpoint_with_the_line_that_goes_on(vectorization, tmp_path):
    options = {"env": "hanging:Hanging-wait-v0", "vectorization": vectorization, "step_timeout": 0.4, "batch_size": 8}
    options |= {"rollout_steps": 8, "checkpoint_every": 8, "eval_every": 500, "env_check": False}  # it counts steps
    with pytest.raises(StuckEnvError, match=r"environment 0 .*; step 56 is saved; go on with: rlgen resume .*mine$"):
        experiment.start(tiny("ppo", tmp_path, name="mine", **options), quiet=True)
    assert json.loads((tmp_path / "mine/summary.json").read_text())["exit_code"] == StuckEnvError.exit_code


def test_an_evaluation_of_a_run_ends_where_its_environment_hangs(tmp_path):
    options = {"env": "hanging:Hanging-wait-v0", "env_kwargs": {"step": 0}, "env_check": False}
    options |= {"step_timeout": 3, "steps": 32}
    run = experiment.start(tiny("ppo", tmp_path, name="mine", batch_size=8, **options), quiet=True)
    info = json.loads((run.path / "config.json").read_text())
    info["config"]["env_kwargs"] = {"step": 7}
    (run.path / "config.json").write_text(json.dumps(info))
    with pytest.raises(StuckEnvError, match=r"environment 0 .* has not come back for 3 s"):
        inference.evaluate(run.path, episodes=2)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_while_an_environment_hangs_ends_it_within_seconds(signum, tmp_path, monkeypatch, make):
    monkeypatch.setattr(watch, "WATCHDOG", less_patient(tmp_path, 0.5))
    with watch.watching(300), stopping.handling():
        envs = make("hanging:Hanging-wait-v0", 1, "sync")
        threading.Timer(0.5, os.kill, (os.getpid(), signum)).start()
        with pytest.raises(StuckEnvError, match="environment 0 in step 7"):
            step_until_it_hangs(envs)


def test_after_a_signal_a_slow_environment_has_twice_as_long_as_before(tmp_path, monkeypatch, make):
    monkeypatch.setattr(watch, "WATCHDOG", less_patient(tmp_path, 0.5))
    with watch.watching(300), stopping.handling():
        with watch.call("a slow one"):
            time.sleep(2)
        os.kill(os.getpid(), signal.SIGTERM)
        came_back = False
        with watch.call("a slow one"):
            time.sleep(2)
            came_back = True
    assert came_back


TRAIN = """
import sys
from pathlib import Path
from rlgen.commands import main
from rlgen.envs import watch
watch.WATCHDOG = Path("watchdog.py").resolve()
sys.exit(main(sys.argv[1:]))
"""
WORDS = [
    *("train", "ppo", "--name", "mine", "--env", "hanging:Hanging-lock-v0", "--wandb", "disabled", "--threads", "1"),
    *("--rollout-steps", "8", "--batch-size", "8", "--steps", "500", "--checkpoint-every", "8", "--eval-every", "500"),
    "--no-env-check",  # which takes steps too
]


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("lock", "time"),
        pytest.param("lock", "SIGTERM", marks=pytest.mark.slow),
        pytest.param("blocked", "time", marks=pytest.mark.slow),
        pytest.param("deaf", "time", marks=pytest.mark.slow),
    ],
)
def test_where_no_signal_helps_the_process_ends_with_a_line_and_the_code_and_the_run_says_how(how, why, tmp_path):
    less_patient(tmp_path, 0.5)
    environ = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{HELPERS}", "HANGING": "1"}
    words = [word.replace("-lock-", f"-{how}-") for word in WORDS]
    command = [sys.executable, "-c", TRAIN, *words, *(("--step-timeout", "1") if why == "time" else ())]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "hangs\n"
    if why == "SIGTERM":
        process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == StuckEnvError.exit_code
    last = err.strip().splitlines()[-1]
    assert last.startswith("error: an environment has not come back for ") and "does not let go of Python" in last
    assert last.endswith("; step 56 is saved; go on with: rlgen resume mine") and "Traceback" not in err
    summary = records.read(tmp_path / "runs/mine/summary.json", records.Summary)
    assert summary == {"name": "mine", "status": "failed", "exit_code": 16, "step": 56, "steps": 500, "checkpoint": 56}
    assert (tmp_path / "runs/mine/error.txt").read_text() == f"{last}\n"


def test_a_run_that_ended_before_keeps_how_it_ended(tmp_path):
    """With several seeds some end before one hangs; and a directory may be another's by now."""
    for name, owner in (("ours", f"{os.getpid()} on here"), ("ended", ""), ("another", f"{os.getpid()}0 on here")):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".lock").write_text(owner)
    found = [path.name for path in tmp_path.iterdir() if watchdog.is_held(path, os.getpid())]
    assert found == ["ours"] and not watchdog.is_held(tmp_path / "gone", os.getpid())
