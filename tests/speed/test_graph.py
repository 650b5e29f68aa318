"""A step as a graph, which draws its own batch.

There is no GPU here. A CUDA graph is simulated, see `fake_graph`; the buffer draws as it does on a GPU.
"""

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fake_graph import GraphOptimizer, record_graph
from gymnasium.spaces import Box
from line import Line, batches, params
from specs import spec_of
from tiny import assert_equal
from torch import Tensor, nn
from transitions import make_buffer

from agents import btr, dqn, ppo
from generative import gan
from rlgen.core.batch import Batch, LazyBatch
from rlgen.core.buffer import Buffer
from rlgen.core.learner import Learner
from rlgen.core.ring import Tensors
from rlgen.core.step import Eager
from rlgen.data.images import ImageSpec
from rlgen.envs.spec import EnvSpec
from rlgen.runs.sums import Sums
from rlgen.speed import fused, graph, recorded, recording, stacked
from rlgen.speed.fused import FusedRecording
from rlgen.speed.graph import GraphRecording
from rlgen.speed.recorded import Recorded
from rlgen.speed.stacked import Together

SPEC = EnvSpec("Toy-v0", (3,), "float32", 2, (), (), (), num_envs=2)


@pytest.fixture(autouse=True)
def _record_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "MIN_UPDATES_LEFT", 0)


class Graphs(Recorded):
    """Records (simulated) CUDA graphs, and keeps those that became stale.

    Attributes:
        kind: of recordings.
        made: name of a loss and recording, in order.
    """

    kind: type[GraphRecording] = GraphRecording

    def __init__(self, verify: int = 0, record: Any = None) -> None:
        super().__init__(verify, self.record_and_keep)
        self.made: list[tuple[str, GraphRecording]] = []

    def record_and_keep(self, steps: Any, stacked: Any) -> GraphRecording:
        self.made.append((steps[0].loss.__name__, made := record_graph(steps, stacked, self.kind)))
        assert not isinstance(made, FusedRecording) or made._fused, "it did not fall back to what it should do without"
        return self.made[-1][1]

    def counts(self) -> dict[str, int]:
        """How many steps of each loss were taken with a graph."""
        return {name: sum(each.count for other, each in self.made if other == name) for name, _ in self.made}


class FusedGraphs(Graphs):
    """The same as one pure function of all that a step reads, as a compiler gets it."""

    kind = FusedRecording


@pytest.fixture(params=[Graphs, FusedGraphs], ids=["graph", "fused"])
def graphs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[Graphs]:
    """Executors that record graphs; what moves parameters is as it is on a GPU. Nothing is compiled."""
    monkeypatch.setattr(recording, "FastOptimizer", GraphOptimizer)
    monkeypatch.setattr(fused, "inductor", lambda recorded, tensors: recorded)
    kind: type[Graphs] = request.param
    return kind


def rows(num: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Steps of two environments; episodes end at random."""
    rng = np.random.default_rng(seed)
    for _ in range(num):
        obs, next_obs = rng.normal(size=(2, 2, 3)).astype(np.float32)
        terminated, truncated = rng.random((2, 2)) < 0.1
        step = {"obs": obs, "action": rng.integers(0, 2, 2), "reward": rng.normal(size=2).astype(np.float32)}
        yield step | {"next_obs": next_obs, "terminated": terminated, "truncated": truncated & ~terminated}


class TwoReaders(Learner):
    """Reads every batch three times: in two losses, and after its update."""

    def __init__(self, second: Any = torch.optim.Adam) -> None:
        super().__init__(None)
        self.one, self.other = nn.Linear(3, 1), nn.Linear(3, 1)
        self.optimizer = torch.optim.Adam(self.one.parameters(), lr=1e-2, fused=True)
        self.other_optimizer = second(self.other.parameters(), lr=1e-2)
        self.seen: list[dict[str, Tensor]] = []

    def first_loss(self, nets: Any, batch: Batch) -> tuple[Tensor, Batch]:
        loss = (nets.one(batch["obs"]).squeeze(-1) - batch["reward"]).square().mean()
        return loss, {"losses/first": loss, "first": batch["index"]}

    def second_loss(self, nets: Any, batch: Batch) -> tuple[Tensor, Batch]:
        error = nets.other(batch["next_obs"]).squeeze(-1) - nets.one(batch["obs"]).squeeze(-1)  # [B]
        return error.square().mean(), {"losses/second": error.square().mean(), "second": batch["index"]}

    def batches(self, buffer: Buffer) -> Iterator[Batch]:
        batch = buffer.sample(16)
        assert isinstance(batch, LazyBatch) and batch.tensors is None
        yield batch
        self.seen.append(copied({"after": batch["index"], **self.per_sample}))

    def update(self, batch: Batch) -> Batch:
        metrics = self.minimize(self.first_loss, batch, self.optimizer)
        return metrics | self.minimize(self.second_loss, batch, self.other_optimizer)


def copied(batch: Batch) -> Batch:
    """As the log does: a graph writes its outputs again."""
    return {name: value.clone() for name, value in batch.items()}


def assert_close(one: Any, other: Any) -> None:
    """The order of a gradient's sums is not the same everywhere."""
    for (name, param), expected in zip(one.named_parameters(), other.parameters(), strict=True):
        assert torch.allclose(param, expected, atol=1e-6, rtol=1e-5), name


def twins(make: Callable[[], Any], executor: Any, num: int, fill: Callable[[Buffer, int], None]) -> tuple[Any, Any]:
    """Let a learner and its eager twin learn from equal buffers that draw as on a GPU, with equal random numbers.

    Args:
        make: an algorithm's learner.
        executor: of the first.
        num: turns, in each of which at least one update is due.
        fill: puts into a buffer what comes in each turn.
    """
    learners, buffers = [], []
    for each in (executor, Eager()):
        torch.manual_seed(0)
        learners.append(make())
        learners[-1].executor = each
        buffers.append(learners[-1].make_buffer())
        buffers[-1].backend = Tensors(learners[-1].generator)
    for i in range(num):
        found: list[list[Batch]] = []
        for learner, buffer in zip(learners, buffers, strict=True):
            learner.progress = i / num
            fill(buffer, i)
            found.append([copied(learner.learn(batch)) for batch in learner.batches(buffer)])
        for one, other in zip(*found, strict=True):
            assert one.keys() == other.keys()
            for name, value in one.items():
                assert torch.allclose(value, other[name].float(), atol=1e-5, rtol=1e-4), (name, i)
        assert torch.equal(learners[0].generator.get_state(), learners[1].generator.get_state())
        assert_close(*learners)
    return learners[0], learners[1]


class ReadersOfRows(TwoReaders):
    def make_buffer(self) -> Buffer:
        return Buffer(60, n_step=2, generator=self.generator)


def add_rows(buffer: Buffer, turn: int) -> None:
    buffer.add(*rows(6, turn))  # the ring is full after five turns, and then forgets its oldest rows


@pytest.mark.parametrize("second", ["graph", "eager"])
def test_a_batch_drawn_inside_the_graph_of_its_first_loss_is_the_batch_for_everybody(
    second: str, graphs: type[Graphs]
) -> None:
    """For a second loss, whether it is a graph or not, and for code after the `yield`."""
    other = {"graph": lambda *a, **o: torch.optim.Adam(*a, fused=True, **o), "eager": torch.optim.SGD}[second]
    executor = graphs()
    learner, twin = twins(lambda: ReadersOfRows(other), executor, 21, add_rows)
    assert executor.counts() == {"first_loss": 20} | ({"second_loss": 20} if second == "graph" else {})
    assert list(executor.refused) == ([] if second == "graph" else ["second_loss"])
    assert len(learner.seen) == 21
    for seen, expected in zip(learner.seen, twin.seen, strict=True):
        assert torch.equal(seen["after"], expected["after"]), "what an eager learner draws"
        assert torch.equal(seen["first"].long(), seen["after"]), "of the first loss"
        assert torch.equal(seen["second"].long(), seen["after"]), "of the second loss"
    draws = {tuple(seen["after"].tolist()) for seen in learner.seen}
    assert len(draws) == 21, "and every update drew anew"


def test_every_check_of_a_graph_leaves_the_batch_as_it_was_drawn(graphs: type[Graphs]) -> None:
    executor = graphs(verify=100)
    learner, twin = twins(lambda: ReadersOfRows(fused_adam), executor, 12, add_rows)
    assert executor.counts() == {"first_loss": 11, "second_loss": 11}
    for seen, expected in zip(learner.seen, twin.seen, strict=True):
        for name in ("after", "first", "second"):
            assert torch.equal(seen[name].long(), expected[name].long()), name


def fused_adam(params: Any, **options: Any) -> torch.optim.Adam:
    return torch.optim.Adam(params, fused=True, **options)


@pytest.mark.parametrize(("n_step", "prioritized"), [(1, False), (3, False), (3, True)])
def test_dqn_through_graphs_is_dqn(n_step: int, prioritized: bool, graphs: type[Graphs]) -> None:
    """Target networks, learning rates and a table of last observations that grows, so that graphs become stale."""
    cfg = dqn.Config(
        learning_starts=10, train_every=12, gradient_steps=2, batch_size=8, buffer_size=200, target_every=30,
        hidden=(8,), n_step=n_step, lr=1e-2, double=True, prioritized=prioritized,
    )  # fmt: skip
    executor = graphs()
    learner, _ = twins(lambda: dqn.DQN(cfg, SPEC), executor, 20, add_rows)
    assert not executor.refused and learner.num_updates > 30
    assert executor.counts() == {"loss": learner.num_updates - 1}
    assert len(executor.made) > 1 and len(executor.recordings) == 1


@pytest.mark.slow
def test_btr_through_graphs_is_btr(graphs: type[Graphs]) -> None:
    """Pictures are moved where they are drawn; power iteration goes on in the memory that a graph reads."""
    spec = spec_of(Box(0, 255, (9, 9, 3), np.uint8), num_actions=3)
    cfg = btr.Config(
        learning_starts=10, train_every=12, batch_size=8, buffer_size=200, target_every=60, hidden=(8,), lr=1e-2,
        cnn_width=0.25, cnn_depth=1, cnn_pool=3, shift=2,
    )  # fmt: skip

    def fill(buffer: Buffer, turn: int) -> None:
        rng = np.random.default_rng(turn)
        for row in rows(6, turn):
            obs, next_obs = rng.integers(0, 256, (2, 2, 9, 9, 3), dtype=np.uint8)
            buffer.add(row | {"obs": obs, "next_obs": next_obs})

    executor = graphs()
    learner, twin = twins(lambda: btr.BTR(cfg, spec), executor, 14, fill)
    assert not executor.refused and learner.num_updates > 10
    assert executor.counts() == {"loss": learner.num_updates - 1}
    vectors = {name: value for name, value in learner.named_buffers() if name.endswith((".u", ".v"))}
    assert len(vectors) == 24, "of four layers, in three networks"
    for name, value in vectors.items():
        torch.testing.assert_close(value, twin.get_buffer(name), atol=1e-4, rtol=1e-3)


def test_gan_through_graphs_is_a_gan(graphs: type[Graphs]) -> None:
    """Two losses of one batch, each with noise of its own."""
    images = torch.randint(256, (40, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))

    def fill(buffer: Buffer, turn: int) -> None:
        if turn == 0:
            buffer.add({"image": images})

    executor = graphs()
    cfg = gan.Config(batch_size=8, width=4, num_hidden=8, latent=4)
    twins(lambda: gan.GAN(cfg, ImageSpec((1, 8, 8))), executor, 21, fill)
    assert executor.counts() == {"d_loss": 20, "g_loss": 20} and not executor.refused


def test_ppo_through_graphs_is_ppo(graphs: type[Graphs]) -> None:
    """Its batches are given, and are copied to where the graph reads them."""
    cfg = ppo.Config(rollout_steps=16, batch_size=8, num_epochs=2, hidden=(8,))

    def fill(buffer: Buffer, turn: int) -> None:
        buffer.add(*rows(8, turn))

    executor = graphs()
    twins(lambda: ppo.PPO(cfg, SPEC), executor, 5, fill)
    assert executor.counts() == {"loss": 19} and not executor.refused


@pytest.mark.parametrize("name", ["readers", "dqn", "prioritized", "gan"])
def test_graphs_of_stacked_seeds_are_each_seed_alone(
    name: str, graphs: type[Graphs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacked, "Recorded", graphs)
    monkeypatch.setattr(stacked, "stackable", lambda learner: True)
    dqn_cfg = dqn.Config(
        learning_starts=10, train_every=12, batch_size=8, buffer_size=60, target_every=30, hidden=(8,),
        prioritized=name == "prioritized",
    )  # fmt: skip
    gan_cfg = gan.Config(batch_size=8, width=4, num_hidden=8, latent=4)
    make = {
        "readers": lambda: ReadersOfRows(fused_adam),
        "dqn": lambda: dqn.DQN(dqn_cfg, SPEC),
        "prioritized": lambda: dqn.DQN(dqn_cfg, SPEC),
        "gan": lambda: gan.GAN(gan_cfg, ImageSpec((1, 8, 8))),
    }[name]

    def fill(buffer: Buffer, seed: int, turn: int) -> None:
        if name != "gan":
            buffer.add(*rows(6, 100 * seed + turn))
        elif turn == 0:
            generator = torch.Generator().manual_seed(seed)
            buffer.add({"image": torch.randint(256, (40, 1, 8, 8), dtype=torch.uint8, generator=generator)})

    def run(seed: int, executor: Any) -> Any:
        torch.manual_seed(seed)
        learner = make()
        learner.executor, buffer = executor, learner.make_buffer()
        buffer.backend = Tensors(learner.generator)
        nouns = SimpleNamespace(learner=learner, metrics=[])

        def body() -> Any:
            for turn in range(15):
                fill(buffer, seed, turn)
                for batch in learner.batches(buffer):
                    nouns.metrics.append(copied(learner.learn(batch)))
            return nouns

        return body

    together = Together(verify=2)
    side_by_side: Any = together.run([run(seed, together) for seed in range(2)])
    alone = [run(seed, Eager())() for seed in range(2)]
    assert isinstance(together.recorded, Graphs) and not together.recorded.refused
    updates = alone[0].learner.num_updates
    assert set(together.recorded.counts().values()) == {updates - 1} and updates >= 13
    for one, other in zip(side_by_side, alone, strict=True):
        assert not isinstance(one, BaseException), one
        for metrics, expected in zip(one.metrics, other.metrics, strict=True):
            for key, value in expected.items():
                torch.testing.assert_close(metrics[key], value.float(), atol=1e-4, rtol=1e-3, msg=key)
        for key, (a, b) in enumerate(zip(one.learner.parameters(), other.learner.parameters(), strict=True)):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3, msg=str(key))
        if name == "readers":
            for seen, own in zip(one.learner.seen, other.learner.seen, strict=True):
                for key in ("after", "first", "second"):
                    assert torch.equal(seen[key].long(), own["after"]), "each seed its own batch"


def test_a_graph_draws_from_the_buffer_that_its_batch_is_of(graphs: type[Graphs]) -> None:
    """An algorithm may have two, of demonstrations and of its own steps, and equal batch sizes."""
    learner, buffers = Line(), [make_buffer(40, as_on_gpu=True) for _ in range(2)]
    learner.executor = graphs()
    for i, buffer in enumerate(buffers):
        buffer.backend.generator = learner.generator
        buffer.add({"x": torch.full((5, 3), float(i))})

    def loss(nets: Any, batch: Batch) -> tuple[Tensor, Batch]:
        value = nets.net(batch["x"]).square().mean()
        return value, {"losses/loss": value, "losses/x": batch["x"].mean()}

    for _ in range(5):
        for i, buffer in enumerate(buffers):
            assert learner.minimize(loss, buffer.sample(4), learner.optimizer)["losses/x"] == i


class Alike(Line):
    """Two of its parameters have one gradient, in one piece of memory."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Parameter(torch.ones(1, 3))
        self.optimizer = torch.optim.Adam(self.parameters(), lr=1e-2, fused=True)

    def loss(self, nets: Any, batch: Batch) -> tuple[Tensor, Batch]:
        error = (batch["x"] @ (nets.net.weight + nets.other).T).squeeze(-1) + nets.net.bias - batch["y"]  # [B]
        return error.square().mean(), {"losses/loss": error.square().mean()}


@pytest.mark.parametrize("num_seeds", [1, 3])
@pytest.mark.parametrize("max_grad_norm", [1e-3, 10.0, None])
def test_gradients_that_a_graph_divides_are_those_that_are_clipped_elsewhere(
    max_grad_norm: float | None, num_seeds: int, graphs: type[Graphs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adam hides the length of a gradient; its running means do not."""
    monkeypatch.setattr(stacked, "Recorded", graphs)

    def run(seed: int, executor: Any) -> Callable[[], Line]:
        def body() -> Line:
            torch.manual_seed(seed)
            learner = Alike()
            learner.executor = executor
            for _, batch in zip(range(12), batches(), strict=False):
                learner.minimize(learner.loss, batch, learner.optimizer, max_grad_norm)
            return learner

        return body

    together = Together()
    found = together.run([run(seed, together) for seed in range(num_seeds)])
    executor = together.recorded if num_seeds > 1 else next(iter(together._alone.values()))
    assert isinstance(executor, Graphs) and executor.counts() == {"loss": 11} and not executor.refused
    for seed, learner in enumerate(found):
        eager = run(seed, Eager())()
        assert isinstance(learner, Line)
        assert_close(learner, eager)
        for param, expected in zip(learner.parameters(), eager.parameters(), strict=True):
            state, other = learner.optimizer.state[param], eager.optimizer.state[expected]
            for name in ("exp_avg", "exp_avg_sq", "step"):
                torch.testing.assert_close(state[name], other[name], atol=1e-12, rtol=1e-4, msg=name)


@pytest.mark.parametrize("graphs", [Graphs], indirect=True)  # a compiler joins kernels
def test_clipping_takes_as_few_kernels_for_many_parameters_as_for_one(graphs: type[Graphs]) -> None:
    """It took two for every parameter, and five more: a quarter of a small step."""
    nums = []
    for max_grad_norm in (0.1, None):
        learner = dqn.DQN(dqn.Config(hidden=(8,) * 6), SPEC)
        learner.executor = executor = graphs()
        batch = {"obs": torch.randn(4, 3), "next_obs": torch.randn(4, 3), "action": torch.tensor([0, 1, 0, 1])}
        batch |= {"reward": torch.randn(4), "discount": torch.ones(4)}
        learner.num_updates = 1
        for _ in range(2):
            learner.minimize(learner.loss, batch, learner.optimizer, max_grad_norm)
        [(_, recording)] = executor.made
        views = {"view", "unbind", "select", "t", "detach", "squeeze", "unsqueeze", "expand", "_unsafe_view"}
        kernels = [each[0]._schema.name.split("::")[1] for each in recording._graph.operations]  # type: ignore[attr-defined]
        nums.append(len([name for name in kernels if name not in views]))
    assert nums[1] < nums[0] <= nums[1] + 5


def test_columns_of_a_batch_of_one_type_are_copied_at_once(
    graphs: type[Graphs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several types torch copies one after the other."""
    copy, copied_types = torch._foreach_copy_, []

    def watched(own: Any, values: Any) -> None:
        copied_types.append({each.dtype for each in [*own, *values]})
        copy(own, values)

    monkeypatch.setattr(torch, "_foreach_copy_", watched)
    own = {"a": torch.zeros(2), "b": torch.zeros(2, dtype=torch.bool), "obs": {"c": torch.zeros(2)}}
    graph.copy_changed(own, {"a": torch.ones(2), "b": torch.ones(2) > 0, "obs": {"c": torch.ones(2)}})  # type: ignore[arg-type, dict-item]
    assert all(value.all() for value in (own["a"], own["b"], own["obs"]["c"]))  # type: ignore[union-attr, index]
    assert copied_types == [{torch.float32}, {torch.bool}]


def test_a_batch_that_was_given_is_not_written_to(graphs: type[Graphs]) -> None:
    """The graph reads a copy: in a rollout's epochs the same minibatch may come again."""
    learner, given = Line(), [batch for _, batch in zip(range(6), batches(), strict=False)]
    learner.executor = graphs()
    before = [copied(batch) for batch in given]
    for batch in given:
        learner.minimize(learner.loss, batch, learner.optimizer)
    assert learner.executor.counts() == {"loss": 5}
    assert_equal(given, before)


def test_parts_of_an_observation_reach_a_graph(graphs: type[Graphs]) -> None:
    learner = Line()
    learner.executor = graphs()

    def loss(nets: Any, batch: Any) -> tuple[Tensor, Batch]:
        value = (nets.net(batch["obs"]["x"]).squeeze(-1) - batch["obs"]["y"]).square().mean()
        return value, {"losses/loss": value, "losses/y": batch["obs"]["y"].mean()}

    for _, batch in zip(range(6), batches(), strict=False):
        metrics = learner.minimize(loss, {"obs": batch}, learner.optimizer)
        assert metrics["losses/y"] == batch["y"].mean()
    assert learner.executor.counts() == {"loss": 5}


def test_a_learning_rate_reaches_a_graph(graphs: type[Graphs]) -> None:
    learner = Line()
    learner.executor = graphs()
    for i, batch in zip(range(6), batches(), strict=False):
        learner.optimizer.param_groups[0]["lr"] = 0.0 if i % 2 else 0.1
        before = params(learner)
        learner.minimize(learner.loss, batch, learner.optimizer)
        assert torch.equal(params(learner)[0], before[0]) == bool(i % 2)


def test_a_capture_that_fails_moves_nothing_and_draws_nothing(
    graphs: type[Graphs], capsys: pytest.CaptureFixture[str]
) -> None:
    learners = []
    for executor in (graphs(), Eager()):
        torch.manual_seed(0)
        learner = Line()
        learner.executor = executor
        for _, batch in zip(range(5), batches(), strict=False):
            learner.minimize(learner.branching_loss, batch, learner.optimizer, noise=learner.noise)
        learners.append(learner)
    assert list(learners[0].executor.refused) == ["branching_loss"]  # type: ignore[attr-defined]
    assert capsys.readouterr().err.count("not recorded") == 1
    assert_equal(learners[0].state_dict(), learners[1].state_dict())


@pytest.mark.parametrize("num_failures", [1, 2])
def test_a_capture_that_ended_by_chance_is_tried_once_more(
    num_failures: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A loss was eager for the rest of the run after one capture that something else had ended."""
    monkeypatch.setattr(recording, "FastOptimizer", GraphOptimizer)
    tried = []

    def record(*args: Any) -> GraphRecording:
        tried.append(args)
        if len(tried) <= num_failures:
            raise RuntimeError("operation failed due to a previous error during capture")
        return record_graph(*args)

    learners = []
    for executor in (Recorded(record=record), Eager()):
        torch.manual_seed(0)
        learner = type("OnGpu", (Line,), {"device": torch.device("cuda")})()
        learner.executor = executor
        for _, batch in zip(range(10), batches(), strict=False):
            learner.minimize(learner.loss, batch, learner.optimizer, noise=learner.noise)
        learners.append(learner)
    executor, is_refused = learners[0].executor, num_failures == 2
    assert list(executor.refused) == ["loss"] * is_refused and len(executor.recordings) == 1 - is_refused
    assert len(tried) == 2 and capsys.readouterr().err.count("not recorded") == is_refused
    for own, other in zip(params(learners[0]), params(learners[1]), strict=True):
        assert torch.allclose(own, other, atol=1e-6)


def test_a_recording_that_is_let_go_is_freed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was a reference cycle. Its graph kept its memory, and a garbage collection in a capture destroyed both."""
    monkeypatch.setattr(recording, "FastOptimizer", GraphOptimizer)
    learner, batch = Line(), next(batches())
    learner.executor = Recorded(record=record_graph)
    for _ in range(3):
        learner.minimize(learner.loss, batch, learner.optimizer)
    assert isinstance(learner.executor, Recorded)
    gc.disable()
    try:
        [kept] = map(weakref.ref, learner.executor.recordings.values())
        assert type(kept()) is GraphRecording
        learner.executor.recordings.clear()
        assert kept() is None
    finally:
        gc.enable()


def test_seeds_move_in_one_call_as_long_as_their_learning_rates_are_equal(
    graphs: type[Graphs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call for each was a kernel for each, of as few threads as the network has numbers."""
    monkeypatch.setattr(stacked, "Recorded", graphs)

    def run(seed: int, executor: Any) -> Callable[[], Line]:
        def body() -> Line:
            torch.manual_seed(seed)
            learner = Line(weight_decay=0.1)
            learner.executor = executor
            for i, batch in zip(range(12), batches(), strict=False):
                learner.optimizer.param_groups[0]["lr"] = 0.1 / (i + 1) * (2 if i >= 8 and seed == 2 else 1)
                learner.minimize(learner.loss, batch, learner.optimizer, 0.5)
            return learner

        return body

    together = Together()
    found = together.run([run(seed, together) for seed in range(3)])
    executor = together.recorded
    assert isinstance(executor, Graphs) and not executor.refused
    counts = [
        sum("fused_adam" in str(each[0]) for each in made._graph.operations)  # type: ignore[attr-defined]
        for _, made in executor.made
    ]
    assert counts == [1, 3] and [made.count for _, made in executor.made] == [7, 4]
    for seed, learner in enumerate(found):
        assert isinstance(learner, Line), learner
        assert_close(learner, run(seed, Eager())())


def test_batches_of_seeds_may_be_drawn_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each branch begins after what is before it, and all have ended before what reads them."""
    events: list[Any] = []

    class Stream:
        def __init__(self, name: str = "") -> None:
            self.name = name or f"branch {len(events)}"
            events.append(self.name)

        def wait_stream(self, other: Any) -> None:
            events.append((self.name, other.name))

    here = Stream("here")
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: here)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    steps: Any = [SimpleNamespace(noisy_batch=lambda i=i: events.append(i) or {"x": i}) for i in range(2)]
    kept = object.__new__(GraphRecording)
    assert kept._noisy_batches(steps) == [{"x": 0}, {"x": 1}] and events == ["here", 0, 1]
    events[:] = ["here"]
    kept.branches = True
    assert kept._noisy_batches(steps) == [{"x": 0}, {"x": 1}]
    first, second = "branch 1", "branch 2"
    begun = [(first, "here"), 0, (second, "here"), 1]
    assert events == ["here", first, second, *begun, ("here", first), ("here", second)]


class Told(Line):
    """Reports two numbers and an error of every sample; `changed` makes something else of its metrics."""

    changed: Any = staticmethod(lambda metrics: metrics)

    def told_loss(self, nets: Any, batch: Batch) -> tuple[Tensor, Batch]:
        loss, metrics = self.per_sample_loss(nets, batch)
        return loss, {"losses/bias": nets.net.bias[0].clone(), **metrics}

    def update(self, batch: Batch) -> Batch:
        return self.changed(self.minimize(self.told_loss, batch, self.optimizer))


@pytest.mark.parametrize(
    ("changed", "is_one_copy"),
    [
        (lambda metrics: metrics, True),
        (lambda metrics: metrics | {"losses/more": metrics["losses/loss"] * 2}, False),
        (lambda metrics: metrics.update({"losses/loss": metrics["losses/loss"] * 3}) or metrics, False),
        (lambda metrics: metrics.pop("losses/bias") is None or metrics, False),
    ],
)
def test_one_copy_keeps_the_metrics_of_all_seeds_for_their_logs(
    changed: Any, is_one_copy: bool, graphs: type[Graphs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was a launch for every seed. What an algorithm makes of its metrics is what its own log gets."""
    monkeypatch.setattr(stacked, "Recorded", graphs)

    def run(seed: int, executor: Any) -> Callable[[], Sums]:
        def body() -> Sums:
            torch.manual_seed(seed)
            learner, sums = Told(), Sums()
            learner.executor, learner.changed = executor, changed
            for _, batch in zip(range(9), batches(), strict=False):
                sums.add(learner.learn(batch))
                assert learner.per_sample["error"].shape == (8,)
            return sums

        return body

    together = Together()
    found = together.run([run(seed, together) for seed in range(3)])
    assert isinstance(together.recorded, Graphs) and together.recorded.counts() == {"told_loss": 8}
    kept = []
    for seed, sums in enumerate(found):
        assert isinstance(sums, Sums), sums
        expected = run(seed, Eager())()
        assert sums.means() == pytest.approx(expected.means(), rel=1e-4)
        [state], [other] = sums.state_dict(), expected.state_dict()
        assert torch.allclose(state["rows"], other["rows"], rtol=1e-4), "each update's, and not the last one's"
        [group] = sums._groups.values()  # the first step is eager, and the second one is compared with that
        kept.append({row.untyped_storage().data_ptr() for row in group.rows[2:]})
    assert (kept[0] == kept[1] == kept[2]) == is_one_copy and len(kept[0]) == 7
