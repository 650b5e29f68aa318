"""Action spaces, as an agent must know them: one choice, several at once, or real numbers and what they mean.

A number of a `Box` is the environment's own where its bounds suit an agent's first actions, which have deviation 1:
centred on 0, half a range of 0.5 to 4. Other bounds are what an agent's -1 and 1 mean. Without both of them there is
nothing to rescale to.
"""

from __future__ import annotations

import math
import textwrap
from typing import Any

import gymnasium as gym
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete

from rlgen.errors import UsageError

SUITED = 0.5, 4.0  # half ranges that are taken as they are
NO_BOUND = 1e30  # from here on, a bound means that there is none: the largest float, as some write
MAX_CHOICES = 2**14  # of all numbers of an action together: outputs of a network


def read(space: gym.Space, env_id: str, rescale: bool = True) -> dict[str, Any]:
    """What `EnvSpec` says of the actions of a space, by its fields.

    Args:
        space: of a single environment.
        env_id: its name.
        rescale: False leaves every Box as it is, and casts it to float32.

    Raises:
        UsageError: it is of a kind that no agent knows, or its bounds or sizes cannot be.
    """

    def refuse(what: str, mend: str) -> UsageError:
        text = textwrap.shorten(str(space), 80, placeholder=" ...")
        return UsageError(f"environment {env_id!r}: actions of {text} {what}: {mend}")

    if isinstance(space, Discrete):
        start = (int(space.start),) if space.start else ()
        return _entries(num_actions=int(space.n), low=start, dtype="int64")
    if not isinstance(space, Box | MultiDiscrete | MultiBinary):
        mend = "give it Discrete, MultiDiscrete, MultiBinary or Box, as by a gymnasium.ActionWrapper"
        raise refuse("are not supported", mend)
    if not math.prod(space.shape or ()):
        raise refuse("have no numbers in them", "declare one at least")
    if isinstance(space, Box) and space.dtype.kind == "f":
        low, high = space.low.ravel().tolist(), space.high.ravel().tolist()
        for index, (least, most) in enumerate(zip(low, high, strict=True)):
            if not least < most:
                raise refuse(f"lie between {least:g} and {most:g} in dimension {index}", "low must be below high")
        return _entries(
            shape=tuple(space.shape),
            low=tuple(bound if math.isfinite(bound) else None for bound in low),
            high=tuple(bound if math.isfinite(bound) else None for bound in high),
            rescaled=tuple(rescale and _is_rescaled(*bounds) for bounds in zip(low, high, strict=True)),
            dtype=space.dtype.name if rescale else "float32",
        )
    first, num_choices = _choices(space)
    if sum(num_choices) > MAX_CHOICES:
        raise refuse(
            f"are {sum(num_choices):,} choices, where {MAX_CHOICES:,} are the most that are learned one by one",
            "declare a float Box, and round in the environment",
        )
    return _entries(shape=tuple(space.shape or ()), low=first, num_choices=num_choices, dtype=space.dtype.name)


def _choices(space: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of each number, flattened, the first choice and how many there are."""
    if isinstance(space, MultiBinary):
        size = math.prod(space.shape)
        return (0,) * size, (2,) * size
    if isinstance(space, MultiDiscrete):
        return tuple(map(int, space.start.ravel())), tuple(map(int, space.nvec.ravel()))
    low, high = (tuple(map(int, bound.ravel())) for bound in (space.low, space.high))  # their range may not fit int64
    return low, tuple(most - least + 1 for least, most in zip(low, high, strict=True))


def _is_rescaled(low: float, high: float) -> bool:
    if max(abs(low), abs(high)) >= NO_BOUND:
        return False
    is_centred = abs(low + high) <= 1e-3 * (high - low)
    return not (is_centred and SUITED[0] <= (high - low) / 2 <= SUITED[1])


def _entries(
    *,
    num_actions: int | None = None,
    shape: tuple[int, ...] = (),
    low: tuple[float | None, ...] = (),
    high: tuple[float | None, ...] = (),
    num_choices: tuple[int, ...] = (),
    rescaled: tuple[bool, ...] = (),
    dtype: str,
) -> dict[str, Any]:
    return {
        "num_actions": num_actions,
        "action_shape": shape,
        "action_low": low,
        "action_high": high,
        "num_choices": num_choices,
        "action_rescaled": rescaled,
        "action_dtype": dtype,
    }
