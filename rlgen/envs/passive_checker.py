"""Gymnasium's own checker of environments, without its lines on the terminal: `rlgen.envs.check` says what matters.

`gym.make` puts a `PassiveEnvChecker` round what it makes. That looks at the first reset, step and render of every
environment and mostly warns, of each of N environments and of those of every evaluation again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
from gymnasium.envs import registration
from gymnasium.utils import passive_env_checker

_LOGGER: Any = gym.logger
_SILENT: Any = SimpleNamespace(**{name: lambda *args, **kwargs: None for name in ("warn", "deprecation", "error")})
_ONCE = ("checked_reset", "checked_step", "checked_render", "checked_data_reuse")


def make_quietly(spec: Any, **kwargs: Any) -> gym.Env:
    """What `gym.make` makes, whose checker looks at no reset, step or render; what it refuses of spaces it refuses."""
    with _silent():
        env = gym.make(spec, **kwargs)
    _set_checked(env, True)
    return env


@contextlib.contextmanager
def looking(env: gym.Env) -> Iterator[None]:
    """Let the checker look at what the environment does here, as at a new one: it refuses, and does not warn."""
    _set_checked(env, False)
    try:
        with _silent():
            yield
    finally:
        _set_checked(env, True)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    modules: tuple[Any, ...] = (passive_env_checker, registration)
    for module in modules:
        module.logger = _SILENT
    try:
        yield
    finally:
        for module in modules:
            module.logger = _LOGGER


def _set_checked(env: gym.Env, value: bool) -> None:
    """In all wrappers: a function that makes an environment may have called `gym.make` itself."""
    while isinstance(env, gym.Wrapper):
        if isinstance(env, gym.wrappers.PassiveEnvChecker):
            for name in _ONCE:
                if hasattr(env, name):  # Gymnasium before 1.4 has fewer
                    setattr(env, name, value)
        env = env.env
