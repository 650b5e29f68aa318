"""Observations and memories of several parts: stored as columns, given back as they came, learned from unopened."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest
import torch
from parts import GAMMA, PartEnvs, PartLearner, expected, flat, look, number_of, part_rows
from tiny import assert_equal

from rlgen.core import source as sources
from rlgen.core.batch import flatten_time, join_parts, map_parts, minibatches, split_parts
from rlgen.core.buffer import Buffer
from rlgen.core.ring import Tensors
from rlgen.core.source import EnvSource
from rlgen.core.step import Eager
from rlgen.speed import recorded

DTYPES = {"camera": torch.uint8, "speed": torch.float32}


def make(capacity: int, n_step: int = 1, as_on_gpu: bool = False, seed: int = 0) -> Buffer:
    generator = torch.Generator().manual_seed(seed)
    buffer = Buffer(capacity, gamma=GAMMA, n_step=n_step, generator=generator)
    if as_on_gpu:
        buffer.backend = Tensors(generator)
    return buffer


def check_sample(buffer: Buffer, rows: list[dict[str, Any]], max_rows: int, n_step: int) -> None:
    """Every transition that may be drawn is, with all its parts, and nothing else."""
    truth = expected(rows, max_rows, n_step)
    batch: Any = buffer.sample(30 * len(truth))
    assert {part: value.dtype for part, value in batch["obs"].items()} == DTYPES
    assert {part: value.dtype for part, value in batch["next_obs"].items()} == DTYPES
    drawn = flat({name: value for name, value in batch.items() if name != "index"})
    numbers = number_of(drawn["obs/speed"])
    assert set(numbers.tolist()) == set(truth)
    assert drawn.keys() == next(iter(truth.values())).keys()
    for name, values in drawn.items():
        assert np.allclose(values, np.stack([truth[number][name] for number in numbers.tolist()]), atol=1e-6), name


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize("junk", [False, True])
@pytest.mark.parametrize("num_rows", [4, 9, 50])  # filling, wrapped around, wrapped around often
@pytest.mark.parametrize("as_on_gpu", [False, True])
def test_parts_are_drawn_as_they_were_added(
    num_envs: int, n_step: int, junk: bool, num_rows: int, as_on_gpu: bool
) -> None:
    buffer, rows = make(8 * num_envs, n_step, as_on_gpu), list(part_rows(num_envs, num_rows, seed=num_rows, junk=junk))
    for row in rows:
        buffer.add(row)
    check_sample(buffer, rows, 8, n_step)


@pytest.mark.parametrize("as_on_gpu", [False, True])
def test_many_rows_at_once_are_as_many_one_by_one(as_on_gpu: bool) -> None:
    buffer, rows, begin = make(30, 3, as_on_gpu), list(part_rows(3, 60, seed=1)), 0
    for num in (1, 4, 3, 10, 2, 25, 1, 14):  # up to twice the ring
        buffer.add(*rows[begin : begin + num])
        begin += num
        if begin >= 3:
            check_sample(buffer, rows[:begin], 10, 3)


def test_every_part_has_a_column_and_keeps_its_type() -> None:
    buffer = make(200)
    buffer.add(*part_rows(2, 50, seed=2))
    assert buffer.ring is not None and buffer.observations is not None
    columns = buffer.ring.columns
    assert {name.removeprefix("obs/"): value.dtype for name, value in columns.items() if name[:4] == "obs/"} == DTYPES
    assert columns["obs/camera"].shape == (101, 2, 2, 3), "one row holds the newest next_obs, and none is stored twice"
    assert columns["memory/hidden"].shape == (101, 2, 2)
    assert not any(name.startswith("next_obs") for name in columns)
    tables = buffer.observations.finals.tables
    assert {name.removeprefix("obs/"): table.dtype for name, table in tables.items()} == DTYPES


@pytest.mark.parametrize("as_on_gpu", [False, True])
def test_all_parts_of_a_last_observation_are_its_own(as_on_gpu: bool) -> None:
    """In every step an episode ends, more than the side table has room for at first."""
    buffer = make(100, as_on_gpu=as_on_gpu)
    always = np.array([True])
    for t in range(250):
        row = {"obs": look(np.array([t])), "action": np.zeros(1), "reward": np.zeros(1, np.float32)}
        buffer.add(row | {"next_obs": look(np.array([3000 - t])), "terminated": always, "truncated": ~always})
    batch: Any = buffer.sample(2000)
    last = look(3000 - number_of(batch["obs"]["speed"]))
    for part, value in batch["next_obs"].items():
        assert np.array_equal(value, last[part]), part


@pytest.mark.parametrize("junk", [False, True])
@pytest.mark.parametrize("as_on_gpu", [False, True])
def test_a_drained_rollout_has_all_parts_in_order(junk: bool, as_on_gpu: bool) -> None:
    buffer, rows = make(12, as_on_gpu=as_on_gpu), list(part_rows(3, 30, seed=4, junk=junk))
    for begin, num in ((0, 4), (4, 3), (7, 9), (16, 4)):  # the third does not fit: its newest four stay
        buffer.add(*rows[begin : begin + num])
        rollout: Any = buffer.drain()
        assert len(buffer) == 0
        assert rollout["obs"]["camera"].dtype == torch.uint8
        added = [flat(row) for row in rows[begin : begin + num][-4:]]
        assert flat(rollout).keys() == added[0].keys()
        for name, value in flat(rollout).items():
            assert np.array_equal(value, np.stack([row[name] for row in added])), name


@pytest.mark.parametrize("num_rows", [3, 8, 21])
@pytest.mark.parametrize("junk", [False, True])
def test_a_restored_buffer_goes_on_the_same(num_rows: int, junk: bool) -> None:
    rows = list(part_rows(2, 60, seed=6, junk=junk))
    original, restored = make(16, n_step=2), make(16, n_step=2, seed=1)
    for row in rows[:num_rows]:
        original.add(row)
    file = io.BytesIO()
    torch.save(original.state_dict(), file)
    file.seek(0)
    restored.load_state_dict(torch.load(file, weights_only=True))
    for row in rows[num_rows:]:
        original.add(row)
        restored.add(row)
    restored.backend.generator.set_state(original.backend.generator.get_state())
    assert_equal(dict(original.sample(64)), dict(restored.sample(64)))
    check_sample(restored, rows, 8, 2)


@pytest.mark.parametrize("junk", [False, True])
def test_whoever_loads_a_state_shares_nothing(junk: bool) -> None:
    rows = list(part_rows(2, 60, seed=7, junk=junk))
    original = make(16)
    for row in rows[:20]:
        original.add(row)
    state = copy.deepcopy(original.state_dict())  # which is not of this moment alone
    kept = copy.deepcopy(state)
    others = [make(16), make(16)]
    for other in others:
        other.load_state_dict(state)
    original.add(*rows[20:50])
    others[0].add(*rows[20:33])
    assert_equal(state, kept)
    check_sample(others[0], rows[:33], 8, 1)
    check_sample(others[1], rows[:20], 8, 1)


def test_a_row_without_one_of_the_parts_or_with_another_shape_is_refused() -> None:
    buffer = make(8)
    first, second = part_rows(2, 2, seed=8)
    buffer.add(first)
    for wrong in (
        {"obs": {"camera": second["obs"]["camera"]}},
        {"obs": second["obs"] | {"speed": np.zeros((2, 1), np.float32)}},
        {"next_obs": second["next_obs"] | {"camera": np.zeros((2, 3, 2), np.uint8)}},
        {"memory": {"hidden": second["memory"]["hidden"]}},
    ):
        with pytest.raises(ValueError, match="must have shape"):
            buffer.add(second | wrong)
    with pytest.raises(ValueError, match="next_obs"):  # NumPy would spread it over the column
        make(8).add(first | {"next_obs": first["next_obs"] | {"camera": np.zeros((2, 1, 3), np.uint8)}})


@pytest.mark.parametrize("first", [True, False])
def test_rows_that_say_what_is_valid_and_rows_that_do_not_are_added_together(first: bool) -> None:
    """One row's silence once made all of the others valid."""
    rows = list(part_rows(2, 40, seed=11, junk=True))
    assert not all(row["valid"].all() for row in rows)
    added = [{n: v for n, v in row.items() if n != "valid" or not v.all()} for row in rows]
    begin = next(t for t, row in enumerate(added) if ("valid" in row) == first)
    buffer = make(60)
    buffer.add(*added[begin:])
    check_sample(buffer, rows[begin:], 30, 1)
    assert len(buffer) == sum(row["valid"].sum() for row in rows[begin:][-30:])


def test_a_column_may_be_called_next() -> None:
    """Only `next_obs` is stored elsewhere; a restored buffer once looked for a column `state` of type float32."""
    buffer, row = make(8), next(part_rows(2, 1, seed=9))
    buffer.add(row | {"next_state": np.array([3, 4])})
    restored = make(8)
    restored.load_state_dict(buffer.state_dict())
    assert restored.drain()["next_state"].tolist() == [[3, 4]]


# Functions of batches


def test_parts_are_split_and_joined() -> None:
    camera, speed, action = torch.zeros(2, 3), torch.ones(2), torch.arange(2)
    batch: Any = {"obs": {"camera": camera, "a/b": speed}, "action": action}
    split = split_parts(batch)
    assert list(split) == ["obs/camera", "obs/a/b", "action"]
    assert split["obs/camera"] is camera and split["obs/a/b"] is speed and split["action"] is action
    assert join_parts(split) == batch, "a part's own name may have a slash"
    assert split_parts({"action": action}) == join_parts({"action": action}) == {"action": action}


def test_a_function_is_applied_to_every_part() -> None:
    assert map_parts(lambda value: value + 1, 3) == 4
    assert map_parts(lambda value: value + 1, {"a": 3, "b": 5}) == {"a": 4, "b": 6}
    value = torch.arange(24).view(2, 3, 4)
    assert torch.equal(flatten_time(value), value.view(6, 4))
    parts = flatten_time({"x": value, "y": value[..., 0]})
    assert torch.equal(parts["x"], value.view(6, 4)) and torch.equal(parts["y"], value[..., 0].flatten())


def test_more_is_added_to_a_batch_in_the_same_way_on_every_device() -> None:
    """`batch | {...}` was a TypeError on a GPU alone."""
    for as_on_gpu in (False, True):
        buffer = make(40, as_on_gpu=as_on_gpu)
        buffer.add(*part_rows(2, 20, seed=12))
        batch, weight = buffer.sample(4), torch.ones(4)
        for more in (batch | {"weight": weight}, {"weight": weight} | batch):
            assert more.keys() == {*batch, "weight"}
            assert more["weight"] is weight and more["reward"] is batch["reward"]


def test_minibatches_keep_the_parts_of_a_transition_together() -> None:
    number = torch.arange(12).view(4, 3)
    data: Any = {"obs": {"camera": number[..., None].expand(4, 3, 5), "speed": number.float()}, "action": number}
    parts: Any = list(minibatches(data, 4, 2, torch.Generator().manual_seed(0)))
    assert len(parts) == 6
    for part in parts:
        assert part["obs"]["camera"].shape == (4, 5) and part["obs"].keys() == {"camera", "speed"}
        assert torch.equal(part["obs"]["camera"][:, 2], part["action"])
        assert torch.equal(part["obs"]["speed"].long(), part["action"])
    for epoch in (parts[:3], parts[3:]):
        assert sorted(torch.cat([part["action"] for part in epoch]).tolist()) == list(range(12))
    plain = list(minibatches({"action": number}, 4, 2, torch.Generator().manual_seed(0)))
    assert all(torch.equal(a["action"], b["action"]) for a, b in zip(parts, plain, strict=True)), "the same shuffle"


# An agent


def learned(executor: Any, as_on_gpu: bool, drawn: bool) -> tuple[PartLearner, list[dict[str, Any]]]:
    """After 25 updates with new rows between them; and what they reported. `drawn`: a batch is read before its loss."""
    learner, found = PartLearner(), []
    learner.executor = executor
    buffer = Buffer(40, gamma=GAMMA, n_step=3, generator=learner.generator)
    if as_on_gpu:
        buffer.backend = Tensors(learner.generator)
    rows = list(part_rows(2, 60, seed=10))
    buffer.add(*rows[:10])
    for row in rows[10:35]:
        buffer.add(row)
        for batch in learner.batches(buffer):
            if drawn:
                len(batch)
            metrics = learner.learn(batch)
            found.append(metrics | learner.per_sample | {"index": batch["index"]})
    return learner, found


# Recording on the CPU draws the batch and then puts the generator back, so that the next batch is the same one again.


@pytest.mark.parametrize(("as_on_gpu", "drawn"), [(False, True), (True, True), (True, False)])
def test_recorded_steps_of_several_parts_are_the_eager_ones(
    as_on_gpu: bool, drawn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded, "MIN_UPDATES_LEFT", 0)
    executor = recorded.Recorded(verify=3)
    learner, found = learned(executor, as_on_gpu, drawn)
    eager, expected_metrics = learned(Eager(), as_on_gpu, drawn)
    assert not executor.refused
    assert sum(each.count for each in executor.recordings.values()) > 10
    for metrics, others in zip(found, expected_metrics, strict=True):
        assert metrics.keys() == others.keys() == {"losses/td_loss", "losses/light", "error", "index"}
        assert torch.equal(metrics["index"], others["index"]), "the same transitions are drawn"
        for name, value in others.items():
            torch.testing.assert_close(metrics[name], value, rtol=1e-4, atol=1e-5, msg=name)
    assert torch.equal(learner.generator.get_state(), eager.generator.get_state())
    for (name, param), other in zip(learner.named_parameters(), eager.parameters(), strict=True):
        assert torch.allclose(param, other, atol=1e-5), name
        assert not torch.equal(param, dict(PartLearner().named_parameters())[name]), "it moved"


def test_an_agent_sees_both_parts_in_training_and_in_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "make_envs", lambda env_id, num_envs, *args, **options: PartEnvs(num_envs))
    monkeypatch.setattr(sources, "has_time_limit", lambda env_id: True)
    source, agent = EnvSource("Parts", 3, "sync", 0, eval_episodes=5), PartLearner(num_actions=2)
    agent.rows_per_turn = 40
    buffer = make(200)
    assert source.fill(buffer, agent) == 120
    batch: Any = buffer.sample(500)
    number = number_of(batch["obs"]["speed"])
    assert set(number.tolist()) == {0, 1, 2, 3}
    following, ended = look(number + 1), (batch["discount"] == 0).numpy()
    assert ended.any() and not ended.all()
    for part, value in batch["next_obs"].items():
        assert np.array_equal(value, following[part]), "also where an episode ended"
    assert torch.equal(batch["action"], agent.act(batch["obs"])["action"])

    metrics = source.evaluate(agent)
    assert metrics["eval/episodic_length"] == np.mean([2, 3, 4, 5, 6]), "of five environments the first episode"
    assert metrics["eval/q_estimate"] != 0
