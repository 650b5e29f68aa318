"""Adam without its Python is the optimizer's own step."""

import copy
from typing import Any

import pytest
import torch
from fake_graph import GraphAdam
from line import Line, batches, params
from tiny import assert_equal

from rlgen.core.step import Eager
from rlgen.speed.adam import FusedAdam


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW])
def test_adam_moves_as_its_optimizer_does(optimizer: Any) -> None:
    torch.manual_seed(0)
    one = Line(optimizer, weight_decay=0.1, betas=(0.8, 0.95))
    other = copy.deepcopy(one)
    other.optimizer = optimizer(other.parameters(), lr=1e-2, fused=True, weight_decay=0.1, betas=(0.8, 0.95))
    other.executor = Eager()
    for i, batch in zip(range(20), batches(), strict=False):
        for learner in (one, other):
            learner.optimizer.param_groups[0]["lr"] = 1e-2 / (i + 1)  # a schedule reaches the recorded step
            learner.minimize(learner.loss, batch, learner.optimizer, max_grad_norm=0.5)
    assert one.executor.recordings  # type: ignore[attr-defined]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(params(one), params(other), strict=True))
    assert_equal(one.state_dict()["_extra_state"]["optimizers"], other.state_dict()["_extra_state"]["optimizers"])


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW])
def test_every_group_moves_with_options_of_its_own(optimizer: Any) -> None:
    def make() -> Any:
        generator = torch.Generator().manual_seed(0)
        tensors = [torch.nn.Parameter(torch.randn(3, generator=generator)) for _ in range(3)]
        groups = [
            {"params": tensors[:1], "lr": 0.1, "eps": 0.5, "maximize": True},
            {"params": tensors[1:], "weight_decay": 0.2, "betas": (0.5, 0.6)},
        ]
        return tensors, optimizer(groups, lr=0.01, fused=True)

    (tensors, own), (others, theirs) = make(), make()
    adam = None
    for i in range(5):
        grads = [torch.full((3,), float(i + k)) for k in range(3)]
        for tensor, grad in zip(others, grads, strict=True):
            tensor.grad = grad.clone()
        theirs.step()
        if adam is None:
            for tensor, grad in zip(tensors, grads, strict=True):
                tensor.grad = grad.clone()
            own.step()
            adam = FusedAdam(own)
        else:
            adam.step(grads)
    assert_equal([tensor.data for tensor in tensors], [tensor.data for tensor in others])
    assert_equal(own.state_dict(), theirs.state_dict())


def test_it_is_stale_once_its_tensors_are_others() -> None:
    learner = Line()
    learner.minimize(learner.loss, next(batches()), learner.optimizer)
    adam = FusedAdam(learner.optimizer)
    assert not adam.is_stale(learner.optimizer)
    learner.load_state_dict(copy.deepcopy(learner.state_dict()))
    assert adam.is_stale(learner.optimizer), "moments were replaced"
    adam = FusedAdam(learner.optimizer)
    learner.net.weight.data = learner.net.weight.data.clone()
    assert adam.is_stale(learner.optimizer), "parameters have moved, as into a stack of seeds"


@pytest.mark.parametrize(
    ("optimizer", "options", "reason"),
    [
        (torch.optim.Adam, {"fused": False}, "fused=True"),
        (torch.optim.SGD, {}, "SGD"),
        (torch.optim.Adam, {"amsgrad": True}, "amsgrad"),
        (type("Other", (torch.optim.Adam,), {}), {}, "Other"),
    ],
)
def test_it_takes_adam_alone(optimizer: Any, options: dict[str, Any], reason: str) -> None:
    learner = Line(optimizer, **options)
    learner.minimize(learner.loss, next(batches()), learner.optimizer)
    with pytest.raises(ValueError, match=reason):
        FusedAdam(learner.optimizer)


def test_a_learning_rate_that_did_not_change_is_not_uploaded_again() -> None:
    """PPO takes 256 updates with one of them: a launch each."""
    learner = Line()
    learner.minimize(learner.loss, next(batches()), learner.optimizer)
    adam = GraphAdam(learner.optimizer)
    [(*_, lr)] = adam._parts
    versions = []
    for rate in (0.1, 0.1, 0.2, 0.2, 0.1):
        learner.optimizer.param_groups[0]["lr"] = rate
        adam.upload_lr()
        assert lr.item() == rate
        versions.append(lr._version)
    assert versions == [1, 1, 2, 2, 3]
