"""An agent's actions become those of the environment."""

import aiming
import numpy as np
import pytest
from env_streams import UNIT, random_actions, shapes_id
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from rlgen.envs.action_spaces import read
from rlgen.envs.border import in_words, to_env
from rlgen.envs.spec import EnvSpec


def spec_of(space, rescale=True):
    return EnvSpec("Mine-v0", (2,), "float32", num_envs=2, **read(space, "Mine-v0", rescale))


def taken(space, *actions, rescale=True, dtype="f4"):
    return to_env(spec_of(space, rescale))(np.array(actions, dtype))


def test_minus_one_and_one_mean_the_bounds_and_what_lies_beyond_is_clipped():
    far = taken(Box(500, 1000, (1,)), [-1], [0], [0.5], [1], [3], [-9])
    assert far.tolist() == [[500], [750], [875], [1000], [1000], [500]] and far.dtype == np.float32
    assert taken(Box(0, 0.01, (1,), np.float64), [-5], [0], [5]).ravel().tolist() == [0, 0.005, 0.01], (
        "exact at the end"
    )


def test_each_dimension_has_its_own_rule():
    space = Box(np.array([-1, 0, -np.inf, 0], "f4"), np.array([1, 10, np.inf, np.inf], "f4"))
    assert taken(space, [0.5, 0.5, 70, -3], [-7, -7, -7, 7]).tolist() == [[0.5, 7.5, 70, 0], [-1, 0, -7, 7]]


@pytest.mark.parametrize(("space", "rescale"), [(Box(-2, 2, (1,)), True), (Box(500, 1000, (3,)), False)])
def test_actions_that_are_clipped_alone_are_so_bit_for_bit(space, rescale):
    """As every run was before: of Pendulum, and of any Box of a run of before."""
    action = np.random.default_rng(0).normal(0, 3, (99, *space.shape)).astype("f4")
    expected = np.minimum(np.maximum(action, space.low), space.high).astype(np.float32, copy=False)
    found = to_env(spec_of(space, rescale))(action)
    assert found.dtype == expected.dtype and found.tobytes() == expected.tobytes()


def test_float64_bounds_are_those_that_the_environment_compares_with():
    space = Box(-1.1, 1.1, (1,), np.float64)
    (high,) = taken(space, [9])
    assert space.contains(high) and high[0] == 1.1, "float32 would be more than that"
    assert taken(space, [9], rescale=False).dtype == np.float32


def test_choices_begin_where_the_space_says_and_have_its_type():
    space = MultiDiscrete([[3, 2]], start=[[-1, 7]], dtype=np.int32)
    found = taken(space, [0, 0], [2, 1], dtype="i8")
    assert found.tolist() == [[[-1, 7]], [[1, 8]]] and found.dtype == np.int32
    extremes = taken(Box(-128, 127, (1,), np.int8), [0], [200], [255], dtype="i8")
    assert extremes.ravel().tolist() == [-128, 72, 127]
    assert taken(Box(0, 1, (2,), np.bool_), [0, 1], dtype="i8").tolist() == [[False, True]]
    assert taken(Discrete(3, start=-5), 0, 2, dtype="i8").tolist() == [-5, -3]


@pytest.mark.parametrize("name", aiming.SPACES)
@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_every_space_gets_actions_of_its_own(make, name, vectorization):
    if vectorization == "async" and name not in ("Choices", "Grid", "Bytes", "Small", "Number", "Start"):
        return
    envs = make(f"aiming:{name}-v0", 2, vectorization, seed=1)  # insists that each is contained, to the type
    kept = random_actions(envs.spec, 20)
    for action in kept.copy():
        envs.step(action)
    assert np.array_equal(kept, random_actions(envs.spec, 20))


@pytest.mark.parametrize("name", ["Switches", "Table", "Far", "Matrix", "Mixed"])
def test_an_environment_that_writes_into_its_action_changes_no_row(make, monkeypatch, name):
    def step(self, action):
        action[...] = 77
        return self._obs(), 0.0, False, False, {}

    monkeypatch.setattr(aiming.Aiming, "step", step)
    envs = make(f"aiming:{name}-v0", 2)
    action = random_actions(envs.spec, 1)[0]
    before = action.copy()
    envs.step(action)
    assert np.array_equal(action, before)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (Box(-2, 2, (1,)), ""),
        (Discrete(2), ""),
        (MultiDiscrete([2, 2]), ""),
        (Box(500, 1000, (1,)), "an agent's [-1, 1] is rescaled to [500, 1000] (--no-rescale-actions clips)"),
        (Box(0, 1, (4, 2)), "an agent's [-1, 1] is rescaled to [0, 1] (--no-rescale-actions clips)"),
        (
            Box(np.array([-1, 0, 0], "f4"), np.array([1, 1, 1], "f4")),  # CarRacing
            "an agent's [-1, 1] is rescaled to [0, 1] in dimensions 1, 2 (--no-rescale-actions clips)",
        ),
        (
            Box(np.arange(6, dtype="f4"), np.arange(6, dtype="f4") + 2),
            "rescaled to [0, 2] in dimension 0, [1, 3] in dimension 1, [2, 4] in dimension 2, ... (--no",
        ),
        (Box(-3e38, 3e38, (1,)), "there are no bounds"),
        (Box(-np.inf, np.inf, (1,)), ": there are no bounds, so an agent's numbers are taken as they are"),
        (Box(np.array([-np.inf, 0], "f4"), np.array([np.inf, np.inf], "f4")), "there are no bounds in dimension 0, so"),
    ],
)
def test_what_is_done_is_said_in_one_line(monkeypatch, make, space, words):
    line = in_words(make(shapes_id(monkeypatch, UNIT, space), 1).spec)
    assert (words in line and line.startswith("actions of 'Shapes-v0': ")) if words else line == ""
    assert "\n" not in line and len(line) < 200
    assert "rescaled" not in in_words(spec_of(space, rescale=False))
