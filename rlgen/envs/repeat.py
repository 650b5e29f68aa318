"""Whether an environment repeats itself: found by trial, as nothing that it declares says so.

A resumed run puts its environments where they stood by a reset with the episode's seed and the same actions. That leads
elsewhere where `reset(seed)` leaves traces of the past: MinAtar keeps the last action for its sticky actions, Box2D its
physics world, others draw from global generators, read the clock or count in their module. So two instances with
different pasts are reset to the same seeds and take the same actions, one of them while others take steps. A process of
its own does it: nothing of the run notices, not even where the trial hangs or dies.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import random
import sys
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from rlgen.envs.masks import allows, choices, mask_of, sample
from rlgen.envs.vector import CLOSING, end, prepare_worker

RESETS = 20  # compared, if there is time for them
MORE_RESETS = 400  # where they are quick: a leak may show in one episode of ten
QUICK, SECONDS = 0.1, 2.0  # of processor time for more resets; on the clock for all
SHORT, LONG = 3, 40  # steps before a reset, and after it: most leaks show at once, some grow; every tenth is long
WHOLE, WHOLE_EPISODES = 1000, 2  # steps of episodes that are played to their end, and how many, where that is quick
BESIDE = 8  # steps after which another environment takes one


class Found(NamedTuple):
    """What a trial came to."""

    repeats: bool | None  # None: it could not be tried
    why: str


_tried: dict[str, Found] = {}


def tried(key: str, make: Callable[[], gym.Env]) -> Found:
    """What `try_resets` finds, once a process for every environment, which `key` stands for."""
    if key not in _tried:
        _tried[key] = try_resets(make)
    return _tried[key]


def try_resets(make: Callable[[], gym.Env]) -> Found:
    """Try whether an environment repeats itself, for two seconds at most.

    Args:
        make: makes one environment.
    """
    if "fork" not in multiprocessing.get_all_start_methods():
        return Found(None, "this platform cannot try its resets beside the run")
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(make, theirs, os.getpid()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12, of threads: the child needs none of them
        process.start()
    theirs.close()
    try:
        if not ours.poll(1.5 * SECONDS):
            return Found(None, f"its resets took more than {SECONDS:g} s")
        found: Found = ours.recv()
        process.join(CLOSING)
        return found
    except EOFError:
        return Found(None, "the process that tried its resets died")
    finally:
        end(process)
        ours.close()


def _report(make: Callable[[], gym.Env], connection: Connection, main_pid: int) -> None:
    prepare_worker(main_pid)
    sys.stdout = sys.stderr = silence = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, for good
    os.dup2(silence.fileno(), 1)
    os.dup2(silence.fileno(), 2)
    envs: list[gym.Env] = []
    try:
        envs += [make(), make()]
        found = _compare_resets(*envs)
    except Exception as error:
        found = Found(None, f"its resets could not be tried: {type(error).__name__}: {' '.join(str(error).split())}")
    connection.send(found)
    for env in envs:  # it may have processes of its own; the parent does not wait for long
        with contextlib.suppress(Exception):
            env.close()
    os._exit(0)


def _compare_resets(one_env: gym.Env, other_env: gym.Env) -> Found:
    begin, number, rng = time.monotonic(), 0, np.random.default_rng(0)
    one, other = _Instance(one_env, rng), _Instance(other_env, rng)

    def differ(length: int, until: float = math.inf) -> Found | None:
        seed, actions = int(rng.integers(2**31)), [one.env.action_space.sample() for _ in range(length)]
        alone = one.episode(seed, actions, until)
        beside = other.episode(seed, actions[: len(alone) - 1], beside=one)
        if alone == beside:
            return None
        step = next(i for i, (a, b) in enumerate(zip(alone, beside, strict=False)) if a != b)
        where = f"{step} steps after" if step else "at"
        return Found(False, f"its reset(seed) keeps traces of the past: other numbers {where} reset {number + 1}")

    while number < MORE_RESETS:
        if time.monotonic() - begin > SECONDS or (number >= RESETS and time.process_time() > QUICK):
            break
        length = SHORT if number % 10 else LONG
        if number:  # the first has no past: a run that goes on begins with new environments
            one.wander(int(rng.integers(1, length + 1)))
        other.wander(int(rng.integers(1, length + 1)))
        if found := differ(length):
            return found
        number += 1
    for _ in range(WHOLE_EPISODES):  # some leaks are an episode's end's, or grow for longer than that
        if number < RESETS or time.monotonic() - begin > SECONDS / 4:
            break
        other.wander(WHOLE, begin + SECONDS / 2)
        if found := differ(WHOLE, begin + SECONDS / 2):
            return found
        number += 1
    return Found(True, f"{number} resets after different pasts") if number else Found(None, "it is too slow to try")


class _Instance:
    """One environment with a past."""

    def __init__(self, env: gym.Env, rng: np.random.Generator) -> None:
        self.env, self.over, self._rng = env, True, rng
        self._sizes, self._obs = choices(env.action_space), None
        self._info: dict[str, Any] = {}
        env.action_space.seed(0)

    def wander(self, steps: int, until: float = math.inf) -> None:
        """Take random steps, into other episodes where one ends; a reset may take long, so there is none before."""
        for _ in range(steps):
            if time.monotonic() > until:
                break
            if self.over:
                self._obs, self._info = self.env.reset(seed=int(self._rng.integers(2**31)), options={})
            self._step(self._valid(self.env.action_space.sample()))

    def episode(
        self, seed: int, actions: list[Any], until: float = math.inf, beside: _Instance | None = None
    ) -> list[Any]:
        """What is seen from a reset on, in bytes, while another instance takes a step now and then.

        Actions that are not valid are replaced in the list.
        """
        self._disturb()
        self._obs, self._info = self.env.reset(seed=seed, options={})
        seen: list[Any] = [_copied(self._obs)]
        for number, action in enumerate(actions):
            if beside and number % BESIDE == 0:
                self._disturb()
                beside.wander(1)
            actions[number] = self._valid(action)
            obs, reward, *ended = self._step(actions[number])
            seen.append((_copied(obs), np.float64(reward).tobytes(), *map(bool, ended)))
            if self.over or time.monotonic() > until:
                break
        return seen

    def _step(self, action: Any) -> tuple[Any, Any, bool, bool]:
        obs, reward, terminated, truncated, self._info = self.env.step(action)
        self._obs, self.over = obs, bool(terminated or truncated)
        return obs, reward, terminated, truncated

    def _valid(self, action: Any) -> Any:
        if not self._sizes:
            return action
        space, mask = self.env.action_space, mask_of(self.env, self._info, self._sizes, self._obs)
        return action if mask.all() or allows(mask, space, action) else sample(space, mask)

    def _disturb(self) -> None:
        """Bring the global generators elsewhere, as learners and other environments do."""
        number = int(self._rng.integers(2**31))
        random.seed(number)
        np.random.seed(number)


def _copied(obs: Any) -> Any:
    """An observation in bytes: some environments hand out the same array every time."""
    if isinstance(obs, dict):
        return {part: _copied(value) for part, value in obs.items()}
    if isinstance(obs, tuple) or (isinstance(obs, list) and any(np.ndim(value) or value is None for value in obs)):
        return [_copied(value) for value in obs]
    return np.asarray(obs).tobytes()
