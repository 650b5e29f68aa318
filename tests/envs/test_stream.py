import math
from functools import partial

import counting
import gymnasium as gym
import numpy as np
import pytest
from env_streams import UNIT, random_actions, same, shapes_id, through_a_file
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from rlgen.envs.stream import episode_seed
from rlgen.errors import DivergedError
from rlgen.nets.parts import part_of

# How the episodes of three environments end by turns: by both ways and both at once, at length one, out of step.
ENDS = (
    ((3, "terminated"), (1, "truncated"), (5, "both")),
    ((1, "terminated"), (1, "terminated"), (4, "truncated")),
    ((7, "truncated"),),
)


def counting_policy(obs, index):
    return (int(obs[0]) + index) % 3


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
        obs[i], _ = single[i].reset(seed=episode_seed(7, i, 0))
    for _ in range(100):
        assert same(envs.obs, obs)
        action = rng.integers(0, 2, 2)
        step = envs.step(action)
        for i in range(2):
            obs[i], reward, terminated, truncated, _ = single[i].step(action[i])
            assert same((step.next_obs[i], step.reward[i], step.terminated[i]), (obs[i], reward, terminated))
            if terminated or truncated:
                episode[i] += 1
                obs[i], _ = single[i].reset(seed=episode_seed(7, i, episode[i]))
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


EXACT = [
    ("CartPole-v1", 3, "sync", 1),
    ("CartPole-v1", 3, "native", 1),
    ("Pendulum-v1", 2, "sync", 1),
    ("counting:Counting-v0", 3, "sync", 1),
    ("counting:Counting-v0", 2, "async", 1),
    ("counting:CountingStart-v0", 2, "sync", 1),
    ("counting:Frames-v0", 3, "sync", 4),
    ("counting:Frames-v0", 2, "async", 3),
    ("aiming:Choices-v0", 2, "async", 1),
    ("aiming:Grid-v0", 2, "sync", 1),
    ("aiming:Levels-v0", 2, "sync", 1),
    ("aiming:Far-v0", 2, "sync", 1),
    ("aiming:Matrix-v0", 2, "async", 1),
]


@pytest.mark.parametrize(("env_id", "num_envs", "vectorization", "frame_stack"), EXACT)
def test_state_is_exact_at_any_step(make, env_id, num_envs, vectorization, frame_stack):
    first = make(env_id, num_envs, vectorization, seed=4, frame_stack=frame_stack)
    assert first.restores == ("exact" if vectorization == "native" else "tried exact")
    actions = random_actions(first.spec, 60)
    states, stream = [], []
    for action in actions:
        states.append((through_a_file(first.state()), first.obs))
        stream.append(first.step(action))
    second = make(env_id, num_envs, vectorization, seed=4, frame_stack=frame_stack)
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
    assert second.restores == ("tried exact" if "Forgetful" in env_id else "approximate")
    for action in random_actions(second.spec, 20):
        assert second.step(action).valid.all()


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_other_autoreset_modes_start_new_episodes(make, mode):
    first, second = (make("CartPole-v1", 2, "sync", seed=0, autoreset_mode=mode) for _ in range(2))
    assert first.restores == "approximate"
    start = first.obs
    for action in random_actions(first.spec, 30):
        first.step(action)
    assert second.load_state(through_a_file(first.state())) is False
    assert not same(second.obs, start)
    assert second.step(np.zeros(2, int)).valid.all()


def test_state_of_another_number_of_environments_starts_new_episodes(make):
    first, second = make("CartPole-v1", 2), make("CartPole-v1", 3)
    first.step(np.zeros(2, int))
    assert second.load_state(first.state()) is False
    second.step(np.zeros(3, int))


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


def test_actions_are_clipped_and_shaped(make, monkeypatch):
    low, high = np.array([[-1, -2], [-3, -np.inf]], np.float32), np.array([[1, 2], [3, np.inf]], np.float32)
    envs = make(shapes_id(monkeypatch, UNIT, Box(low, high)), 1)
    assert envs.spec.action_low == (-1.0, -2.0, -3.0, None), "as JSON has it"
    envs.step(np.full((1, 2, 2), 9.0))
    action = envs.vector_env.envs[0].unwrapped.last_action
    assert action.dtype == np.float32
    assert np.array_equal(action, [[1, 2], [3, 9]])


def test_discrete_actions_start_at_zero(make):
    envs = make("counting:CountingStart-v0", 1)
    assert envs.spec.num_actions == 3
    assert envs.step(np.array([2])).next_obs.tolist() == [[1, 2]]  # the environment asserts that 2 came as 7


@pytest.mark.parametrize(("how", "what"), [("obs", "observation, nan"), ("reward", "reward, inf")])
@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_non_finite_numbers_name_environment_and_step(make, how, what, vectorization):
    envs = make(f"counting:Broken-{how}-v0", 2, vectorization)
    for _ in range(3):
        envs.step(np.zeros(2, int))
    with pytest.raises(DivergedError, match=f"environment 0 of 2 .*Broken-{how}-v0.* non-finite {what}.* step 4"):
        envs.step(np.zeros(2, int))


@pytest.mark.parametrize("size", [3, 300])
@pytest.mark.filterwarnings("error::RuntimeWarning")
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


def testepisode_seeds_differ_and_fit():
    seeds = {episode_seed(seed, i, episode) for seed in range(4) for i in range(8) for episode in range(50)}
    assert len(seeds) == 4 * 8 * 50
    assert math.log2(max(seeds)) < 31


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_no_environment_takes_an_action_of_another_state_when_episodes_are_repeated(make, vectorization):
    """One that began later took those of its episode before, which an environment may refuse."""
    envs, again = (make("observed:Locks-v0", 3, vectorization, seed=2, try_first=True) for _ in range(2))

    def valid(obs):
        mask = part_of(obs, envs.spec.parts[1], envs.spec.parts).astype(bool)
        return np.stack([mask[:, :3].argmax(-1), mask[:, 3:].argmax(-1)], -1)

    for t in range(23):
        if t in (4, 8):  # so that episodes do not begin together
            mask = np.arange(3) == t % 3
            envs._episode[mask] += 1
            envs._begun[mask] = envs.num_steps
            envs.obs = envs._reset(mask)
        envs.step(valid(envs.obs))
    assert len({*envs._begun.tolist()}) > 1
    assert again.load_state(through_a_file(envs.state()))
    for _ in range(12):
        action = valid(envs.obs)
        assert same(envs.step(action), again.step(action))
