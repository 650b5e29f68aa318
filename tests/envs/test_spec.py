import gymnasium as gym
import pytest
from frames import check_stacks
from gymnasium.vector import AutoresetMode


def test_spec(make):
    cartpole, pendulum = make("CartPole-v1", 2).spec, make("Pendulum-v1", 1).spec
    assert (cartpole.obs_shape, cartpole.obs_dtype, cartpole.num_actions) == ((4,), "float32", 2)
    assert (cartpole.action_shape, cartpole.action_low, cartpole.num_envs) == ((), (), 2)
    assert (pendulum.num_actions, pendulum.action_shape) == (None, (1,))
    assert (pendulum.action_low, pendulum.action_high) == ((-2.0,), (2.0,))
    assert make("counting:Counting-v0", 1).spec.env_id == "counting:Counting-v0"


def native_atari(game, num_envs, mode, **kwargs):
    pytest.importorskip("ale_py")
    kwargs |= {"autoreset_mode": mode, "vectorization_mode": "vector_entry_point"}
    return gym.make_vec(f"ale_py:ALE/{game}-v5", num_envs, **kwargs)


TRUNCATED = {"max_num_frames_per_episode": 120}
BY_LIFE = {"episodic_life": True, "max_num_frames_per_episode": 240}
ATARI = [
    ("Pong", TRUNCATED, AutoresetMode.SAME_STEP, 1_000),
    ("Breakout", BY_LIFE, AutoresetMode.SAME_STEP, 1_000),
    ("Breakout", BY_LIFE, AutoresetMode.NEXT_STEP, 300),
]


@pytest.mark.parametrize(("game", "kwargs", "mode", "num_steps"), ATARI)
def test_native_atari_stacks_are_rebuilt_from_their_newest_frames(make, game, kwargs, mode, num_steps):
    envs = make(native_atari(game, 2, mode, **kwargs), seed=5)
    assert (envs.spec.frame_stack, envs.spec.frame_padding, envs.spec.obs_shape) == (4, "zero", (4, 84, 84))
    num_terminated, num_truncated = check_stacks(envs, num_steps)
    assert num_truncated >= 60 if kwargs is TRUNCATED else min(num_terminated, num_truncated) >= 1
    assert num_terminated + num_truncated >= num_steps // 25


def test_native_atari_that_ends_episodes_without_a_reset_has_no_stacks_to_rebuild(make):
    envs = make(native_atari("Breakout", 1, AutoresetMode.NEXT_STEP, life_loss_info=True), seed=5)
    assert envs.spec.frame_stack == 1
