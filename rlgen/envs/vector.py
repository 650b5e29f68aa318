"""Gymnasium's vector environments, made faster in one process and safer in several."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterable
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv

from rlgen.envs.raised import said
from rlgen.envs.watch import STOPPING
from rlgen.errors import is_out_of_memory

ANSWER = 10.0  # seconds for a worker's exception to come
CLOSING = 2.0  # seconds that workers have to close their environments
PR_SET_PDEATHSIG = 1  # of Linux's prctl: the signal to get when the parent ends


class LoopVectorEnv(SyncVectorEnv):
    """Environments stepped one by one without autoreset; new arrays every time and no infos, at a fifth of the cost.

    Attributes:
        infos: of every environment's last step or reset.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.infos: list[dict[str, Any]] = [{} for _ in self.envs]

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Reset those in `options["reset_mask"]` [N], each with its own of the seeds [N]; the others stay."""
        self._observations = self._observations.copy()
        for i in options["reset_mask"].nonzero()[0].tolist():
            self._observations[i], self.infos[i] = self.envs[i].reset(seed=seed[i], options={})
        return self._observations, {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        self._observations = obs = np.empty_like(self._observations)
        reward, (terminated, truncated) = np.empty(self.num_envs, np.float32), np.empty((2, self.num_envs), np.bool_)
        for i, env in enumerate(self.envs):
            obs[i], reward[i], terminated[i], truncated[i], self.infos[i] = env.step(actions[i])
        return obs, reward, terminated, truncated, {}

    def step_those(self, mask: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Step those in `mask` [N]: observations, terminated, truncated; the others stand still."""
        self._observations, ended = self._observations.copy(), np.zeros((2, self.num_envs), np.bool_)
        for i in mask.nonzero()[0].tolist():
            self._observations[i], _, *ended[:, i], self.infos[i] = self.envs[i].step(actions[i])
        return self._observations, *ended


class WorkerError(Exception):
    """The environment of a worker raised: which ones, and what in one line."""

    def __init__(self, indices: list[int], line: str) -> None:
        super().__init__(line)
        self.indices = indices


class WorkerVectorEnv(AsyncVectorEnv):
    """Worker processes that ignore SIGTERM: `close` asks them to end, and kills a dead, busy or stuck one.

    Attributes:
        infos: of the last reset.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        self.infos: dict[str, Any] = {}
        try:
            super().__init__(*args, **kwargs)
        except BaseException:
            if hasattr(self, "processes"):
                self.close()
            raise
        atexit.register(self.close)  # runs before multiprocessing's own, which would terminate and wait forever

    def reset_wait(self, *args: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        obs, self.infos = super().reset_wait(*args, **kwargs)
        return obs, self.infos

    def _raise_if_errors(self, successes: Iterable[bool]) -> None:
        """Raise what a worker's environment raised; Gymnasium's own prints its traceback."""
        if all(successes):
            return
        try:
            index, kind, error, trace = self.error_queue.get(timeout=ANSWER)
        except queue.Empty:  # an exception that cannot be sent
            raise WorkerError([], "an error that its worker could not send") from None
        error = error if isinstance(error, BaseException) else kind(error)
        error.add_note(trace)
        if is_out_of_memory(error):
            raise error
        raise WorkerError([index], said(error, trace)) from error

    def step_those(self, mask: np.ndarray, actions: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray]:
        """Step those in `mask` [N]: observations, terminated, truncated; the others stand still."""
        indices, ended = mask.nonzero()[0].tolist(), np.zeros((2, self.num_envs), np.bool_)
        for i in indices:
            self.parent_pipes[i].send(("step", actions[i]))
        answers = []
        for i in indices:
            pipe = self.parent_pipes[i]  # `stuck` looks for it where this does not come back
            answers.append(pipe.recv())
        self._raise_if_errors(success for _, success in answers)
        for i, (answer, _) in zip(indices, answers, strict=True):
            ended[:, i] = answer[2:4]
        return self.observations, *ended

    def close_extras(self, timeout: float | None = None, terminate: bool = True) -> None:
        atexit.unregister(self.close)
        for pipe in self.parent_pipes:
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.send(("close", None))  # an environment may have processes of its own, which only it can end
        deadline = time.monotonic() + CLOSING
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
        for process in self.processes:
            end(process)
        for pipe in self.parent_pipes:
            if pipe is not None:  # None after the worker's environment raised
                pipe.close()


def dead_workers(vector_env: VectorEnv) -> str:
    """The workers that died, as "1 (exit code -9, SIGKILL), 3 (exit code 1)"; "?" if none did within 5 seconds."""
    processes = vector_env.unwrapped.processes  # type: ignore[attr-defined]
    ended = wait([process.sentinel for process in processes], timeout=5)
    for process in processes:
        if process.sentinel in ended:  # its files are closed, itself perhaps not yet over
            process.join()
    codes = {i: process.exitcode for i, process in enumerate(processes) if not process.is_alive()}
    dead = [f"{i} (exit code {code}{', ' + _signal_name(-code) if code < 0 else ''})" for i, code in codes.items()]
    return ", ".join(dead) or "?"


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def stuck(vector_env: VectorEnv, error: BaseException) -> tuple[list[int], str]:
    """The environments that were being called when an error was raised, and what happened to their workers."""
    vector_env = vector_env.unwrapped
    if not isinstance(vector_env, WorkerVectorEnv):
        return _called(vector_env, error), ""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    pipes = vector_env.parent_pipes
    waiting = [pipes.index(frame.f_locals["pipe"]) for frame in frames if frame.f_locals.get("pipe") in pipes]
    first = max(waiting, default=0)  # those before have answered, and the answers were taken
    silent = [i for i, pipe in enumerate(pipes) if i >= first and not pipe.poll()]
    for i in silent:
        end(vector_env.processes[i])
    return silent, "; its worker was killed"


def raising(vector_env: VectorEnv, error: BaseException) -> tuple[list[int], str]:
    """The environments that raised an error, and what it says in one line."""
    if isinstance(error, WorkerError):
        return error.indices, str(error)
    return _called(vector_env.unwrapped, error), said(error)


def _called(vector_env: VectorEnv, error: BaseException) -> list[int]:
    """The environment that a loop over them called when an error was raised."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    loops = [frame for frame in frames if frame.f_locals.get("self") is vector_env]
    return [frame.f_locals["i"] for frame in loops if "i" in frame.f_locals]


def end(process: BaseProcess) -> None:
    """Kill a worker, and the processes that its environment began: all of its session, of which it is the first."""
    if process.pid is not None:
        with contextlib.suppress(OSError):  # there is none, or nothing is left of it
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def prepare_worker(main_pid: int) -> None:
    """What a worker process does first: it leaves signals to the main process, and ends with it."""
    # A signal to the whole process group is the main process's to handle: it saves, then closes the workers.
    for signum in STOPPING:
        signal.signal(signum, signal.SIG_IGN)
    signal.set_wakeup_fd(-1)
    gc.freeze()  # what it inherits is not its own to collect: ALE's vector class joins threads that are not here
    with contextlib.suppress(OSError):
        os.setsid()  # so that `end` reaches what its environment begins
    if sys.platform == "linux":
        # A thread sees the end of the main process only where the environment lets it run.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != main_pid and multiprocessing.get_start_method() == "fork":
            os._exit(1)  # it ended before
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """Leave no orphan when the main process is killed: siblings hold its pipes open, so a worker would wait forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
