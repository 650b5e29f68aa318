"""What is wrong with an environment is one line before the run: what, where, and how to mend it."""

import random
import re
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Sequence, Text, Tuple

from rlgen.commands import main
from rlgen.envs.make import make_envs
from rlgen.errors import UsageError

SPACE = Box(-1, 1, (4,), np.float32)
BYTES = Box(0, 255, (4,), np.uint8)


class Own(gym.Env):
    """A user's environment; every answer is given."""

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, space=SPACE, obs=None, first=None, answer=(0.0, False, False, {}), render_mode=None):
        self.observation_space, self.action_space = space, Discrete(2)
        self.obs, self.answer, self.seeds = np.zeros(space.shape, space.dtype) if obs is None else obs, answer, []
        self.first = (self.obs, {}) if first is None else first

    def reset(self, *, seed=None, options=None):
        self.seeds.append(seed)
        random.random()
        np.random.random()
        return self.first

    def step(self, action):
        return self.obs, *self.answer

    def render(self):
        return np.zeros((4, 4), np.float32)


class OldReset(Own):
    def reset(self):
        return self.obs


class NoSpaces(gym.Env):
    def __init__(self, render_mode=None):
        pass


class Needy(Own):
    def __init__(self, size, render_mode=None):
        super().__init__()


class NeedyWithin(Own):
    """What it calls lacks an argument, which no argument of its own would give."""

    def __init__(self, render_mode=None):
        super().__init__()
        Needy()


class Raises(Own):
    """Raises where it is told to, by way of Python's own library."""

    def __init__(self, where, render_mode=None):
        self.where = where
        self.fail("init")
        super().__init__()

    def fail(self, where):
        if self.where == where:
            random.choice([])

    def reset(self, **kwargs):
        self.fail("reset")
        return super().reset(**kwargs)

    def step(self, action):
        self.fail("step")
        return super().step(action)


class Draws(Own):
    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012


@pytest.fixture
def own(monkeypatch):
    """Registers an environment."""

    def register(entry_point=Own, **kwargs):
        spec = gym.envs.registration.EnvSpec("Own-v0", entry_point, kwargs=kwargs)
        monkeypatch.setitem(gym.registry, "Own-v0", spec)
        return "Own-v0"

    return register


def refusal(env_id, vectorization="sync", num_envs=2):
    """The line that refuses it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("error", DeprecationWarning)  # Gymnasium's, beside our line
        with pytest.raises(UsageError) as caught:
            make_envs(env_id, num_envs, vectorization, try_first=True)
    line = str(caught.value)
    assert line.startswith("environment 'Own-v0'") and "\n" not in line and caught.value.exit_code == 2
    return line


OBS = np.zeros(4, np.float32)
WRONG = [
    ({"first": OBS}, r"reset\(\) \(.*test_check.py:\d+\) returned an array of float32 of shape \(4,\), not an"),
    ({"first": (OBS, None)}, "reset.* returned 2 values, not an observation and a dictionary: write `def reset"),
    ({"answer": (0.0, False, {})}, r"step\(\) \(.*test_check.py:\d+\) returned 4 values.*: write `return observation"),
    ({"answer": (None, False, False, {})}, "step.* returned None as the reward: return one number"),
    ({"answer": ("1", False, False, {})}, "returned a value of type str as the reward"),
    ({"answer": (np.ones(2), False, False, {})}, r"an array of float64 of shape \(2,\) as the reward"),
    ({"answer": (float("nan"), False, False, {})}, "the reward nan: return a finite number"),
    ({"answer": (1e39, False, False, {})}, r"the reward 1e\+39: return a finite number, as float32 has it"),
    ({"space": Box(-1, 1, (4,), np.float64), "obs": np.full(4, 1e39)}, r"with 1e\+39 in it: return finite numbers"),
    ({"answer": (0.0, 0, False, {})}, r"returned a value of type int as terminated: .* bool\(terminated\)"),
    ({"answer": (0.0, False, None, {})}, "returned None as truncated"),
    ({"answer": (0.0, np.zeros(2, bool), False, {})}, "as terminated: return one bool"),
    ({"answer": (0.0, False, False, None)}, "returned None as info"),
    ({"obs": np.zeros(1, np.float32)}, r"of shape \(1,\), where observation_space declares \(4,\)"),
    ({"obs": [0.0, 1.0]}, r"of shape \(2,\), where"),
    ({"obs": [[0.0], [1.0, 2.0]]}, "that is a value of type list, not numbers"),
    ({"obs": np.full(4, np.inf)}, "with inf in it: return finite numbers"),
    ({"space": BYTES, "obs": np.full(4, 0.5)}, "of float64, where .* uint8, which cuts fractions off: declare"),
    ({"space": BYTES, "obs": np.full(4, 300)}, "with 300 in it, which uint8 cannot hold"),
    ({"space": BYTES, "obs": np.full(4, -1)}, "with -1 in it"),
    ({"space": Box(0, 1, (4,), bool), "obs": np.full(4, 2)}, "with 2 in it, which bool cannot hold"),
    ({"space": Discrete(3), "obs": 3}, r"an observation, 3 .*, that is not in Discrete\(3\)"),
    ({"space": Dict(a=SPACE), "obs": {"b": OBS}}, "an observation of 'b': observation_space declares the parts 'a'"),
    ({"space": Dict(a=SPACE), "obs": {"a": OBS[:1]}}, r"an observation\['a'\] of shape \(1,\)"),
    ({"space": Tuple((SPACE, SPACE)), "obs": (OBS,)}, "1 values: observation_space declares 2 parts"),
    ({"space": Tuple((SPACE, SPACE)), "obs": (OBS, OBS[1:])}, r"an observation\[1\] of shape \(3,\)"),
    ({"entry_point": OldReset}, r"reset\(\) \(.*\) takes no seed and no options, so it is of the old interface"),
    ({"entry_point": Needy}, r"argument: 'size' \(.*\); give it a default, or a value: --env-kwargs size=\.\.\.;"),
    ({"entry_point": NeedyWithin}, r"cannot be made: TypeError: .*'size' \(.*test_check.py:\d+\); --traceback"),
    ({"entry_point": NoSpaces}, "cannot be made: .*; set self.action_space to one of gymnasium.spaces"),
    ({"entry_point": Raises, "where": "init"}, r"cannot be made: IndexError: .* \(.*test_check.py:\d+\)"),
    ({"entry_point": Raises, "where": "reset"}, r"reset\(\) raised IndexError: .* \(.*test_check.py:\d+\): mend it"),
    ({"entry_point": Raises, "where": "step"}, r"step\(\) raised IndexError: .* \(.*test_check.py:\d+\)"),
    ({"space": Text(9), "obs": "a"}, r"observations of Text\(.*\) cannot be made a vector: give it Box, Discrete"),
    (
        {"space": Sequence(SPACE), "obs": ()},
        r"observations of Sequence\(.*\) cannot be made a vector: give it Box, Discrete",
    ),
]


@pytest.mark.parametrize(("kwargs", "said"), WRONG, ids=[said[:40] for _, said in WRONG])
def test_what_is_wrong_is_said_before_the_run(own, kwargs, said):
    line = refusal(own(**kwargs))

    assert re.search(said, line), line


@pytest.mark.parametrize(
    "kwargs", [{"obs": OBS[:1]}, {"entry_point": OldReset}, {"entry_point": Raises, "where": "init"}]
)
def test_what_is_wrong_in_a_worker_is_the_same_line(own, kwargs):
    assert refusal(own(**kwargs), "async") == refusal(own(**kwargs), "sync")


FINE = [
    {},
    {"obs": [0, 1, 0, 1]},
    {"obs": np.zeros(4, np.float64)},
    {"answer": (np.float32(1), np.bool_(False), np.bool_(True), {})},
    {"answer": (1, True, False, {"a": 1})},
    {"space": BYTES, "obs": np.full(4, 255)},
    {"space": Discrete(3, start=2), "obs": np.int64(4)},
    {"space": Dict(a=SPACE, mission=Text(9)), "obs": {"a": OBS, "mission": "go"}},
    {"space": Tuple((SPACE, Discrete(2))), "obs": (OBS, 1)},
    {"space": Dict(a=SPACE, mission=Text(9)), "obs": {"a": OBS, "mission": "go to the door"}},  # it is left out
]


@pytest.mark.parametrize("kwargs", FINE, ids=str)
def test_what_is_as_declared_passes_and_leaves_nothing(own, kwargs):
    states = random.getstate(), np.random.get_state()[1].tolist()
    envs = make_envs(own(**kwargs), 2, "sync", try_first=True)
    tried, other = (env.unwrapped for env in envs.vector_env.envs)
    assert len(tried.seeds) == len(other.seeds) + (11 if kwargs.get("answer", (0, 0, 0))[1:3].count(True) else 1)
    assert not {"reset", "step"} & vars(tried).keys()
    random.setstate(states[0])
    envs.close()


def test_generators_are_as_they_were(own):
    random.seed(3)
    np.random.seed(3)
    envs = make_envs(own(), 1, "sync", try_first=False)
    expected = random.random(), np.random.random()
    envs.close()
    random.seed(3)
    np.random.seed(3)
    envs = make_envs(own(), 1, "sync", try_first=True)
    assert (random.random(), np.random.random()) == expected
    envs.close()


TRAIN = ["--steps", "64", "--rollout-steps", "32", "--batch-size", "32", "--wandb", "disabled", "--eval-episodes", "1"]


@pytest.mark.parametrize(
    ("entry_point", "said"),
    [(Own, r"render\(\) returned an array of float32"), (Draws, r"render\(\) returned an array of float32")],
)
def test_a_video_of_what_cannot_be_drawn_is_refused_before_a_directory_exists(own, tmp_path, capsys, entry_point, said):

    words = ["train", "ppo", "--env", own(entry_point), *TRAIN, "--runs-dir", str(tmp_path / "runs"), "--video"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert re.search(said, error) and "--video" in error and not (tmp_path / "runs").exists()


def test_the_check_is_of_every_run_and_can_be_left_out(own, tmp_path, capsys):
    words = ["train", "ppo", "--env", own(answer=(0.0, 0, 1, {})), *TRAIN, "--runs-dir", str(tmp_path / "runs")]
    assert main(words) == 2
    assert "as terminated" in capsys.readouterr().err and not (tmp_path / "runs").exists()
    assert main([*words, "--no-env-check"]) == 0


@pytest.mark.parametrize(
    ("space", "obs", "line"),
    [
        (
            Box(0, 1, (20, 20, 3)),
            np.full((20, 20, 3), 200, np.float32),
            "has 200, and observation_space declares [0, 1]",
        ),
        (SPACE, np.full(4, -7, np.float32), "has -7, and observation_space declares [-1, 1]"),
        (Dict(a=SPACE), {"a": np.full(4, 3, np.float32)}, "has 3 in 'a', and observation_space declares [-1, 1]"),
        (SPACE, np.full(4, 1.005, np.float32), ""),
        (Box(-np.inf, np.inf, (4,)), np.full(4, 1e9, np.float32), ""),
        (BYTES, np.full(4, 255, np.uint8), ""),
    ],
)
def test_what_is_outside_of_its_bounds_is_said_once(own, capsys, space, obs, line):
    make_envs(own(space=space, obs=obs), 1, try_first=True).close()
    said = capsys.readouterr().err
    assert (line in said and said.count("\n") == 1 and said.startswith("warning: ")) if line else not said
