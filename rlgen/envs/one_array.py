"""Observations of any space as one array a step, of the declared shape and type: what else would be silently wrong."""

from __future__ import annotations

from typing import Any, NoReturn

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rlgen.envs.check import check_obs
from rlgen.envs.masks import choices, is_allowed, mask_of, with_all_where_none
from rlgen.envs.parts import Part, kept, leaves, pack, stored_as, value_of


class Described(spaces.Box):
    """The space of the one array, which says what its parts are."""

    def __init__(self, parts: tuple[Part, ...]) -> None:
        shape, dtype = stored_as(parts)
        low, high = {"uint8": (0, 255), "bool": (0, 1), "float32": (-np.inf, np.inf)}[dtype]
        super().__init__(low, high, shape, np.dtype(dtype))  # type: ignore[arg-type]
        self.parts = parts


class OneArray(gym.Wrapper):
    """An environment whose observations are the one array that its parts describe.

    Every observation is looked at: NumPy would write numbers of another shape or type into a row without a word.

    Args:
        env: any.
        parts: of its observations.
    """

    def __init__(self, env: gym.Env, parts: tuple[Part, ...]) -> None:
        super().__init__(env)
        self.observation_space = Described(parts)
        self.parts, names = parts, {part.name for part in kept(parts)}
        self._spaces = {name: space for name, space in leaves(env.observation_space) if name in names}
        self._masks = [part.name for part in parts if part.kind == "mask"]
        self._choices = choices(env.action_space) if self._masks else ()
        self._is_packed = len(names) > 1

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        return self._array(obs, info, False), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        reward, terminated, truncated = number(reward), bool(terminated), bool(truncated)  # of an array with one, too
        return self._array(obs, info, terminated or truncated), reward, terminated, truncated, info

    def _array(self, obs: Any, info: dict[str, Any], ended: bool) -> np.ndarray:
        values = {name: agreeing(space, value_of(obs, name), name) for name, space in self._spaces.items()}
        if not self._is_packed:
            value: np.ndarray = next(iter(values.values()))
            return value.reshape(self.observation_space.shape or ())
        for name in self._masks:
            if name not in values:
                values[name] = mask_of(self.env, info, self._choices)
            # At an end there may be no valid action left.
            if not (ended or is_allowed(values[name], self._choices).all()):
                raise ValueError(f"{name}: no action is valid, and the episode has not ended")
            if len(self._choices) > 1:
                values[name] = with_all_where_none(values[name], self._choices)
        return pack(self.parts, values)


def number(reward: Any) -> float:
    """A reward as a number, also where it is an array or a tensor with one; None is NaN."""
    return reward if type(reward) is float else float(np.asarray(reward, np.float64).item())


def agreeing(space: spaces.Space, value: Any, name: str) -> np.ndarray:
    """The numbers of one part of an observation.

    Raises:
        ValueError: they are not of its space, so that they would be repeated, cut off or wrapped around.
    """
    array = np.asarray(value)
    is_whole = space.dtype is not None and space.dtype.kind in "biu"
    if array.shape != space.shape or (is_whole and array.dtype != space.dtype):
        check_obs(space, value, _refuse, f"[{name!r}]" if name else "")
    return array


def _refuse(what: str, mend: str) -> NoReturn:
    raise ValueError(f"it {what}: {mend}")
