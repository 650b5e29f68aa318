"""The stand-in for a CUDA graph does what a CUDA graph does: other tests rest on it."""

import pytest
import torch
from fake_graph import FakeGraph
from torch import Tensor


def test_a_capture_moves_nothing_and_a_replay_does() -> None:
    total, x = torch.zeros(2), torch.ones(2)

    def work() -> list[Tensor]:
        total.add_(x)
        return [2 * x, x.view(2, 1).expand(2, 3).sum(1)]

    graph = FakeGraph()
    outputs = graph.capture(work, [])
    assert torch.equal(total, torch.zeros(2)), "nothing was executed"
    assert all(output.isnan().all() for output in outputs), "and nothing can be read yet"
    addresses = [output.data_ptr() for output in outputs]
    for i in range(1, 4):
        x.fill_(i)
        graph.replay()
        assert torch.equal(outputs[0], 2 * x) and torch.equal(outputs[1], 3 * x)
    assert torch.equal(total, torch.full((2,), 6.0))
    assert [output.data_ptr() for output in outputs] == addresses


def test_what_is_changed_twice_is_put_back_to_what_it_was_first() -> None:
    graph, x = FakeGraph(), torch.tensor([1.0, 2.0])

    def work() -> list[Tensor]:
        y = x + 1
        x.mul_(10)
        y.add_(x)
        x[1:].zero_()
        return [y]

    (y,) = graph.capture(work, [])
    assert x.tolist() == [1.0, 2.0]
    graph.replay()
    assert x.tolist() == [10.0, 0.0] and y.tolist() == [12.0, 23.0]
    graph.replay()
    assert x.tolist() == [100.0, 0.0] and y.tolist() == [111.0, 1.0]


def test_random_numbers_are_drawn_by_a_replay_alone_and_are_new_in_each() -> None:
    generator, other = (torch.Generator().manual_seed(0) for _ in range(2))
    graph = FakeGraph()
    (drawn,) = graph.capture(lambda: [torch.rand(4, generator=generator)], [generator])
    assert torch.equal(generator.get_state(), other.get_state())
    for _ in range(3):
        graph.replay()
        assert torch.equal(drawn, torch.rand(4, generator=other))


def test_what_a_capture_forbids_is_an_error_that_leaves_nothing_behind() -> None:
    generator, x = torch.Generator().manual_seed(0), torch.ones(1)
    state = generator.get_state()
    with pytest.raises(RuntimeError, match="capturing"):
        FakeGraph().capture(lambda: [x.mul_(2) * torch.rand(1, generator=generator).item()], [generator])
    with pytest.raises(RuntimeError, match="does not know"):
        FakeGraph().capture(lambda: [torch.rand(1, generator=generator)], [])
    assert x.item() == 1 and torch.equal(generator.get_state(), state)
