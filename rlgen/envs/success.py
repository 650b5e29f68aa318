"""Whether episodes were successes, where environments say so at their end: `info["is_success"]` or `["success"]`.

The first is the name of Gymnasium-Robotics and SB3, the second of Meta-World. A share, as 0.5, counts as that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from rlgen.envs.vector import LoopVectorEnv

NAMES = ("is_success", "success")


def successes(vector_env: VectorEnv, infos: Mapping[str, Any]) -> np.ndarray:
    """What every environment says of the episode that ended with this step: [N], NaN where it says nothing.

    Args:
        vector_env: the environments.
        infos: of its step.
    """
    if isinstance(vector_env, LoopVectorEnv):
        return np.array([_said(info) for info in vector_env.infos])
    ended = infos.get("final_info", infos)  # SAME_STEP: the others are of the episode that began
    for name in NAMES if isinstance(ended, Mapping) else ():
        values = np.asarray(ended.get(name))
        if values.shape == (vector_env.num_envs,) and values.dtype.kind in "bif":
            there = ended.get(f"_{name}", np.ones(vector_env.num_envs, np.bool_))
            return np.where(there, values, math.nan).astype(np.float64)
    return np.full(vector_env.num_envs, math.nan)


def _said(info: Mapping[str, Any]) -> float:
    for name in NAMES:
        value = np.asarray(info.get(name))
        if value.size == 1 and value.dtype.kind in "bif":
            return float(value.item())
    return math.nan
