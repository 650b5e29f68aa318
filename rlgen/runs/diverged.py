"""Runs that diverged: how that is found in a state, and what to do then."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

STEP_SIZE = re.compile(r"(\w+_)?lr")  # how the options of algorithms name theirs
SMALLER = 3  # by this a step size is divided in the command that goes on


class Run(Protocol):
    """What advice needs to know of a run."""

    config: dict[str, Any]
    saved: int

    def command(self, verb: str, *options: str) -> str:
        """The line that does something with it."""


def not_finite(state: Any, may_be_infinite: Collection[str] | None = None) -> str | None:
    """The name of a tensor of a learner's state that holds NaN or an infinity; None where all are finite.

    Args:
        state: nested dictionaries and lists; their floating-point tensors are looked at together, on their device.
        may_be_infinite: tensors that may hold infinities, as a mask does; None: all may, and only NaN counts.
    """
    import torch

    tensors = [(name, tensor) for name, tensor in _tensors(state, "") if tensor.is_floating_point()]
    if not tensors:
        return None
    allowed = {name for name, _ in tensors} if may_be_infinite is None else set(may_be_infinite)
    good = [~tensor.isnan().any() if name in allowed else tensor.isfinite().all() for name, tensor in tensors]
    if torch.stack([flag.to(good[-1].device) for flag in good]).all():
        return None
    return next(name for (name, _), flag in zip(tensors, good, strict=True) if not flag)


def _tensors(state: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if hasattr(state, "is_floating_point"):
        yield name, state
    elif isinstance(state, (Mapping, list, tuple)):
        parts = state.items() if isinstance(state, Mapping) else enumerate(state)
        for key, value in parts:
            yield from _tensors(value, f"{name}.{key}" if name else str(key))


def advice(run: Run) -> str:
    """What to do about a run that diverged: the line that goes on from its last checkpoint with smaller steps."""
    sizes = {name: value for name, value in run.config.items() if STEP_SIZE.fullmatch(name)}
    smaller = {name: value / SMALLER for name, value in sizes.items() if isinstance(value, float)}
    if not run.saved:
        flags = " ".join(f"--{name.replace('_', '-')} {value:.2g}" for name, value in smaller.items())
        return (
            f"nothing is saved; train again with a smaller step size{f', {flags},' if flags else ''} or clip gradients"
        )
    changes = [word for name, value in smaller.items() for word in ("--set", f"{name}={value:.2g}")]
    return f"step {run.saved:,} is saved; go on from it with a smaller step size: {run.command('fork', *changes)}"
