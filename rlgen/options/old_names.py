"""The names of version 0.1.0, of modules and in learners; plug-ins that use them work for one version more.

A plug-in is an algorithm of another package, found by the entry-point group `rlgen.algorithms`. The old names exist
only in a process that has met one; nothing of ours imports them.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from functools import cache, partial
from types import ModuleType
from typing import Any

MOVED = {  # old module: the modules that hold its names now
    "rlgen.buffer": ("rlgen.core.buffer", "rlgen.core.batch"),
    "rlgen.distributions": ("rlgen.nets.policies",),
    "rlgen.envs": ("rlgen.envs.spec",),
    "rlgen.functional": ("rlgen.core.functional",),
    "rlgen.learner": ("rlgen.core.learner", "rlgen.core.step"),
    "rlgen.nets": ("rlgen.nets.networks", "rlgen.nets.perceptron"),
    "rlgen.sources": ("rlgen.core.source", "rlgen.core.image_source"),
}


@cache
def keep() -> None:
    """Let the old names be imported from now on; the first use of each old module warns and names the new one."""
    for old in MOVED:
        if importlib.util.find_spec(old):  # a package of the same name now
            module = importlib.import_module(old)
        else:
            module = sys.modules[old] = ModuleType(old)
            setattr(sys.modules["rlgen"], old.removeprefix("rlgen."), module)
        vars(module)["__getattr__"] = partial(look_up, old)


def look_up(old: str, name: str) -> Any:
    """A name of an old module, from where it is now: the module's `__getattr__`."""
    if not name.startswith("__"):
        for place in MOVED[old]:
            module = importlib.import_module(place)
            if hasattr(module, name):
                warn(old)
                return getattr(module, name)
        if (old, name) == ("rlgen.nets", "infer"):  # acting is an ordinary call of the network now
            warn(old)
            return call
    raise AttributeError(f"module {old!r} has no attribute {name!r}")


def call(net: Any, obs: Any) -> Any:
    """What `rlgen.nets.infer` computed."""
    import torch

    with torch.no_grad():
        return net(obs)


def adapt(learner: Any) -> None:
    """Give a plug-in's learner class what it was used to: `collect`, `minimize(draw=)`, a default for `batches`."""
    from rlgen.core.learner import Learner

    old_collect, minimize = vars(learner).get("collect"), learner.minimize
    if isinstance(old_collect, property):
        return  # it has them already

    def set_collect(self: Any, num: int) -> None:
        warn("Learner.collect", "rows_per_turn")
        self.rows_per_turn = num

    def minimize_as_before(self: Any, *args: Any, draw: Any = None, **options: Any) -> Any:
        if draw is not None:
            warn("minimize(draw=)", "minimize(noise=)")
            options["noise"] = draw
        return minimize(self, *args, **options)

    def batches(self: Any, buffer: Any) -> Iterator[Any]:
        yield buffer.sample(self.cfg.batch_size)

    if old_collect is not None:  # in the body of the class
        warn("Learner.collect", "rows_per_turn")
        learner.rows_per_turn = old_collect
    learner.collect = property(lambda self: self.rows_per_turn, set_collect)
    learner.minimize = minimize_as_before
    if learner.batches is Learner.batches:
        learner.batches = batches


@cache
def warn(old: str, new: str = "") -> None:
    """Say once what an old name is now, as the line that uses it."""
    places = new or " and ".join(MOVED[old])
    message = f"{old} is {places} now; the old name works in this version of rlgen only"
    warnings.warn(message, DeprecationWarning, stacklevel=3)
