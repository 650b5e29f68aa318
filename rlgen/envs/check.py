"""An environment is tried once before a run: what it does other than it declares is said in one line, with the mend.

One of the run's own environments is reset and stepped, before its seeded reset. Gymnasium's own checker only warns.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import random
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rlgen.envs import passive_checker
from rlgen.envs.keywords import missing
from rlgen.envs.masks import choices, gives_mask, is_allowed, mask_of, sample
from rlgen.envs.parts import leaves, value_of
from rlgen.envs.raised import said
from rlgen.errors import RlgenError, UsageError, is_out_of_memory
from rlgen.text import warn

STEPS, SECONDS = 10, 1.0  # random steps that are tried, fewer of a slow environment
RESET = "`def reset(self, *, seed=None, options=None)`, which ends with `return observation, info`"
STEP = "`return observation, reward, terminated, truncated, info`"


def check(env: gym.Env, env_id: str) -> bool:
    """Reset an environment and take random steps in it; global generators are as before.

    Returns:
        Whether it says which of its actions are valid, as `mask_of` reads it; a line says that of real numbers no
        mask is used.

    Raises:
        UsageError: it raises, or what it returns is not what Gymnasium's interface and its spaces say.
    """
    tried = _Trial(_innermost(env), env_id)
    actions, sizes = copy.deepcopy(env.action_space), choices(env.action_space)
    actions.seed(0)
    with _generators_kept(), warnings.catch_warnings(), passive_checker.looking(env), tried.looking():
        warnings.simplefilter("ignore")  # what an environment itself warns of comes again in the run
        tried.check_signature()
        _, info = tried.call("reset", env.reset, seed=0, options={})
        masked = gives_mask(env, info)
        begin = time.monotonic()
        for _ in range(STEPS):
            action = tried.valid_action(actions, sizes, env, info) if sizes else actions.sample()
            obs, _, terminated, truncated, info = tried.call("step", env.step, action)
            check_obs(env.observation_space, obs, functools.partial(tried.refuse, "step"))
            if terminated or truncated:
                _, info = tried.call("reset", env.reset, seed=1, options={})
            masked = masked or gives_mask(env, info)
            if time.monotonic() - begin > SECONDS:
                break
    if tried.outside:
        warn(f"environment {env_id!r}: {tried.outside}: make them agree, as the scale of pictures follows from bounds")
    if masked and not sizes:
        warn(f"environment {env_id!r}: its action mask is not used: actions are real numbers", note=True)
    return masked and bool(sizes)


def check_picture(frame: Any, env_id: str) -> None:
    """Refuse what an environment draws where it is no picture.

    Raises:
        UsageError: it is not uint8 [H, W, 3].
    """
    if not (isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[-1] == 3):
        raise UsageError(
            f"environment {env_id!r}: render() returned {_kind(frame)}; --video needs pictures, uint8 [H, W, 3]: "
            "mend it, or leave out --video"
        )


def how_to_mend(error: BaseException, creator: Callable[..., Any]) -> str:
    """What to do about an exception of a constructor, where that can be told."""
    message = str(error)
    for space in ("action", "observation"):
        if f"must specify an {space} space" in message:
            return f"; set self.{space}_space to one of gymnasium.spaces in __init__"
    if names := missing(error, creator):
        return f"; give it a default, or a value: --env-kwargs {' '.join(f'{name}=...' for name in names)}"
    return ""


def _innermost(env: gym.Env) -> gym.Env:
    """What the entry point made, without what `gym.make` puts round it."""
    while isinstance(env, gym.Wrapper):
        if isinstance(env, gym.wrappers.PassiveEnvChecker):
            return env.env
        env = env.env
    return env


class _Trial:
    """An environment whose returned values are looked at where it returns them, before any wrapper."""

    def __init__(self, env: gym.Env, env_id: str) -> None:
        self.env, self.env_id, self.obs = env, env_id, None  # the last one, as it was returned
        self.outside = ""  # what of an observation was not within the bounds of its space

    def refuse(self, method: str, what: str, mend: str) -> NoReturn:
        """Raise a UsageError that names the method and where it stands."""
        raise UsageError(f"environment {self.env_id!r}: {method}(){self._place(method)} {what}: {mend}")

    def _place(self, method: str) -> str:
        with contextlib.suppress(TypeError, OSError):
            code = inspect.unwrap(getattr(type(self.env), method)).__code__
            return f" ({code.co_filename}:{code.co_firstlineno})"
        return ""

    def call(self, method: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What a method returns; what it raises is a UsageError."""
        try:
            return function(*args, **kwargs)
        except (RlgenError, ImportError, gym.error.DependencyNotInstalled):
            raise
        except (Exception, SystemExit) as error:
            if is_out_of_memory(error):
                raise
            raise UsageError(
                f"environment {self.env_id!r}: {method}() raised {said(error)}: mend it; --traceback shows more"
            ) from error

    def valid_action(self, space: spaces.Space, sizes: tuple[int, ...], env: gym.Env, info: dict[str, Any]) -> Any:
        """A random action that is valid by the environment's mask."""
        mask = self.call("step", mask_of, env, info, sizes, self.obs)
        if mask.all():
            return space.sample()
        if not is_allowed(mask, sizes).all():
            self.refuse("step", "says by its action mask that no action is valid", "end the episode there")
        return sample(space, mask)

    def check_signature(self) -> None:
        """Refuse a `reset` that does not take what it is called with."""
        parameters = inspect.signature(self.env.reset).parameters.values()
        if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
            return
        lacks = [name for name in ("seed", "options") if name not in {parameter.name for parameter in parameters}]
        if lacks:
            self.refuse("reset", f"takes no {' and no '.join(lacks)}, so it is of the old interface", f"write {RESET}")

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        """Look at all that `reset` and `step` return."""
        for method, look in (("reset", self._look_at_reset), ("step", self._look_at_step)):
            self._watch(method, look)
        try:
            yield
        finally:
            for method in ("reset", "step"):
                delattr(self.env, method)

    def _watch(self, method: str, look: Callable[[Any], None]) -> None:
        original = getattr(self.env, method)

        @functools.wraps(original)
        def looked_at(*args: Any, **kwargs: Any) -> Any:
            returned = original(*args, **kwargs)
            look(returned)
            return returned

        setattr(self.env, method, looked_at)

    def _look_at_reset(self, returned: Any) -> None:
        if not (isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[1], dict)):
            self.refuse("reset", f"returned {_kind(returned)}, not an observation and a dictionary", f"write {RESET}")
        self.obs = returned[0]
        check_obs(self.env.observation_space, self.obs, functools.partial(self.refuse, "reset"))
        self.outside = self.outside or outside(self.env.observation_space, self.obs)

    def _look_at_step(self, returned: Any) -> None:
        refuse = functools.partial(self.refuse, "step")
        if not (isinstance(returned, tuple) and len(returned) == 5):
            refuse(
                f"returned {_kind(returned)}, not the five of Gymnasium",
                f"write {STEP}; an end is `truncated` where only the time is up, else `terminated`",
            )
        self.obs, reward, terminated, truncated, info = returned
        check_obs(self.env.observation_space, self.obs, refuse)
        self.outside = self.outside or outside(self.env.observation_space, self.obs)
        number = _as_array(reward)
        if number is None or number.size != 1:
            refuse(f"returned {_kind(reward)} as the reward", "return one number, as float(reward)")
        elif not _is_finite(number).all():
            refuse(f"returned the reward {number.item()}", "return a finite number, as float32 has it")
        for name, value in (("terminated", terminated), ("truncated", truncated)):
            if not (isinstance(value, bool | np.bool_) or (isinstance(value, np.ndarray) and value.dtype == bool)):
                refuse(f"returned {_kind(value)} as {name}", f"return True or False, as bool({name})")
            if np.size(value) != 1:
                refuse(f"returned {_kind(value)} as {name}", "return one bool")
        if not isinstance(info, dict):
            refuse(f"returned {_kind(info)} as info", "return a dictionary, {} where there is nothing to say")


def check_obs(space: spaces.Space, obs: Any, refuse: Callable[[str, str], NoReturn], part: str = "") -> None:
    """Refuse an observation that is not of its space."""
    what = f"returned an observation{part}"
    if isinstance(space, spaces.Dict):
        if not isinstance(obs, dict) or set(space) - set(obs):
            keys = ", ".join(map(repr, obs)) if isinstance(obs, dict) else _kind(obs)
            refuse(f"{what} of {keys}", f"observation_space declares the parts {', '.join(map(repr, space))}")
        for key, each in space.items():
            check_obs(each, obs[key], refuse, f"{part}[{key!r}]")
    elif isinstance(space, spaces.Tuple):
        if not isinstance(obs, tuple | list) or len(obs) != len(space):
            refuse(f"{what} of {_kind(obs)}", f"observation_space declares {len(space)} parts")
        for index, each in enumerate(space):
            check_obs(each, obs[index], refuse, f"{part}[{index}]")
    elif isinstance(space, spaces.Box):
        _check_box(space, obs, refuse, what)
    elif isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary) and not space.contains(obs):
        refuse(f"{what}, {str(obs)[:60]} ({_kind(obs)}), that is not in {space}", "make observation_space and it agree")


def _check_box(space: spaces.Box, obs: Any, refuse: Callable[[str, str], NoReturn], what: str) -> None:
    agree = "make observation_space and it agree"
    array = _as_array(obs)
    if array is None:
        refuse(f"{what} that is {_kind(obs)}, not numbers", "return a NumPy array")
    elif array.shape != space.shape:
        refuse(f"{what} of shape {array.shape}, where observation_space declares {space.shape}", agree)
    elif space.dtype.kind == "f":
        if array.dtype.kind == "f" and not (finite := _is_finite(array)).all():
            refuse(f"{what} with {array[~finite][0]} in it", "return finite numbers, as float32 has them")
    elif array.dtype.kind == "f":
        refuse(
            f"{what} of {array.dtype}, where observation_space declares {space.dtype}, which cuts fractions off",
            f"declare dtype float32, or return whole numbers as {space.dtype}",
        )
    elif array.dtype != space.dtype and array.size:
        whole: Any = space.dtype
        limits = (0, 1) if whole.kind == "b" else (np.iinfo(whole).min, np.iinfo(whole).max)
        for extreme in (int(array.min()), int(array.max())):
            if not limits[0] <= extreme <= limits[1]:
                refuse(f"{what} with {extreme} in it, which {space.dtype} cannot hold", agree)


def outside(space: spaces.Space, obs: Any) -> str:
    """What of an observation that is of its space's shape is well outside of its bounds; empty where nothing is."""
    for name, leaf in leaves(space):
        if not (isinstance(leaf, spaces.Box) and leaf.dtype.kind in "iuf"):
            continue
        array = np.asarray(value_of(obs, name), np.float64)
        low, high = leaf.low.astype(np.float64), leaf.high.astype(np.float64)
        near = 0.01 * np.maximum(1, np.abs(array))  # rounding, and a bound that is passed by a step
        beyond = (array < low - near) | (array > high + near)
        if beyond.any():
            where = f" in {name!r}" if name else ""
            value, bounds = array[beyond][0], f"[{low[beyond][0]:g}, {high[beyond][0]:g}]"
            return f"an observation has {value:g}{where}, and observation_space declares {bounds}"
    return ""


def _is_finite(array: np.ndarray) -> np.ndarray:
    """Where numbers are finite as float32, in which they are learned from."""
    with np.errstate(over="ignore"):
        return np.isfinite(array.astype(np.float32))


def _as_array(value: Any) -> np.ndarray | None:
    """Numbers as an array; None where it holds something else."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):
        return None
    return array if array.dtype.kind in "biuf" else None


def _kind(value: Any) -> str:
    """What a value is, in a few words."""
    if isinstance(value, tuple):
        return f"{len(value)} values"
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} of shape {value.shape}"
    return "None" if value is None else f"a value of type {type(value).__name__}"


@contextlib.contextmanager
def _generators_kept() -> Iterator[None]:
    """Leave the global generators as they are."""
    torch: Any = sys.modules.get("torch")  # an environment that uses it has imported it
    python, numpy = random.getstate(), np.random.get_state()
    of_torch = torch.get_rng_state() if torch else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        if torch:
            torch.set_rng_state(of_torch)
