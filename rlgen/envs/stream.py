"""Gymnasium vector environments as one stream of true transitions, whatever their autoreset mode.

Shapes: N environments. A *vector step* steps all of them once.

Synchronous and asynchronous environments run with autoreset disabled, and each episode is reset with a seed of its own,
a function of (seed, environment index, episode index). An environment's stream thus depends on its own actions alone,
and where it stands is (episode index, actions so far): small enough to save, and exact when replayed.
"""

from __future__ import annotations

import atexit
import difflib
import importlib
import inspect
import math
import multiprocessing
import os
import re
import signal
import threading
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from multiprocessing.connection import wait
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.envs.registration import EnvSpec as GymSpec
from gymnasium.envs.registration import load_env_creator
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from rlgen.errors import DivergedError, MissingExtraError, RlgenError, UsageError

NATIVE_MIN_ENVS = 8  # below this the native CartPole is no faster than a loop over single ones

# Ids that exist only once a package is imported: pattern, package, what to install.
_REGISTERED_BY = (
    (r"ALE/|\w+(NoFrameskip|Deterministic|-ram)", "ale_py", "rlgen[atari]"),
    (r"MiniGrid-|BabyAI-", "minigrid", "rlgen[minigrid]"),
)
# Ids that are registered but need a package: where they are defined, package, what to install.
_NEEDED_BY = (
    ("gymnasium.envs.box2d", "Box2D", "rlgen[box2d]"),
    ("gymnasium.envs.mujoco", "mujoco", "rlgen[mujoco]"),
    ("gymnasium.envs.phys2d", "jax", "gymnasium[jax]"),
    ("gymnasium.envs.tabular", "jax", "gymnasium[jax]"),
)
# Environments whose reset(seed) leaves traces of the episode before it, here in one physics world for all of them:
# the same actions then lead elsewhere, in 8 of 12 trials.
_LEAKY = ("BipedalWalker",)
_NUMERIC = tuple(
    getattr(gym.spaces, name) for name in ("Box", "Dict", "Discrete", "MultiBinary", "MultiDiscrete", "Tuple")
)


@dataclass(frozen=True)
class EnvSpec:
    """What a learner must know of an environment."""

    env_id: str
    obs_shape: tuple[int, ...]
    obs_dtype: str  # "uint8" as it is, anything else as "float32"
    num_actions: int | None  # None where actions are continuous
    action_shape: tuple[int, ...]  # () where actions are discrete
    action_low: tuple[float, ...]  # flattened, () where actions are discrete
    action_high: tuple[float, ...]
    num_envs: int
    frame_stack: int = 1
    frame_padding: str = "reset"


class Transition(NamedTuple):
    """One vector step. The arrays are not written to afterwards, and are not the caller's to write to."""

    next_obs: np.ndarray  # [N, *obs_shape] the final observation at an episode's end, never the reset one
    reward: np.ndarray  # [N] float32
    terminated: np.ndarray  # [N] bool
    truncated: np.ndarray  # [N] bool
    valid: np.ndarray  # [N] bool; False is no transition at all but NEXT_STEP's reset: weigh it nothing, count it not


def check_env_id(env_id: str) -> GymSpec:
    """Find `Env-v0`, `namespace/Env-v0` or `module:Env-v0` in Gymnasium's registry, without making the environment.

    Raises:
        UsageError: no such environment or module; names the nearest one, or a retired one's successor.
        MissingExtraError: the package that defines or runs it is not installed.
    """
    module, _, name = env_id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except Exception as error:
            raise UsageError(
                f"environment {env_id!r}: importing the module {module!r} failed ({type(error).__name__}: "
                f"{_one_line(error)}); install it, or put its folder on PYTHONPATH"
            ) from error
    for pattern, package, extra in _REGISTERED_BY:
        if name not in gym.registry and re.match(pattern, name):
            try:
                importlib.import_module(package)
            except ImportError as error:
                raise MissingExtraError(f'environment {env_id!r} needs {package}: pip install "{extra}"') from error
    spec = gym.registry.get(name)
    if spec is None:
        raise UsageError(f"environment {env_id!r} does not exist: {_suggest(name)}")
    for prefix, package, extra in _NEEDED_BY:
        if str(spec.entry_point or spec.vector_entry_point).startswith(prefix) and find_spec(package) is None:
            raise MissingExtraError(f'environment {env_id!r} needs {package}: pip install "{extra}"')
    return spec


def _suggest(name: str) -> str:
    """What to type instead of an id that is not registered."""
    base, _, version = name.rpartition("-v")
    versions = [int(key[len(base) + 2 :]) for key in gym.registry if re.fullmatch(re.escape(base) + r"-v\d+", key)]
    if versions and version.isdigit():
        newest = f"{base}-v{max(versions)}"
        return f"it is retired, use {newest}" if int(version) < max(versions) else f"its newest version is {newest}"
    ids = {key.lower(): key for key in gym.registry}
    close = difflib.get_close_matches(name.lower(), ids, n=1)
    return f"did you mean {ids[close[0]]}?" if close else "`rlgen list envs` shows those that do"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def make_envs(
    env_id: str,
    num_envs: int,
    vectorization: str = "auto",
    seed: int = 0,
    autoreset_mode: AutoresetMode | None = None,
    render_mode: str | None = None,
) -> Envs:
    """Make N environments of one kind, reset and ready to step.

    Args:
        env_id: as `check_env_id` takes it.
        num_envs: N.
        vectorization: "sync" in this process, "async" a process each, "native" the environment's own vector class,
            "auto" native where that is the same task and faster, else sync.
        seed: of all episodes.
        autoreset_mode: None is DISABLED, or the best that a native class offers.
        render_mode: Gymnasium's, for `vector_env.render()`.

    Raises:
        UsageError: no such environment, or one whose spaces or vectorization are not supported.
        MissingExtraError: a package it needs is not installed.
    """
    spec = check_env_id(env_id)
    if num_envs < 1:
        raise UsageError(f"num_envs is {num_envs}: it must be at least 1")
    if vectorization == "auto":
        # ALE's native class is another task than its single one (84x84 stacks, clipped rewards): only when asked for.
        native = spec.vector_entry_point and num_envs >= NATIVE_MIN_ENVS and spec.namespace != "ALE"
        vectorization = "native" if native or not spec.entry_point else "sync"
    kwargs = {} if render_mode is None else {"render_mode": render_mode}
    vector_env: VectorEnv
    try:
        if vectorization == "native":
            vector_env = _make_native(env_id, spec, num_envs, autoreset_mode, kwargs)
        elif vectorization in ("sync", "async"):
            thunks = [partial(_make_one, spec, kwargs, os.getpid())] * num_envs
            mode = autoreset_mode or AutoresetMode.DISABLED
            in_process = _Loop if mode is AutoresetMode.DISABLED else SyncVectorEnv
            # copy=False: `Envs` copies what it hands out.
            vector_env = (in_process if vectorization == "sync" else _Workers)(thunks, copy=False, autoreset_mode=mode)
            vector_env.spec = spec
        else:
            raise UsageError(f"vectorization is {vectorization!r}: it must be auto, sync, async or native")
    except (gym.error.DependencyNotInstalled, ImportError) as error:
        raise MissingExtraError(f"environment {env_id!r} lacks a package: {_one_line(error)}") from error
    except gym.error.Error as error:
        raise UsageError(f"environment {env_id!r} cannot be made: {_one_line(error)}") from error
    except (EOFError, ConnectionError) as error:
        raise RlgenError(
            f"a worker of {env_id!r} died at its start; --vectorization sync shows the environment's own error"
        ) from error
    try:
        return Envs(vector_env, seed, env_id)
    except BaseException:
        vector_env.close()
        raise


def _make_native(
    env_id: str, spec: GymSpec, num_envs: int, mode: AutoresetMode | None, kwargs: dict[str, Any]
) -> VectorEnv:
    if spec.vector_entry_point is None:
        raise UsageError(f"environment {env_id!r} has no native vector class: use --vectorization sync or async")
    creator: Any = spec.vector_entry_point
    creator = load_env_creator(creator) if isinstance(creator, str) else creator
    if "autoreset_mode" in inspect.signature(creator).parameters:
        kwargs = {**kwargs, "autoreset_mode": mode or AutoresetMode.SAME_STEP}  # ALE's has no DISABLED
    elif mode not in (None, AutoresetMode.NEXT_STEP):
        raise UsageError(f"the native {env_id!r} has no autoreset mode {mode}: it knows NEXT_STEP alone")
    return gym.make_vec(spec, num_envs, vectorization_mode="vector_entry_point", **kwargs)


def _make_one(spec: GymSpec, kwargs: dict[str, Any], main_pid: int) -> gym.Env:
    """One environment, its observation a Box of at least one dimension; called in the main process or in a worker."""
    if os.getpid() != main_pid:
        # A signal to the whole process group is the main process's to handle: it saves, then closes the workers.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        threading.Thread(target=_exit_with_parent, daemon=True).start()
    env: gym.Env = gym.make(spec, **kwargs)
    space = env.observation_space
    if isinstance(space, gym.spaces.Box) and space.shape:
        return env
    if isinstance(space, gym.spaces.Dict):  # without what is no number: MiniGrid's mission is a sentence
        env = gym.wrappers.FilterObservation(env, [key for key, part in space.items() if isinstance(part, _NUMERIC)])
    try:
        return gym.wrappers.FlattenObservation(env)
    except NotImplementedError as error:
        raise UsageError(f"environment {spec.id!r}: observations of {space} cannot be made a vector") from error


def _exit_with_parent() -> None:
    """Leave no orphan when the main process is killed: siblings hold its pipes open, so a worker would wait forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class _Loop(SyncVectorEnv):
    """Environments stepped one by one without autoreset; new arrays every time and no infos, at a fifth of the cost."""

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Reset those in `options["reset_mask"]` [N], each with its own of the seeds [N]; the others stay."""
        self._observations = self._observations.copy()
        for i in options["reset_mask"].nonzero()[0].tolist():
            self._observations[i], _ = self.envs[i].reset(seed=seed[i], options={})
        return self._observations, {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        num = self.num_envs
        self._observations = obs = np.empty_like(self._observations)
        reward, terminated, truncated = np.empty(num, np.float32), np.empty(num, np.bool_), np.empty(num, np.bool_)
        for i, env in enumerate(self.envs):
            obs[i], reward[i], terminated[i], truncated[i], _ = env.step(actions[i])
        return obs, reward, terminated, truncated, {}


class _Workers(AsyncVectorEnv):
    """Worker processes that ignore SIGTERM, hence are killed: `close` cannot hang on a dead, busy or stuck one."""

    def __init__(self, *args: Any, **kwargs: Any):
        try:
            super().__init__(*args, **kwargs)
        except BaseException:
            if hasattr(self, "processes"):
                self.close()
            raise
        atexit.register(self.close)  # runs before multiprocessing's own, which would terminate and wait forever

    def close_extras(self, timeout: float | None = None, terminate: bool = True) -> None:
        atexit.unregister(self.close)
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join()
        for pipe in self.parent_pipes:
            if pipe is not None:  # None after the worker's environment raised
                pipe.close()


class Envs:
    """A vector environment whose steps are true transitions, and which can be saved in the middle of an episode.

    Args:
        vector_env: any Gymnasium vector environment with Box observations and Discrete or float Box actions.
        seed: of all episodes.
        env_id: its name in `spec`.

    Attributes:
        spec: shapes, dtypes and bounds.
        obs: [N, *obs_shape], what to act on now.
        replayable: "exact" if `load_state` restores what `state` saved, "approx" if it starts new episodes.
        num_steps: vector steps taken.

    Raises:
        UsageError: a space that is not supported.
    """

    def __init__(self, vector_env: VectorEnv, seed: int, env_id: str | None = None):
        self.vector_env, self.seed, self.num_envs = vector_env, seed, vector_env.num_envs
        self.spec = _describe(vector_env, env_id)
        mode = vector_env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self._mode = mode if isinstance(mode, AutoresetMode) else AutoresetMode(mode)
        gym_spec = vector_env.spec
        inexact = gym_spec is not None and (gym_spec.nondeterministic or gym_spec.name.startswith(_LEAKY))
        self._replays = self._mode is AutoresetMode.DISABLED and not inexact
        self._copies = type(vector_env.unwrapped) is CartPoleVectorEnv  # its arrays and its generator are all it is
        self.replayable = "exact" if self._replays or self._copies else "approx"

        # What is new at every step needs no copy.
        self._array: Any = np.asarray if type(vector_env) in (_Loop, CartPoleVectorEnv) else np.array
        self._dtype = np.dtype(self.spec.obs_dtype)
        space = vector_env.single_action_space
        self._first_action = int(space.start) if isinstance(space, gym.spaces.Discrete) else 0
        if isinstance(space, gym.spaces.Box):
            self._low, self._high = space.low.astype(np.float32), space.high.astype(np.float32)
        # Discrete actions are logged in one byte where they fit: an episode can be millions of steps long.
        self._log_dtype = np.min_scalar_type(self.spec.num_actions) if self.spec.num_actions else np.dtype(np.float32)

        self.num_steps = 0
        self._log = bytearray()  # actions of every vector step since the oldest running episode began
        self._log_start = 0  # the vector step of its first row
        self._row_bytes = self.num_envs * math.prod(self.spec.action_shape) * self._log_dtype.itemsize
        self._begun = np.zeros(self.num_envs, np.int64)  # [N] the vector step at which the running episode began
        self._episode = np.zeros(self.num_envs, np.int64)  # [N] its index
        self._ended = np.zeros(self.num_envs, np.bool_)  # [N] NEXT_STEP: the next step is a reset
        self._all_valid = np.ones(self.num_envs, np.bool_)
        self.obs = self._reset(self._all_valid)

    def step(self, action: np.ndarray) -> Transition:
        """Step every environment once, and begin the next episode of those whose episode ends.

        Args:
            action: [N] integers in [0, num_actions), or [N, *action_shape] floats, clipped to the bounds here.

        Raises:
            DivergedError: an observation or a reward is not finite.
            RlgenError: a worker died.
        """
        obs, reward, terminated, truncated, infos = self._step(action)
        self.num_steps += 1
        next_obs, reward = self._array(obs, self._dtype), self._array(reward, np.float32)
        self._check_finite("reward", reward)
        self._check_finite("observation", next_obs)
        ended = terminated | truncated
        any_ended = np.count_nonzero(ended)  # an eighth of the time of `ended.any()`
        valid = self._all_valid

        self.obs = next_obs
        if self._mode is AutoresetMode.DISABLED:
            if self._replays:
                self._log += action.astype(self._log_dtype).tobytes()
            if any_ended:
                self._episode[ended] += 1
                self._begun[ended] = self.num_steps
                self.obs = self._reset(ended)
                oldest = int(self._begun.min())
                del self._log[: (oldest - self._log_start) * self._row_bytes]  # a bytearray forgets its front in O(1)
                self._log_start = oldest
        elif self._mode is AutoresetMode.SAME_STEP:
            if any_ended:  # `ended`, not the mask `_final_obs`: ALE has none
                next_obs = next_obs.copy()
                next_obs[ended] = np.stack(infos["final_obs"][ended])
                self._check_finite("observation", next_obs)
        else:
            valid, self._ended = ~self._ended, ended
        return Transition(next_obs, reward, terminated, truncated, valid)

    def _step(self, action: np.ndarray) -> tuple[Any, Any, np.ndarray, np.ndarray, dict[str, Any]]:
        if self.spec.num_actions is None:
            action = np.minimum(np.maximum(action, self._low), self._high).astype(np.float32, copy=False)
        elif self._first_action:
            action = action + self._first_action
        try:
            obs, reward, terminated, truncated, infos = self.vector_env.step(action)
        except (EOFError, ConnectionError) as error:
            raise self._dead_worker() from error
        return obs, reward, self._array(terminated), self._array(truncated), infos

    def _reset(self, mask: np.ndarray) -> np.ndarray:
        """Begin the episodes `self._episode` of the environments in `mask`; the observations of all [N, *obs_shape]."""
        seeds: list[int | None] = [None] * self.num_envs
        for i in mask.nonzero()[0].tolist():
            seeds[i] = _episode_seed(self.seed, i, int(self._episode[i]))
        vector_env: Any = self.vector_env
        try:
            if self._mode is AutoresetMode.DISABLED:
                obs, _ = vector_env.reset(seed=seeds, options={"reset_mask": mask})
            else:
                is_loop = isinstance(vector_env.unwrapped, (SyncVectorEnv, AsyncVectorEnv))
                obs, _ = vector_env.reset(seed=seeds if is_loop else seeds[0])
        except (EOFError, ConnectionError) as error:
            raise self._dead_worker() from error
        obs = self._array(obs, self._dtype)
        self._check_finite("observation", obs)
        return obs

    def _check_finite(self, name: str, values: np.ndarray) -> None:
        if values.dtype.kind != "f":
            return
        # One sum looks at every element. Squares are the cheapest for many, but may overflow: then look at each.
        if math.isfinite(sum(values.ravel().tolist()) if values.size <= 16 else np.vdot(values, values)):
            return
        bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
        if bad.size:
            value = values[bad[0]].ravel()
            raise DivergedError(
                f"environment {bad[0]} of {self.num_envs} ({self.spec.env_id}) returned a non-finite {name}, "
                f"{value[~np.isfinite(value)][0]}, at vector step {self.num_steps}: mend the environment"
            )

    def _dead_worker(self) -> RlgenError:
        processes = self.vector_env.unwrapped.processes  # type: ignore[attr-defined]
        ended = wait([process.sentinel for process in processes], timeout=5)
        for process in processes:
            if process.sentinel in ended:  # its files are closed, itself perhaps not yet over
                process.join()
        dead = [f"{i} (exit code {p.exitcode})" for i, p in enumerate(processes) if not p.is_alive()]
        return RlgenError(
            f"the worker of environment {', '.join(dead) or '?'} of {self.num_envs} ({self.spec.env_id}) died at "
            f"vector step {self.num_steps}: out of memory? Resume from the last checkpoint, or use fewer environments"
        )

    def state(self) -> dict[str, Any]:
        """Where every environment stands, of plain types that `torch.load(weights_only=True)` reads."""
        state: dict[str, Any] = {"num_steps": self.num_steps, "episode": self._episode.tolist()}
        if self._replays:
            state["begun"] = self._begun.tolist()
            state["actions"] = bytearray(self._log)  # not bytes: torch's safe loader refuses empty ones
        elif self._copies:
            members = vars(self.vector_env.unwrapped).items()
            state["arrays"] = {name: _pack(value) for name, value in members if isinstance(value, np.ndarray)}
            state["generator"] = self.vector_env.np_random.bit_generator.state
            state["ended"] = self._ended.tolist()
        if self.replayable == "exact":
            state["obs"] = _pack(self.obs)
        return state

    def load_state(self, state: dict[str, Any]) -> bool:
        """Go back to where `state` was taken, or, where that is not exactly possible, begin new episodes.

        Returns:
            True if every environment stands exactly there: actions were replayed and gave the same observations.
        """
        self.num_steps = state["num_steps"]
        same_size = len(state["episode"]) == self.num_envs
        if same_size and self._replays and "actions" in state and self._replay(state):
            return True
        if same_size and self._copies and "arrays" in state:
            vars(self.vector_env.unwrapped).update({name: _unpack(value) for name, value in state["arrays"].items()})
            self.vector_env.np_random.bit_generator.state = state["generator"]
            self._ended = np.array(state["ended"], np.bool_)
            self.obs = _unpack(state["obs"])
            return True
        # No environment can have begun more episodes than it took steps: these indices, so these seeds, are new.
        self._episode[:] = max(self.num_steps, *state["episode"]) + 1
        self._begun[:] = self._log_start = self.num_steps
        self._log.clear()
        self._ended[:] = False
        self.obs = self._reset(self._all_valid)
        return False

    def _replay(self, state: dict[str, Any]) -> bool:
        """Replay the running episodes; all environments step together, so one that began later is reset on its row."""
        self._episode, self._begun = np.array(state["episode"]), np.array(state["begun"])
        self._log, self._log_start = bytearray(state["actions"]), int(self._begun.min())
        rows = self.num_steps - self._log_start
        actions = np.frombuffer(state["actions"], self._log_dtype)
        actions = actions.reshape(rows, self.num_envs, *self.spec.action_shape)
        actions = actions.astype(np.int64 if self.spec.num_actions else np.float32)
        self.obs = self._reset(self._all_valid)
        for row in range(rows):
            obs, _, terminated, truncated, _ = self._step(actions[row])
            # What ends here is no running episode yet; where it is, the observations tell that this cannot be replayed.
            resets = terminated | truncated | (self._begun == self._log_start + row + 1)
            self.obs = self._reset(resets) if np.count_nonzero(resets) else np.array(obs, self._dtype)
        return np.array_equal(self.obs, _unpack(state["obs"]))

    def render(self) -> np.ndarray:
        """What the first environment looks like now, uint8 [H, W, 3]; it was made with `render_mode="rgb_array"`.

        Raises:
            MissingExtraError: the package that draws it is not installed.
        """
        try:
            frames: Any = self.vector_env.render()
        except (gym.error.DependencyNotInstalled, ImportError) as error:
            raise MissingExtraError(
                f'pictures of {self.spec.env_id!r} need a package: pip install "rlgen[video]"'
            ) from error
        if frames is None or frames[0] is None:
            raise UsageError(f"environment {self.spec.env_id!r} draws no pictures (render_mode rgb_array)")
        return frames[0]

    def close(self) -> None:
        """Close the environments; worker processes are killed if they must be."""
        has_workers = isinstance(self.vector_env.unwrapped, AsyncVectorEnv)
        self.vector_env.close(**({"terminate": True} if has_workers else {}))


def _describe(vector_env: VectorEnv, env_id: str | None) -> EnvSpec:
    obs_space, action_space = vector_env.single_observation_space, vector_env.single_action_space
    env_id = env_id or (vector_env.spec.id if vector_env.spec is not None else type(vector_env.unwrapped).__name__)
    if not isinstance(obs_space, gym.spaces.Box):
        raise UsageError(f"environment {env_id!r}: observations of {obs_space} cannot be made a vector")
    num_actions, low, high = None, np.empty(0), np.empty(0)
    if isinstance(action_space, gym.spaces.Discrete):
        num_actions = int(action_space.n)
    elif isinstance(action_space, gym.spaces.Box) and action_space.dtype.kind == "f":
        low, high = action_space.low.ravel(), action_space.high.ravel()
    else:
        raise UsageError(f"environment {env_id!r}: actions of {action_space} are not supported, only Discrete and Box")
    return EnvSpec(
        env_id=env_id,
        obs_shape=tuple(obs_space.shape),
        obs_dtype="uint8" if obs_space.dtype == np.uint8 else "float32",
        num_actions=num_actions,
        action_shape=() if num_actions else tuple(action_space.shape or ()),
        action_low=tuple(low.tolist()),
        action_high=tuple(high.tolist()),
        num_envs=vector_env.num_envs,
    )


def _episode_seed(seed: int, index: int, episode: int) -> int:
    """The seed of one episode of one environment; 31 bits, which every environment takes."""
    return int(np.random.SeedSequence((seed, index, episode)).generate_state(1)[0] >> 1)


def _pack(array: np.ndarray) -> dict[str, Any]:
    return {"dtype": array.dtype.str, "shape": list(array.shape), "data": bytearray(array.tobytes())}


def _unpack(packed: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(packed["data"], packed["dtype"]).reshape(packed["shape"]).copy()
