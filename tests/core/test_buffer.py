"""The buffer as a whole, against a naive reference."""

import numpy as np
import pytest
import torch
from tiny import assert_equal
from torch.utils._python_dispatch import TorchDispatchMode
from transitions import GAMMA, Reference, make_buffer, stacked_rows, stream

from rlgen.core import frames, ring
from rlgen.core.buffer import Buffer
from rlgen.core.index import UniformIndex
from rlgen.errors import UsageError


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize("junk", [False, True])
@pytest.mark.parametrize("num_rows", [4, 8, 9, 50])
def test_sample_draws_exactly_the_true_transitions(num_envs: int, n_step: int, junk: bool, num_rows: int) -> None:
    buffer, reference = make_buffer(8 * num_envs, n_step), Reference(8 * num_envs, n_step)
    for row in stream(num_envs, num_rows, seed=num_rows, junk=junk):
        buffer.add(row)
        reference.add(row)
    expected = reference.drawable()
    batch = buffer.sample(2000)
    assert set(batch["obs"].tolist()) == set(expected)  # each of them, and nothing else
    for i, obs in enumerate(batch["obs"].tolist()):
        for name, value in expected[obs].items():
            assert batch[name][i].item() == pytest.approx(value, abs=1e-6), (name, obs)


@pytest.mark.parametrize("as_on_gpu", [False, True])
@pytest.mark.parametrize("junk", [False, True])
@pytest.mark.parametrize("gathered", [1, 2**8, 2**20])
def test_batches_drawn_for_several_updates_are_those_drawn_one_by_one(
    as_on_gpu: bool, junk: bool, gathered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlgen.core.buffer.GATHERED", gathered)
    buffer = make_buffer(40, n_step=2, as_on_gpu=as_on_gpu)
    for row in stream(4, 30, seed=1, junk=junk):
        buffer.add(row)
    state = buffer.backend.generator.get_state()
    for num in (0, 1, 2, 7):
        together = [dict(batch) for batch in buffer.samples(num, 5)]
        after = buffer.backend.generator.get_state()
        buffer.backend.generator.set_state(state)
        alone = [dict(buffer.sample(5)) for _ in range(num)]
        assert len(together) == num and torch.equal(after, buffer.backend.generator.get_state())
        for one, other in zip(together, alone, strict=True):
            assert one.keys() == other.keys()
            assert all(torch.equal(one[name], other[name]) and one[name].is_contiguous() for name in one)
        state = after


def test_batches_are_gathered_at_once_where_transitions_are_small_and_nothing_learned_chooses_them() -> None:
    class Learned(UniformIndex):
        """One whose choice may depend on the update before."""

    small, learned = make_buffer(40), make_buffer(40)
    learned.make_index = Learned
    for buffer, sizes in ((small, [15]), (learned, [5, 5, 5])):
        for row in stream(4, 20, seed=1):
            buffer.add(row)
        drawn: list[int] = []
        sample = buffer.sample
        buffer.sample = lambda size, sample=sample, drawn=drawn: (drawn.append(size), sample(size))[1]  # type: ignore
        assert len([*buffer.samples(3, 5)]) == 3 and drawn == sizes


@pytest.mark.parametrize("capacity", [1, 7, 12])
def test_capacity_is_exact(capacity: int) -> None:
    buffer = make_buffer(capacity)
    for t, row in enumerate(stream(1, 40, seed=2)):
        buffer.add(row)
        assert len(buffer) == min(t + 1, capacity)
        assert buffer.num_added == t + 1
    assert len(set(buffer.sample(1000)["obs"].tolist())) == capacity


def test_capacity_rounds_down_to_whole_rows() -> None:
    buffer = make_buffer(10)
    for row in stream(4, 20, seed=3):
        buffer.add(row)
    assert len(buffer) == 8


def test_an_episode_longer_than_the_buffer_keeps_its_newest_steps() -> None:
    buffer = make_buffer(5)
    for t in range(23):
        buffer.add(
            {
                "obs": torch.tensor([t]),
                "action": torch.tensor([0]),
                "reward": torch.tensor([float(t)]),
                "next_obs": torch.tensor([t + 1]),
                "terminated": torch.tensor([False]),
                "truncated": torch.tensor([False]),
            }
        )
    batch = buffer.sample(500)
    assert set(batch["obs"].tolist()) == set(range(18, 23))
    assert torch.equal(batch["next_obs"], batch["obs"] + 1)


def test_truncation_bootstraps_and_termination_does_not() -> None:
    buffer = make_buffer(2)
    row = {"action": torch.zeros(1), "reward": torch.ones(1)}
    yes, no = torch.tensor([True]), torch.tensor([False])
    buffer.add({"obs": torch.tensor([0]), **row, "next_obs": torch.tensor([77]), "terminated": yes, "truncated": no})
    buffer.add({"obs": torch.tensor([1]), **row, "next_obs": torch.tensor([88]), "terminated": no, "truncated": yes})
    batch = buffer.sample(100)
    for obs, discount, next_obs in zip(batch["obs"], batch["discount"], batch["next_obs"], strict=True):
        assert discount == (0 if obs == 0 else GAMMA)
        assert next_obs == (77 if obs == 0 else 88)


@pytest.mark.parametrize("as_on_gpu", [False, True])
def test_the_index_of_a_batch_is_where_its_transitions_lie(as_on_gpu: bool) -> None:
    buffer = make_buffer(24, n_step=2, as_on_gpu=as_on_gpu)
    for row in stream(3, 31, seed=9, junk=True):
        buffer.add(row)
    batch = buffer.sample(50)
    index = batch["index"]
    assert isinstance(index, torch.Tensor) and index.shape == (50,) and index.dtype == torch.int64
    assert buffer.ring is not None
    for name in ("obs", "action"):
        assert torch.equal(buffer.ring.columns[name].flatten(0, 1)[index], batch[name]), name
    again = buffer.read(buffer.backend.own(index))
    assert all(torch.equal(torch.as_tensor(again[name]), batch[name]) for name in batch)


@pytest.mark.parametrize("junk", [False, True])
def test_drain_is_in_order_and_empties(junk: bool) -> None:
    buffer = make_buffer(12)
    rows = list(stream(3, 30, seed=4, junk=junk))
    for begin in range(0, 28, 4):
        for row in rows[begin : begin + 4]:
            buffer.add(row)
        rollout = buffer.drain()
        for name in rows[0]:
            assert torch.equal(rollout[name], torch.stack([row[name] for row in rows[begin : begin + 4]])), name
        assert len(buffer) == 0
        with pytest.raises(ValueError, match="nothing to sample"):
            buffer.sample(1)


def test_drain_of_a_wrapped_ring() -> None:
    buffer = make_buffer(12)
    rows = list(stream(3, 10, seed=5))
    for row in rows:
        buffer.add(row)
    rollout = buffer.drain()
    for name in rows[0]:
        assert torch.equal(rollout[name], torch.stack([row[name] for row in rows[-4:]])), name


def test_a_data_set_is_a_buffer_nobody_adds_to() -> None:
    buffer = make_buffer(None)
    buffer.add({"image": torch.arange(50, dtype=torch.uint8).view(50, 1, 1, 1), "label": torch.arange(50)})
    batch = buffer.sample(2000)
    assert len(buffer) == 50
    assert batch["image"].shape == (2000, 1, 1, 1)
    assert set(batch) == {"image", "label", "index"}
    assert set(batch["label"].tolist()) == set(range(50))
    assert torch.equal(batch["image"].flatten().long(), batch["label"])
    assert torch.equal(batch["index"], batch["label"])


@pytest.mark.parametrize("num_rows", [3, 8, 21])
def test_a_restored_buffer_draws_the_same_and_goes_on_the_same(num_rows: int) -> None:
    rows = list(stream(2, 60, seed=6, junk=True))
    original, restored = make_buffer(16, n_step=2), make_buffer(16, n_step=2)
    for row in rows[:num_rows]:
        original.add(row)
    restored.load_state_dict(original.state_dict())
    for row in rows[num_rows:]:
        original.add(row)
        restored.add(row)
    restored.backend.generator.set_state(original.backend.generator.get_state())
    for (name, value), other in zip(original.sample(64).items(), restored.sample(64).values(), strict=True):
        assert torch.equal(value, other), name


def test_a_buffer_without_a_capacity_is_put_back_and_not_taken_for_another() -> None:
    """A data set's capacity is its number of images; its state says -1."""
    original, restored = make_buffer(None), make_buffer(None)
    assert original.state_dict()["capacity"] == -1
    restored.load_state_dict(original.state_dict())
    with pytest.raises(ValueError, match=r"capacity and n_step \(-1, 1\), this one \(16, 1\)"):
        make_buffer(16).load_state_dict(original.state_dict())


@pytest.mark.parametrize(
    ("name", "value"), [("oldest", -1), ("oldest", 2**40), ("num_used", 2**40), ("num_used", "x"), ("columns", {})]
)
def test_a_state_that_is_of_no_such_ring_is_refused(name: str, value: object) -> None:
    """It once drew for ever, or began anew in silence."""
    buffer, other = make_buffer(16), make_buffer(16)
    for row in stream(2, 5, seed=6):
        buffer.add(row)
    state = buffer.state_dict()
    for wrong in (state | {"ring": state["ring"] | {name: value}}, {k: v for k, v in state.items() if k != "ring"}):
        with pytest.raises((ValueError, LookupError)):
            other.load_state_dict(wrong)
    cut = {column: rows[:, :1] for column, rows in state["ring"]["columns"].items()}
    with pytest.raises(ValueError, match=r"a row's obs is \[2\], its column \[6, 1\]"):
        other.load_state_dict(state | {"ring": state["ring"] | {"columns": cut}})


def test_a_buffer_saved_when_drained_has_valid_rows_after_it_is_loaded() -> None:
    """Rows that a drained buffer leaves out of its state came back as not valid, and stayed so."""
    buffer, other = make_buffer(8), make_buffer(8)
    rows = list(stream(2, 8, seed=7))
    for row in rows[:4]:
        buffer.add(row)
    buffer.drain()
    other.load_state_dict(buffer.state_dict())
    for row in rows[4:8]:
        other.add(row)
    assert other.drain()["valid"].all()


def test_wrong_rows_are_refused() -> None:
    buffer = make_buffer(8)
    rows = list(stream(2, 2, seed=7))
    buffer.add(rows[0])
    with pytest.raises(ValueError, match="obs must have shape"):
        buffer.add(rows[1] | {"obs": torch.zeros(3, dtype=torch.int64)})
    with pytest.raises(ValueError, match="action must have shape"):
        buffer.add({name: value for name, value in rows[1].items() if name != "action"})
    with pytest.raises(ValueError, match="smaller than one row"):
        make_buffer(1).add(rows[0])


def test_a_next_obs_unlike_its_obs_is_refused_in_the_first_row_too() -> None:
    """One number for all of an observation would be broadcast, and nobody would see it."""
    row = next(stream(2, 1, seed=7)) | {"obs": torch.zeros(2, 3)}
    with pytest.raises(ValueError, match="next_obs must have shape"):
        make_buffer(8).add(row | {"next_obs": torch.zeros(2, 1)})


def test_a_buffer_larger_than_memory_is_refused_in_one_line() -> None:
    """`--buffer-size 1000000000000` once ended in a MemoryError's traceback."""
    with pytest.raises(UsageError, match="lower --buffer-size"):
        make_buffer(10**12).add(next(stream(1, 1, seed=8)))


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("junk", [False, True])
@pytest.mark.parametrize("as_on_gpu", [False, True])
def test_many_rows_at_once_are_as_many_one_by_one(num_envs: int, k: int, junk: bool, as_on_gpu: bool) -> None:
    rows = list(stacked_rows(num_envs, 60, k, junk) if k > 1 else stream(num_envs, 60, seed=4, junk=junk))
    one_by_one, at_once = (make_buffer(10 * num_envs, frame_stack=k, as_on_gpu=as_on_gpu) for _ in range(2))
    begin = 0
    for num in (1, 4, 3, 10, 2, 25, 1, 9, 5):  # up to twice the ring
        for row in rows[begin : begin + num]:
            one_by_one.add(row)
        at_once.add(*rows[begin : begin + num])
        begin += num
        assert len(one_by_one) == len(at_once) and one_by_one.num_added == at_once.num_added
        drawn = [buffer.sample(500) for buffer in (one_by_one, at_once)]
        for name in drawn[0]:
            assert torch.equal(drawn[0][name], drawn[1][name]), name
    assert begin == len(rows)
    for drained, other in zip(one_by_one.drain().values(), at_once.drain().values(), strict=True):
        assert torch.equal(drained, other)


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("junk", [False, True])
@pytest.mark.parametrize("at_once", [1, 3])
def test_what_is_added_crosses_to_a_gpu_packed_and_ends_up_where_it_does_on_a_cpu(
    num_envs: int, k: int, junk: bool, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It crossed in a copy for every key, every list of places and every row of frames."""
    here, there = (make_buffer(8 * num_envs, frame_stack=k, as_on_gpu=as_on_gpu) for as_on_gpu in (False, True))
    rows = stacked_rows(num_envs, 60, k, junk) if k > 1 else stream(num_envs, 60, seed=3, junk=junk)
    arrays: list = [{name: np.asarray(value) for name, value in row.items()} for row in rows]
    crossed, copied, own, copy = [], [], there.backend.own, torch._foreach_copy_
    monkeypatch.setattr(
        there.backend, "own", lambda value: (isinstance(value, torch.Tensor) or crossed.append(value), own(value))[1]
    )
    monkeypatch.setattr(torch, "_foreach_copy_", lambda *args, **how: (copied.append(1), copy(*args, **how))[1])
    for begin in range(0, 60, at_once):
        crossed.clear(), copied.clear()
        there.add(*arrays[begin : begin + at_once])
        blocks = 1 + (begin > 0 and len(copied) > 4)  # two where the ring begins anew
        assert begin < 8 + k or not crossed, "nothing crosses by itself"
        assert begin == 0 or len(copied) <= blocks * (2 + (k > 1) + junk), (
            "what the rows hold, their ends, ages, a list"
        )
        here.add(*arrays[begin : begin + at_once])
        assert_equal(there.state_dict(), here.state_dict())
    monkeypatch.setattr(ring, "PACKED", 0)
    there.add(*arrays[:at_once])
    here.add(*arrays[:at_once])
    assert_equal(there.state_dict(), here.state_dict())


@pytest.mark.gpu
@pytest.mark.parametrize("k", [1, 4])
def test_what_is_added_ends_up_on_a_gpu_where_it_does_on_a_cpu(k: int) -> None:
    here = make_buffer(24, frame_stack=k)
    there = Buffer(24, gamma=GAMMA, frame_stack=k, generator=torch.Generator("cuda"))
    rows = [*stacked_rows(3, 200, k, junk=True)] if k > 1 else [*stream(3, 200, seed=3, junk=True)]
    for row in rows:
        arrays = {name: np.asarray(value) for name, value in row.items()}
        here.add(arrays)
        there.add(arrays)
    [state, expected] = [buffer.state_dict() for buffer in (there, here)]
    for name, column in expected["ring"]["columns"].items():
        assert torch.equal(state["ring"]["columns"][name].cpu(), column), name
    assert torch.equal(state["frames"]["number"], expected["frames"]["number"])
    dropped, added = expected["frames"]["dropped"], expected["frames"]["added"]
    kept, found = (each["frames"]["tables"]["obs"].cpu() for each in (expected, state))
    for number in range(dropped, added):
        assert torch.equal(found[number % len(found)], kept[number % len(kept)]), "last observations of episodes"


@pytest.mark.parametrize("which", [0, 1, 2])
def test_valid_may_be_said_of_some_rows_alone(which: int) -> None:
    rows = [{name: value for name, value in row.items() if name != "valid"} for row in stream(2, 3, seed=1)]
    rows[which]["valid"] = torch.tensor([True, False])
    at_once, one_by_one = make_buffer(20), make_buffer(20)
    at_once.add(*rows)
    for row in rows:
        one_by_one.add(row)
    assert len(at_once) == len(one_by_one) == 5
    assert torch.equal(at_once.drain()["valid"], one_by_one.drain()["valid"])


@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize("junk", [False, True])
def test_the_device_path_reads_what_the_cpu_path_reads(n_step: int, junk: bool) -> None:
    on_cpu, on_device = make_buffer(24, n_step), make_buffer(24, n_step, as_on_gpu=True)
    for row in stream(3, 31, seed=9, junk=junk):
        on_cpu.add(row)
        on_device.add({name: value.numpy() for name, value in row.items()})  # arrays or tensors, it is the same
    first, num_drawable = on_device.index.span()
    assert (first, num_drawable) == on_cpu.index.span()
    drawn = torch.arange(first, first + num_drawable)
    of_cpu = on_cpu.read(on_cpu.index.locate(drawn.numpy()))
    of_device = on_device.read(on_device.index.locate(drawn))
    for (name, value), other in zip(of_cpu.items(), of_device.values(), strict=True):
        assert torch.equal(torch.from_numpy(value), other), name
    assert set(on_device.sample(1000)["obs"].tolist()) == set(of_cpu["obs"].tolist())


def test_the_version_changes_when_a_captured_draw_would_be_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "FINAL_BYTES", 0)
    buffer, rows = make_buffer(40), list(stream(1, 60, seed=10, junk=True))
    ended = {"terminated": torch.tensor([True]), "truncated": torch.tensor([False]), "valid": torch.tensor([True])}
    buffer.add(rows[0] | ended)
    assert buffer.ring is not None
    versions = [(buffer.ring.number, buffer.ring.version)]
    buffer.add(rows[1] | ended)
    assert (buffer.ring.number, buffer.ring.version) == versions[-1]
    buffer.add(rows[2] | {"valid": torch.tensor([False])})  # the list of ids
    versions.append((buffer.ring.number, buffer.ring.version))
    for row in rows[3:25]:
        buffer.add(row | ended)  # the table of final observations grows
    versions.append((buffer.ring.number, buffer.ring.version))
    for _ in range(2):
        buffer.load_state_dict(buffer.state_dict())
        versions.append((buffer.ring.number, buffer.ring.version))
    assert len(set(versions)) == len(versions) == 5, "each is new, the last ones too"


def test_two_buffers_never_share_a_captured_draw() -> None:
    """Batches of one size out of two buffers: a graph that draws from the one must not stand for the other."""
    keys = []
    for seed in (0, 1):
        buffer = make_buffer(40, as_on_gpu=True)
        buffer.add(*stream(1, 5, seed))
        keys.append(buffer.sample(4).key)  # type: ignore[attr-defined]
    assert keys[0] != keys[1]


def test_a_draw_fills_only_numbers_that_are_others_on_a_gpu() -> None:
    """Two launches at every draw, of which a full ring needs one, and the second batch of a turn none."""
    fills = []

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function is torch.ops.aten.fill_.Scalar:
                fills.append(args[1])
            return function(*args, **kwargs or {})

    buffer, plain = make_buffer(6, as_on_gpu=True), make_buffer(6)
    for t, row in enumerate(stream(2, 12, seed=5)):
        buffer.add(row)
        plain.add(row)
        with Count():
            for _ in range(3):
                batch = buffer.sample(100)
        assert len(fills) <= (2 if t < 4 else 1), (t, fills)
        fills.clear()
        assert set(batch["obs"].tolist()) == set(plain.sample(100)["obs"].tolist())
