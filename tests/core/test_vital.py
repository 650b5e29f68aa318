import math

import numpy as np
import pytest
import torch
from torch import nn

from rlgen.core.vital import (
    DEAD,
    GRADIENTS,
    MAX_SEEN,
    NEAREST,
    SPREAD,
    Seen,
    dead_units,
    gradients,
    spread,
    weights,
)
from rlgen.nets.spectral import Spectral


def test_the_size_of_weights_is_their_gain_in_the_layer_that_has_most():
    net = nn.Sequential(nn.Linear(16, 8), nn.Conv2d(3, 5, 2))
    nn.init.constant_(net[0].weight, -0.5)  # rms 0.5 times sqrt(16)
    nn.init.constant_(net[1].weight, 0.1)  # 0.1 times sqrt(12)
    nn.init.constant_(net[0].bias, 1e9)
    assert weights(net) == pytest.approx(2.0)
    nn.init.constant_(net[1].weight, 1.0)
    assert weights(net) == pytest.approx(12**0.5)
    assert weights(nn.ReLU()) == 0.0


def test_of_an_embedding_a_single_row_comes_in():
    net = nn.Sequential(nn.Embedding(10, 1024))
    nn.init.normal_(net[0].weight)
    assert weights(net) == pytest.approx(1.0, abs=0.05)
    net[0].weight.data *= 50
    assert weights(net) == pytest.approx(50.0, rel=0.05)


@pytest.mark.parametrize("layer", [nn.Linear(6, 4), nn.Conv2d(3, 5, 2), nn.Embedding(7, 5)])
def test_weights_with_spectral_normalisation_count_as_they_are_used(layer):
    """However long they are: only the direction of a weight says what comes out."""
    net, used = Spectral(layer), layer.weight.detach().flatten(1).clone()
    net.iterate(1000)
    used = used / torch.linalg.matrix_norm(used, 2)
    size = math.sqrt(used.square().mean() * (1 if isinstance(layer, nn.Embedding) else used.shape[1]))
    assert weights(net) == pytest.approx(size, rel=1e-3) and size <= 1
    with torch.no_grad():
        layer.weight.mul_(1000)
    assert weights(net) == pytest.approx(size, rel=1e-3)


def test_dead_units_are_those_of_the_worst_layer():
    net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU(), nn.LeakyReLU(), nn.Tanh())
    nn.init.constant_(net[0].weight, 1.0)
    net[0].bias.data = torch.tensor([0.0, -10.0, -1.0, 5.0])  # the second one is 0 for inputs below 5
    net[2].weight.data = -torch.ones(3, 4)
    net[2].bias.data = torch.tensor([100.0, 100.0, 100.0])
    inputs = torch.tensor([[0.0, 0.5], [1.0, 1.0]])
    assert dead_units(net, lambda: net(inputs)) == {DEAD: 0.25}
    net[2].bias.data = torch.tensor([100.0, 0.0, -3.0])
    assert dead_units(net, lambda: net(inputs)) == {DEAD: pytest.approx(2 / 3)}
    assert not net[1]._forward_hooks


def test_several_calls_count_together_and_channels_are_units():
    net = nn.Sequential(nn.ReLU())
    maps = -torch.ones(2, 4, 3, 3)  # [B, C, H, W]
    maps[1, 2, 0, 1] = 1.0
    assert dead_units(net, lambda: net(maps)) == {DEAD: 0.75}
    more = -torch.ones(1, 4, 3, 3)
    more[0, 0] = 1.0
    assert dead_units(net, lambda: (net(maps), net(more))) == {DEAD: 0.5}
    of_parts = -torch.ones(2, 5, 4)  # [B, K, F]
    of_parts[0, 3, 1] = 1.0
    assert dead_units(net, lambda: net(of_parts)) == {DEAD: 0.75}


def test_without_relus_nothing_is_computed_or_said():
    assert dead_units(nn.Sequential(nn.Tanh()), lambda: pytest.fail("called")) == {}
    assert dead_units(nn.ReLU(), lambda: None) == {}  # not on the way
    net = nn.Sequential(nn.ReLU())
    with pytest.raises(ZeroDivisionError):
        dead_units(net, lambda: 1 / 0)
    assert not net[0]._forward_hooks


def test_the_spread_is_that_of_brute_force():
    rng = np.random.default_rng(0)
    samples, images = rng.random((6, 1, 2, 3)).astype(np.float32), rng.integers(0, 256, (9, 1, 2, 3)).astype(np.uint8)

    def distances(points):
        flat = points.reshape(len(points), -1).astype(float)
        apart = [[np.linalg.norm(a - b) for j, b in enumerate(flat) if i != j] for i, a in enumerate(flat)]
        return np.mean(apart), np.mean([min(row) for row in apart])

    found = spread(torch.from_numpy(samples), torch.from_numpy(images))
    expected = [own / real for own, real in zip(distances(samples), distances(images[:6] / 255), strict=True)]
    assert [found[SPREAD], found[NEAREST]] == pytest.approx(expected, rel=1e-5)


def test_samples_of_few_kinds_are_near_each_other():
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (64, 1, 8, 8)).astype(np.uint8))
    same = torch.full((64, 1, 8, 8), 0.3)
    assert spread(same, images) == {SPREAD: 0.0, NEAREST: 0.0}
    kinds = (images[:4].repeat(16, 1, 1, 1) / 255).float()
    found = spread(kinds, images)
    assert found[NEAREST] == 0.0 and 0.6 < found[SPREAD] < 0.9
    assert spread(images / 255, images) == {SPREAD: pytest.approx(1.0), NEAREST: pytest.approx(1.0)}
    assert spread(same[:1], images) == {} and spread(same, torch.zeros(64, 1, 8, 8, dtype=torch.uint8)) == {}


@pytest.mark.parametrize("num", [1, 63, 64, 1000])
def test_observations_are_kept_from_all_over_the_episodes(num):
    seen, obs = Seen(), np.zeros((20, 1), np.float32)
    for step in range(num):
        obs[:] = step  # the environment writes into the same memory
        seen.add(obs)
    kept = seen.batch(torch.device("cpu"))[:, 0].tolist()
    assert len(kept) % Seen.ENVS == 0 and len(kept) <= 2 * MAX_SEEN * Seen.ENVS
    times = sorted(set(kept))
    gaps = set(np.diff(times))
    assert times[0] == 0 and len(gaps) <= 1 and num - times[-1] <= (gaps.pop() if gaps else 1)
    assert len(times) >= min(num, MAX_SEEN)


def test_observations_of_parts_are_kept_by_part():
    seen = Seen()
    for step in range(3):
        seen.add({"a": np.full((2, 1), step), "b": np.zeros((2, 4), np.uint8)})
    batch = seen.batch(torch.device("cpu"))
    assert batch["a"][:, 0].tolist() == [0, 0, 1, 1, 2, 2] and batch["b"].shape == (6, 4)


def stepped(kind: str, scales, **options):
    """A layer whose gradient was `scale` in every weight, in turn, and its optimizer."""
    layer = nn.Linear(3, 2, bias=False)
    optimizer = {"adam": torch.optim.Adam, "rmsprop": torch.optim.RMSprop, "sgd": torch.optim.SGD}[kind](
        layer.parameters(), lr=1e-3, **options
    )
    for scale in scales:
        layer.weight.grad = torch.full((2, 3), scale)
        optimizer.step()
    return optimizer


@pytest.mark.parametrize("kind", ["adam", "rmsprop"])
def test_gradients_are_as_long_as_what_optimizers_were_given(kind):
    """Six equal numbers are a vector of a length of theirs times the root of six, from the first step on."""
    for num in (1, 2, 50):
        assert gradients([stepped(kind, [2.0] * num)]) == {GRADIENTS: pytest.approx(2 * 6**0.5, rel=1e-4)}
    options = {"betas": (0.9, 0.5)} if kind == "adam" else {"alpha": 0.5}
    mean = (0.5 * 9 + 0.25 * 1) / 0.75  # of squares, the newest counts half
    assert gradients([stepped(kind, [1.0, 3.0], **options)]) == {GRADIENTS: pytest.approx((6 * mean) ** 0.5, rel=1e-4)}


@pytest.mark.parametrize("beta2", [0.0, 1 - 1e-6, 1 - 1e-8, 1 - 1e-12])
def test_gradients_are_read_whatever_the_decay_of_their_squares(beta2):
    """In float32 it is a 1, or of the wrong size beside it."""
    found = gradients([stepped("adam", [2.0] * 5, betas=(0.9, beta2))])
    assert found == {GRADIENTS: pytest.approx(2 * 6**0.5, rel=1e-3)}


def test_squares_beyond_float32_are_no_sign():
    """The run goes on: Adam divides by them."""
    assert gradients([stepped("adam", [1.0, 3e20])]) == {}


def test_of_several_optimizers_the_longest_gradient_counts():
    both = [stepped("adam", [1.0]), stepped("rmsprop", [5.0]), stepped("adam", [2.0])]
    assert gradients(both) == {GRADIENTS: pytest.approx(5 * 6**0.5, rel=1e-4)}


def test_of_gradients_that_nobody_keeps_nothing_is_said():
    assert gradients([stepped("sgd", [1.0])]) == gradients([stepped("adam", [])]) == gradients([]) == {}
