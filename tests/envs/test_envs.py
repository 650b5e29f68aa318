import importlib.util
import io
import math
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import counting
import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Sequence, Text, Tuple
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from rlgen.envs import stream as envs_module
from rlgen.envs.stream import Envs, _episode_seed, check_env_id, make_envs
from rlgen.errors import DivergedError, MissingExtraError, RlgenError, UsageError

# How the episodes of three environments end by turns: by both ways and both at once, at length one, out of step.
ENDS = (
    ((3, "terminated"), (1, "truncated"), (5, "both")),
    ((1, "terminated"), (1, "terminated"), (4, "truncated")),
    ((7, "truncated"),),
)


@pytest.fixture
def make(request):
    """`make_envs` and `Envs` whose environments are closed after the test."""

    def make(first, *args, **kwargs):
        made = make_envs(first, *args, **kwargs) if isinstance(first, str) else Envs(first, *args, **kwargs)
        request.addfinalizer(made.close)
        return made

    return make


def counting_policy(obs, index):
    return (int(obs[0]) + index) % 3


def same(left, right):
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def true_transitions(env, index, num):
    """What a plain loop over one environment sees: (obs, action, reward, next_obs, terminated, truncated)."""
    rows = []
    obs, _ = env.reset()
    for _ in range(num):
        action = counting_policy(obs, index)
        next_obs, reward, terminated, truncated, _ = env.step(action)
        rows.append((obs, action, reward, next_obs, terminated, truncated))
        obs = env.reset()[0] if terminated or truncated else next_obs
    return rows


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("vector_class", [SyncVectorEnv, AsyncVectorEnv])
def test_every_autoreset_mode_gives_the_same_true_transitions(make, vector_class, mode):
    thunks = [partial(counting.Counting, ends=ends) for ends in ENDS]
    envs = make(vector_class(thunks, autoreset_mode=mode), seed=0)
    streams, num_junk = [[], [], []], np.zeros(3, int)
    for _ in range(80):
        obs, action = envs.obs, np.array([counting_policy(obs, i) for i, obs in enumerate(envs.obs)])
        step = envs.step(action)
        assert step.next_obs.dtype == step.reward.dtype == np.float32
        assert step.terminated.dtype == step.truncated.dtype == step.valid.dtype == np.bool_
        num_junk += ~step.valid
        for i in np.flatnonzero(step.valid):
            row = (obs[i], action[i], step.reward[i], step.next_obs[i], step.terminated[i], step.truncated[i])
            streams[i].append(row)
            assert step.next_obs[i, 0] == obs[i, 0] + 1, "an observation at an episode's end is count + 1, never 0"

    for i, (ends, stream) in enumerate(zip(ENDS, streams, strict=True)):
        expected = true_transitions(counting.Counting(ends=ends), i, len(stream))
        assert all(same(row, right) for row, right in zip(stream, expected, strict=True))
        num_ends = sum(row[4] or row[5] for row in stream) - (step.terminated[i] or step.truncated[i])
        assert num_ends >= 5
        assert num_junk[i] == (num_ends if mode is AutoresetMode.NEXT_STEP else 0)


def test_native_cartpole_gives_true_transitions(make):
    vector_env = gym.make_vec("CartPole-v1", 3, vectorization_mode="vector_entry_point", max_episode_steps=15)
    envs, rng = make(vector_env, seed=3), np.random.default_rng(0)
    single = [gym.make("CartPole-v1", max_episode_steps=15) for _ in range(3)]
    num_terminated = num_truncated = num_junk = num_ends = 0
    fresh = np.ones(3, bool)
    for _ in range(300):
        obs, action = envs.obs, rng.integers(0, 2, 3)
        step = envs.step(action)
        num_junk += np.count_nonzero(~step.valid)
        for i in range(3):
            if not step.valid[i]:
                fresh[i] = True
                continue
            if fresh[i]:
                assert np.abs(obs[i]).max() <= 0.05, "an episode's first true transition starts at a reset observation"
                single[i].reset()
                single[i].unwrapped.state = obs[i].astype(np.float64)
            next_obs, reward, terminated, truncated, _ = single[i].step(action[i])
            np.testing.assert_allclose(step.next_obs[i], next_obs, atol=1e-5)
            assert (step.reward[i], step.terminated[i], step.truncated[i]) == (reward, terminated, truncated)
            fresh[i] = False
            num_terminated += terminated
            num_truncated += truncated
            num_ends += terminated or truncated
    assert num_terminated > 5 and num_truncated > 5
    assert num_ends - 3 <= num_junk <= num_ends


def test_sync_cartpole_is_gymnasiums_cartpole_with_a_seed_per_episode(make):
    envs, rng = make("CartPole-v1", 2, seed=7), np.random.default_rng(0)
    single, episode, obs = [gym.make("CartPole-v1") for _ in range(2)], [0, 0], [None, None]
    for i in range(2):
        obs[i], _ = single[i].reset(seed=_episode_seed(7, i, 0))
    for _ in range(100):
        assert same(envs.obs, obs)
        action = rng.integers(0, 2, 2)
        step = envs.step(action)
        for i in range(2):
            obs[i], reward, terminated, truncated, _ = single[i].step(action[i])
            assert same((step.next_obs[i], step.reward[i], step.terminated[i]), (obs[i], reward, terminated))
            if terminated or truncated:
                episode[i] += 1
                obs[i], _ = single[i].reset(seed=_episode_seed(7, i, episode[i]))
    assert min(episode) > 1


def test_an_environments_stream_does_not_depend_on_the_others(make):
    alone, among = make("CartPole-v1", 1, seed=5), make("CartPole-v1", 4, seed=5)
    other_seed = make("CartPole-v1", 1, seed=6)
    assert not same(alone.obs, other_seed.obs)
    assert len(np.unique(among.obs, axis=0)) == 4
    rng = np.random.default_rng(0)
    for _ in range(100):
        action = rng.integers(0, 2, 4)
        one, four = alone.step(action[:1]), among.step(action)
        assert same((part[0] for part in one), (part[0] for part in four))
        assert same(alone.obs[0], among.obs[0])


def test_sync_and_async_are_equal(make):
    sync, workers = (make("counting:Counting-v0", 3, vectorization, seed=2) for vectorization in ("sync", "async"))
    rng = np.random.default_rng(0)
    for _ in range(50):
        action = rng.integers(0, 3, 3)
        assert same(sync.step(action), workers.step(action))
        assert same(sync.obs, workers.obs)


def random_actions(spec, num):
    rng = np.random.default_rng(11)
    shape = (num, spec.num_envs, *spec.action_shape)
    return rng.integers(0, spec.num_actions, shape) if spec.num_actions else rng.normal(0, 3, shape).astype(np.float32)


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


EXACT = [
    ("CartPole-v1", 3, "sync"),
    ("CartPole-v1", 3, "native"),
    ("Pendulum-v1", 2, "sync"),
    ("counting:Counting-v0", 3, "sync"),
    ("counting:Counting-v0", 2, "async"),
    ("counting:CountingStart-v0", 2, "sync"),
]


@pytest.mark.parametrize(("env_id", "num_envs", "vectorization"), EXACT)
def test_state_is_exact_at_any_step(make, env_id, num_envs, vectorization):
    first = make(env_id, num_envs, vectorization, seed=4)
    assert first.replayable == "exact"
    actions = random_actions(first.spec, 60)
    states, stream = [], []
    for action in actions:
        states.append((through_a_file(first.state()), first.obs))
        stream.append(first.step(action))
    second = make(env_id, num_envs, vectorization, seed=4)
    for at in (0, 1, 17, 33, 34, 35, 36, 59, 2):  # back and forth, in one object: nothing of before is left
        state, obs = states[at]
        assert second.load_state(state) is True
        assert same(second.obs, obs)
        assert second.num_steps == at
        assert second.state() == state
        for action, expected in zip(actions[at:], stream[at:], strict=True):
            assert same(second.step(action), expected)
        assert same(second.obs, first.obs)


def test_state_holds_the_running_episodes_alone(make):
    envs = make("counting:Counting-v0", 2, seed=0)
    for action in random_actions(envs.spec, 200):
        envs.step(action)
        assert len(envs.state()["actions"]) <= 2 * 9  # bytes: an episode has at most eight steps


@pytest.mark.parametrize("env_id", ["counting:Forgetful-v0", "counting:Nondeterministic-v0"])
def test_what_cannot_be_replayed_starts_new_episodes(make, env_id):
    first, second = make(env_id, 2, seed=0), make(env_id, 2, seed=0)
    for action in random_actions(first.spec, 20):
        first.step(action)
    episodes = first.state()["episode"]
    assert second.load_state(through_a_file(first.state())) is False
    assert second.num_steps == 20
    assert not second.obs[:, 0].any()
    assert min(second.state()["episode"]) > max(episodes), "the new episodes are not ones that were seen"
    assert second.replayable == ("exact" if "Forgetful" in env_id else "approx")
    for action in random_actions(second.spec, 20):
        assert second.step(action).valid.all()


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_other_autoreset_modes_start_new_episodes(make, mode):
    first, second = (make("CartPole-v1", 2, "sync", seed=0, autoreset_mode=mode) for _ in range(2))
    assert first.replayable == "approx"
    start = first.obs
    for action in random_actions(first.spec, 30):
        first.step(action)
    assert second.load_state(through_a_file(first.state())) is False
    assert not same(second.obs, start)
    assert second.step(np.zeros(2, int)).valid.all()


def test_an_environment_that_leaks_through_reset_is_not_called_exact(make, monkeypatch):
    spec = gym.envs.registration.EnvSpec("BipedalWalker-v99", counting.Counting)
    monkeypatch.setitem(gym.registry, "BipedalWalker-v99", spec)
    assert make("BipedalWalker-v99", 1).replayable == "approx"


def test_state_of_another_number_of_environments_starts_new_episodes(make):
    first, second = make("CartPole-v1", 2), make("CartPole-v1", 3)
    first.step(np.zeros(2, int))
    assert second.load_state(first.state()) is False
    second.step(np.zeros(3, int))


def test_vectorization_auto(make):
    assert isinstance(make("CartPole-v1", 1).vector_env, SyncVectorEnv)
    assert isinstance(make("Pendulum-v1", 8).vector_env, SyncVectorEnv)
    assert type(make("CartPole-v1", 8).vector_env).__name__ == "CartPoleVectorEnv"


def test_spec(make):
    cartpole, pendulum = make("CartPole-v1", 2).spec, make("Pendulum-v1", 1).spec
    assert (cartpole.obs_shape, cartpole.obs_dtype, cartpole.num_actions) == ((4,), "float32", 2)
    assert (cartpole.action_shape, cartpole.action_low, cartpole.num_envs) == ((), (), 2)
    assert (pendulum.num_actions, pendulum.action_shape) == (None, (1,))
    assert (pendulum.action_low, pendulum.action_high) == ((-2.0,), (2.0,))
    assert make("counting:Counting-v0", 1).spec.env_id == "counting:Counting-v0"


def shapes_id(monkeypatch, obs_space, action_space):
    spaces = {"observation_space": obs_space, "action_space": action_space}
    spec = gym.envs.registration.EnvSpec("Shapes-v0", counting.Shapes, kwargs=spaces)
    monkeypatch.setitem(gym.registry, "Shapes-v0", spec)
    return "Shapes-v0"


UNIT = Box(0, 1, (2,), np.float64)
OBS_SPACES = [
    (Discrete(4, start=3), (4,), "float32"),
    (MultiBinary(3), (3,), "float32"),
    (Tuple((Discrete(2), UNIT)), (4,), "float32"),
    (Dict({"place": UNIT, "image": Box(0, 255, (2, 2), np.uint8)}), (6,), "float32"),
    (Dict({"mission": Text(9), "place": UNIT}), (2,), "float32"),
    (Box(0, 255, (4, 4, 3), np.uint8), (4, 4, 3), "uint8"),
    (Box(0, 1, (), np.float32), (1,), "float32"),
    (Box(-1, 1, (3, 2), np.float64), (3, 2), "float32"),
]


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize(("space", "shape", "dtype"), OBS_SPACES)
def test_observations_of_any_space_are_arrays(make, monkeypatch, space, shape, dtype, vectorization):
    envs = make(shapes_id(monkeypatch, space, Discrete(2)), 2, vectorization)
    assert (envs.spec.obs_shape, envs.spec.obs_dtype) == (shape, dtype)
    next_obs = envs.step(np.zeros(2, int)).next_obs
    assert envs.obs.shape == next_obs.shape == (2, *shape)
    assert envs.obs.dtype == next_obs.dtype == dtype


def test_observations_that_are_no_vector_are_refused(monkeypatch):
    with pytest.raises(UsageError, match="cannot be made a vector"):
        make_envs(shapes_id(monkeypatch, Sequence(UNIT), Discrete(2)), 1)


@pytest.mark.parametrize("vectorization", ["sync", "native", "async"])
def test_arrays_handed_out_are_not_overwritten(make, vectorization):
    envs = make("CartPole-v1", 2, vectorization)
    kept, copies = [envs.obs], [envs.obs.copy()]
    for action in random_actions(envs.spec, 60):
        parts = [*envs.step(action), envs.obs]
        kept += parts
        copies += [part.copy() for part in parts]
    assert same(kept, copies)


class Reusing(SyncVectorEnv):
    """A vector environment that writes every step into the same arrays, as some native ones do."""

    def step(self, actions):
        obs, reward, terminated, truncated, infos = super().step(actions)
        self.flags = getattr(self, "flags", (terminated.copy(), truncated.copy()))
        for kept, new in zip(self.flags, (terminated, truncated), strict=True):
            kept[:] = new
        return obs, reward, *self.flags, infos


def test_flags_of_an_environment_that_reuses_its_arrays_are_not_overwritten(make):
    """Rows wait for the ring since many go there at once; they once held the flags of the newest step."""
    thunks = [partial(counting.Counting, ends=ends) for ends in ENDS]
    envs = make(Reusing(thunks, autoreset_mode=AutoresetMode.SAME_STEP), seed=0)
    steps = [envs.step(np.full(3, 1)) for _ in range(20)]
    ended = np.array([step.terminated | step.truncated for step in steps])
    assert ended.any() and not ended.all(axis=0).any()
    assert len({row.tobytes() for row in ended}) > 1


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1", "counting:Counting-v0", "dict", "discrete"])
def test_the_loop_steps_as_gymnasiums_sync_vector_env_does(make, monkeypatch, env_id, num_envs):
    spaces = {"dict": (Dict({"place": UNIT, "mission": Text(9)}), Box(-1, 1, (2,))), "discrete": (Discrete(4), UNIT)}
    env_id = shapes_id(monkeypatch, *spaces[env_id]) if env_id in spaces else env_id
    loop = make(env_id, num_envs, "sync", seed=3)
    assert type(loop.vector_env) is envs_module._Loop
    reference = SyncVectorEnv(loop.vector_env.env_fns, autoreset_mode=AutoresetMode.DISABLED)
    reference = make(reference, seed=3, env_id=env_id)
    assert loop.spec == reference.spec and same(loop.obs, reference.obs)
    for action in random_actions(loop.spec, 250):  # Pendulum's episodes have 200 steps
        step, expected = loop.step(action), reference.step(action)
        assert same(step, expected) and same(loop.obs, reference.obs)
        assert [part.dtype for part in step] == [part.dtype for part in expected]


def test_actions_are_clipped_and_shaped(make, monkeypatch):
    low, high = np.array([[-1, -2], [-3, -np.inf]], np.float32), np.array([[1, 2], [3, np.inf]], np.float32)
    envs = make(shapes_id(monkeypatch, UNIT, Box(low, high)), 1)
    assert envs.spec.action_low == (-1.0, -2.0, -3.0, -np.inf)
    envs.step(np.full((1, 2, 2), 9.0))
    action = envs.vector_env.envs[0].unwrapped.last_action
    assert action.dtype == np.float32
    assert np.array_equal(action, [[1, 2], [3, 9]])


def test_discrete_actions_start_at_zero(make):
    envs = make("counting:CountingStart-v0", 1)
    assert envs.spec.num_actions == 3
    assert envs.step(np.array([2])).next_obs.tolist() == [[1, 2]]  # the environment asserts that 2 came as 7


@pytest.mark.parametrize("space", [MultiDiscrete([2, 2]), MultiBinary(2), Box(0, 9, (2,), np.int64)])
def test_other_action_spaces_are_refused(monkeypatch, space):
    with pytest.raises(UsageError, match="only Discrete and Box"):
        make_envs(shapes_id(monkeypatch, UNIT, space), 1)


@pytest.mark.parametrize(("how", "what"), [("obs", "observation, nan"), ("reward", "reward, inf")])
@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_non_finite_numbers_name_environment_and_step(make, how, what, vectorization):
    envs = make(f"counting:Broken-{how}-v0", 2, vectorization)
    for _ in range(3):
        envs.step(np.zeros(2, int))
    with pytest.raises(DivergedError, match=f"environment 0 of 2 .*Broken-{how}-v0.* non-finite {what}.* step 4"):
        envs.step(np.zeros(2, int))


@pytest.mark.parametrize("size", [3, 300])
def test_huge_but_finite_observations_pass(make, size):
    envs = make(SyncVectorEnv([partial(counting.Shapes, Box(1e30, 2e30, (size,), np.float32), Discrete(2))]), seed=0)
    assert np.isfinite(envs.step(np.zeros(1, int)).next_obs).all()


@pytest.mark.parametrize("values", [[np.nan], [np.inf], [-np.inf], [np.inf, -np.inf]])
@pytest.mark.parametrize("size", [3, 300])
def test_a_non_finite_number_is_found_among_few_and_many(make, monkeypatch, size, values):
    envs = make(shapes_id(monkeypatch, Box(1e30, 2e30, (size,), np.float32), Discrete(2)), 2)
    bad = np.full(size, 1e30, np.float32)
    bad[-len(values) :] = values
    monkeypatch.setattr(envs.vector_env.envs[1].unwrapped, "step", lambda action: (bad, 0.0, False, False, {}))
    with pytest.raises(DivergedError, match=r"environment 1 of 2 .* non-finite observation"):
        envs.step(np.zeros(2, int))


def test_a_dead_worker_is_named_and_nothing_hangs(make):
    envs = make("counting:Broken-kill-v0", 3, "async")
    for _ in range(3):
        envs.step(np.ones(3, int))
    with pytest.raises(RlgenError, match=r"worker of environment 1 \(exit code -9\) of 3 .* at vector step 3"):
        envs.step(np.array([0, 1, 0]))
    envs.close()
    envs.close()
    assert not any(process.is_alive() for process in envs.vector_env.processes)


def test_signals_to_the_group_do_not_stop_the_workers(make):
    envs = make("counting:Counting-v0", 2, "async")
    for process in envs.vector_env.processes:
        os.kill(process.pid, signal.SIGINT)
        os.kill(process.pid, signal.SIGTERM)
    time.sleep(0.2)
    assert envs.step(np.zeros(2, int)).valid.all()
    envs.close()
    assert not any(process.is_alive() for process in envs.vector_env.processes)


SCRIPT = """
import os, signal, sys
from rlgen.envs.stream import make_envs
envs = make_envs("counting:Counting-v0", 2, "async")
print(*(process.pid for process in envs.vector_env.processes), flush=True)
if "kill" in sys.argv: os.kill(os.getpid(), signal.SIGKILL)
"""


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="reads /proc")
@pytest.mark.parametrize("how", ["leave", "kill"])
def test_no_worker_outlives_the_main_process(how):
    here = os.path.join(os.path.dirname(__file__), "..", "helpers")
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(here), here])}
    command = [sys.executable, "-c", SCRIPT, how]
    result = subprocess.run(command, env=environ, stdout=subprocess.PIPE, timeout=60, check=False)
    assert result.returncode == (-signal.SIGKILL if how == "kill" else 0)
    pids = result.stdout.split()
    assert len(pids) == 2
    deadline = time.monotonic() + 20
    while any(is_running(int(pid)) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_running(int(pid)) for pid in pids)


BAD_IDS = [
    ("CartPol-v1", "did you mean CartPole-v1"),
    ("cartpole-v1", "did you mean CartPole-v1"),
    ("CartPole", "did you mean CartPole-v1"),
    ("LunarLander-v2", "it is retired, use LunarLander-v3"),
    ("CartPole-v7", "its newest version is CartPole-v1"),
    ("Xqzzk-v0", "rlgen list envs"),
    ("", "rlgen list envs"),
    ("not an id!", "rlgen list envs"),
    ("counting:Countin-v0", "did you mean Counting-v0"),
    ("no_such_module:Env-v0", "importing the module 'no_such_module' failed .*PYTHONPATH"),
    ("a:b:c", "importing the module 'a:b' failed"),
    (":CartPol-v1", "did you mean CartPole-v1"),
]


@pytest.mark.parametrize(("env_id", "hint"), BAD_IDS)
def test_bad_id_gets_one_line(env_id, hint):
    with pytest.raises(UsageError, match=hint) as error:
        make_envs(env_id, 1)
    assert repr(env_id) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_module_that_breaks_gets_one_line(tmp_path, monkeypatch):
    (tmp_path / "broken_module.py").write_text("raise RuntimeError('two\\nlines')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"RuntimeError: two lines"):
        check_env_id("broken_module:Env-v0")


@pytest.mark.parametrize(
    ("env_id", "package", "extra"),
    [
        ("ALE/Pong-v5", "ale_py", "rlgen[atari]"),
        ("PongNoFrameskip-v4", "ale_py", "rlgen[atari]"),
        ("MiniGrid-Empty-5x5-v0", "minigrid", "rlgen[minigrid]"),
    ],
)
def test_a_missing_namespace_gives_the_install_command(monkeypatch, env_id, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(gym.registry, env_id, raising=False)
    with pytest.raises(MissingExtraError) as error:
        check_env_id(env_id)
    assert f'pip install "{extra}"' in str(error.value)


@pytest.mark.parametrize(("env_id", "extra"), [("LunarLander-v3", "rlgen[box2d]"), ("Ant-v5", "rlgen[mujoco]")])
def test_a_missing_package_gives_the_install_command(monkeypatch, env_id, extra):
    monkeypatch.setattr(envs_module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError) as error:
        make_envs(env_id, 1)
    assert f'pip install "{extra}"' in str(error.value)
    monkeypatch.setattr(envs_module, "find_spec", lambda name: importlib.util.find_spec("numpy"))
    assert check_env_id(env_id).id == env_id


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("CartPole-v1", 0), "num_envs is 0"),
        (("CartPole-v1", 1, "fast"), "vectorization is 'fast'"),
        (("Pendulum-v1", 1, "native"), "no native vector class"),
        (("CartPole-v1", 1, "native", 0, AutoresetMode.DISABLED), "NEXT_STEP alone"),
    ],
)
def test_bad_arguments_get_one_line(arguments, hint):
    with pytest.raises(UsageError, match=hint):
        make_envs(*arguments)


def test_no_torch_at_import():
    code = "import sys, rlgen.envs; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_episode_seeds_differ_and_fit():
    seeds = {_episode_seed(seed, i, episode) for seed in range(4) for i in range(8) for episode in range(50)}
    assert len(seeds) == 4 * 8 * 50
    assert math.log2(max(seeds)) < 31
