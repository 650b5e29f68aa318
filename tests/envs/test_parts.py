"""What an observation is made of: found from type, shape and bounds, packed into one array, taken apart again."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Sequence, Text, Tuple
from specs import spec_of, stored

from rlgen.envs.parts import about, num_floats, parts_of, stored_as
from rlgen.errors import UsageError
from rlgen.nets.parts import part_of


def box(*shape, dtype=np.uint8, low=0, high=255):
    return Box(low, high, shape, dtype)


ONE = [
    (box(84, 84, 3), "image", "hwc", 255),
    (box(84, 84, 9), "image", "hwc", 255),
    (box(12, 84, 84), "image", "chw", 255),
    (box(210, 160, 3), "image", "hwc", 255),
    (box(84, 84), "image", "hw", 255),
    (box(4, 84, 84, 3), "image", "khwc", 255),
    (box(10, 10, 4, dtype=bool, high=1), "image", "hwc", 1),
    (box(7, 7, 3), "image", "hwc", 255),
    (box(64, 64, 3, dtype=np.float32, high=1), "image", "hwc", 1),
    (box(64, 64, 3, dtype=np.float32), "image", "hwc", 255),
    (box(64, 64, 3, dtype=np.float64, low=-1, high=1), "image", "hwc", 1),
    (box(64, 64, 3, dtype=np.float32, low=-np.inf, high=np.inf), "image", "hwc", 1),
    (box(6, 7, 2, dtype=np.int64, high=2), "image", "hwc", 2),
    (box(64, 64, dtype=np.float32, high=1), "image", "hw", 1),
    (box(64, 64, dtype=np.float32, low=-3, high=3), "vector", "", 1),
    (box(3, 2, dtype=np.float32, high=1), "vector", "", 1),
    (box(1, 40, 3), "image", "chw", 255),
    (box(1, 40), "vector", "", 255),
    (box(128), "vector", "", 255),
    (box(5, 4, 3, 3, dtype=np.float32), "vector", "", 1),
    (box(dtype=np.float32), "vector", "", 1),
]


@pytest.mark.parametrize(("space", "kind", "layout", "scale"), ONE, ids=lambda value: str(value)[:40])
def test_what_an_array_is_follows_from_its_type_shape_and_bounds(space, kind, layout, scale):
    [part] = parts_of(space, "Toy-v0")
    assert (part.kind, part.layout, part.scale) == (kind, layout, scale)
    assert part.dtype == (str(space.dtype) if space.dtype in (np.uint8, bool) else "float32")
    assert stored_as([part]) == (space.shape or (1,), part.dtype)


@pytest.mark.parametrize("shape", [(84, 3, 84), (10, 10, 10), (8, 8, 12), (3, 3, 84), (4, 40, 4)])
def test_channels_that_cannot_be_told_are_asked_for(shape):
    with pytest.raises(
        UsageError, match=r"environment 'Toy-v0': .* which axis are the channels: give --obs-layout"
    ) as it:
        parts_of(box(*shape), "Toy-v0")
    assert str(shape) in str(it.value) and "\n" not in str(it.value)
    assert [part.layout for part in parts_of(box(*shape), "Toy-v0", layout="hwc")] == ["hwc"]
    assert [part.kind for part in parts_of(box(*shape), "Toy-v0", obs="flat")] == ["vector"]
    with pytest.raises(UsageError, match="pictures 'board' of shape"):
        parts_of(Dict(board=box(*shape), more=Discrete(2)), "Toy-v0")


def test_known_environments_have_their_layout():
    """MinAtar's Seaquest is 10 x 10 x 10, Freeway 10 x 10 x 7."""
    for env_id in ("MinAtar/Seaquest-v1", "minatar.gym:MinAtar/Seaquest-v1"):
        assert parts_of(box(10, 10, 10, dtype=bool, high=1), env_id)[0].layout == "hwc"
    assert parts_of(box(3, 3, 3), "MiniGrid-Empty-5x5-v0")[0].layout == "hwc"


def test_what_is_asked_for_is_taken():
    [part] = parts_of(box(3, 2, dtype=np.float32, high=1), "Toy-v0", obs="image")
    assert (part.kind, part.layout) == ("image", "hw")
    [part] = parts_of(box(84, 84, 3), "Toy-v0", obs="flat")
    assert (part.kind, part.shape, part.scale) == ("vector", (84, 84, 3), 255)
    assert parts_of(box(3, 84, 84), "Toy-v0", layout="hwc")[0].layout == "hwc"
    with pytest.raises(UsageError, match=r"--obs image, but observations of shape \(4,\) are no pictures"):
        parts_of(box(4), "Toy-v0", obs="image")


ROOM = Dict(
    camera=box(6, 5, 3),
    robot=Tuple((Box(-np.inf, np.inf, (3,), np.float64), Discrete(4, start=-2))),
    flags=MultiBinary(3),
    choices=MultiDiscrete([3, 4]),
    map=box(4, 4, 2, dtype=bool, high=1),
    mission=Text(20),
)
FLAT = Dict(place=Box(-1, 1, (2, 2), np.float32), gear=Discrete(3), flags=MultiBinary(5))


@pytest.mark.parametrize("space", [ROOM, FLAT])
@pytest.mark.parametrize("masks", [False, True])
def test_parts_are_packed_and_taken_apart_again(space, masks):
    space.seed(3)
    observations, valid = [space.sample() for _ in range(5)], np.random.default_rng(0).random((5, 7)) < 0.5
    spec = spec_of(space, num_actions=7, masks=masks)
    array = stored(spec, space, observations, list(valid) if masks else None)
    assert (array.shape[1:], str(array.dtype)) == (spec.obs_shape, spec.obs_dtype)
    parts = {part.name: part for part in spec.obs_parts}
    assert masks == spec.has_mask

    def taken(name):
        return part_of(array, parts[name], spec.obs_parts)

    for i, obs in enumerate(observations):
        if space is ROOM:
            assert (taken("camera")[i] == obs["camera"]).all() and (taken("map")[i] == obs["map"]).all()
            assert np.allclose(taken("robot/0")[i], obs["robot"][0]) and taken("robot/1")[i] == obs["robot"][1]
            assert (taken("choices")[i] == obs["choices"]).all()
            assert parts["mission"].kind == "left out"
        else:
            assert (taken("place")[i] == obs["place"]).all() and taken("gear")[i] == obs["gear"]
        assert (taken("flags")[i] == obs["flags"]).all()
    if masks:
        assert (taken("action_mask").astype(bool) == valid).all()


def test_bytes_stay_bytes_and_float_numbers_lie_first_on_multiples_of_four():
    spec = spec_of(ROOM)
    assert spec.obs_dtype == "uint8" and spec.obs_shape == (-(-(4 * (3 + 1 + 2) + 90 + 3 + 32) // 4) * 4,)
    assert spec.obs_floats == num_floats(spec.obs_parts) == 6
    assert all(
        part.offset % 4 == 0 and part.offset < 24 for part in spec.obs_parts if part.dtype == "float32" and part.size
    )
    assert spec_of(FLAT).obs_floats is None and spec_of(box(84, 84, 3)).obs_floats == 0


def test_a_part_that_is_the_only_one_with_numbers_is_no_packed_array():
    spec = spec_of(Dict(image=box(7, 7, 3), mission=Text(9)))
    assert (spec.obs_shape, spec.obs_dtype, spec.obs_floats) == ((7, 7, 3), "uint8", 0)


def test_a_mask_among_the_parts_is_one():
    spec = spec_of(Dict(observation=box(6, 7, 2), action_mask=Box(0, 1, (7,), np.int8)), num_actions=7)
    assert [part.kind for part in spec.obs_parts] == ["image", "mask"] and spec.has_mask
    assert not spec_of(
        Dict(observation=box(6, 7, 2), action_mask=box(7, dtype=np.int8, high=1)), num_actions=3
    ).has_mask


@pytest.mark.parametrize("space", [Text(9), Sequence(Discrete(2)), Dict(mission=Text(9)), Tuple(())])
def test_without_numbers_there_is_nothing_to_learn_from(space):
    with pytest.raises(UsageError, match="cannot be made a vector"):
        parts_of(space, "Toy-v0")


def test_what_is_not_plain_is_said_in_one_line():
    assert about(parts_of(box(4, dtype=np.float32), "Toy-v0")) == about(parts_of(Discrete(4), "Toy-v0")) == ""
    assert about(parts_of(box(84, 84, 9), "Toy-v0")) == (
        "observations are pictures of 84 x 84 pixels, 9 channels (the last axis), divided by 255"
    )
    said = about(parts_of(ROOM, "Toy-v0", choices=(7,), masks=True))
    for words in (
        "camera: pictures of 6 x 5 pixels, 3 channels (the last axis), divided by 255",
        "robot/0: 3 numbers",
        "robot/1: one of 4",
        "choices: one of 3, one of 4",
        "map: pictures of 4 x 4 pixels, 2 channels (the last axis)",
        "mission: left out",
        "action_mask: which of 7 actions are valid",
    ):
        assert words in said
    assert "\n" not in said
