"""Environments that a Python caller passes, as a class or a function, and the name that a run knows each by.

What another process can import is known as `module:Name`. Anything else, as a function of a notebook, gets a name that
is made of its source and of the values that it uses; only a process that was passed it has it.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym

from rlgen.envs.named import attribute
from rlgen.errors import UsageError

PASSED = "passed:"  # how the names begin of those that cannot be imported
HELD: dict[str, Callable[..., Any]] = {}


def hold(env: Any, name: str | None = None) -> str:
    """Keep an environment for the runs of this process; its name.

    Args:
        env: a class, or a function that returns an environment; or a name, which comes back.
        name: by which a run knows it; None gives it one.

    Raises:
        UsageError: it is an environment already made, or nothing that makes one.
    """
    if isinstance(env, str) and name is None:
        return env
    if isinstance(env, gym.Env | gym.vector.VectorEnv):
        kind = type(env.unwrapped).__name__
        raise UsageError(
            f"env is an environment that was made already, and a run makes several: pass what makes one, as {kind}, "
            f"or a function that returns one, as env=lambda: {kind}()"
        )
    if not callable(env):
        raise UsageError(f"env is of type {type(env).__name__}: pass an id, a class, or a function that returns one")
    name = name or _importable(env) or f"{PASSED}{_called(env)}-{digest(env)[:6]}"
    HELD[name] = env
    return name


def lost(name: str) -> UsageError:
    """The error of an environment that this process was not passed."""
    make = name.removeprefix(PASSED).rpartition("-")[0]
    return UsageError(
        f"environment {name!r} was passed from Python: pass it again, as in rlgen.resume(run, env={make}); a class or "
        "a function in a module of its own, --env module:Name, is found again"
    )


def _importable(env: Any) -> str:
    """`module:Name`, by which another process finds it; empty where none can."""
    module, name = getattr(env, "__module__", None), getattr(env, "__qualname__", "")
    loaded = sys.modules.get(module or "__main__")
    if loaded is None or loaded.__name__ == "__main__" or attribute(loaded, name) is not env:
        return ""
    return f"{module}:{name}"


def _called(env: Any) -> str:
    function = env.func if isinstance(env, functools.partial) else env
    name = getattr(function, "__name__", type(function).__name__)
    return re.sub(r"\W", "", name) or "env"


def digest(env: Any) -> str:
    """SHA-256 of the source of a class or a function, and of the values that it is bound to or uses."""
    return hashlib.sha256("\n".join(_parts(env)).encode()).hexdigest()


def _parts(env: Any) -> Iterator[str]:
    """What tells one callable from another of the same name: its source, and the values that it is bound to or uses."""
    if isinstance(env, functools.partial):
        yield _text((env.args, env.keywords))
        env = env.func
    try:
        yield inspect.getsource(env)
    except (OSError, TypeError):
        yield getattr(env, "__qualname__", repr(type(env)))
    if inspect.isfunction(env):
        used = inspect.getclosurevars(env)
        yield _text((env.__defaults__, env.__kwdefaults__, dict(used.nonlocals), dict(used.globals)))


def _text(value: Any) -> str:
    """A value as text, without the addresses of objects."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
