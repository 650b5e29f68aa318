"""An environment is looked up in Gymnasium's registry, or by module and name; what is not there gets a suggestion."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec as GymSpec

from rlgen.envs import given
from rlgen.envs.named import attribute, defined_here, listed, load_module, place
from rlgen.envs.namespaces import register
from rlgen.envs.suggest import suggest
from rlgen.errors import MissingExtraError, UsageError

# Ids that are registered but need a package: where they are defined, package, what to install.
_NEEDED_BY = (
    ("gymnasium.envs.box2d", "Box2D", "gymnasium[box2d]"),
    ("gymnasium.envs.mujoco", "mujoco", "gymnasium[mujoco]"),
    ("gymnasium.envs.phys2d", "jax", "gymnasium[jax]"),
    ("gymnasium.envs.tabular", "jax", "gymnasium[jax]"),
)


def check_env_id(env_id: str, kwargs: Mapping[str, Any] | None = None) -> GymSpec:
    """Find an environment without making it.

    Args:
        env_id: `Env-v0`, `namespace/Env-v0` or `module:Env-v0` of Gymnasium's registry; `module:Name` of a class or of
            a function that returns an environment; or what `given.hold` returns.
        kwargs: arguments of its constructor, above those that it is registered with.

    Raises:
        UsageError: no such environment or module; names the nearest one, or a retired one's successor.
        MissingExtraError: the package that defines or runs it is not installed.
    """
    spec = _find(env_id)
    return dataclasses.replace(spec, kwargs={**spec.kwargs, **kwargs}) if kwargs else spec


def _find(env_id: str) -> GymSpec:
    if env_id in given.HELD:
        return _unregistered(env_id, given.HELD[env_id])
    if env_id.startswith(given.PASSED):
        raise given.lost(env_id)
    module, _, name = env_id.rpartition(":")
    loaded = load_module(module, f"environment {env_id!r}") if module else None
    if name not in gym.registry:
        register(name)
    spec = gym.registry.get(name)
    if spec is None and loaded is not None:
        return _in_module(env_id, loaded, name)
    if spec is None:
        raise UsageError(f"environment {env_id!r} does not exist: {defined_here(name) or suggest(name)}")
    for prefix, package, extra in _NEEDED_BY:
        if str(spec.entry_point or spec.vector_entry_point).startswith(prefix) and find_spec(package) is None:
            raise MissingExtraError(f"environment {env_id!r} needs {package}", extra)
    return spec


def _in_module(env_id: str, module: ModuleType, name: str) -> GymSpec:
    """The spec of a class or function of a module that registers no environment of that name."""
    found = attribute(module, name)
    if callable(found):
        return _unregistered(env_id, found)
    if isinstance(found, gym.Env):
        mend = f"name its class, as {module.__name__}:{type(found.unwrapped).__name__}"
        raise UsageError(f"environment {env_id!r} is made already, and a run makes several: {mend}")
    there = [key for key, spec in gym.registry.items() if _of(spec.entry_point) == module.__name__]
    there += [key for key, each in vars(module).items() if _is_env_class(each) and _of(each) == module.__name__]
    raise UsageError(
        f"environment {env_id!r} does not exist: {suggest(name, there)}; {place(module)} has: {listed(there)}"
    )


def _is_env_class(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, gym.Env) and not issubclass(value, gym.Wrapper)


def _of(entry_point: Any) -> str:
    """The module of an entry point."""
    return entry_point.partition(":")[0] if isinstance(entry_point, str) else getattr(entry_point, "__module__", "")


def _unregistered(env_id: str, creator: Any) -> GymSpec:
    if isinstance(creator, type) and issubclass(creator, gym.vector.VectorEnv):
        vector_creator: Any = creator
        return GymSpec(env_id, vector_entry_point=vector_creator)
    return GymSpec(env_id, entry_point=creator)


def one_line(error: BaseException) -> str:
    """The message of an error without line breaks."""
    return " ".join(str(error).split())
