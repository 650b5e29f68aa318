"""Environments of one kind are made: in this process, in workers, or by their own vector class."""

from __future__ import annotations

import contextlib
import inspect
import os
import re
import sys
from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec as GymSpec
from gymnasium.envs.registration import load_env_creator
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from rlgen.envs import watch
from rlgen.envs.action_spaces import read
from rlgen.envs.check import check, how_to_mend
from rlgen.envs.find import check_env_id, one_line
from rlgen.envs.namespaces import is_atari
from rlgen.envs.one_array import OneArray
from rlgen.envs.parts import parts_of
from rlgen.envs.raised import said
from rlgen.envs.repeat import Found, tried
from rlgen.envs.stream import EnvStream
from rlgen.envs.time_limit import TimeInObs, check_time_limit
from rlgen.envs.vector import LoopVectorEnv, WorkerVectorEnv, prepare_worker
from rlgen.errors import MissingExtraError, RlgenError, StuckEnvError, UsageError, install, is_out_of_memory

if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
    for driver in ("SDL_VIDEODRIVER", "SDL_AUDIODRIVER"):  # SDL, which draws, complains of a machine without either
        os.environ.setdefault(driver, "dummy")
NATIVE_MIN_ENVS = 8  # below this the native CartPole is no faster than a loop over single ones
_NUMERIC = tuple(
    getattr(gym.spaces, name) for name in ("Box", "Dict", "Discrete", "MultiBinary", "MultiDiscrete", "Tuple")
)


def make_envs(
    env_id: str,
    num_envs: int,
    vectorization: str = "auto",
    seed: int = 0,
    autoreset_mode: AutoresetMode | None = None,
    render_mode: str | None = None,
    frame_stack: int = 1,
    max_episode_steps: int | None = None,
    try_first: bool = False,
    rescale_actions: bool = True,
    obs: str = "auto",
    obs_layout: str = "auto",
    masks: bool | None = None,
    atari: str = "raw",
    time_in_obs: bool = False,
) -> EnvStream:
    """Make N environments of one kind, reset and ready to step.

    Args:
        env_id: as `check_env_id` takes it.
        num_envs: N.
        vectorization: "sync" in this process, "async" a process each, "native" the environment's own vector class,
            "auto" native where that is the same task and faster, else sync.
        seed: of all episodes.
        autoreset_mode: None is DISABLED, or the best that a native class offers.
        render_mode: Gymnasium's, for `vector_env.render()`.
        frame_stack: k > 1 makes observations [k, H, W] of the last k grey frames [H, W]; the newest is last. 1 leaves
            observations as they are: ALE's native class stacks 4 frames itself.
        max_episode_steps: cuts episodes, except of a native class; None is the environment's own limit.
        try_first: check one before; a native class has none.
        rescale_actions: see `rlgen.envs.action_spaces`; False clips alone.
        obs: what an array is: `auto`, `image`, `flat`, or `old`, which makes one vector of all that is no array.
        obs_layout: of pictures: `auto`, `chw` or `hwc`.
        masks: environments say which actions are valid, and observations hold it; None finds it out where one is tried.
        atari: "standard" makes a game of ALE the standard task, "life-loss" that with an episode a life, "raw" neither.
        time_in_obs: observations hold the share of the time limit that has passed, and reaching it is a termination.

    Raises:
        UsageError: no such environment, or one whose spaces, vectorization or frames are not supported; or one that
            raises when it is made, or does other than it declares.
        MissingExtraError: a package it needs is not installed.
    """
    spec = check_env_id(env_id)
    if num_envs < 1:
        raise UsageError(f"num_envs is {num_envs}: it must be at least 1")
    if frame_stack < 1:
        raise UsageError(f"frame_stack is {frame_stack}: it must be at least 1")
    spec, frame_stack, task = _as_task(spec, frame_stack, atari)
    if task and render_mode is not None and vectorization != "async":
        vectorization = "sync"  # ALE's vector class draws nothing
    if vectorization == "auto":
        # What ALE's native class gives by itself is another task (84x84 stacks, clipped rewards): only when asked for.
        is_other = spec.namespace == "ALE" and (not task or atari == "life-loss")
        native = spec.vector_entry_point and num_envs >= NATIVE_MIN_ENVS and not is_other
        native = native and frame_stack == 1 and not time_in_obs
        vectorization = "native" if native or not spec.entry_point else "sync"
    if time_in_obs:
        check_time_limit(env_id, max_episode_steps or spec.max_episode_steps, vectorization)
    kwargs = {} if render_mode is None else {"render_mode": render_mode}
    how: dict[str, Any] = {"rescale_actions": rescale_actions, "obs": obs, "obs_layout": obs_layout}
    vector_env: VectorEnv
    found = False
    try:
        with watch.call(f"making {env_id!r}"):
            if vectorization == "native":
                vector_env = _make_native(env_id, spec, num_envs, autoreset_mode, kwargs, frame_stack)
            elif vectorization in ("sync", "async"):
                limited = kwargs | {"max_episode_steps": max_episode_steps}
                read_as = {"obs": obs, "obs_layout": obs_layout, "masks": bool(masks), "time_in_obs": time_in_obs}
                thunks = [partial(_make_single, spec, limited, frame_stack, os.getpid(), read_as)] * num_envs
                mode = autoreset_mode or AutoresetMode.DISABLED
                in_process = LoopVectorEnv if mode is AutoresetMode.DISABLED else SyncVectorEnv
                vector_class = in_process if vectorization == "sync" else WorkerVectorEnv
                # no copies: `EnvStream` copies what it hands out
                if try_first and vectorization == "async":
                    with contextlib.closing(thunks[0]()) as env:
                        found = check(env, env_id)
                vector_env = vector_class(thunks, copy=False, autoreset_mode=mode)
                vector_env.spec = spec
                if try_first and isinstance(vector_env, SyncVectorEnv):
                    found = check(vector_env.envs[0], env_id)
            else:
                raise UsageError(f"vectorization is {vectorization!r}: it must be auto, sync, async or native")
    except (gym.error.DependencyNotInstalled, ImportError) as error:
        reason = re.sub(r"\bpip install\b", install(), one_line(error))
        raise MissingExtraError(f"environment {env_id!r} lacks a package: {reason}") from error
    except gym.error.Error as error:
        raise UsageError(f"environment {env_id!r} cannot be made: {one_line(error)}") from error
    except (EOFError, ConnectionError) as error:
        raise RlgenError(
            f"a worker of {env_id!r} died at its start; --vectorization sync shows the environment's own error"
        ) from error
    except RlgenError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise UsageError(
            f"environment {env_id!r} cannot be made: {said(error)}{how_to_mend(error)}; --traceback shows more"
        ) from error
    if found and masks is None and obs != "old":
        vector_env.close()
        return make_envs(
            env_id, num_envs, vectorization, seed, autoreset_mode, render_mode, frame_stack, max_episode_steps,
            masks=True, atari=atari, time_in_obs=time_in_obs, **how,
        )  # fmt: skip
    try:
        stream = EnvStream(vector_env, seed, env_id, frame_stack, **how)
        stream.spec = replace(stream.spec, **task)
        return stream
    except BaseException:
        with contextlib.suppress(StuckEnvError), watch.call(f"closing {env_id!r}"):
            vector_env.close()
        raise


def has_time_limit(env_id: str) -> bool:
    """Whether every episode ends, by a limit that is registered or Atari's own."""
    spec = check_env_id(env_id)
    return spec.max_episode_steps is not None or "max_num_frames_per_episode" in spec.kwargs


def _as_task(spec: GymSpec, frame_stack: int, atari: str) -> tuple[GymSpec, int, dict[str, Any]]:
    """As what Atari is made from: its spec, the frames that are stacked beyond that, and entries of `EnvSpec`."""
    if atari == "raw" or not is_atari(spec.id):
        return spec, frame_stack, {}
    from rlgen.envs.atari import of_task, standard_task

    spec = standard_task(spec, frame_stack, life_loss=atari == "life-loss")
    return spec, 1, of_task(spec)


def try_one(env_id: str, frame_stack: int = 1, atari: str = "raw") -> Found:
    """Whether environments as `make_envs` makes them repeat themselves, found by trial once a process."""
    spec, frame_stack, _ = _as_task(check_env_id(env_id), frame_stack, atari)
    return tried(repr((spec, frame_stack)), partial(_make_single, spec, {}, frame_stack, os.getpid(), None))


def _make_native(
    env_id: str, spec: GymSpec, num_envs: int, mode: AutoresetMode | None, kwargs: dict[str, Any], frame_stack: int
) -> VectorEnv:
    if spec.vector_entry_point is None:
        raise UsageError(f"environment {env_id!r} has no native vector class: use --vectorization sync or async")
    creator: Any = spec.vector_entry_point
    creator = load_env_creator(creator) if isinstance(creator, str) else creator
    parameters = inspect.signature(creator).parameters
    if frame_stack > 1:
        if "stack_num" not in parameters:
            raise UsageError(f"the native {env_id!r} stacks no frames: use --vectorization sync or async")
        kwargs = {**kwargs, "stack_num": frame_stack}
    if "autoreset_mode" in parameters:
        kwargs = {**kwargs, "autoreset_mode": mode or AutoresetMode.SAME_STEP}  # ALE's has no DISABLED
    elif mode not in (None, AutoresetMode.NEXT_STEP):
        raise UsageError(f"the native {env_id!r} has no autoreset mode {mode}: it knows NEXT_STEP alone")
    return gym.make_vec(spec, num_envs, vectorization_mode="vector_entry_point", **kwargs)


def _make_single(
    spec: GymSpec, kwargs: dict[str, Any], frame_stack: int, main_pid: int, read_as: dict[str, Any] | None
) -> gym.Env:
    """One environment; called in the main process or in a worker.

    Args:
        spec: of the environment.
        kwargs: of its constructor.
        frame_stack: as of `make_envs`.
        main_pid: of the main process.
        read_as: `obs`, `obs_layout`, `masks` and `time_in_obs` of `make_envs`; observations are as they are without.
    """
    if os.getpid() != main_pid:
        prepare_worker(main_pid)
    env = gym.make(spec, **kwargs)
    read(env.action_space, spec.id)  # what it refuses, Gymnasium's vector classes do too, in other words
    env = _read_observations(env, spec.id, **read_as) if read_as else env
    return env if frame_stack == 1 else _stack_frames(env, spec.id, frame_stack)


def _read_observations(env: gym.Env, env_id: str, obs: str, obs_layout: str, masks: bool, time_in_obs: bool) -> gym.Env:
    """The environment with one array as its observation, whatever its space."""
    env = TimeInObs(env) if time_in_obs else env
    space = env.observation_space
    if obs == "old":
        return _flattened(env, env_id)
    actions = env.action_space
    num_actions = int(actions.n) if isinstance(actions, gym.spaces.Discrete) else None
    parts = parts_of(space, env_id, obs, obs_layout, num_actions, masks)
    is_plain = (
        isinstance(space, gym.spaces.Box) and len(space.shape) == 1 and space.dtype.kind == "f" and len(parts) == 1
    )
    if is_plain and type(env.unwrapped).__module__.startswith("gymnasium."):
        return env  # Gymnasium's own give what they declare: to look at it would cost as much as a step
    return OneArray(env, parts)


def _flattened(env: gym.Env, env_id: str) -> gym.Env:
    """As before observations had parts: those that are no array are one vector of all their numbers."""
    space = env.observation_space
    if isinstance(space, gym.spaces.Box) and space.shape:
        return env
    if isinstance(space, gym.spaces.Dict):  # without what is no number: MiniGrid's mission is a sentence
        env = gym.wrappers.FilterObservation(env, [key for key, part in space.items() if isinstance(part, _NUMERIC)])
    try:
        return gym.wrappers.FlattenObservation(env)
    except NotImplementedError as error:
        raise UsageError(f"environment {env_id!r}: observations of {space} cannot be made a vector") from error


def _stack_frames(env: gym.Env, env_id: str, frame_stack: int) -> gym.Env:
    shape = env.observation_space.shape or ()
    if len(shape) < 2:
        raise UsageError(
            f"environment {env_id!r}: frame_stack is {frame_stack}, but observations of shape {shape} are no images; "
            "use frame_stack 1"
        )
    if len(shape) > 2:
        raise UsageError(
            f"environment {env_id!r}: frame_stack is {frame_stack}, but frames of shape {shape} are not grey [H, W]; "
            "make them grey with gymnasium.wrappers.GrayscaleObservation"
        )
    return gym.wrappers.FrameStackObservation(env, frame_stack, padding_type="reset")
