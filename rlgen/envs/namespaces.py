"""Ids that exist only once a package is imported: which those are, what registers them, how it is installed."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass

from rlgen.errors import MissingExtraError, is_out_of_memory


@dataclass(frozen=True)
class Namespace:
    """The environments of one package."""

    name: str  # in `rlgen list envs`
    ids: str  # a pattern of them
    module: str  # registers them when it is imported
    function: str  # of the module, which does it where importing does not; or none
    packages: tuple[str, ...]  # to install, as the index names them
    example: str  # one of the ids
    listed: str  # what stands for all of them where the package is not installed
    actions: str = "discrete"  # of all of them


NAMESPACES = (
    Namespace(
        name="ALE",
        ids=r"ALE/|\w+(NoFrameskip|Deterministic|-ram)",
        module="ale_py",
        function="",
        packages=("ale-py", "opencv-python-headless"),
        example="ALE/Pong-v5",
        listed="ALE/*",
    ),
    Namespace("MinAtar", r"MinAtar/", "minatar.gym", "register_envs", ("minatar",), "MinAtar/Breakout-v1", "MinAtar/*"),
    Namespace("minigrid", r"MiniGrid-|BabyAI-", "minigrid", "", ("minigrid",), "MiniGrid-Empty-5x5-v0", "MiniGrid-*"),
    Namespace("popgym", r"popgym-", "popgym", "", ("popgym",), "popgym-RepeatPreviousEasy-v0", "popgym-*", actions=""),
)


def register(name: str) -> None:
    """Import the package that the id `name` belongs to, so that it is in Gymnasium's registry.

    Raises:
        MissingExtraError: it is not installed.
    """
    import gymnasium as gym  # not above: options read this file, and help pages wait for them

    for namespace in NAMESPACES:
        if re.match(namespace.ids, name):
            try:
                module = importlib.import_module(namespace.module)
            except ImportError as error:
                if is_out_of_memory(error):
                    raise
                package = namespace.module.partition(".")[0]
                raise MissingExtraError(f"environment {name!r} needs {package}", *namespace.packages) from error
            if namespace.function and namespace.example not in gym.registry:
                getattr(module, namespace.function)()


def is_atari(env_id: str) -> bool:
    """Whether the id is of a game of the Atari 2600 that shows its screen."""
    name = env_id.rpartition(":")[2]
    return bool(re.match(NAMESPACES[0].ids, name)) and "-ram" not in name
