"""Environments of one kind are made: in this process, in workers, or by their own vector class."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
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
from rlgen.envs.keywords import check_keywords, refused
from rlgen.envs.masks import any_gives_mask, choices
from rlgen.envs.namespaces import is_atari
from rlgen.envs.native import make_native
from rlgen.envs.one_array import Described, OneArray
from rlgen.envs.parts import parts_of, stacked
from rlgen.envs.passive_checker import make_quietly
from rlgen.envs.raised import said, without_context
from rlgen.envs.repeat import Found, tried
from rlgen.envs.stream import EnvStream
from rlgen.envs.time_limit import TimeInObs, check_time_limit
from rlgen.envs.vector import LoopVectorEnv, WorkerVectorEnv, prepare_worker
from rlgen.envs.wrap import Wrapper, changes_observations, find_wrappers, wrap
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
    bound: int | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    wrappers: Sequence[str] = (),
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
        frame_stack: k > 1 makes observations [k, ...] of the last k frames, which are pictures or have one as a part;
            the newest is last. 1 leaves observations as they are: ALE's native class stacks 4 frames itself.
        max_episode_steps: cuts episodes; None is the environment's own limit.
        try_first: check one before; a native class has none.
        rescale_actions: see `rlgen.envs.action_spaces`; False clips alone.
        obs: what an array is: `auto`, `image`, `flat`, or `old`, which makes one vector of all that is no array.
        obs_layout: of pictures: `auto`, `chw` or `hwc`.
        masks: environments say which actions are valid, and observations hold it; None finds it out, by trying one or
            else by their first reset.
        atari: "standard" makes a game of ALE the standard task, "life-loss" that with an episode a life, "raw" neither.
        time_in_obs: observations hold the share of the time limit that has passed, and reaching it is a termination.
        bound: cuts episodes that nothing else does, except of a native class that has no limit.
        env_kwargs: arguments of the environment's constructor.
        wrappers: round every single environment, as `find_wrappers` takes them.

    Raises:
        UsageError: no such environment, argument or wrapper, or one whose spaces, vectorization or frames are not
            supported; or one that raises when it is made, or does other than it declares.
        MissingExtraError: a package it needs is not installed.
    """
    own, round_it, env_kwargs = check_env_id(env_id, env_kwargs), find_wrappers(wrappers), env_kwargs or {}
    if num_envs < 1:
        raise UsageError(f"num_envs is {num_envs}: it must be at least 1")
    if frame_stack < 1:
        raise UsageError(f"frame_stack is {frame_stack}: it must be at least 1")
    bound = None if _is_limited(own) else bound
    spec, frame_stack, task = _as_task(own, frame_stack, atari)
    if task and any(changes_observations(wrapper) for wrapper in round_it):
        task["frame_stack"] = 1  # what is stacked is not one new frame a step any more
    if task and render_mode is not None and vectorization != "async":
        vectorization = "sync"  # ALE's vector class draws nothing
    if vectorization == "auto":
        # What ALE's native class gives by itself is another task (84x84 stacks, clipped rewards): only when asked for.
        is_other = spec.namespace == "ALE" and (not task or atari == "life-loss")
        native = spec.vector_entry_point and num_envs >= NATIVE_MIN_ENVS and not is_other
        native = native and frame_stack == 1 and not (time_in_obs or env_kwargs or wrappers or max_episode_steps)
        vectorization = "native" if native or not spec.entry_point else "sync"
    if time_in_obs:
        check_time_limit(env_id, max_episode_steps or spec.max_episode_steps, vectorization)
    how: dict[str, Any] = {"rescale_actions": rescale_actions, "obs": obs, "obs_layout": obs_layout}
    creator: Any = None
    vector_env: VectorEnv
    found = False
    try:
        with watch.call(f"making {env_id!r}"):
            if vectorization == "native":
                vector_env = make_native(
                    *(env_id, spec, num_envs, autoreset_mode, render_mode, frame_stack),
                    *(max_episode_steps, bound, env_kwargs, wrappers),
                )
            elif vectorization in ("sync", "async"):
                creator = load_env_creator(own.entry_point) if isinstance(own.entry_point, str) else own.entry_point
                check_keywords(creator, env_kwargs, f"environment {env_id!r}")
                read_as = {"obs": obs, "obs_layout": obs_layout, "masks": bool(masks), "time_in_obs": time_in_obs}
                single = (spec, render_mode, max_episode_steps or bound, round_it, frame_stack, os.getpid(), read_as)
                thunks = [partial(_make_single, *single)] * num_envs
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
        if is_out_of_memory(error):
            raise
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
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error):
            raise
        own_error = without_context(error)
        what = refused(error, creator, env_kwargs, f"environment {env_id!r}") or (
            f"environment {env_id!r} cannot be made: {said(own_error)}{how_to_mend(own_error, creator)}; "
            "--traceback shows more"
        )
        raise UsageError(what) from error
    looks_for_masks = masks is None and obs != "old"
    try:
        if not (found and looks_for_masks):
            stream = EnvStream(vector_env, seed, env_id, frame_stack, **how)
            stream.spec = replace(stream.spec, **task)
            with watch.call(f"asking {env_id!r} for its mask of actions"):
                if not looks_for_masks or try_first or not any_gives_mask(vector_env):
                    return stream
    except BaseException:
        with contextlib.suppress(StuckEnvError), watch.call(f"closing {env_id!r}"):
            vector_env.close()
        raise
    vector_env.close()
    return make_envs(
        env_id, num_envs, vectorization, seed, autoreset_mode, render_mode, frame_stack, max_episode_steps,
        masks=True, atari=atari, time_in_obs=time_in_obs, bound=bound, env_kwargs=env_kwargs, wrappers=wrappers, **how,
    )  # fmt: skip


def has_time_limit(env_id: str) -> bool:
    """Whether every episode ends, by a limit that is registered or Atari's own."""
    return _is_limited(check_env_id(env_id))


def _is_limited(spec: GymSpec) -> bool:
    return spec.max_episode_steps is not None or "max_num_frames_per_episode" in spec.kwargs


def _as_task(spec: GymSpec, frame_stack: int, atari: str) -> tuple[GymSpec, int, dict[str, Any]]:
    """As what Atari is made from: its spec, the frames that are stacked beyond that, and entries of `EnvSpec`."""
    if atari == "raw" or not is_atari(spec.id):
        return spec, frame_stack, {}
    from rlgen.envs.atari import of_task, standard_task

    spec = standard_task(spec, frame_stack, life_loss=atari == "life-loss")
    return spec, 1, of_task(spec)


def try_one(
    env_id: str,
    frame_stack: int = 1,
    atari: str = "raw",
    max_episode_steps: int | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    wrappers: Sequence[str] = (),
    **of_streams: Any,
) -> Found:
    """Whether environments as `make_envs` makes them repeat themselves, found by trial once a process.

    The arguments are its own; those that are of streams alone make no difference.
    """
    spec, frame_stack, _ = _as_task(check_env_id(env_id, env_kwargs), frame_stack, atari)
    how = (spec, None, max_episode_steps, find_wrappers(wrappers), frame_stack)
    return tried(repr(how), partial(_make_single, *how, os.getpid(), None))


def _make_single(
    spec: GymSpec,
    render_mode: str | None,
    max_episode_steps: int | None,
    wrappers: Sequence[Wrapper],
    frame_stack: int,
    main_pid: int,
    read_as: dict[str, Any] | None,
) -> gym.Env:
    """One environment; called in the main process or in a worker.

    Args:
        spec: of the environment.
        render_mode: as of `make_envs`.
        max_episode_steps: the same; None is its own.
        wrappers: directly round it.
        frame_stack: as of `make_envs`.
        main_pid: of the main process.
        read_as: `obs`, `obs_layout`, `masks` and `time_in_obs` of `make_envs`; without, observations are as they are.
    """
    if os.getpid() != main_pid:
        prepare_worker(main_pid)
    kwargs: dict[str, Any] = {} if render_mode is None else {"render_mode": render_mode}
    env = wrap(make_quietly(spec, max_episode_steps=max_episode_steps, **kwargs), wrappers)
    read(env.action_space, spec.id)  # what it refuses, Gymnasium's vector classes do too, in other words
    if read_as is None:
        return env
    env = _read_observations(env, spec.id, bool(wrappers), **read_as)
    return env if frame_stack == 1 else _stack_frames(env, spec.id, frame_stack)


def _read_observations(
    env: gym.Env, env_id: str, is_wrapped: bool, obs: str, obs_layout: str, masks: bool, time_in_obs: bool
) -> gym.Env:
    """The environment with one array as its observation, whatever its space."""
    env = TimeInObs(env) if time_in_obs else env
    space = env.observation_space
    if obs == "old":
        return _flattened(env, env_id)
    parts = parts_of(space, env_id, obs, obs_layout, choices(env.action_space), masks)
    is_plain = (
        isinstance(space, gym.spaces.Box) and len(space.shape) == 1 and space.dtype.kind == "f" and len(parts) == 1
    )
    if is_plain and not is_wrapped and type(env.unwrapped).__module__.startswith("gymnasium."):
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
    space = env.observation_space
    shape, parts = space.shape or (), getattr(space, "parts", ())
    refused = f"environment {env_id!r}: frame_stack is {frame_stack}, but "
    if len(shape) == 4:
        raise UsageError(f"{refused}observations of shape {shape} are stacks already; use frame_stack 1")
    if len(shape) != 2 and not any(part.kind == "image" for part in parts):
        raise UsageError(f"{refused}observations of shape {shape} are no images; use frame_stack 1")
    env = gym.wrappers.FrameStackObservation(env, frame_stack, padding_type="reset")
    if len(shape) != 2:
        env.observation_space = Described(stacked(parts, frame_stack))
    return env
