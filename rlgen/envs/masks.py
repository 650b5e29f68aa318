"""Which actions are valid now, where an environment says so beside its observations.

A mask is one bool for every action; of several choices at once those of the first one come first, then those of the
next one: `MultiDiscrete([3, 2])` has five. An environment may give it like that, or as a tuple of masks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rlgen.envs.action_spaces import read
from rlgen.envs.parts import MASK


def choices(space: gym.Space) -> tuple[int, ...]:
    """How many actions a mask tells apart, of every number of an action; () where numbers are real."""
    if isinstance(space, spaces.Discrete):
        return (int(space.n),)
    sizes: tuple[int, ...] = read(space, "")["num_choices"]
    return sizes


def gives_mask(env: gym.Env, info: dict[str, Any]) -> bool:
    """Whether an environment says which of its actions are valid, beside its observations.

    Args:
        env: was reset.
        info: of its reset or of a step.
    """
    return MASK in info or env.has_wrapper_attr("action_masks")


def any_gives_mask(vector_env: Any) -> bool:
    """Whether single environments, which were just reset, say it of choices; those of a native class do not."""
    if not hasattr(vector_env, "infos") or not choices(vector_env.single_action_space):
        return False
    infos = vector_env.infos
    told = infos if isinstance(infos, dict) else {name for info in infos for name in info}
    return MASK in told or any(vector_env.call("has_wrapper_attr", "action_masks"))


def mask_of(env: gym.Env, info: dict[str, Any], sizes: Sequence[int], obs: Any = None) -> np.ndarray:
    """Which actions are valid now, bool [A]: as `info` says, the method `action_masks`, or a part; else all of them.

    Args:
        env: its actions are choices.
        info: of its reset or of its last step.
        sizes: what `choices` returns.
        obs: of the same, as the environment returned it; None where its parts say nothing.

    Raises:
        ValueError: the mask has another shape.
    """
    mask = info.get(MASK)
    if mask is None and env.has_wrapper_attr("action_masks"):
        mask = env.get_wrapper_attr("action_masks")()
    if mask is None:
        mask = _part(obs, sum(sizes))
    if mask is None:
        return np.ones(sum(sizes), np.bool_)
    if len(sizes) == 1 and np.shape(mask) == (*sizes,):
        return np.asarray(mask).astype(np.bool_)
    parts = [*_each(mask)]
    if [part.size for part in parts] not in ([sum(sizes)], [*sizes]):
        if len(sizes) == 1:
            raise ValueError(f"the action mask has shape {np.shape(mask)}, and there are {sizes[0]} actions")
        wanted = " + ".join(map(str, sizes[:4])) + (" + ..." if len(sizes) > 4 else "")
        raise ValueError(
            f"the action mask has {' + '.join(str(part.size) for part in parts[:4])} entries, and there are {wanted} "
            "choices: give one entry for each, or a tuple of masks"
        )
    return np.concatenate(parts).astype(np.bool_)


def is_allowed(mask: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """For every number of an action, whether there is a valid choice: bool [K] of a mask [A]."""
    return np.logical_or.reduceat(mask, _begins(sizes))


def with_all_where_none(mask: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """The mask [A], in which all choices are valid of a number that has no valid one."""
    return np.where(np.repeat(is_allowed(mask, sizes), sizes), mask, mask.dtype.type(1))


def allows(mask: np.ndarray, space: gym.Space, action: Any) -> bool:
    """Whether an action of a space is valid by its mask [A]."""
    return bool(mask[_begins(choices(space)) + (np.ravel(action) - _firsts(space))].all())


def sample(space: gym.Space, mask: np.ndarray) -> Any:
    """Draw a valid action of a space, by the space's own generator."""
    if isinstance(space, spaces.Discrete):
        return space.sample(mask.astype(np.int8))
    valid = np.split(mask, _begins(choices(space))[1:])
    chosen = np.array([space.np_random.choice(np.flatnonzero(part)) for part in valid])
    return (chosen + _firsts(space)).astype(space.dtype).reshape(space.shape or ())


def _part(obs: Any, size: int) -> Any:
    """The mask in an observation that is a dictionary, however deep; None where there is none."""
    if not isinstance(obs, Mapping | tuple):
        return None
    if isinstance(obs, Mapping) and MASK in obs and np.shape(obs[MASK]) == (size,):
        return obs[MASK]
    found = (_part(each, size) for each in (obs.values() if isinstance(obs, Mapping) else obs))
    return next((mask for mask in found if mask is not None), None)


def _begins(sizes: Sequence[int]) -> np.ndarray:
    return np.cumsum([0, *sizes[:-1]])


def _firsts(space: gym.Space) -> np.ndarray:
    return np.array(read(space, "")["action_low"] or 0)


def _each(mask: Any) -> Iterator[np.ndarray]:
    """The masks in a tuple or list of them, however deep; the rows of an array."""
    if isinstance(mask, tuple | list) and any(np.iterable(each) for each in mask):
        for each in mask:
            yield from _each(each)
    else:
        array = np.atleast_2d(np.asarray(mask))
        yield from array.reshape(-1, array.shape[-1])
