"""Masks of actions as environments give them."""

import gymnasium as gym
import numpy as np
import pytest
from env_streams import shapes_id
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete

from rlgen.envs import masks
from rlgen.envs.check import check
from rlgen.envs.make import make_envs
from rlgen.errors import UsageError

SPACES = [  # with the first mask that forbids something in every number
    (Discrete(3, start=-1), [0, 1, 1]),
    (MultiDiscrete([3, 2], start=[4, -1]), [0, 1, 0, 0, 1]),
    (MultiDiscrete([[3, 2], [1, 2]]), [0, 1, 1, 1, 0, 1, 0, 1]),
    (MultiBinary(2), [0, 1, 1, 0]),
    (Box(-1, 1, (2,), np.int32), [1, 0, 1, 0, 0, 1]),
    (Box(253, 255, (), np.uint8), [0, 0, 1]),
]


class Bare(gym.Env):
    """Gives no mask of its own."""

    def __init__(self, space, info=None):
        self.observation_space, self.action_space, self.told = Box(-1, 1, (2,)), space, info or {}

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), self.told

    def step(self, action):
        return np.zeros(2, np.float32), 0.0, False, False, self.told


@pytest.mark.parametrize(("space", "mask"), SPACES, ids=[str(space) for space, _ in SPACES])
def test_actions_are_drawn_among_the_valid_ones_of_every_space(space, mask):
    space.seed(0)
    sizes, mask = masks.choices(space), np.array(mask, bool)
    assert sum(sizes) == len(mask)
    valid = [masks.sample(space, mask) for _ in range(40)]
    assert all(space.contains(action) and masks.allows(mask, space, action) for action in valid)
    combinations = np.prod([part.sum() for part in np.split(mask, np.cumsum(sizes)[:-1])])
    assert len({np.asarray(action).tobytes() for action in valid}) == combinations, "every one of them"
    forbidden = [action for action in (space.sample() for _ in range(40)) if not masks.allows(mask, space, action)]
    assert forbidden and not {np.asarray(a).tobytes() for a in valid} & {np.asarray(a).tobytes() for a in forbidden}


ONE, OTHER = [1, 0, 1], [0, 1]


@pytest.mark.parametrize(
    "given",
    [
        [*ONE, *OTHER],
        np.array([*ONE, *OTHER], np.int8),
        (np.array(ONE, bool), np.array(OTHER)),
        [np.array(ONE), np.array(OTHER)],
        (tuple(ONE), (OTHER,)),
    ],
)
def test_a_mask_of_several_choices_is_flat_or_has_one_of_each(given):
    env = Bare(MultiDiscrete([3, 2]))
    found = masks.mask_of(env, {"action_mask": given}, (3, 2))
    assert found.dtype == bool and found.tolist() == [1, 0, 1, 0, 1]
    assert masks.mask_of(env, {}, (3, 2)).all()


def test_rows_of_an_array_are_masks_too_and_so_is_a_part():
    env = Bare(MultiDiscrete([2, 2]))
    assert masks.mask_of(env, {"action_mask": np.eye(2)}, (2, 2)).tolist() == [1, 0, 0, 1]
    obs = {"board": np.zeros(4), "player": ({"action_mask": np.array([0, 1, 1, 0])}, 3)}
    assert masks.mask_of(env, {}, (2, 2), obs).tolist() == [0, 1, 1, 0]
    assert masks.mask_of(env, {}, (2, 2), {"action_mask": np.zeros(3)}).all(), "of something else"


@pytest.mark.parametrize(
    ("space", "given", "line"),
    [
        (Discrete(3), [1, 1], r"has shape \(2,\), and there are 3 actions"),
        (MultiDiscrete([3, 2]), [1, 1, 1, 1], r"has 4 entries, and there are 3 \+ 2 choices: give one entry for each"),
        (MultiDiscrete([3, 2]), ([1, 1], [1, 1, 1]), r"has 2 \+ 3 entries, and there are 3 \+ 2 choices"),
        (MultiBinary(6), np.ones(6), r"has 6 entries, and there are 2 \+ 2 \+ 2 \+ 2 \+ \.\.\. choices"),
        (MultiDiscrete([3, 2]), [1, 1, 1, 0, 0], "says by its action mask that no action is valid"),
    ],
)
def test_a_wrong_mask_is_one_line_before_the_run(space, given, line):
    with pytest.raises(UsageError, match=rf"environment 'Bare'.*{line}") as error:
        check(Bare(space, {"action_mask": given}), "Bare")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.float32])
def test_where_a_number_has_no_valid_choice_all_are_taken_for_valid(dtype):
    mask = np.array([0, 0, 0, 1, 0], dtype)
    assert masks.is_allowed(mask, (3, 2)).tolist() == [False, True]
    filled = masks.with_all_where_none(mask, (3, 2))
    assert filled.dtype == dtype and filled.tolist() == [1, 1, 1, 1, 0]


def test_a_mask_of_real_numbers_is_not_used_and_a_line_says_so(capsys):
    assert not check(Bare(Box(-1, 1, (2,)), {"action_mask": np.ones(2)}), "Bare")
    assert capsys.readouterr().err == "environment 'Bare': its action mask is not used: actions are real numbers\n"


def test_an_environment_without_one_has_no_part_for_it(monkeypatch):
    envs = make_envs(shapes_id(monkeypatch, Box(-1, 1, (2,)), MultiDiscrete([3, 2])), 1, try_first=True)
    envs.close()
    assert not envs.spec.has_mask
