"""Wrappers round an environment, as `module:Class` or `module:Class(name=value)`: what a run is told to apply.

They come directly round what `gym.make` makes, the first one innermost.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium as gym

from rlgen.envs import given
from rlgen.envs.keywords import check_keywords, missing
from rlgen.envs.named import attribute, listed, load_module, place
from rlgen.envs.raised import said
from rlgen.errors import RlgenError, UsageError, is_out_of_memory
from rlgen.text import nearest

TEXT = re.compile(r"\s*(?:([\w./]+):)?([\w.]+)\s*(\(.*\))?\s*", re.DOTALL)


class Wrapper(NamedTuple):
    """A wrapper, and what it is made with beside the environment."""

    text: str
    creator: Callable[..., Any]
    args: list[Any]
    kwargs: dict[str, Any]


def find_wrappers(texts: Sequence[str]) -> list[Wrapper]:
    """Import wrappers, or take those that a Python caller passed.

    Raises:
        UsageError: there is no such module or class, or its arguments are no literals or not its own.
    """
    return [_find(text) for text in texts]


def wrap(env: gym.Env, wrappers: Sequence[Wrapper]) -> gym.Env:
    """The environment within its wrappers.

    Raises:
        UsageError: one raises, or returns no environment.
    """
    for text, creator, args, kwargs in wrappers:
        try:
            wrapped = creator(env, *args, **kwargs)
        except (RlgenError, ImportError, gym.error.DependencyNotInstalled):
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise UsageError(
                f"wrapper {text}, round an environment whose observations are {env.observation_space}, raised "
                f"{said(error)}{_how_to_mend(text, error, creator)}; --traceback shows more"
            ) from error
        if not isinstance(wrapped, gym.Env):
            raise UsageError(f"wrapper {text} returned a {type(wrapped).__name__}, not an environment of Gymnasium")
        env = wrapped
    return env


def changes_observations(wrapper: Wrapper) -> bool:
    """Whether observations may be others within a wrapper; of its kind Gymnasium says that rewards alone are."""
    return not (isinstance(wrapper.creator, type) and issubclass(wrapper.creator, gym.RewardWrapper))


def _how_to_mend(text: str, error: BaseException, creator: Callable[..., Any]) -> str:
    names = missing(error, creator)
    arguments = ", ".join(f"{name}=..." for name in names)
    if names and text.startswith(given.PASSED):
        return f"; bind it, as functools.partial(..., {arguments})"
    return f"; give it a value: --wrapper '{text.partition('(')[0]}({arguments})'" if names else ""


def _find(text: str) -> Wrapper:
    what = f"wrapper {text}"
    if text in given.HELD:
        return Wrapper(text, given.HELD[text], [], {})
    if text.startswith(given.PASSED):
        raise given.lost(text, "wrapper")
    match = TEXT.fullmatch(text)
    if match is None:
        raise UsageError(f"{what}: must be module:Class, or module:Class(name=value, ...) in quotes for the shell")
    module, name, arguments = match.groups()
    if not module:
        at = "gymnasium.wrappers" if hasattr(gym.wrappers, name) else "module"
        raise UsageError(f"{what}: it is in no module; type --wrapper {at}:{name}")
    loaded = load_module(module, what)
    creator = attribute(loaded, name)
    if not callable(creator):
        there = [key for key, each in vars(loaded).items() if isinstance(each, type) and issubclass(each, gym.Wrapper)]
        raise UsageError(
            f"{what}: {place(loaded)} has no class or function {name!r}.{nearest(name, there)} "
            f"Its wrappers: {listed(there)}"
        )
    if isinstance(creator, type) and issubclass(creator, gym.vector.VectorEnv):
        raise UsageError(f"{what}: it is for a vector of environments; a run wraps single ones (gymnasium.wrappers)")
    args, kwargs = _literals(arguments, what) if arguments else ([], {})
    check_keywords(creator, kwargs, what, given_by_us=1 + len(args))
    return Wrapper(text, creator, args, kwargs)


def _literals(arguments: str, what: str) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of `(0.5, name=[1, 2])`."""
    try:
        call = ast.parse(f"f{arguments}", mode="eval").body
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and all(k.arg for k in call.keywords)):
            raise ValueError
        args = [ast.literal_eval(arg) for arg in call.args]
        return args, {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UsageError(
            f"{what}: its arguments must be values as Python writes them: numbers, True, None, 'text' in quotes, lists"
        ) from None
