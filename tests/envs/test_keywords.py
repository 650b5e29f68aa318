"""Arguments that a constructor does not take are named, with those that it takes."""

import pytest

from rlgen.envs.make import make_envs
from rlgen.errors import UsageError

TAKES = r"It takes: size, reward, goal$"


@pytest.mark.parametrize(
    ("env_id", "kwargs", "vectorization", "line"),
    [
        ("own_walk:Walk", {"siez": 3}, "sync", rf"takes no argument 'siez'\. Did you mean size\? {TAKES}"),
        ("own_walk:Walk", {"siez": 3}, "async", rf"takes no argument 'siez'\. Did you mean size\? {TAKES}"),
        ("own_walk:Any", {"siez": 3}, "sync", r"takes no argument 'siez'\. .*It takes: depth, size, reward, goal$"),
        ("own_walk:make_walk", {"goal": 3}, "sync", r"takes no argument 'goal'\. It takes: size$"),
        ("own_walk:Walk", {"max_episode_steps": 3}, "sync", "--max-episode-steps cuts episodes"),
        ("CartPole-v1", {"gravity": 3}, "auto", r"takes no argument 'gravity'\. It takes: sutton_barto_reward$"),
        ("CartPole-v1", {"gravity": 3}, "native", r"native 'CartPole-v1': .* no argument 'gravity'"),
    ],
)
def test_a_wrong_one_gets_a_line(here, env_id, kwargs, vectorization, line):
    with pytest.raises(UsageError, match=line) as error:
        make_envs(env_id, 8, vectorization, env_kwargs=kwargs)
    assert repr(env_id) in str(error.value) and "\n" not in str(error.value)


def test_native_classes_get_them_too(make):
    envs = make("CartPole-v1", 8, "native", env_kwargs={"sutton_barto_reward": True})
    assert envs.vector_env.unwrapped._sutton_barto_reward
    assert type(make("CartPole-v1", 8).vector_env) is type(envs.vector_env)
