"""What a learner must know of an environment: shapes, dtypes and bounds of its spaces, and how it stacks frames."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv

from rlgen.envs.action_spaces import MAX_CHOICES, read
from rlgen.envs.parts import Part, kept, num_floats, parts_of, stored_as
from rlgen.errors import UsageError


@dataclass(frozen=True)
class EnvSpec:
    """What a learner must know of an environment."""

    env_id: str
    obs_shape: tuple[int, ...]
    obs_dtype: str  # "uint8" and "bool" as they are, anything else as "float32"
    num_actions: int | None  # of a Discrete space; None of the others
    action_shape: tuple[int, ...]  # () of a Discrete space
    action_low: tuple[float | None, ...]  # flattened; None is no bound. Of choices the first ones, () for a plain 0
    action_high: tuple[float | None, ...]  # flattened, () of choices
    num_envs: int
    frame_stack: int = 1  # k > 1: observations are stacks [k, ...], newest frame last, and only that one is new
    frame_padding: str = "reset"  # before an episode's first frame: "reset" is that frame again, "zero" is zeros
    num_choices: tuple[int, ...] = ()  # flattened, of MultiDiscrete, MultiBinary and integer Box: for every number
    action_rescaled: tuple[bool, ...] = ()  # flattened: whether an agent's -1 and 1 mean the bounds
    action_dtype: str = "float32"  # as the environment takes them
    obs_parts: tuple[Part, ...] = ()  # what an observation is made of; () of runs that went by its shape alone
    network: str = "auto"  # auto, mlp, small_cnn, nature_cnn or impala: of the observations, chosen by their size
    reward_clip: float | None = None  # c: learned from are rewards within [-c, c], of every step; scores are of all
    protocol: dict[str, Any] | None = None  # of Atari's standard task: what stands for its scores meaning the same

    def __post_init__(self) -> None:
        """Refuse counts that cannot be, as a damaged file may have them, by a ValueError."""
        for name in ("num_envs", "num_actions", "frame_stack"):
            if getattr(self, name) == 0:
                raise ValueError(f"{name}: must be at least 1")
        size = math.prod(self.action_shape)
        for name in ("action_low", "action_high", "num_choices", "action_rescaled"):
            if len(getattr(self, name)) not in (0, size):
                raise ValueError(f"{name}: must have {size} values")
        if 0 in self.num_choices or sum(self.num_choices) > MAX_CHOICES:
            raise ValueError(f"num_choices: must be at least 1, and {MAX_CHOICES} together")
        try:
            np.dtype(self.action_dtype)
        except TypeError:
            raise ValueError(f"action_dtype: there is no type {self.action_dtype!r:.40}") from None
        stacks = self.obs_parts and self.obs_parts[0].frames > 1
        if stacks and {part.frames for part in self.obs_parts} != {self.frame_stack}:
            raise ValueError("obs_parts: must be of frame_stack frames")
        has_own = self.obs_parts and (self.frame_stack == 1 or stacks)
        if has_own and stored_as(self.obs_parts) != (self.obs_shape, self.obs_dtype):
            raise ValueError("obs_parts: must be those of obs_shape and obs_dtype")

    @property
    def parts(self) -> tuple[Part, ...]:
        """What an observation is made of."""
        return self.obs_parts or (by_shape(self.obs_shape, self.obs_dtype),)

    @property
    def has_mask(self) -> bool:
        """Whether an observation says which actions are valid."""
        return any(part.kind == "mask" for part in self.obs_parts)

    @property
    def obs_floats(self) -> int | None:
        """How many numbers at the beginning of an array of bytes, or of its frames, are float32; None: all are."""
        if self.obs_dtype == "float32":
            return None
        return num_floats(self.obs_parts) if len(kept(self.obs_parts)) > 1 else 0


def check_fits(played: EnvSpec, trained: EnvSpec) -> None:
    """Refuse to play in an environment that networks were not made for: of other observations, or other actions.

    Args:
        played: of the environment that is played in.
        trained: of the one that the networks were made for. Bounds may differ.

    Raises:
        UsageError: what differs.
    """
    for what, words in (("observations", _observations), ("actions", _actions)):
        then, now = words(trained), words(played)
        if then != now:
            then, now = (textwrap.shorten(text, 80, placeholder=" ...") for text in (then, now))
            raise UsageError(
                f"evaluations in {trained.env_id!r} would have {what} of {now}, and training has {then}: no network "
                "fits both"
            )


def _observations(spec: EnvSpec) -> str:
    words = []
    for part in kept(spec.parts):
        name = f"{part.name}: " if part.name else ""
        if part.kind == "discrete":
            choices = zip(part.firsts, part.sizes, strict=True)
            words.append(name + ", ".join(f"one of {first:g} to {first + size - 1:g}" for first, size in choices))
        else:
            words.append(f"{name}{part.dtype} {[*part.shape]}")
    return "; ".join(words)


def _actions(spec: EnvSpec) -> str:
    if spec.num_actions is not None:
        return f"0 to {spec.num_actions - 1}"
    return f"{[*spec.num_choices]} choices" if spec.num_choices else f"real numbers {[*spec.action_shape]}"


def by_shape(shape: tuple[int, ...], dtype: str) -> Part:
    """What runs took an observation for before they knew its parts: three axes are a picture of 0 to 255."""
    if len(shape) != 3:
        return Part("", "vector", shape, dtype, scale=255.0 if dtype == "uint8" else 1.0)
    channels_last = shape[-1] in (1, 3, 4) and shape[0] not in (1, 3, 4)
    return Part("", "image", shape, dtype, layout="hwc" if channels_last else "chw", scale=255.0)


def describe(
    vector_env: VectorEnv,
    env_id: str | None,
    frame_stack: int = 1,
    rescale_actions: bool = True,
    obs: str = "auto",
    obs_layout: str = "auto",
) -> EnvSpec:
    """The spec of a vector environment.

    Args:
        vector_env: what is described.
        env_id: its name in the spec; None is its own.
        frame_stack: frames that a FrameStackObservation with padding "reset" stacks in every environment; what is not
            grey tells its parts itself.
        rescale_actions: as `read` takes it.
        obs: as `parts_of` takes it; `old` goes by shape alone.
        obs_layout: as `parts_of` takes it.

    Raises:
        UsageError: observations are no Box, or of axes that cannot be told, or actions are not supported.
    """
    obs_space, action_space = vector_env.single_observation_space, vector_env.single_action_space
    env_id = env_id or (vector_env.spec.id if vector_env.spec is not None else type(vector_env.unwrapped).__name__)
    if not isinstance(obs_space, gym.spaces.Box):
        raise UsageError(f"environment {env_id!r}: observations of {obs_space} cannot be made a vector")
    if type(vector_env).__module__ == "ale_py.vector_env":
        frame_stack, frame_padding = _native_atari_frames(vector_env)
    else:
        frame_padding = "reset"
    if obs == "old":
        parts: tuple[Part, ...] = ()
        stored = (tuple(obs_space.shape), "uint8" if obs_space.dtype == np.uint8 else "float32")
    else:
        layout = "chw" if frame_stack > 1 else obs_layout
        parts = getattr(obs_space, "parts", ()) or parts_of(obs_space, env_id, obs, layout)
        stored = stored_as(parts)
    return EnvSpec(
        env_id=env_id,
        obs_shape=stored[0],
        obs_dtype=stored[1],
        num_envs=vector_env.num_envs,
        frame_stack=frame_stack,
        frame_padding=frame_padding,
        obs_parts=parts,
        **read(action_space, env_id, rescale_actions),
    )


def _native_atari_frames(vector_env: VectorEnv) -> tuple[int, str]:
    """Frames that ALE's vector class stacks, and their padding: it clears the stack at every reset."""
    if vector_env.spec is None or vector_env.spec.kwargs.get("life_loss_info"):
        return 1, "reset"  # an episode may end without a reset, and its stack goes on: no stack that can be rebuilt
    return vector_env.single_observation_space.shape[0], "zero"  # type: ignore[index]
