"""Environments and wrappers that a Python caller passes, as classes or functions, and the name a run knows each by.

What another process can import is known as `module:Name`. Anything else, as a function of a notebook, gets a name that
is made of its source and of the values that it uses; only a process that was passed it has it.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
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
    return _kept(env, name)


def hold_wrappers(wrappers: Any, names: Sequence[str] | None = None) -> list[str]:
    """Keep wrappers for the runs of this process; their names.

    Args:
        wrappers: a class, or a function that takes an environment and returns one, or a name, which comes back; or
            several of these.
        names: by which a run knows its wrappers; None gives them names. What has one already may be left out.

    Raises:
        UsageError: one is none of these, or there are not as many as the run has.
    """
    given = list(wrappers) if isinstance(wrappers, list | tuple) else [wrappers]
    for wrapper in given:
        if isinstance(wrapper, gym.Env) or not (isinstance(wrapper, str) or callable(wrapper)):
            kind = type(wrapper).__name__
            made = f"made already: pass what makes it, as {kind}" if isinstance(wrapper, gym.Env) else f"of type {kind}"
            raise UsageError(f"wrapper is {made}; a class, a function of the environment, or text, or a list of these")
    if names is None:
        return [wrapper if isinstance(wrapper, str) else _kept(wrapper) for wrapper in given]
    missing = dict.fromkeys(name for name in names if name.startswith(PASSED))
    found = {id(wrapper): wrapper for wrapper in given if not isinstance(wrapper, str) and not _importable(wrapper)}
    if len(missing) != len(found):
        raise UsageError(f"wrapper: pass those of the run that were passed, in their order: {', '.join(missing)}")
    return [_kept(wrapper, name) for wrapper, name in zip(found.values(), missing, strict=True)]


def to_go_on(env_id: str, wrappers: Sequence[str]) -> str:
    """What goes on with a run whose environment or wrappers only this process has; empty where others find them."""
    env = f", env={_plain(env_id)}" if env_id.startswith(PASSED) else ""
    passed = dict.fromkeys(_plain(name) for name in wrappers if name.startswith(PASSED))
    wrapper = f", wrapper=[{', '.join(passed)}]" if passed else ""
    return f"rlgen.resume(run{env}{wrapper})" if env or wrapper else ""


def lost(name: str, option: str = "env") -> UsageError:
    """The error of an environment, or a wrapper, that this process was not passed."""
    what, make = {"env": "environment"}.get(option, option), _plain(name)
    return UsageError(
        f"{what} {name!r} was passed from Python: pass it again, as in rlgen.resume(run, {option}={make}); a class or "
        f"a function in a module of its own, --{option} module:Name, is found again"
    )


def _plain(name: str) -> str:
    """What a passed class or function is called in Python."""
    return name.removeprefix(PASSED).rpartition("-")[0]


def _kept(made_by: Any, name: str | None = None) -> str:
    name = name or _importable(made_by) or f"{PASSED}{_called(made_by)}-{digest(made_by)[:6]}"
    HELD[name] = made_by
    return name


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
