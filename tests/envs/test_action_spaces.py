"""What is read of an action space, and which are refused."""

import json
from dataclasses import asdict

import aiming
import gymnasium as gym
import numpy as np
import pytest
from env_streams import UNIT, shapes_id
from gymnasium.spaces import Box, Dict, Discrete, Graph, MultiBinary, MultiDiscrete, OneOf, Sequence, Text, Tuple

from rlgen.envs.action_spaces import MAX_CHOICES, read
from rlgen.envs.make import make_envs
from rlgen.envs.spec import EnvSpec
from rlgen.errors import UsageError
from rlgen.runs.records import fit


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (Discrete(4), {"num_actions": 4}),
        (Discrete(4, start=-2), {"num_actions": 4, "action_low": (-2,)}),
        (MultiDiscrete([3, 2]), {"num_choices": (3, 2), "action_shape": (2,), "action_low": (0, 0)}),
        (
            MultiDiscrete([[1, 2], [3, 4]], start=[[5, 6], [-7, 8]]),
            {"num_choices": (1, 2, 3, 4), "action_shape": (2, 2), "action_low": (5, 6, -7, 8)},
        ),
        (MultiBinary(3), {"num_choices": (2, 2, 2), "action_shape": (3,), "action_dtype": "int8"}),
        (MultiBinary((1, 2)), {"num_choices": (2, 2), "action_shape": (1, 2)}),
        (Box(-3, 4, (2,), np.int32), {"num_choices": (8, 8), "action_low": (-3, -3), "action_dtype": "int32"}),
        (Box(2**62, 2**62 + 3, (1,), np.int64), {"num_choices": (4,), "action_low": (2**62,)}),
        (Box(0, 1, (2,), np.bool_), {"num_choices": (2, 2), "action_dtype": "bool"}),
        (Box(-1, 1, (2, 3)), {"action_shape": (2, 3), "action_low": (-1.0,) * 6, "action_rescaled": (False,) * 6}),
        (Box(-1.0, 1.0, ()), {"action_shape": (), "action_low": (-1.0,), "action_high": (1.0,)}),
        (Box(-np.inf, np.inf, (1,)), {"action_low": (None,), "action_high": (None,), "action_rescaled": (False,)}),
    ],
)
def test_what_is_read_of_a_space(space, expected):
    found = read(space, "Mine-v0")
    assert {name: found[name] for name in expected} == expected
    assert (found["num_actions"] is None) == (not isinstance(space, Discrete))
    EnvSpec("Mine-v0", (2,), "float32", num_envs=1, **found)
    text = json.dumps(found, allow_nan=False)
    assert tuple(json.loads(text)["action_low"]) == found["action_low"], "exact, also beyond 2**53"


INF = float("inf")
RULE = [
    (-1, 1, False),
    (-2, 2, False),  # Pendulum
    (-0.5, 0.5, False),
    (-4, 4, False),
    (-0.4, 0.4, True),
    (-4.1, 4.1, True),
    (0, 1, True),
    (-1, 2, True),
    (500, 1000, True),
    (0, 0.01, True),
    (-0.01, 0.01, True),
    (-1000, 1000, True),
    (-1e29, 1e29, True),
    (float(np.finfo("f4").min), float(np.finfo("f4").max), False),  # as some write that there is none
    (float(np.finfo("f8").min), float(np.finfo("f8").max), False),
    (-INF, INF, False),
    (0, INF, False),
    (-INF, 5, False),
]


def test_bounds_are_rescaled_where_they_are_far_from_a_first_action_and_in_no_other_dimension():
    low, high, expected = zip(*RULE, strict=True)
    space = Box(np.array(low, "f8"), np.array(high, "f8"), dtype=np.float64)
    assert read(space, "Mine-v0")["action_rescaled"] == expected
    left = read(space, "Mine-v0", rescale=False)
    assert not any(left["action_rescaled"]) and left["action_dtype"] == "float32", "as runs of before did"


@pytest.mark.parametrize(
    "space",
    [
        Text(5),
        Graph(Box(0, 1), None),
        Sequence(Discrete(2)),
        OneOf([Discrete(2), Box(0, 1)]),
        Tuple([Discrete(2)]),
        Dict({"move": Dict({"x": Box(0, 1, (30, 2))}), "say": Text(3)}),
    ],
    ids=lambda space: type(space).__name__,
)
@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_a_kind_that_no_agent_knows_is_one_line_that_names_what_to_give(monkeypatch, space, vectorization):
    with pytest.raises(UsageError, match=rf"'Shapes-v0': actions of {type(space).__name__}\(.* give it Disc") as it:
        make_envs(shapes_id(monkeypatch, UNIT, space), 1, vectorization, try_first=True)
    assert "\n" not in str(it.value) and len(str(it.value)) < 300 and it.value.exit_code == 2


def with_bounds(low, high):
    """A Box as an environment changes it, past the checks of its constructor."""
    space = Box(-1, 1, (2,))
    space.low[1], space.high[1] = low, high
    return space


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (with_bounds(np.nan, 1), r"between nan and 1 in dimension 1: low must be below high"),
        (with_bounds(0, np.nan), r"between 0 and nan in dimension 1"),
        (with_bounds(2, 1), r"between 2 and 1 in dimension 1"),
        (with_bounds(3, 3), r"between 3 and 3 in dimension 1"),
        (with_bounds(np.inf, np.inf), r"between inf and inf"),
        (Box(0, 1, (0,)), "have no numbers in them"),
        (MultiDiscrete([]), "have no numbers in them"),
        (Box(0, 2**31 - 2, (1,), np.int32), r"are 2,147,483,647 choices, where 16,384 are the most .* float Box"),
        (Box(-np.inf, np.inf, (2,), np.int64), "choices, where"),
        (MultiDiscrete([2**14, 2]), "are 16,386 choices"),
    ],
)
def test_bounds_and_sizes_that_cannot_be_are_one_line(monkeypatch, space, message):
    with pytest.raises(UsageError, match=message) as it:
        make_envs(shapes_id(monkeypatch, UNIT, space), 1, try_first=True)
    assert "\n" not in str(it.value) and str(it.value).startswith("environment 'Shapes-v0': actions of ")


def test_the_most_choices_are_taken():
    assert sum(read(Box(0, MAX_CHOICES - 1, (1,), np.int64), "Mine-v0")["num_choices"]) == MAX_CHOICES


@pytest.mark.parametrize("name", aiming.SPACES)
def test_no_bound_reaches_a_file_that_json_does_not_know(make, name):
    spec = make(f"aiming:{name}-v0", 1).spec
    text = json.dumps(asdict(spec), allow_nan=False)
    assert fit(json.loads(text), EnvSpec) == spec
    assert gym.make(f"{name}-v0").unwrapped.action_space == aiming.SPACES[name][0]
