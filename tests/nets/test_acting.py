"""What acts of one turn share: random numbers, and where parameters lie."""

import numpy as np
import pytest
import torch

from rlgen.nets import perceptron
from rlgen.nets.acting import MAX_ACTS, Uniforms, steady
from rlgen.nets.perceptron import mlp
from rlgen.nets.policies import epsilon_greedy, without_gradients


@pytest.mark.parametrize("num_envs", [1, 3, 64])
@pytest.mark.parametrize("num_acts", [1, 10, MAX_ACTS + 3])
def test_numbers_drawn_for_a_turn_are_those_of_one_act_after_the_other(num_envs: int, num_acts: int) -> None:
    generator, alone = (torch.Generator().manual_seed(5) for _ in range(2))
    uniforms, q_value = Uniforms(generator), np.random.default_rng(0).random((num_envs, 4), np.float32)
    for _ in range(2):
        uniforms.begin(num_acts)
        for _ in range(num_acts):
            assert np.array_equal(epsilon_greedy(q_value, 0.5, uniforms), epsilon_greedy(q_value, 0.5, alone))
        assert torch.equal(generator.get_state(), alone.get_state()), "nothing is drawn for the turn after"
    epsilon_greedy(q_value, 0.5, uniforms)
    epsilon_greedy(q_value, 0.5, alone)
    assert torch.equal(generator.get_state(), alone.get_state()), "an act outside a turn draws for itself"


def test_what_a_turn_that_failed_left_is_not_used() -> None:
    uniforms = Uniforms(torch.Generator().manual_seed(5))
    uniforms.begin(3)
    left = [uniforms(2) for _ in range(3)][1]
    uniforms = Uniforms(torch.Generator().manual_seed(5))
    uniforms.begin(3)
    uniforms(2)
    uniforms.begin(1)
    assert not np.array_equal(uniforms(2), left)


def test_a_network_looks_once_a_turn_where_its_parameters_are(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[object] = []
    find_arrays = perceptron.find_arrays
    monkeypatch.setattr(perceptron, "find_arrays", lambda net: (looks.append(net), find_arrays(net))[1])
    net, obs = mlp([3, 4, 2]), np.ones((1, 3), np.float32)
    for turn in range(2):
        with steady:
            for _ in range(5):
                found = net(obs)
        assert len(looks) == turn + 1
        assert np.allclose(found, net(torch.from_numpy(obs)).detach(), atol=1e-6)
        for param in net.parameters():
            param.data = param.data * 2  # to other memory, as stacking does
    net(obs)
    net(obs)
    assert len(looks) == 4, "outside a turn it looks every time"


def test_gradients_are_off_in_a_turn_and_as_before_after_it() -> None:
    for was_on in (True, False):
        with torch.set_grad_enabled(was_on):
            with pytest.raises(ZeroDivisionError), steady:
                assert not torch.is_grad_enabled()
                1 / 0  # noqa: B018
            assert torch.is_grad_enabled() == was_on and not steady.is_on
            assert not without_gradients(torch.is_grad_enabled)()
            assert torch.is_grad_enabled() == was_on
