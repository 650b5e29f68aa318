"""A recorded gradient step is the eager one, for every algorithm, and says so when it is not."""

import copy
import gc
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from line import Line, batches, drawn_noise, params
from tiny import ALGORITHMS, GAMES, tiny

from rlgen import experiment
from rlgen.core import frames
from rlgen.core.batch import LazyBatch
from rlgen.core.ring import Tensors
from rlgen.core.step import Eager
from rlgen.errors import RlgenError
from rlgen.speed import recorded
from rlgen.speed.recorded import Recorded

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adamw": {"optimizer": "adamw", "weight_decay": 0.1},
    "rmsprop": {"optimizer": "rmsprop", "momentum": 0.9, "weight_decay": 0.1},
    "sgd": {"optimizer": "sgd", "weight_decay": 0.1},
    "momentum": {"optimizer": "sgd", "momentum": 0.9},
}
LAYERS = {"norm": "layer", "activation": "elu"}
CASES = [
    *((name, {}) for name in ALGORITHMS),
    *((name, options) for options in OPTIMIZERS.values() for name in ("dqn", "ppo", "vae", "gan")),
    *(("gan", options) for options in GAMES.values()),
    *((name, {"rnd": 0.5}) for name in ("dqn", "ppo")),
    *((name, LAYERS | {"norm": norm}) for norm in ("layer", "rms") for name in ("dqn", "ppo", "vae")),
]


@pytest.mark.parametrize(("name", "options"), CASES, ids=[f"{name}-{[*options.values()]}" for name, options in CASES])
def test_recorded_updates_are_those_of_autograd(
    name: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded, "MIN_UPDATES_LEFT", 0)
    learners = []
    for graph in (True, False):
        learner, source, buffer = experiment.build(tiny(name, tmp_path, graph=graph, verify_graph=3, **options))
        while learner.num_updates < 12:
            source.fill(buffer, learner)
            for batch in learner.batches(buffer):
                metrics = learner.learn(batch)
        source.close()
        learners.append((learner, metrics))
    (learner, metrics), (eager, expected) = learners
    assert isinstance(learner.executor, Recorded) and isinstance(eager.executor, Eager)
    assert not learner.executor.refused
    assert sum(recording.count for recording in learner.executor.recordings.values()) >= 11
    for (key, one), other in zip(learner.named_parameters(), eager.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5), key
    for key, value in expected.items():
        assert torch.allclose(metrics[key], value, rtol=1e-4, atol=1e-5), key
    if wanted := options.get("optimizer"):
        assert {type(each).__name__.lower() for each in learner.optimizers().values()} == {wanted}


def test_a_loss_in_bfloat16_is_recorded_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "MIN_UPDATES_LEFT", 0)
    losses = {}
    for precision in ("bf16", "float32"):
        learner, source, buffer = experiment.build(tiny("dqn", tmp_path, precision=precision, verify_graph=20))
        while learner.num_updates < 25:
            source.fill(buffer, learner)
            for batch in learner.batches(buffer):
                metrics = learner.learn(batch)
        source.close()
        assert isinstance(learner.executor, Recorded) and not learner.executor.refused
        assert learner.executor.recordings
        assert all(param.dtype == torch.float32 for param in learner.parameters())
        losses[precision] = metrics["losses/q_values"].item()
    assert losses["bf16"] != losses["float32"]
    assert losses["bf16"] == pytest.approx(losses["float32"], rel=0.2, abs=0.1)


def test_a_gradient_of_nothing_is_no_difference() -> None:
    """0 of 0 once was: a loss that is flat when a recorded step is checked, such as a clipped one."""
    learner = Line()
    batch = next(batches())

    def flat(nets: Any, batch: Any) -> tuple[torch.Tensor, Any]:
        loss, _ = learner.loss(nets, batch)
        return 0 * loss, {"losses/loss": 0 * loss}

    learner.num_updates = 10**6
    before = params(learner)
    for _ in range(12):
        learner.minimize(flat, batch, learner.optimizer)
    assert isinstance(learner.executor, Recorded) and next(iter(learner.executor.recordings.values())).count >= 10
    assert all(torch.equal(a, b) for a, b in zip(params(learner), before, strict=True))


def test_a_loss_that_is_not_finite_is_not_called_impure() -> None:
    learner = Line()
    learner.num_updates = 10**6
    for i, batch in zip(range(12), batches(), strict=False):
        scale = math.inf if i == 10 else 1.0  # the tenth recorded step is checked
        metrics = learner.minimize(learner.loss, batch | {"y": batch["y"] * scale}, learner.optimizer)
        if i == 10:
            assert not metrics["losses/loss"].isfinite()
            break


def test_random_numbers_are_new_in_every_recorded_step() -> None:
    """Others shipped frozen noise."""
    assert len(set(drawn_noise(Line(), 20))) == 20


def test_recording_and_checking_draw_no_numbers_of_their_own() -> None:
    torch.manual_seed(0)
    learner = Line()
    other = copy.deepcopy(learner)
    other.generator, other.executor = copy.copy(learner.generator).clone_state(), Eager()
    other.optimizer = torch.optim.Adam(other.parameters(), lr=1e-2, fused=True)
    for _, batch in zip(range(12), batches(), strict=False):
        for one in (learner, other):
            one.minimize(one.loss, batch, one.optimizer, noise=one.noise)
    assert isinstance(learner.executor, Recorded) and learner.executor.recordings
    assert torch.equal(learner.generator.get_state(), other.generator.get_state())
    assert all(torch.equal(a, b) for a, b in zip(params(learner), params(other), strict=True))


def test_a_loss_that_is_not_pure_is_found_out() -> None:
    learner = Line()
    with pytest.raises(RlgenError, match=r"recorded step 10 of impure_loss differs.*the gradient"):
        for i, batch in zip(range(30), batches(), strict=False):
            learner.scale = 1.0 + i / 10
            learner.minimize(learner.impure_loss, batch, learner.optimizer)


@pytest.mark.parametrize(
    ("options", "loss", "reason"),
    [
        ({"fused": False}, "loss", "fused=True"),
        ({"amsgrad": True}, "loss", "amsgrad"),
        ({"optimizer": torch.optim.Adagrad}, "loss", "Adagrad"),
        ({}, "branching_loss", "control flow|data-dependent|bool"),
    ],
)
def test_what_cannot_be_recorded_runs_eagerly_and_is_named(
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
    assert re.search(reason, err), err


def test_batches_of_ever_new_sizes_are_not_recorded_for_ever() -> None:
    learner = Line()
    for size in range(2, 20):
        learner.minimize(learner.loss, next(batches(size)), learner.optimizer)
    assert isinstance(learner.executor, Recorded)
    assert "sizes" in learner.executor.refused["loss"]
    assert len(learner.executor.recordings) <= recorded.MAX_SIZES


def test_a_loaded_optimizer_is_the_one_that_moves() -> None:
    """`load_state_dict` puts other tensors into an optimizer: the recorded ones are stale."""
    torch.manual_seed(0)
    learner = Line()
    stream = batches()
    for _ in range(3):
        learner.minimize(learner.loss, next(stream), learner.optimizer)
    assert isinstance(learner.executor, Recorded) and learner.executor.recordings
    saved = copy.deepcopy(learner.state_dict())
    batch = next(stream)
    learner.minimize(learner.loss, batch, learner.optimizer)
    expected = params(learner)
    learner.load_state_dict(saved)
    learner.minimize(learner.loss, batch, learner.optimizer)
    assert all(torch.equal(a, b) for a, b in zip(params(learner), expected, strict=True))
    assert learner.optimizer.state[learner.net.weight]["step"] == 4


def test_a_short_run_is_not_recorded() -> None:
    learner = Line()
    learner.num_updates, learner.progress = 100, 0.5  # 100 to come
    for _, batch in zip(range(3), batches(), strict=False):
        learner.minimize(learner.loss, batch, learner.optimizer)
    assert isinstance(learner.executor, Recorded) and not learner.executor.recordings


def test_values_of_every_sample_are_those_of_the_eager_step() -> None:
    torch.manual_seed(0)
    one = Line()
    other = copy.deepcopy(one)
    other.executor = Eager()
    other.optimizer = torch.optim.Adam(other.parameters(), lr=1e-2, fused=True)
    for _, batch in zip(range(4), batches(), strict=False):
        for learner in (one, other):
            metrics = learner.minimize(learner.per_sample_loss, batch, learner.optimizer)
            assert metrics.keys() == {"losses/loss"}
            assert learner.per_sample.keys() == {"error"} and learner.per_sample["error"].shape == (8,)
        assert torch.equal(one.per_sample["error"], other.per_sample["error"])
    assert isinstance(one.executor, Recorded) and one.executor.recordings and not one.executor.refused


def test_a_parameter_that_the_loss_does_not_reach_moves_the_same_way_recorded() -> None:
    """Adam's momentum moves it on: left out of the step it would stand still."""
    torch.manual_seed(0)
    one = Line()
    other = copy.deepcopy(one)
    other.executor = Eager()
    other.optimizer = torch.optim.Adam(other.parameters(), lr=1e-2, fused=True)
    stream = batches()
    for loss in ("loss", "without_bias", "without_bias", "without_bias"):
        batch, bias = next(stream), one.net.bias.item()
        for learner in (one, other):
            learner.minimize(getattr(learner, loss), batch, learner.optimizer, max_grad_norm=0.5)
        assert one.net.bias.item() != bias
        assert all(torch.equal(a, b) for a, b in zip(params(one), params(other), strict=True))
    assert isinstance(one.executor, Recorded) and not one.executor.refused
    assert [key[0] for key in one.executor.recordings] == ["without_bias"]


def test_random_numbers_may_come_in_another_order_than_they_were_recorded_in() -> None:
    """They belong to their names; a recording has none, and once took one for the other."""
    learner = Line()

    def noise(batch: Any) -> Any:
        numbers = {"one": torch.ones(8), "two": torch.full((8,), 2.0)}
        return dict(reversed(({**batch} | numbers).items())) if learner.num_updates > 3 else {**batch} | numbers

    def loss(nets: Any, batch: Any) -> tuple[torch.Tensor, Any]:
        value, metrics = learner.loss(nets, batch)
        return value, metrics | {"losses/one": batch["one"].mean()}

    for i, batch in zip(range(1, 7), batches(), strict=False):
        learner.num_updates = i
        assert learner.minimize(loss, batch, learner.optimizer, noise=noise)["losses/one"] == 1
    assert isinstance(learner.executor, Recorded) and not learner.executor.refused
    assert next(iter(learner.executor.recordings.values())).count >= 4


def test_metrics_of_a_recorded_step_are_ordinary_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without TorchScript too: a log adds them up in place, and a second loss may read the first one's values."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("TorchScript does not take this")

    monkeypatch.setattr(torch.jit, "trace", refuse)
    learner = Line()
    for _, batch in zip(range(4), batches(), strict=False):
        metrics = learner.minimize(learner.per_sample_loss, batch, learner.optimizer)
        metrics["losses/loss"].add_(1.0)
        weight = torch.ones(8, requires_grad=True)
        (weight * learner.per_sample["error"]).sum().backward()
        assert torch.equal(weight.grad, learner.per_sample["error"])  # type: ignore[arg-type]
    assert isinstance(learner.executor, Recorded) and learner.executor.recordings and not learner.executor.refused


def test_lazy_batches_are_recorded_anew_when_the_ring_replaces_its_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way of a GPU, on the CPU: the table of final observations grows several times, each time with a new key."""
    monkeypatch.setattr(recorded, "MIN_UPDATES_LEFT", 0)
    monkeypatch.setattr(frames, "FINAL_BYTES", 0)
    learner, source, buffer = experiment.build(
        tiny("dqn", tmp_path, buffer_size=5_000, learning_starts=64, batch_size=8)
    )
    buffer.backend = Tensors(learner.generator)
    layouts = set()
    while learner.num_updates < 700:
        source.fill(buffer, learner)
        for batch in learner.batches(buffer):
            assert isinstance(batch, LazyBatch)
            learner.learn(batch)
            layouts.add(batch.key)
    source.close()
    assert len(layouts) > 3
    assert isinstance(learner.executor, Recorded) and not learner.executor.refused
    assert len(learner.executor.recordings) == 1, "recordings of replaced tensors are let go"


@pytest.mark.gpu
@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_cuda_graph_equals_the_eager_step(name: str, tmp_path: Path) -> None:
    learner, source, buffer = experiment.build(tiny(name, tmp_path, device="cuda", verify_graph=20))
    while learner.num_updates < 40:
        source.fill(buffer, learner)
        for batch in learner.batches(buffer):
            learner.learn(batch)
    source.close()
    assert isinstance(learner.executor, Recorded) and not learner.executor.refused
    assert sum(recording.count for recording in learner.executor.recordings.values()) >= 30


@pytest.mark.gpu
def test_random_numbers_differ_at_every_replay_of_a_cuda_graph() -> None:
    with torch.device("cuda"):
        learner = Line()
    assert len(set(drawn_noise(learner, 20))) == 20


@pytest.mark.gpu
def test_a_step_that_cannot_be_captured_runs_eagerly_and_random_numbers_go_on(capsys: pytest.CaptureFixture) -> None:
    """Before torch 2.13 a generator stayed in the capture that had failed, and the next number was an error."""
    with torch.device("cuda"):
        learner = Line()
    learner.noise = lambda batch: {**batch, "noise": torch.randn(8, generator=learner.generator, device="cuda")}  # type: ignore[method-assign]
    batch = {name: value.cuda() for name, value in next(batches()).items()}
    for _ in range(10):
        learner.minimize(learner.branching_loss, batch, learner.optimizer, noise=learner.noise)
    assert isinstance(learner.executor, Recorded) and list(learner.executor.refused) == ["branching_loss"]
    assert capsys.readouterr().err.count("not recorded") == 1
    assert len(set(drawn_noise(learner, 10))) == 10


@pytest.mark.gpu
def test_a_capture_that_fails_leaves_other_recordings_and_generators_alone() -> None:
    """Before torch 2.13 generators stay in it: the next replay of another graph was an error."""
    with torch.device("cuda"):
        learner = Line()
    batch = {name: value.cuda() for name, value in next(batches()).items()}
    offsets = []

    def noise(batch: dict) -> dict:
        return {**batch, "noise": torch.randn(8, generator=learner.generator, device="cuda")}

    for number in range(20):
        if number == 12:
            for _ in range(5):
                learner.minimize(learner.branching_loss, batch, learner.optimizer, noise=noise)
        before = learner.generator.get_offset()
        learner.minimize(learner.loss, batch, learner.optimizer, noise=noise)
        offsets.append(learner.generator.get_offset() - before)
    assert isinstance(learner.executor, Recorded) and list(learner.executor.refused) == ["branching_loss"]
    assert len(learner.executor.recordings) == 1
    assert len(set(offsets)) == 1 and offsets[0] > 0, "every step draws, recorded or not"
    torch.randn(1, device="cuda")  # torch's own generator was in the capture too


@pytest.mark.gpu
def test_garbage_does_not_end_a_capture() -> None:
    """A graph that a garbage collection destroys while another is captured ended the capture."""
    with torch.device("cuda"):
        learner = Line()
    batch = {name: value.cuda() for name, value in next(batches()).items()}

    def loss(nets: Line, batch: dict) -> tuple[torch.Tensor, dict]:
        if torch.cuda.is_current_stream_capturing():
            gc.set_threshold(1, 1, 1)
            [[] for _ in range(1000)]
        return learner.loss(nets, batch)

    for _ in range(6):
        learner.minimize(learner.loss, batch, learner.optimizer)
    assert isinstance(learner.executor, Recorded)
    threshold = gc.get_threshold()
    gc.set_threshold(0)
    garbage = [learner.executor.recordings.popitem()[1]]
    garbage.append(garbage)  # type: ignore[arg-type]
    del garbage
    try:
        for _ in range(6):
            learner.minimize(loss, batch, learner.optimizer)
    finally:
        gc.set_threshold(*threshold)
    assert not learner.executor.refused and len(learner.executor.recordings) == 1
