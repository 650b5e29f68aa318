"""The spec of an environment that has these spaces, and observations of it, without an environment."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from rlgen.envs.parts import kept, leaves, pack, parts_of, stored_as, value_of
from rlgen.envs.spec import EnvSpec


def spec_of(
    space: spaces.Space,
    num_actions: int = 2,
    obs: str = "auto",
    layout: str = "auto",
    network: str = "auto",
    masks: bool = False,
    num_choices: tuple[int, ...] = (),
) -> EnvSpec:
    """Of one environment with discrete actions, or with several choices at once."""
    parts = parts_of(space, "Toy-v0", obs, layout, num_choices or (num_actions,), masks)
    (shape, dtype), how = stored_as(parts), {"obs_parts": parts, "network": network}
    if num_choices:
        of_actions = {"action_shape": (len(num_choices),), "action_low": (0,) * len(num_choices), "action_high": ()}
        return EnvSpec("Toy-v0", shape, dtype, None, num_envs=1, num_choices=num_choices, **of_actions, **how)
    return EnvSpec("Toy-v0", shape, dtype, num_actions, (), (), (), 1, **how)


def stored(spec: EnvSpec, space: spaces.Space, observations: list[Any], masks: list[Any] | None = None) -> np.ndarray:
    """Observations as the one array that is stored, [N, *obs_shape]."""
    parts = spec.obs_parts
    names = [name for name, _ in leaves(space) if any(part.name == name for part in kept(parts))]
    values = {name: np.stack([np.asarray(value_of(obs, name)) for obs in observations]) for name in names}
    if masks is not None:
        values["action_mask"] = np.array(masks)
    if len(kept(parts)) == 1:
        return values[names[0]].astype(spec.obs_dtype).reshape(len(observations), *spec.obs_shape)
    return pack(parts, values, (len(observations),))
