"""Networks of Q-learning, of one number an action and of several."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict
from specs import spec_of, stored

from rlgen.nets.masks import LOWEST
from rlgen.nets.networks import network
from rlgen.nets.q_network import q_network, valid_only

NUMBERS = Box(-1, 1, (3,), np.float32)
PICTURE = Box(0, 255, (5, 5, 1), np.uint8)
SPACES = {"numbers": NUMBERS, "picture": PICTURE, "both": Dict(picture=PICTURE, numbers=NUMBERS)}
MASKS = np.array([[1, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]], bool)  # the last one is of an episode's end
VALID = torch.from_numpy(np.where(MASKS.any(1, keepdims=True), MASKS, True))


def seen(kind, masks):
    """A spec with four actions, and three observations as they are stored."""
    space = SPACES[kind]
    space.seed(0)
    spec = spec_of(space, num_actions=4, masks=masks)
    return spec, stored(spec, space, [space.sample() for _ in MASKS], list(MASKS) if masks else None)


def made(function, *args, **options):
    torch.manual_seed(0)
    return function(*args, **options)


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("kind", SPACES)
def test_several_numbers_of_every_action_are_those_of_a_plain_network(kind, masks):
    spec, obs = seen(kind, masks)
    net = made(q_network, spec, (8,), 5)
    plain = made(network, spec, (8,), 20)(torch.from_numpy(obs)).reshape(3, 4, 5)
    out = net(torch.from_numpy(obs))
    assert torch.equal(out, torch.where(VALID[..., None], plain, LOWEST) if masks else plain)
    with torch.no_grad():
        of_array = net(obs)
    assert isinstance(of_array, np.ndarray) == (kind == "numbers"), "of numbers alone, as an MLP answers it"
    assert np.allclose(of_array, out.detach(), atol=1e-6)


@pytest.mark.parametrize("masks", [False, True])
def test_one_number_of_every_action_is_the_network_of_before(masks):
    spec, obs = seen("numbers", masks)
    net, before = made(q_network, spec, (8,)), made(network, spec, (8,), 4, per_action=True)
    assert torch.equal(net(torch.from_numpy(obs)), before(torch.from_numpy(obs)))
    assert net.state_dict().keys() == before.state_dict().keys()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_made_of_several_numbers_are_the_lowest_where_an_action_is_not_valid(dtype):
    spec, obs = seen("numbers", masks=True)
    net = made(q_network, spec, (8,), 5)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        out = net(torch.from_numpy(obs))
    assert out.dtype == dtype
    value = valid_only(out.float().softmax(-1)[..., 0], out)
    assert torch.equal(value > LOWEST, VALID) and torch.equal(value == LOWEST, ~VALID)
