import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import counting
import gymnasium as gym
import numpy as np
import pytest
from env_streams import UNIT, random_actions, same, shapes_id
from gymnasium.spaces import Box, Dict, Discrete, Text
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from rlgen.envs import vector
from rlgen.envs.make import make_envs
from rlgen.envs.vector import LoopVectorEnv
from rlgen.errors import RlgenError


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1", "counting:Counting-v0", "dict", "discrete"])
def test_the_loop_steps_as_gymnasiums_sync_vector_env_does(make, monkeypatch, env_id, num_envs):
    spaces = {"dict": (Dict({"place": UNIT, "mission": Text(9)}), Box(-1, 1, (2,))), "discrete": (Discrete(4), UNIT)}
    env_id = shapes_id(monkeypatch, *spaces[env_id]) if env_id in spaces else env_id
    loop = make(env_id, num_envs, "sync", seed=3)
    assert type(loop.vector_env) is LoopVectorEnv
    reference = SyncVectorEnv(loop.vector_env.env_fns, autoreset_mode=AutoresetMode.DISABLED)
    reference = make(reference, seed=3, env_id=env_id)
    assert loop.spec == reference.spec and same(loop.obs, reference.obs)
    for action in random_actions(loop.spec, 250):  # Pendulum's episodes have 200 steps
        step, expected = loop.step(action), reference.step(action)
        assert same(step, expected) and same(loop.obs, reference.obs)
        assert [part.dtype for part in step] == [part.dtype for part in expected]


def test_sync_and_async_are_equal(make):
    sync, workers = (make("counting:Counting-v0", 3, vectorization, seed=2) for vectorization in ("sync", "async"))
    rng = np.random.default_rng(0)
    for _ in range(50):
        action = rng.integers(0, 3, 3)
        assert same(sync.step(action), workers.step(action))
        assert same(sync.obs, workers.obs)


def test_a_dead_worker_is_named_and_nothing_hangs(make):
    envs = make("counting:Broken-kill-v0", 3, "async")
    for _ in range(3):
        envs.step(np.ones(3, int))
    with pytest.raises(RlgenError, match=r"worker of environment 1 \(exit code -9, SIGKILL\) of 3 .* at vector step 3"):
        envs.step(np.array([0, 1, 0]))
    envs.close()
    envs.close()
    assert not any(process.is_alive() for process in envs.vector_env.processes)


def test_signals_to_the_group_do_not_stop_the_workers(make):
    envs = make("counting:Counting-v0", 2, "async")
    for process in envs.vector_env.processes:
        os.kill(process.pid, signal.SIGINT)
        os.kill(process.pid, signal.SIGTERM)
    time.sleep(0.2)
    assert envs.step(np.zeros(2, int)).valid.all()
    envs.close()
    assert not any(process.is_alive() for process in envs.vector_env.processes)


SCRIPT = """
import os, signal, sys, time
from rlgen.envs.make import make_envs
envs = make_envs("counting:Counting-v0", 2, "async")
print(*(process.pid for process in envs.vector_env.processes), flush=True)
if sys.argv[1] == "stop":
    for process in envs.vector_env.processes: os.kill(process.pid, signal.SIGSTOP)
if sys.argv[1] == "lock":
    import numpy; zeros = numpy.zeros(2, int)
    hanging = make_envs("hanging:Hanging-lock-v0", 2, "async")
    print(*(process.pid for process in hanging.vector_env.processes), flush=True)
    for _ in range(56): hanging.step(zeros)
    hanging.vector_env.step_async(zeros)
    time.sleep(0.5)
if sys.argv[1] != "leave": os.kill(os.getpid(), signal.SIGKILL)
"""


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="reads /proc")
@pytest.mark.parametrize("how", ["leave", "kill", "stop", "lock"])
def test_no_worker_outlives_the_main_process(how):
    here = os.path.join(os.path.dirname(__file__), "..", "helpers")
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(here), here])}
    command = [sys.executable, "-c", SCRIPT, how]
    result = subprocess.run(command, env=environ, stdout=subprocess.PIPE, timeout=60, check=False)
    assert result.returncode == (0 if how == "leave" else -signal.SIGKILL)
    pids = result.stdout.split()
    assert len(pids) == (4 if how == "lock" else 2)
    deadline = time.monotonic() + 20
    while any(is_running(int(pid)) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_running(int(pid)) for pid in pids)


class WithProcess(counting.Counting):
    """As browsers and emulators: an environment that begins a process, and ends it when it is closed."""

    def __init__(self, folder, closes, main):
        super().__init__()
        self.closes = closes or os.getpid() == main  # there one is made to ask for its spaces
        self.child = subprocess.Popen(["sleep", "1000"])
        Path(folder, str(self.child.pid)).touch()

    def close(self):
        if self.closes:
            self.child.kill()
            self.child.wait()
        else:
            time.sleep(1000)


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="reads /proc")
@pytest.mark.parametrize("closes", [True, False])
def test_the_processes_of_an_environment_end_with_its_worker(tmp_path, monkeypatch, closes):
    monkeypatch.setattr(vector, "CLOSING", 20.0 if closes else 0.2)
    gym.register("WithProcess-v0", WithProcess, kwargs={"folder": str(tmp_path), "closes": closes, "main": os.getpid()})
    try:
        make_envs("WithProcess-v0", 2, "async").close()
    finally:
        del gym.registry["WithProcess-v0"]
    children = [int(path.name) for path in tmp_path.iterdir()]
    deadline = time.monotonic() + 10
    while any(map(is_running, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(children) >= 2 and not any(map(is_running, children))
