"""Environments that hang, each in its way. Import registers them, so `hanging:Hanging-v0` works."""

import ctypes
import os
import signal
import time

import gymnasium as gym
import numpy as np


def hang(how):
    """Do not come back: `wait` in a system call, `spin` in Python, `lock` in C that keeps the interpreter's lock."""
    if how == "wait":
        time.sleep(10**6)
    elif how == "spin":
        while True:
            pass
    elif how == "lock":
        mutex = ctypes.create_string_buffer(64)
        for _ in range(2):  # the second time is for ever
            ctypes.PyDLL(None).pthread_mutex_lock(mutex)
    elif how == "blocked":  # as `lock`, and no signal comes through to this thread
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        hang("lock")
    elif how == "deaf":  # it waits, and no signal wakes it
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        hang("wait")
    elif how == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)


class Hanging(gym.Env):
    """Episodes of 10 steps; `at` (step of the process, reset of the process, or close) hangs."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    steps = resets = 0

    def __init__(self, how="wait", step=0, reset=0, at="", render_mode=None):
        self.observation_space, self.action_space = gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(2)
        self.how, self.hang_step, self.hang_reset, self.at, self.render_mode = how, step, reset, at, render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        self.resets += 1
        if self.resets == self.hang_reset:
            hang(self.how)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.count += 1
        self.steps += 1
        if self.steps == self.hang_step:
            if os.environ.get("HANGING"):
                print("hangs", flush=True)
            hang(self.how)
        return np.zeros(2, np.float32), 1.0, self.count == 10, False, {}

    def render(self):
        if self.at == "render":
            hang(self.how)
        return np.zeros((4, 4, 3), np.uint8)

    def close(self):
        if self.at == "close":
            hang(self.how)


for how in ("wait", "spin", "lock", "blocked", "deaf", "stop"):
    gym.register(f"Hanging-{how}-v0", Hanging, kwargs={"how": how, "step": 57}, max_episode_steps=1000)
gym.register("HangingReset-v0", Hanging, kwargs={"reset": 3}, max_episode_steps=1000)
gym.register("HangingRender-v0", Hanging, kwargs={"at": "render"}, max_episode_steps=1000)
gym.register("HangingClose-v0", Hanging, kwargs={"at": "close"}, max_episode_steps=1000)
