"""An environment id is looked up in Gymnasium's registry; what is not there gets a suggestion."""

from __future__ import annotations

import importlib
from importlib.util import find_spec

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec as GymSpec

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
                f"{one_line(error)}); install it, or put its folder on PYTHONPATH"
            ) from error
    if name not in gym.registry:
        register(name)
    spec = gym.registry.get(name)
    if spec is None:
        raise UsageError(f"environment {env_id!r} does not exist: {suggest(name)}")
    for prefix, package, extra in _NEEDED_BY:
        if str(spec.entry_point or spec.vector_entry_point).startswith(prefix) and find_spec(package) is None:
            raise MissingExtraError(f"environment {env_id!r} needs {package}", extra)
    return spec


def one_line(error: BaseException) -> str:
    """The message of an error without line breaks."""
    return " ".join(str(error).split())
