"""An optimizer without its Python takes the optimizer's own step."""

import copy
from typing import Any

import pytest
import torch
from fake_graph import GraphOptimizer, record_graph
from line import Line, batches, params
from tiny import assert_equal

from rlgen.core.step import Eager
from rlgen.errors import RlgenError
from rlgen.speed import recording
from rlgen.speed.optimizers import FastOptimizer, FlatOptimizer
from rlgen.speed.recorded import Recorded

KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "adam": (torch.optim.Adam, {"weight_decay": 0.1, "betas": (0.8, 0.95)}),
    "adamw": (torch.optim.AdamW, {"weight_decay": 0.1, "betas": (0.8, 0.95)}),
    "sgd": (torch.optim.SGD, {"weight_decay": 0.1}),
    "sgd_momentum": (torch.optim.SGD, {"weight_decay": 0.1, "momentum": 0.9}),
    "sgd_nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "rmsprop": (torch.optim.RMSprop, {"alpha": 0.9, "eps": 1e-3}),
    "rmsprop_momentum": (torch.optim.RMSprop, {"weight_decay": 0.1, "momentum": 0.9}),
}


def line(kind: str) -> Line:
    torch.manual_seed(0)
    optimizer, options = KINDS[kind]
    return Line(optimizer, **options)


def train(learner: Line, num: int, max_grad_norm: float | None = 0.5) -> None:
    for i, batch in zip(range(num), batches(), strict=False):
        learner.optimizer.param_groups[0]["lr"] = 1e-2 / (i + 1)  # a schedule reaches the recorded step
        learner.minimize(learner.loss, batch, learner.optimizer, max_grad_norm)


def assert_close(one: Line, other: Line) -> None:
    """Parameters and what is kept of them; the order of a norm's sums is not the same everywhere."""
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(params(one), params(other), strict=True))
    for own, theirs in zip(one.optimizer.state.values(), other.optimizer.state.values(), strict=True):
        assert all(torch.allclose(own[name], theirs[name], atol=1e-6) for name in theirs)


@pytest.mark.parametrize("layout", [FastOptimizer, FlatOptimizer])
@pytest.mark.parametrize("kind", KINDS)
def test_it_moves_as_its_optimizer_does(kind: str, layout: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "FastOptimizer", layout)
    one, other = line(kind), line(kind)
    other.executor = Eager()
    train(one, 20)
    train(other, 20)
    [made] = one.executor.recordings.values()  # type: ignore[attr-defined]
    assert made.count >= 19 and type(made.optimizers[0]) is layout
    if layout is FastOptimizer:
        assert_equal(one.state_dict()["_extra_state"]["optimizers"], other.state_dict()["_extra_state"]["optimizers"])
    assert_close(one, other)


@pytest.mark.parametrize("max_grad_norm", [0.5, None])
@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_moves_as_the_optimizer_does(
    kind: str, max_grad_norm: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its learning rates and its counts of steps are tensors, which every replay reads; gradients it divides itself."""
    monkeypatch.setattr(recording, "FastOptimizer", GraphOptimizer)
    one, other = line(kind), line(kind)
    one.executor, other.executor = Recorded(record=record_graph), Eager()
    train(one, 20, max_grad_norm)
    train(other, 20, max_grad_norm)
    assert not one.executor.refused and next(iter(one.executor.recordings.values())).count >= 19
    assert_close(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_every_group_moves_with_options_of_its_own(kind: str) -> None:
    cls, options = KINDS[kind]
    fused = {} if cls is torch.optim.RMSprop else {"fused": True}

    def make() -> Any:
        generator = torch.Generator().manual_seed(0)
        tensors = [torch.nn.Parameter(torch.randn(3, generator=generator)) for _ in range(3)]
        other = {"weight_decay": 0.2} | ({} if cls is torch.optim.SGD else {"eps": 0.5})
        groups = [{"params": tensors[:1], "lr": 0.1, "maximize": True} | other, {"params": tensors[1:]}]
        return tensors, cls(groups, **{"lr": 0.01} | options | fused)

    (tensors, own), (others, theirs) = make(), make()
    fast = None
    for i in range(5):
        grads = [torch.full((3,), float(i + k)) for k in range(3)]
        for tensor, grad in zip(others, grads, strict=True):
            tensor.grad = grad.clone()
        theirs.step()
        if fast is None:
            for tensor, grad in zip(tensors, grads, strict=True):
                tensor.grad = grad.clone()
            own.step()
            fast = FastOptimizer(own)
        else:
            fast.step(grads)
    assert_equal([tensor.data for tensor in tensors], [tensor.data for tensor in others])
    assert_equal(own.state_dict(), theirs.state_dict())


@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_that_is_not_pure_is_found_out(kind: str) -> None:
    """By what shows its gradient: running means, of the gradient or its square, or the parameters themselves."""
    learner = line(kind)
    with pytest.raises(RlgenError, match=r"recorded step 10 of impure_loss differs.*the gradient"):
        for i, batch in zip(range(30), batches(), strict=False):
            learner.scale = 1.0 + i / 10
            learner.minimize(learner.impure_loss, batch, learner.optimizer)


def test_an_optimizer_without_a_state_gets_none() -> None:
    learner = line("sgd")
    train(learner, 3)
    assert learner.executor.recordings and not learner.optimizer.state  # type: ignore[attr-defined]


def test_it_is_stale_once_its_tensors_are_others() -> None:
    learner = Line()
    learner.minimize(learner.loss, next(batches()), learner.optimizer)
    fast = FastOptimizer(learner.optimizer)
    assert not fast.is_stale(learner.optimizer)
    learner.load_state_dict(copy.deepcopy(learner.state_dict()))
    assert fast.is_stale(learner.optimizer), "moments were replaced"
    fast = FastOptimizer(learner.optimizer)
    learner.net.weight.data = learner.net.weight.data.clone()
    assert fast.is_stale(learner.optimizer), "parameters have moved, as into a stack of seeds"


@pytest.mark.parametrize(
    ("optimizer", "options", "reason"),
    [
        (torch.optim.Adam, {"fused": False}, "fused=True"),
        (torch.optim.SGD, {"fused": False}, "fused=True"),
        (torch.optim.Adagrad, {}, "not Adagrad"),
        (torch.optim.Adam, {"amsgrad": True}, "amsgrad"),
        (torch.optim.RMSprop, {"centered": True}, "centered"),
        (type("Other", (torch.optim.Adam,), {}), {}, "Other"),
    ],
)
def test_it_takes_no_other_optimizer(optimizer: Any, options: dict[str, Any], reason: str) -> None:
    learner = Line(optimizer, **options)
    learner.minimize(learner.loss, next(batches()), learner.optimizer)
    with pytest.raises(ValueError, match=reason):
        FastOptimizer(learner.optimizer)


def test_momentum_of_some_parameters_alone_is_refused() -> None:
    learner = Line()
    groups = [{"params": [learner.net.weight], "momentum": 0.9}, {"params": [learner.net.bias]}]
    with pytest.raises(ValueError, match="momentum of some"):
        FastOptimizer(torch.optim.SGD(groups, lr=0.1, fused=True))


def test_a_learning_rate_that_did_not_change_is_not_uploaded_again() -> None:
    """PPO takes 256 updates with one of them: a launch each."""
    learner = Line()
    learner.minimize(learner.loss, next(batches()), learner.optimizer)
    fast = GraphOptimizer(learner.optimizer)
    [(*_, lr)] = fast.parts
    versions = []
    for rate in (0.1, 0.1, 0.2, 0.2, 0.1):
        learner.optimizer.param_groups[0]["lr"] = rate
        fast.upload_lr()
        assert lr.item() == rate
        versions.append(lr._version)
    assert versions == [1, 1, 2, 2, 3]
