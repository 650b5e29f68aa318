"""Whether an environment repeats itself: found by trial, as nothing that it declares says so.

A resumed run puts its environments where they stood by a reset with the episode's seed and the same actions. That leads
elsewhere where `reset(seed)` leaves traces of the past: MinAtar keeps the last action for its sticky actions, Box2D its
physics world. Environments that draw from global generators or read the clock do not repeat themselves either.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import gymnasium as gym
import numpy as np
import torch

TRIALS = 100
STEPS = 10  # of each trial
SECONDS = 2.0  # after which no further trial begins


def tried(make: Callable[[], gym.Env], in_worker: bool) -> bool:
    """Whether an environment repeats itself; in a process of its own where the run's environments have theirs."""
    if not in_worker:
        with closing(make()) as env:
            return repeats(env)
    process = multiprocessing.Process(target=_try, args=(make,))
    process.start()
    process.join(5 * SECONDS)
    process.kill()
    process.join()
    return process.exitcode == 0


def _try(make: Callable[[], gym.Env]) -> None:
    os._exit(0 if tried(make, in_worker=False) else 1)  # nothing else of the parent's is to be ended here


def repeats(env: gym.Env) -> bool:
    """Whether the same seed and actions gave the same episode after different pasts, in all trials.

    Global generators are put back. The environment is used up: it is to be closed, not trained on.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    begin = time.monotonic()
    env.action_space.seed(0)
    try:
        for trial in range(TRIALS):
            actions = [env.action_space.sample() for _ in range(STEPS)]
            first = _episode(env, trial, actions)
            _episode(env, TRIALS + trial, [env.action_space.sample() for _ in range(1 + trial % STEPS)])  # another past
            if not _same(first, _episode(env, trial, actions)):
                return False
            if time.monotonic() - begin > SECONDS:
                break
        return True
    except Exception:  # its own error is told where the run steps it
        return False
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


def _episode(env: gym.Env, seed: int, actions: list[Any]) -> list[Any]:
    """What a reset and these actions give, up to the end of the episode. Copies: some environments reuse an array."""
    seen = [_copied(env.reset(seed=seed)[0])]
    for action in actions:
        obs, reward, terminated, truncated, _ = env.step(action)
        seen.append((_copied(obs), float(reward), bool(terminated), bool(truncated)))
        if terminated or truncated:
            break
    return seen


def _copied(obs: Any) -> Any:
    return {part: _copied(value) for part, value in obs.items()} if isinstance(obs, dict) else np.array(obs)


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(_same, first, second))
    if isinstance(first, dict):
        return all(_same(first[part], second[part]) for part in first)
    return np.array_equal(first, second, equal_nan=np.asarray(first).dtype.kind == "f")
