"""Adam's step as a function that a compiler takes: it is torch's step, and where it is not, torch's is taken."""

from typing import Any

import pytest
import torch
from fake_graph import GraphOptimizer, record_graph
from line import Line, batches, params
from torch import Tensor

from rlgen.core.step import Eager
from rlgen.speed import fused, recorded, recording
from rlgen.speed.fused import FusedRecording
from rlgen.speed.fused_adam import AdamStep
from rlgen.speed.recorded import Recorded

STEPS = 6
SHAPES = [(3,), (2, 3), (4, 2, 2, 2)]


def made(kind: Any, **options: Any) -> tuple[list[Tensor], torch.optim.Optimizer]:
    """Parameters and their optimizer, which has taken a step; two groups with options of their own."""
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
    tensors[2].data = tensors[2].data.to(memory_format=torch.channels_last)
    groups = [{"params": tensors[:1], "lr": 0.1, "maximize": True, "weight_decay": 0.2}, {"params": tensors[1:]}]
    optimizer = kind(groups, lr=0.01, fused=True, **options)
    step(optimizer, tensors, gradients(0), None)
    return [*tensors], optimizer


def gradients(number: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(number + 1)
    return [torch.randn(shape, generator=generator) * 10.0 ** (number % 3) for shape in SHAPES]


def step(optimizer: torch.optim.Optimizer, tensors: Any, grads: list[Tensor], max_norm: float | None) -> None:
    for tensor, grad in zip(tensors, grads, strict=True):
        tensor.grad = grad.clone().to(memory_format=torch.channels_last) if grad.ndim == 4 else grad.clone()
    if max_norm is not None:
        torch.nn.utils.clip_grad_norm_(tensors, max_norm)
    optimizer.step()


@pytest.mark.parametrize("max_norm", [0.5, 1e6, None])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (torch.optim.Adam, {}),
        (torch.optim.Adam, {"weight_decay": 0.1, "betas": (0.0, 0.9999), "eps": 0.1}),
        (torch.optim.AdamW, {"weight_decay": 0.1, "betas": (0.8, 0.95)}),
    ],
)
def test_it_moves_as_its_optimizer_does(kind: Any, options: dict[str, Any], max_norm: float | None) -> None:
    (tensors, own), (others, theirs) = made(kind, **options), made(kind, **options)
    fast = GraphOptimizer(own)
    adam = AdamStep(fast, max_norm)
    assert fast.is_adam
    for number in range(1, STEPS):
        for optimizer in (own, theirs):
            optimizer.param_groups[1]["lr"] = 0.01 / number  # a schedule
        fast.upload_lr()
        step(theirs, others, gradients(number), max_norm)
        assert adam(*adam.tensors, *gradients(number)) == ()
    for tensor, expected in zip(tensors, others, strict=True):
        torch.testing.assert_close(tensor, expected, atol=1e-6, rtol=2e-5)
        assert own.state[tensor].keys() == theirs.state[expected].keys()
        for name, value in own.state[tensor].items():
            torch.testing.assert_close(value, theirs.state[expected][name], atol=1e-7, rtol=2e-5)


def fail(listed: Any) -> Any:
    raise RuntimeError("no triton here")


def too_far(listed: Any) -> Any:
    def function(*tensors: Tensor) -> Any:
        listed(*tensors)
        tensors[0].mul_(1.001)  # a parameter
        return ()

    return function


@pytest.mark.parametrize(("compiled", "said"), [(fail, "no triton here"), (too_far, "numbers differ by"), (None, "")])
def test_what_cannot_be_compiled_is_torch_s_step_and_one_line_says_why(
    compiled: Any, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recorded, "MIN_UPDATES_LEFT", 0)
    monkeypatch.setattr(recording, "FastOptimizer", GraphOptimizer)
    calls: list[Any] = []

    def inductor(listed: Any, tensors: Any) -> Any:
        calls.append(listed)
        return compiled(listed) if compiled and len(calls) == 2 else listed  # the second one is the optimizer's

    monkeypatch.setattr(fused, "inductor", inductor)
    learners = []
    for executor in (Recorded(record=lambda *given: record_graph(*given, FusedRecording)), Eager()):
        torch.manual_seed(0)
        learner = Line()
        learner.executor = executor
        for i, batch in zip(range(12), batches(), strict=False):
            learner.optimizer.param_groups[0]["lr"] = 1e-2 / (i + 1)
            learner.minimize(learner.loss, batch, learner.optimizer, 0.5)
        learners.append(learner)
    one, other = learners
    assert isinstance(one.executor, Recorded) and not one.executor.refused
    [kept] = one.executor.recordings.values()
    assert isinstance(kept, FusedRecording) and kept._fused is not None and kept.count == 11
    assert (kept._step is None) == bool(compiled) and len(calls) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == bool(compiled) and said in err
    assert not compiled or "note: the kernels of the optimizer of loss are not fused" in err
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(params(one), params(other), strict=True))
    for own, theirs in zip(one.optimizer.state.values(), other.optimizer.state.values(), strict=True):
        assert all(torch.allclose(own[name], theirs[name], atol=1e-6) for name in theirs)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.RMSprop])
def test_other_optimizers_move_as_ever(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "MIN_UPDATES_LEFT", 0)
    monkeypatch.setattr(recording, "FastOptimizer", GraphOptimizer)
    monkeypatch.setattr(fused, "inductor", lambda listed, tensors: listed)
    learner = Line(kind)
    learner.executor = Recorded(record=lambda *given: record_graph(*given, FusedRecording))
    for _, batch in zip(range(12), batches(), strict=False):
        learner.minimize(learner.loss, batch, learner.optimizer)
    [kept] = learner.executor.recordings.values()
    assert isinstance(kept, FusedRecording) and kept._fused is not None and kept._step is None and kept.count >= 11
