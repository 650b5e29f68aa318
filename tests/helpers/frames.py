"""Stacks of frames, put together again from their newest frames alone, as a buffer that keeps a frame once does it."""

import numpy as np
from gymnasium.vector import AutoresetMode


def first_stacks(frame, spec):
    """The stacks of episodes that begin with `frame`: [N, H, W] -> [N, k, H, W]."""
    stacks = np.repeat(frame[:, None], spec.frame_stack, axis=1)
    if spec.frame_padding == "zero":
        stacks[:, :-1] = 0
    return stacks


def check_stacks(envs, num_steps):
    """Take random steps; every observation must be the rebuilt one. Returns how many episodes ended, of both kinds."""
    rng, at_next_step = np.random.default_rng(0), envs.vector_env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    stacks, num_terminated, num_truncated = first_stacks(envs.obs[:, -1], envs.spec), 0, 0
    assert np.array_equal(envs.obs, stacks)
    for _ in range(num_steps):
        step = envs.step(rng.integers(0, envs.spec.num_actions, envs.num_envs))
        stacks = np.concatenate([stacks[:, 1:], step.next_obs[:, -1:]], axis=1)
        assert np.array_equal(step.next_obs[step.valid], stacks[step.valid])
        begins = ~step.valid if at_next_step else step.terminated | step.truncated
        stacks[begins] = first_stacks(envs.obs[begins, -1], envs.spec)
        assert np.array_equal(envs.obs, stacks)
        num_terminated += np.count_nonzero(step.terminated)
        num_truncated += np.count_nonzero(step.truncated)
    return num_terminated, num_truncated
