"""Environments whose observations have parts, masks, or faults that begin in mid-run."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Text

FAULT_STEP = 25  # from here on a Liar breaks its word; the check before a run takes fewer steps


class Guess(gym.Env):
    """Say which of three is shown: 1 for each right answer, 10 answers an episode."""

    metadata = {"render_modes": []}  # noqa: RUF012
    action_space: Any = Discrete(3)
    observation_space: Any = Discrete(3)

    def __init__(self, render_mode: str | None = None) -> None:
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self.show(), self.info()

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward, terminated = self.judge(int(action))
        self.steps += 1
        return self.show(), reward, terminated, self.steps >= 10, self.info()

    def show(self) -> Any:
        self.shown = int(self.np_random.integers(3))
        return self.obs()

    def obs(self) -> Any:
        return self.shown

    def judge(self, action: int) -> tuple[float, bool]:
        return float(action == self.shown), False

    def info(self) -> dict[str, Any]:
        return {}


class Room(Guess):
    """The answer is the lamp that is lit in a picture, moved on by the gear."""

    observation_space = Dict(camera=Box(0, 255, (8, 9, 1), np.uint8), gear=Discrete(3), mission=Text(9))

    def obs(self) -> Any:
        gear, camera = int(self.np_random.integers(3)), np.zeros((8, 9, 1), np.uint8)
        lit = (self.shown - gear) % 3
        camera[:, 3 * lit : 3 * lit + 3] = 255
        return {"camera": camera, "gear": gear, "mission": "go"}


class Pictured(gym.ObservationWrapper):  # type: ignore[type-arg]
    """What it is put round, with a picture beside its observation."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.observation_space = Dict(shown=env.observation_space, camera=Box(0, 255, (8, 9, 3), np.uint8))

    def observation(self, observation: Any) -> dict[str, Any]:
        return {"shown": observation, "camera": np.zeros((8, 9, 3), np.uint8)}


class Traps(Guess):
    """Two of five doors are open, the number of the better one is shown; the others end the episode badly."""

    action_space = Discrete(5)
    observation_space = Discrete(5)

    def show(self) -> Any:
        self.valid = np.zeros(5, np.int8)
        self.shown, other = (int(i) for i in self.np_random.choice(5, 2, replace=False))
        self.valid[[self.shown, other]] = 1
        return self.obs()

    def judge(self, action: int) -> tuple[float, bool]:
        return (float(action == self.shown), False) if self.valid[action] else (-10.0, True)

    def info(self) -> dict[str, Any]:
        return {"action_mask": self.valid}


class Illegal(Traps):
    """The same in a picture; the mask is a method's, and a closed door raises."""

    observation_space = Box(0, 1, (5, 5), bool)

    def obs(self) -> Any:
        picture = np.zeros((5, 5), bool)
        picture[self.shown] = 1
        return picture

    def judge(self, action: int) -> tuple[float, bool]:
        if not self.valid[action]:
            raise ValueError(f"door {action} is closed")
        return super().judge(action)

    def info(self) -> dict[str, Any]:
        return {}

    def action_masks(self) -> Any:
        return self.valid.astype(bool)


class Locks(Guess):
    """Set a dial of three and one of five to what is shown; two places of each are allowed, others end it badly.

    Args:
        form: of the mask: `flat` or `tuple` in `info`, `method`, or `part` of the observation.
    """

    action_space = MultiDiscrete([3, 5], start=[0, 2])

    def __init__(self, form: str = "flat", render_mode: str | None = None) -> None:
        super().__init__()
        self.form, shown = form, MultiDiscrete([3, 5])
        self.observation_space = Dict(shown=shown, action_mask=Box(0, 1, (8,), np.int8)) if form == "part" else shown

    def show(self) -> Any:
        places = [self.np_random.choice(n, 2, replace=False) for n in (3, 5)]
        self.shown = np.array([place[0] for place in places])
        self.valid = [np.isin(np.arange(n), place).astype(np.int8) for n, place in zip((3, 5), places, strict=True)]
        return self.obs()

    def obs(self) -> Any:
        return {"shown": self.shown, "action_mask": np.concatenate(self.valid)} if self.form == "part" else self.shown

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        places = np.asarray(action) - [0, 2]
        if not all(valid[place] for valid, place in zip(self.valid, places, strict=True)):
            raise ValueError(f"{places} is not allowed")
        reward, self.steps = float((places == self.shown).mean()), self.steps + 1
        obs, over = self.show(), self.steps >= 10
        if over:
            self.valid = [np.zeros(3, bool), np.zeros(5, bool)]
        return obs, reward, False, over, self.info()

    def info(self) -> dict[str, Any]:
        forms = {"flat": np.concatenate(self.valid), "tuple": tuple(self.valid)}
        return {"action_mask": forms[self.form]} if self.form in forms else {}

    def __getattr__(self, name: str) -> Any:
        if name == "action_masks" and self.__dict__.get("form") == "method":
            return lambda: np.concatenate(self.valid)
        raise AttributeError(name)


class Liar(Guess):
    """Observations are as declared at first, and then they are not.

    Args:
        space: declared.
        obs: returned from step FAULT_STEP on.
        mask: the same of `info`.
    """

    def __init__(self, space: Any, obs: Any = None, mask: Any = None, render_mode: str | None = None) -> None:
        super().__init__()
        self.observation_space, self.fault, self.mask, self.count = space, obs, mask, 0

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.count += 1
        return self.obs(), 0.0, False, False, self.info()

    def obs(self) -> Any:
        if self.fault is not None and self.count >= FAULT_STEP:
            return self.fault
        space = self.observation_space
        if isinstance(space, Dict):
            return {key: np.zeros(part.shape, part.dtype) for key, part in space.items()}
        return np.zeros(space.shape, space.dtype)

    def info(self) -> dict[str, Any]:
        mask = self.mask if self.count >= FAULT_STEP else np.ones(3, bool)
        return {} if self.mask is None else {"action_mask": mask}


for name in ("Guess", "Room", "Traps", "Illegal", "Locks", "Liar"):
    gym.register(f"{name}-v0", globals()[name], disable_env_checker=True)
