"""Actions at the border: an agent's become those that the environments take, and what that means in words."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from rlgen.envs.action_spaces import NO_BOUND
from rlgen.envs.spec import EnvSpec


def to_env(spec: EnvSpec) -> Callable[[np.ndarray], np.ndarray]:
    """The map from an agent's actions [N, ...] to what the environments take, [N, *action_shape].

    Choices are counted from the space's first one. Real numbers are rescaled where the spec says so, and clipped.
    """
    shape, dtype = spec.action_shape, np.dtype(spec.action_dtype)
    if spec.num_actions is not None:  # both are NumPy's own: nothing for a reader to follow
        return partial(np.add, int(spec.action_low[0] or 0)) if spec.action_low else np.asarray
    if spec.num_choices:
        first = np.array(spec.action_low or 0, dtype)
        # In the space's own type, where a sum that overflows comes out right: 200 - 128 of int8.
        return lambda action: (action.reshape(len(action), -1).astype(dtype) + first).reshape(-1, *shape)

    low = np.array([-np.inf if bound is None else bound for bound in spec.action_low] or -np.inf, dtype)  # [A]
    high = np.array([np.inf if bound is None else bound for bound in spec.action_high] or np.inf, dtype)

    def clipped(action: np.ndarray) -> np.ndarray:
        action = np.minimum(np.maximum(action.reshape(len(action), -1), low), high)
        return action.astype(dtype, copy=False).reshape(-1, *shape)

    if not any(spec.action_rescaled):
        return clipped
    least, most = (
        np.where(spec.action_rescaled, bound.astype(np.float64), sign) for bound, sign in ((low, -1), (high, 1))
    )
    middle, half = (most + least) / 2, (most - least) / 2  # 0 and 1 where nothing is rescaled
    return lambda action: clipped(middle + half * action.reshape(len(action), -1))


def in_words(spec: EnvSpec) -> str:
    """What a user must know of how actions are taken, in one line; empty where they are as everyone expects."""
    parts = []
    bounds = [*zip(spec.action_low, spec.action_high, strict=False)]
    rescaled = [index for index, is_rescaled in enumerate(spec.action_rescaled) if is_rescaled]
    if rescaled:
        parts.append(f"an agent's [-1, 1] is rescaled to {_ranges(bounds, rescaled)} (--no-rescale-actions clips)")
    if spec.action_rescaled and (free := [i for i, pair in enumerate(bounds) if not any(map(_is_bound, pair))]):
        which = "" if len(free) == len(bounds) else f" in {_dimensions(free)}"
        parts.append(f"there are no bounds{which}, so an agent's numbers are taken as they are")
    return f"actions of {spec.env_id!r}: {'; '.join(parts)}" if parts else ""


def _is_bound(bound: float | None) -> bool:
    return bound is not None and math.fabs(bound) < NO_BOUND


def _ranges(bounds: list[tuple[float | None, float | None]], rescaled: list[int]) -> str:
    """The bounds that numbers are rescaled to: the first three, and of which dimensions unless of all."""
    named: dict[str, list[int]] = {}
    for index in rescaled:
        named.setdefault("[{:g}, {:g}]".format(*bounds[index]), []).append(index)
    if len(named) == 1 and len(rescaled) == len(bounds):
        return next(iter(named))
    shown = [f"{text} in {_dimensions(where)}" for text, where in named.items()]
    return ", ".join([*shown[:3], *(["..."] if len(shown) > 3 else [])])


def _dimensions(indices: list[int]) -> str:
    text = ", ".join(map(str, indices[:4])) + (", ..." if len(indices) > 4 else "")
    return f"dimension{'s' if len(indices) > 1 else ''} {text}"
