"""A replayed gradient step is the step as it is, for every algorithm, and says so when it is not."""

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from test_algorithms import ALGORITHMS, assert_equal, tiny
from torch import nn

from rlgen import experiment
from rlgen.core import buffer as ring
from rlgen.core.learner import Batch, Learner
from rlgen.errors import RlgenError
from rlgen.options import algorithms as registry
from rlgen.speed import recorded as replay
from rlgen.speed.recorded import Lazy, Replay


class Line(Learner):
    """Fits a line, with whatever optimizer and loss a test wants."""

    def __init__(self, optimizer: Any = torch.optim.Adam, **options: Any) -> None:
        super().__init__(None)
        self.net = nn.Linear(3, 1)
        self.scale = 1.0
        self.optimizer = optimizer(self.net.parameters(), lr=1e-2, **({"fused": True} | options))
        self.replay = Replay()

    def loss(self, nets: Any, batch: Batch) -> tuple[torch.Tensor, Batch]:
        loss = (nets.net(batch["x"]).squeeze(-1) - batch["y"]).square().mean()
        return loss, {"losses/loss": loss}

    def impure_loss(self, nets: Any, batch: Batch) -> tuple[torch.Tensor, Batch]:
        loss, metrics = self.loss(nets, batch)
        return self.scale * loss, metrics

    def branching_loss(self, nets: Any, batch: Batch) -> tuple[torch.Tensor, Batch]:
        loss, metrics = self.loss(nets, batch)
        return (loss if loss > 0 else -loss), metrics

    def noise(self, batch: Batch) -> Batch:
        return {**batch, "x": batch["x"] + torch.randn(batch["x"].shape, generator=self.generator)}


def batches(size: int = 8) -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(0)
    while True:
        x = torch.randn(size, 3, generator=generator)
        yield {"x": x, "y": x.sum(-1)}


def params(learner: Learner) -> list[torch.Tensor]:
    return [param.detach().clone() for param in learner.parameters()]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_replayed_updates_are_those_of_autograd(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "REPAID", 0)
    learners = []
    for graph in (True, False):
        learner, source, buffer = experiment.build(tiny(name, tmp_path, graph=graph, verify_graph=3))
        while learner.num_updates < 12:
            source.fill(buffer, learner)
            for batch in learner.batches(buffer):
                metrics = learner.update(batch)
        source.close()
        learners.append((learner, metrics))
    (replayed, metrics), (eager, expected) = learners
    assert isinstance(replayed.replay, Replay) and eager.replay is None
    assert not replayed.replay.refused
    assert sum(step.count for step in replayed.replay._steps.values()) >= 11
    for (key, one), other in zip(replayed.named_parameters(), eager.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5), key
    for key, value in expected.items():
        assert torch.allclose(metrics[key], value, rtol=1e-4, atol=1e-5), key


def test_a_loss_in_bfloat16_is_replayed_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "REPAID", 0)
    losses = {}
    for precision in ("bf16", "float32"):
        learner, source, buffer = experiment.build(tiny("dqn", tmp_path, precision=precision, verify_graph=20))
        while learner.num_updates < 25:
            source.fill(buffer, learner)
            for batch in learner.batches(buffer):
                metrics = learner.update(batch)
        source.close()
        assert isinstance(learner.replay, Replay) and not learner.replay.refused
        assert all(param.dtype == torch.float32 for param in learner.parameters())
        losses[precision] = metrics["losses/q_values"].item()
    assert losses["bf16"] != losses["float32"]
    assert losses["bf16"] == pytest.approx(losses["float32"], rel=0.2, abs=0.1)


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW])
def test_adam_moves_as_its_optimizer_does(optimizer: Any) -> None:
    torch.manual_seed(0)
    one = Line(optimizer, weight_decay=0.1, betas=(0.8, 0.95))
    other = copy.deepcopy(one)
    other.optimizer = optimizer(other.parameters(), lr=1e-2, fused=True, weight_decay=0.1, betas=(0.8, 0.95))
    other.replay = None
    for i, batch in zip(range(20), batches(), strict=False):
        for learner in (one, other):
            learner.optimizer.param_groups[0]["lr"] = 1e-2 / (i + 1)  # a schedule reaches the recorded step
            learner.minimize(learner.loss, batch, learner.optimizer, max_grad_norm=0.5)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(params(one), params(other), strict=True))
    assert_equal(one.state_dict()["_extra_state"]["optimizers"], other.state_dict()["_extra_state"]["optimizers"])


def drawn_noise(learner: Line, num: int) -> list[float]:
    """The first random number of each of so many steps, as the loss saw it."""
    device = learner.device

    def draw(batch: Batch) -> Batch:
        return {**batch, "noise": torch.randn(8, generator=learner.generator, device=device)}

    def loss(nets: Any, batch: Batch) -> tuple[torch.Tensor, Batch]:
        return learner.loss(nets, batch)[0], {"losses/noise": batch["noise"][0]}

    batch = {name: value.to(device) for name, value in next(batches()).items()}
    return [learner.minimize(loss, batch, learner.optimizer, draw=draw)["losses/noise"].item() for _ in range(num)]


def test_a_gradient_of_nothing_is_no_difference() -> None:
    """0 of 0 once was: a loss that is flat when a replay is checked, such as a clipped one."""
    learner = Line()
    batch = next(batches())

    def flat(nets: Any, batch: Batch) -> tuple[torch.Tensor, Batch]:
        loss, _ = learner.loss(nets, batch)
        return 0 * loss, {"losses/loss": 0 * loss}

    learner.num_updates = 10**6
    before = params(learner)
    for _ in range(12):
        learner.minimize(flat, batch, learner.optimizer)
    assert isinstance(learner.replay, Replay) and next(iter(learner.replay._steps.values())).count >= 10
    assert all(torch.equal(a, b) for a, b in zip(params(learner), before, strict=True))


def test_a_loss_that_is_not_finite_is_not_called_impure() -> None:
    learner = Line()
    learner.num_updates = 10**6
    for i, batch in zip(range(12), batches(), strict=False):
        scale = math.inf if i == 10 else 1.0  # the tenth replay is checked
        metrics = learner.minimize(learner.loss, batch | {"y": batch["y"] * scale}, learner.optimizer)
        if i == 10:
            assert not metrics["losses/loss"].isfinite()
            break


def test_random_numbers_are_new_in_every_replay() -> None:
    """Others shipped frozen noise."""
    assert len(set(drawn_noise(Line(), 20))) == 20


def test_recording_and_checking_draw_no_numbers_of_their_own() -> None:
    torch.manual_seed(0)
    learner = Line()
    other = copy.deepcopy(learner)
    other.generator, other.replay = copy.copy(learner.generator).clone_state(), None
    other.optimizer = torch.optim.Adam(other.parameters(), lr=1e-2, fused=True)
    for _, batch in zip(range(12), batches(), strict=False):
        for one in (learner, other):
            one.minimize(one.loss, batch, one.optimizer, draw=one.noise)
    assert torch.equal(learner.generator.get_state(), other.generator.get_state())
    assert all(torch.equal(a, b) for a, b in zip(params(learner), params(other), strict=True))


def test_a_loss_that_is_not_pure_is_found_out() -> None:
    learner = Line()
    with pytest.raises(RlgenError, match=r"replay 10 of impure_loss differs.*the gradient"):
        for i, batch in zip(range(30), batches(), strict=False):
            learner.scale = 1.0 + i / 10
            learner.minimize(learner.impure_loss, batch, learner.optimizer)


@pytest.mark.parametrize(
    ("options", "loss", "reason"),
    [
        ({"fused": False}, "loss", "fused=True"),
        ({"amsgrad": True}, "loss", "amsgrad"),
        ({"optimizer": torch.optim.SGD}, "loss", "SGD"),
        ({}, "branching_loss", "control flow|data-dependent|bool"),
    ],
)
def test_what_cannot_be_recorded_runs_as_it_is_and_is_named(
    options: dict[str, Any], loss: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    learner = Line(**options)
    before = params(learner)
    for _, batch in zip(range(5), batches(), strict=False):
        last = params(learner)
        learner.minimize(getattr(learner, loss), batch, learner.optimizer)
        assert not torch.equal(params(learner)[0], last[0])
    assert not torch.equal(params(learner)[0], before[0])
    err = capsys.readouterr().err
    assert err.count("note:") == 1, "once"
    assert loss in err
    assert pytest.importorskip("re").search(reason, err), err


def test_batches_of_ever_new_sizes_are_not_recorded_for_ever() -> None:
    learner = Line()
    for size in range(2, 20):
        learner.minimize(learner.loss, next(batches(size)), learner.optimizer)
    assert isinstance(learner.replay, Replay)
    assert "sizes" in learner.replay.refused["loss"]
    assert len(learner.replay._steps) <= replay.MAX_SHAPES


def test_a_loaded_optimizer_is_the_one_that_moves() -> None:
    """`load_state_dict` puts other tensors into an optimizer: the recorded ones are stale."""
    torch.manual_seed(0)
    learner = Line()
    stream = batches()
    for _ in range(3):
        learner.minimize(learner.loss, next(stream), learner.optimizer)
    saved = copy.deepcopy(learner.state_dict())
    batch = next(stream)
    learner.minimize(learner.loss, batch, learner.optimizer)
    expected = params(learner)
    learner.load_state_dict(saved)
    learner.minimize(learner.loss, batch, learner.optimizer)
    assert all(torch.equal(a, b) for a, b in zip(params(learner), expected, strict=True))
    assert learner.optimizer.state[learner.net.weight]["step"] == 4


def test_a_short_run_is_not_recorded(tmp_path: Path) -> None:
    learner = Line()
    learner.num_updates, learner.progress = 100, 0.5  # 100 to come
    for _, batch in zip(range(3), batches(), strict=False):
        learner.minimize(learner.loss, batch, learner.optimizer)
    assert isinstance(learner.replay, Replay) and not learner.replay._steps


def test_a_lazy_batch_is_drawn_once_and_only_if_read() -> None:
    drawn = []

    def draw() -> Batch:
        drawn.append(1)
        return {"x": torch.ones(2)}

    batch = Lazy(draw, 2, None)
    assert not drawn
    assert batch["x"].sum() == 2 and list(batch) == ["x"] and len(batch) == 1
    assert drawn == [1]


def test_lazy_batches_are_recorded_anew_when_the_ring_replaces_its_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way of a GPU, on the CPU: the table of final observations grows several times, each time with a new key."""
    monkeypatch.setattr(replay, "REPAID", 0)
    monkeypatch.setattr(ring, "FINAL_BYTES", 0)
    learner, source, buffer = experiment.build(
        tiny("dqn", tmp_path, buffer_size=5_000, learning_starts=64, batch_size=8)
    )
    buffer._on_cpu = False
    layouts: list[object] = []  # kept, so that no two have one address
    while learner.num_updates < 700:
        source.fill(buffer, learner)
        for batch in learner.batches(buffer):
            assert isinstance(batch, Lazy)
            learner.update(batch)
            if buffer.layout not in layouts:
                layouts.append(buffer.layout)
    source.close()
    assert len(layouts) > 3
    assert isinstance(learner.replay, Replay) and not learner.replay.refused
    assert len(learner.replay._steps) == 1, "recordings of replaced tensors are let go"


@pytest.mark.gpu
@pytest.mark.parametrize("name", sorted(registry.names()))
def test_a_cuda_graph_equals_the_step_as_it_is(name: str, tmp_path: Path) -> None:
    learner, source, buffer = experiment.build(tiny(name, tmp_path, device="cuda", verify_graph=20))
    while learner.num_updates < 40:
        source.fill(buffer, learner)
        for batch in learner.batches(buffer):
            learner.update(batch)
    source.close()
    assert isinstance(learner.replay, Replay) and not learner.replay.refused
    assert sum(step.count for step in learner.replay._steps.values()) >= 30


@pytest.mark.gpu
def test_random_numbers_differ_at_every_replay_of_a_cuda_graph() -> None:
    with torch.device("cuda"):
        learner = Line()
    assert len(set(drawn_noise(learner, 20))) == 20


@pytest.mark.gpu
def test_a_step_that_cannot_be_captured_runs_as_it_is_and_random_numbers_go_on(capsys: pytest.CaptureFixture) -> None:
    """Before torch 2.13 a generator stayed in the capture that had failed, and the next number was an error."""
    with torch.device("cuda"):
        learner = Line()
    learner.noise = lambda batch: {**batch, "noise": torch.randn(8, generator=learner.generator, device="cuda")}  # type: ignore[method-assign]
    batch = {name: value.cuda() for name, value in next(batches()).items()}
    for _ in range(10):
        learner.minimize(learner.branching_loss, batch, learner.optimizer, draw=learner.noise)
    assert isinstance(learner.replay, Replay) and list(learner.replay.refused) == ["branching_loss"]
    assert capsys.readouterr().err.count("not recorded") == 1
    assert len(set(drawn_noise(learner, 10))) == 10
