"""What is said of environments that raised or do not come back, or of workers that died."""

from __future__ import annotations

import numpy as np
from gymnasium.vector import AsyncVectorEnv, VectorEnv

from rlgen.envs import watch
from rlgen.envs.vector import dead_workers, raising, stuck
from rlgen.errors import BrokenEnvError, LostEnvError, RlgenError, StuckEnvError, is_out_of_memory


def lost(
    error: BaseException,
    vector_env: VectorEnv,
    env_id: str,
    num_steps: int,
    begun: np.ndarray,
    episode: np.ndarray,
) -> LostEnvError:
    """The error in words; one that is in words already, and a lack of memory, are raised again.

    Args:
        error: what calling the environments raised.
        vector_env: the environments.
        env_id: their name.
        num_steps: vector steps taken.
        begun: [N] the vector step at which each one's episode began.
        episode: [N] its index.
    """
    if isinstance(error, RlgenError) or is_out_of_memory(error):
        raise error
    of_all = f"of {vector_env.num_envs} ({env_id})"
    has_workers = isinstance(vector_env.unwrapped, AsyncVectorEnv)
    if has_workers and isinstance(error, EOFError | ConnectionError):
        return LostEnvError(
            f"the worker of environment {dead_workers(vector_env)} {of_all} died at vector step {num_steps}"
        )
    is_overdue = isinstance(error, watch.Overdue)
    indices, what = stuck(vector_env, error) if is_overdue else raising(vector_env, error)
    where = [f"{i} in step {num_steps - begun[i] + 1} of episode {episode[i]}" for i in indices]
    if not is_overdue:
        return BrokenEnvError(f"environment {', '.join(where) or '?'}, {of_all}, raised {what}")
    return StuckEnvError(
        f"environment {', '.join(where) or '?'}, {of_all}, has not come back for {watch.calls[1]} s{what}; "
        "--step-timeout allows more"
    )
