"""Kernels that are fused inside a CUDA graph: that a step through them is the eager one is in `test_graph.py`."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_graph import GraphOptimizer, record_graph
from line import Line, batches, params
from tiny import tiny
from torch import Tensor

from rlgen import experiment
from rlgen.core.step import Eager
from rlgen.speed import fused, machine_code, recorded, recording
from rlgen.speed.fused import Draws, FusedRecording
from rlgen.speed.recorded import Recorded


@pytest.fixture(autouse=True)
def _as_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "MIN_UPDATES_LEFT", 0)
    monkeypatch.setattr(recording, "FastOptimizer", GraphOptimizer)
    monkeypatch.setenv("RLGEN_COMPILED", str(tmp_path / "compiled"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled" / "inductor"))  # put back at the end
    (tmp_path / "compiled").mkdir(mode=0o700)  # before Inductor makes it, open to others


def fail(*args: Any) -> Any:
    raise RuntimeError("no triton here")


def none_at_all(*args: Any) -> Any:
    raise machine_code.CannotCompileError("there is no C++ compiler")


def wrong(listed: Any, tensors: Any) -> Any:
    return lambda *tensors: [1.1 * output for output in listed(*tensors)]


@pytest.mark.parametrize(
    ("inductor", "said"),
    [(fail, "no triton here"), (none_at_all, "fused: there is no C++ compiler\n"), (wrong, "numbers differ by")],
)
def test_what_cannot_be_fused_is_the_graph_it_would_be_and_one_line_says_why(
    inductor: Any, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fused, "inductor", inductor)
    learners = []
    for executor in (Recorded(record=lambda *given: record_graph(*given, FusedRecording)), Eager()):
        torch.manual_seed(0)
        learner = Line()
        learner.executor = executor
        for _, batch in zip(range(12), batches(), strict=False):
            learner.minimize(learner.loss, batch, learner.optimizer, noise=learner.noise)
        learners.append(learner)
    one, other = learners
    assert isinstance(one.executor, Recorded) and not one.executor.refused
    [kept] = one.executor.recordings.values()
    assert isinstance(kept, FusedRecording) and kept.count == 11
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "note: the kernels of loss are not fused" in err and said in err
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(params(one), params(other), strict=True))
    assert torch.equal(one.generator.get_state(), other.generator.get_state())


@pytest.mark.parametrize(("inductor", "is_kept"), [(lambda listed, tensors: listed, True), (fail, False)])
def test_kernels_that_were_made_are_noted_and_the_wait_for_them_is_told_once(
    inductor: Any, is_kept: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine_code, "compiler", lambda: "g++")
    monkeypatch.setattr(fused, "inductor", inductor)
    for told in (1, 0 if is_kept else 1):
        learner = Line()
        kind: Any = partial(FusedRecording, work="mine")
        learner.executor = Recorded(record=lambda *given, kind=kind: record_graph(*given, kind))
        for _, batch in zip(range(5), batches(), strict=False):
            learner.minimize(learner.loss, batch, learner.optimizer)
        assert machine_code.was_fused("mine") == is_kept and not machine_code.was_fused("another")
        assert capsys.readouterr().err.count("fusing the kernels of loss, once") == told


@pytest.mark.slow
def test_what_is_compiled_reads_its_tensors_anew_and_gives_the_same_numbers() -> None:
    """Inductor takes a tensor of one number that is no input for a constant, such as the first row of a ring."""
    if machine_code.compiler() is None:
        pytest.skip("it needs a C++ compiler")
    first, table = torch.tensor(0), torch.arange(40.0).view(10, 4)

    def function(x: Tensor, random: Tensor) -> tuple[Tensor, ...]:
        rows = table[(first + random) % 10]  # [B, 4]
        return x @ rows.T, (rows - x).square().mean(), rows

    x, random = torch.randn(3, 4), torch.tensor([0, 3, 8])
    with torch.no_grad():
        compiled = fused.fused(function, (x, random))
        for number in (0, 5):
            first.fill_(number)
            table.mul_(2)
            fused.check_same(compiled(x, random), function(x, random), 1e-5)
            with pytest.raises(ValueError, match="differ by"):
                fused.check_same(compiled(x, random), function(x, random + 1), 1e-5)
    place = machine_code.folder()
    assert machine_code.size(place) > 0, "it is kept there"
    machine_code.clear(place)
    assert machine_code.size(place) == 0


def test_random_numbers_are_noted_and_given_back_in_order() -> None:
    generator, x = torch.Generator().manual_seed(0), torch.ones(2)

    def draw() -> list[Tensor]:
        return [torch.rand(2, generator=generator) + x, torch.randint(5, (2,), generator=generator)]

    noted = Draws()
    with noted:
        found = draw()
    with Draws(noted.drawn):
        again = draw()
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
    generator.manual_seed(0)
    assert torch.equal(noted.calls[0][0](*noted.calls[0][1], **noted.calls[0][2]) + x, found[0])
    for in_place in (lambda: x.normal_(generator=generator), lambda: torch.bernoulli(x / 2, generator=generator)):
        with pytest.raises(ValueError, match="depend on a tensor"), Draws():
            in_place()


@pytest.mark.gpu
def test_fused_kernels_in_a_cuda_graph_are_the_eager_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    learner, source, buffer = experiment.build(tiny("dqn", tmp_path, device="cuda", compile="always", verify_graph=20))
    while learner.num_updates < 40:
        source.fill(buffer, learner)
        for batch in learner.batches(buffer):
            learner.learn(batch)
    source.close()
    assert isinstance(learner.executor, Recorded) and not learner.executor.refused
    [kept] = learner.executor.recordings.values()
    assert isinstance(kept, FusedRecording) and kept.count >= 30
    assert kept._fused is not None and kept._step is not None, capsys.readouterr().err
