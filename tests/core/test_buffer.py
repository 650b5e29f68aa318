"""The ring against a naive reference: a Python list of transitions."""

from dataclasses import dataclass, field

import counting
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import FrameStackObservation

from rlgen.core import buffer as ring
from rlgen.core.buffer import Buffer, minibatches
from rlgen.errors import UsageError

GAMMA = 0.5


@dataclass
class Reference:
    """Everything ever added, as true transitions; what a buffer may return is computed from it the slow way."""

    capacity: int
    n_step: int
    columns: list[list[dict]] = field(default_factory=list)  # [N][T]

    def add(self, row: dict) -> None:
        num = len(row["obs"])
        self.columns = self.columns or [[] for _ in range(num)]
        for n in range(num):
            self.columns[n].append({name: value[n].item() for name, value in row.items()})

    def drawable(self) -> dict[int, dict]:
        """Expected sample by the transition's unique obs."""
        rows = self.capacity // len(self.columns)
        expected = {}
        for column in self.columns:
            kept = column[-rows:]
            for t, first in enumerate(kept):
                if not first["valid"] or t + self.n_step > len(kept):  # the window would cross the write head
                    continue
                reward, discount = 0.0, 1.0
                for step in kept[t : t + self.n_step]:
                    last = step
                    reward += discount * step["reward"]
                    discount *= GAMMA
                    if step["terminated"] or step["truncated"]:
                        break
                expected[first["obs"]] = {
                    "reward": reward,
                    "discount": 0.0 if last["terminated"] else discount,
                    "next_obs": last["next_obs"],
                    "action": first["action"],
                }
        return expected


def stream(num_envs: int, num_rows: int, seed: int, junk: bool = False):
    """Random episodes with unique observations: env * 1e6 + a counter; next_obs is the true one, also at an end."""
    rng = np.random.default_rng(seed)
    counter = np.arange(num_envs) * 1_000_000
    pending = np.zeros(num_envs, dtype=bool)
    for _ in range(num_rows):
        valid = ~pending if junk else np.ones(num_envs, dtype=bool)
        ended = (rng.random(num_envs) < 0.25) & valid
        terminated = ended & (rng.random(num_envs) < 0.5)
        obs = counter.copy()
        counter = counter + 1
        next_obs = counter.copy()
        row = {
            "obs": obs,
            "action": rng.integers(0, 4, num_envs),
            "reward": rng.normal(size=num_envs).astype(np.float32),
            "next_obs": next_obs,
            "terminated": terminated,
            "truncated": ended & ~terminated,
            "valid": valid,
        }
        if not junk:
            counter = (
                counter + 10 * ended
            )  # a new episode begins elsewhere: the final observation is not the next row's
        pending = ended
        yield {name: torch.from_numpy(value) for name, value in row.items()}


def make(capacity: int | None, n_step: int = 1, seed: int = 0) -> Buffer:
    return Buffer(capacity, gamma=GAMMA, n_step=n_step, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize("junk", [False, True])
@pytest.mark.parametrize("num_rows", [4, 8, 9, 50])
def test_sample_draws_exactly_the_true_transitions(num_envs: int, n_step: int, junk: bool, num_rows: int) -> None:
    buffer, reference = make(8 * num_envs, n_step), Reference(8 * num_envs, n_step)
    for row in stream(num_envs, num_rows, seed=num_rows, junk=junk):
        buffer.add(row)
        reference.add(row)
    expected = reference.drawable()
    batch = buffer.sample(2000)
    assert set(batch["obs"].tolist()) == set(expected)  # each of them, and nothing else
    for i, obs in enumerate(batch["obs"].tolist()):
        for name, value in expected[obs].items():
            assert batch[name][i].item() == pytest.approx(value, abs=1e-6), (name, obs)


def test_sample_is_uniform() -> None:
    buffer = make(30)
    for row in stream(3, 25, seed=1, junk=True):
        buffer.add(row)
    counts = np.unique(buffer.sample(60_000)["obs"].numpy(), return_counts=True)[1]
    expected = 60_000 / len(counts)
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < len(counts) + 5 * np.sqrt(2 * len(counts))


@pytest.mark.parametrize("capacity", [1, 7, 12])
def test_capacity_is_exact(capacity: int) -> None:
    buffer = make(capacity)
    for t, row in enumerate(stream(1, 40, seed=2)):
        buffer.add(row)
        assert len(buffer) == min(t + 1, capacity)
        assert buffer.num_added == t + 1
    assert len(set(buffer.sample(1000)["obs"].tolist())) == capacity


def test_capacity_rounds_down_to_whole_rows() -> None:
    buffer = make(10)
    for row in stream(4, 20, seed=3):
        buffer.add(row)
    assert len(buffer) == 8


def test_an_episode_longer_than_the_buffer_keeps_its_newest_steps() -> None:
    buffer = make(5)
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
    buffer = make(2)
    row = {"action": torch.zeros(1), "reward": torch.ones(1)}
    yes, no = torch.tensor([True]), torch.tensor([False])
    buffer.add({"obs": torch.tensor([0]), **row, "next_obs": torch.tensor([77]), "terminated": yes, "truncated": no})
    buffer.add({"obs": torch.tensor([1]), **row, "next_obs": torch.tensor([88]), "terminated": no, "truncated": yes})
    batch = buffer.sample(100)
    for obs, discount, next_obs in zip(batch["obs"], batch["discount"], batch["next_obs"], strict=True):
        assert discount == (0 if obs == 0 else GAMMA)
        assert next_obs == (77 if obs == 0 else 88)


def test_final_observations_survive_when_every_step_ends_an_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring, "FINAL_BYTES", 0)
    """The side table holds as many final observations as there are rows, however small it began."""
    buffer = make(300)
    for t in range(1000):
        buffer.add(
            {
                "obs": torch.tensor([t]),
                "action": torch.tensor([0]),
                "reward": torch.tensor([0.0]),
                "next_obs": torch.tensor([-t]),
                "terminated": torch.tensor([True]),
                "truncated": torch.tensor([False]),
            }
        )
    batch = buffer.sample(2000)
    assert torch.equal(batch["next_obs"], -batch["obs"])
    assert len(buffer.final_obs) < 2 * 300 + 16


@pytest.mark.parametrize("junk", [False, True])
def test_drain_is_in_order_and_empties(junk: bool) -> None:
    buffer = make(12)
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
    buffer = make(12)
    rows = list(stream(3, 10, seed=5))
    for row in rows:
        buffer.add(row)
    rollout = buffer.drain()
    for name in rows[0]:
        assert torch.equal(rollout[name], torch.stack([row[name] for row in rows[-4:]])), name


def test_frames_are_stored_once_and_stay_uint8() -> None:
    buffer = make(1000)
    frame = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8)
    for t in range(1200):
        ended = torch.tensor([t % 100 == 99])
        row = {"obs": frame, "action": torch.zeros(1), "reward": torch.zeros(1), "next_obs": frame}
        buffer.add(row | {"terminated": ended, "truncated": torch.tensor([False])})
    assert buffer.sample(4)["obs"].dtype == torch.uint8
    assert buffer.nbytes < 1.05 * (1000 + 16) * 3 * 16 * 16


def test_a_data_set_is_a_buffer_nobody_adds_to() -> None:
    buffer = make(None)
    buffer.add({"image": torch.arange(50, dtype=torch.uint8).view(50, 1, 1, 1), "label": torch.arange(50)})
    batch = buffer.sample(2000)
    assert len(buffer) == 50
    assert batch["image"].shape == (2000, 1, 1, 1)
    assert set(batch) == {"image", "label"}
    assert set(batch["label"].tolist()) == set(range(50))
    assert torch.equal(batch["image"].flatten().long(), batch["label"])


@pytest.mark.parametrize("num_rows", [3, 8, 21])
def test_a_restored_buffer_draws_the_same_and_goes_on_the_same(num_rows: int) -> None:
    rows = list(stream(2, 60, seed=6, junk=True))
    original, restored = make(16, n_step=2), make(16, n_step=2)
    for row in rows[:num_rows]:
        original.add(row)
    restored.load_state_dict(original.state_dict())
    for row in rows[num_rows:]:
        original.add(row)
        restored.add(row)
    restored.generator.set_state(original.generator.get_state())
    for (name, value), other in zip(original.sample(64).items(), restored.sample(64).values(), strict=True):
        assert torch.equal(value, other), name


def test_wrong_rows_are_refused() -> None:
    buffer = make(8)
    rows = list(stream(2, 2, seed=7))
    buffer.add(rows[0])
    with pytest.raises(ValueError, match="obs must have shape"):
        buffer.add(rows[1] | {"obs": torch.zeros(3, dtype=torch.int64)})
    with pytest.raises(ValueError, match="action must have shape"):
        buffer.add({name: value for name, value in rows[1].items() if name != "action"})
    with pytest.raises(ValueError, match="smaller than one row"):
        make(1).add(rows[0])


def test_a_buffer_larger_than_memory_is_refused_in_one_line() -> None:
    """`--buffer-size 1000000000000` once ended in a MemoryError's traceback."""
    with pytest.raises(UsageError, match="lower --buffer-size"):
        make(10**12).add(next(stream(1, 1, seed=8)))


ENDS = (
    ((3, "terminated"), (1, "truncated"), (5, "terminated")),
    ((9, "truncated"), (2, "terminated")),
    ((4, "truncated"),),
)


def stacked_rows(num_envs: int, num_rows: int, k: int, junk: bool):
    """Rows of counting environments as gymnasium stacks them; observations [N, k, 2]."""
    mode = AutoresetMode.NEXT_STEP if junk else AutoresetMode.SAME_STEP
    thunks = [
        lambda ends=ENDS[n]: FrameStackObservation(counting.Counting(ends, start=1), k)  # type: ignore[misc]
        for n in range(num_envs)
    ]
    envs, rng = SyncVectorEnv(thunks, autoreset_mode=mode), np.random.default_rng(num_rows)
    obs, _ = envs.reset(seed=0)
    pending = np.zeros(num_envs, bool)
    for t in range(num_rows):
        action = rng.integers(1, 4, num_envs)
        new, reward, terminated, truncated, infos = envs.step(action)
        ended, next_obs = terminated | truncated, new.copy()
        if not junk and ended.any():
            next_obs[ended] = np.stack(infos["final_obs"][ended])
        yield {
            "obs": obs,
            "action": action,
            "reward": reward.astype(np.float32),
            "next_obs": next_obs,
            "terminated": terminated,
            "truncated": truncated,
            "valid": ~pending if junk else np.ones(num_envs, bool),
            "id": np.arange(num_envs) + t * num_envs,
        }
        obs, pending = (next_obs if not ended.any() else new.copy()), ended


def expected_stacks(rows: list[dict], capacity_rows: int, n_step: int) -> dict[int, tuple]:
    """Of every drawable transition, by id: its stack and the stack n steps on, as they were added."""
    kept, expected = rows[-capacity_rows:], {}
    for t in range(len(kept) - n_step + 1):
        for n, valid in enumerate(kept[t]["valid"]):
            if valid:
                last = t
                while last < t + n_step - 1 and not (kept[last]["terminated"][n] or kept[last]["truncated"][n]):
                    last += 1
                expected[int(kept[t]["id"][n])] = (kept[t]["obs"][n], kept[last]["next_obs"][n])
    return expected


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize(("k", "n_step"), [(4, 1), (2, 1), (3, 3)])
@pytest.mark.parametrize("junk", [False, True])
@pytest.mark.parametrize("num_rows", [5, 10, 11, 57])
@pytest.mark.parametrize("on_cpu", [True, False])
def test_stacks_are_those_gymnasium_made(num_envs, k, n_step, junk, num_rows, on_cpu) -> None:
    generator = torch.Generator().manual_seed(0)
    buffer = Buffer(10 * num_envs, gamma=GAMMA, n_step=n_step, frame_stack=k, generator=generator)
    buffer._on_cpu = on_cpu  # False: what runs on a GPU
    rows = list(stacked_rows(num_envs, num_rows, k, junk))
    for t, row in enumerate(rows):
        if t == num_rows // 2 and on_cpu:  # in the middle of an episode, as far as the ring is concerned
            resumed = Buffer(10 * num_envs, gamma=GAMMA, n_step=n_step, frame_stack=k, generator=generator)
            resumed.load_state_dict(buffer.state_dict())
            buffer = resumed
        buffer.add(row)
    expected = expected_stacks(rows, 10, n_step)
    batch = buffer.sample(1500)
    assert set(batch["id"].tolist()) == set(expected)
    for i, index in enumerate(batch["id"].tolist()):
        assert np.array_equal(batch["obs"][i].numpy(), expected[index][0]), index
        assert np.array_equal(batch["next_obs"][i].numpy(), expected[index][1]), index
    assert buffer.storage["obs"].shape[2:] == (2,)  # a frame is stored once


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("junk", [False, True])
@pytest.mark.parametrize("on_cpu", [True, False])
def test_many_rows_at_once_are_as_many_one_by_one(num_envs: int, k: int, junk: bool, on_cpu: bool) -> None:
    rows = list(stacked_rows(num_envs, 60, k, junk) if k > 1 else stream(num_envs, 60, seed=4, junk=junk))
    one_by_one, at_once = (Buffer(10 * num_envs, frame_stack=k, generator=torch.Generator()) for _ in range(2))
    one_by_one._on_cpu = at_once._on_cpu = on_cpu
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


@pytest.mark.parametrize("which", [0, 1, 2])
def test_valid_may_be_said_of_some_rows_alone(which: int) -> None:
    rows = [{name: value for name, value in row.items() if name != "valid"} for row in stream(2, 3, seed=1)]
    rows[which]["valid"] = torch.tensor([True, False])
    at_once, one_by_one = make(20), make(20)
    at_once.add(*rows)
    for row in rows:
        one_by_one.add(row)
    assert len(at_once) == len(one_by_one) == 5
    assert torch.equal(at_once.drain()["valid"], one_by_one.drain()["valid"])


@pytest.mark.parametrize("junk", [False, True])
def test_drained_stacks_reach_back_to_before_the_last_drain(junk: bool) -> None:
    buffer = Buffer(12, frame_stack=4, generator=torch.Generator())
    rows = list(stacked_rows(3, 40, 4, junk))
    for begin in range(0, 40, 4):
        for row in rows[begin : begin + 4]:
            buffer.add(row)
        rollout = buffer.drain()
        valid = rollout["valid"].numpy()  # a junk row's stacks mean nothing
        for name in rows[0]:
            added = np.stack([row[name] for row in rows[begin : begin + 4]])
            assert np.array_equal(rollout[name].numpy()[valid], added[valid]), name


@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize("junk", [False, True])
def test_the_device_path_reads_what_the_cpu_path_reads(n_step: int, junk: bool) -> None:
    on_cpu, on_device = make(24, n_step), make(24, n_step)
    on_device._on_cpu = False
    for row in stream(3, 31, seed=9, junk=junk):
        on_cpu.add(row)
        on_device.add({name: value.numpy() for name, value in row.items()})  # arrays or tensors, it is the same
    first, num_drawable = on_device.prepare_range()
    assert (first, num_drawable) == on_cpu.prepare_range()
    index = torch.arange(first, first + num_drawable)
    if on_cpu._ids is not None:
        index = on_cpu._ids[index % len(on_cpu._ids)]
    for (name, value), other in zip(
        on_cpu._gather(index.numpy()).items(), on_device._gather(index).values(), strict=True
    ):
        assert torch.equal(torch.from_numpy(value), other), name
    assert set(on_device.sample(1000)["obs"].tolist()) == set(on_cpu._gather(index.numpy())["obs"].tolist())


def test_layout_changes_when_a_captured_draw_would_be_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring, "FINAL_BYTES", 0)
    buffer, rows = make(40), list(stream(1, 60, seed=10, junk=True))
    ended = {"terminated": torch.tensor([True]), "truncated": torch.tensor([False]), "valid": torch.tensor([True])}
    buffer.add(rows[0] | ended)
    layout = buffer.layout
    buffer.add(rows[1] | ended)
    assert buffer.layout is layout
    buffer.add(rows[2] | {"valid": torch.tensor([False])})  # the list of ids
    assert buffer.layout is not layout
    layout = buffer.layout
    for row in rows[3:25]:
        buffer.add(row | ended)  # the table of final observations grows
    assert buffer.layout is not layout
    layout = buffer.layout
    buffer.load_state_dict(buffer.state_dict())
    assert buffer.layout is not layout


def test_minibatches_are_a_shuffle_without_replacement() -> None:
    data = {"obs": torch.arange(12).view(4, 3), "reward": torch.arange(12.0).view(4, 3)}
    generator = torch.Generator().manual_seed(0)
    parts = list(minibatches(data, 4, 2, generator))
    assert len(parts) == 6
    for epoch in (parts[:3], parts[3:]):
        assert sorted(torch.cat([part["obs"] for part in epoch]).tolist()) == list(range(12))
    assert all(torch.equal(part["obs"].float(), part["reward"]) for part in parts)
    assert not torch.equal(parts[0]["obs"], parts[3]["obs"])


def test_a_buffer_saved_when_drained_has_valid_rows_after_it_is_loaded() -> None:
    """Rows that a drained buffer leaves out of its state came back as not valid, and stayed so."""
    buffer, other = make(8), make(8)
    rows = list(stream(2, 8, seed=7))
    for row in rows[:4]:
        buffer.add(row)
    buffer.drain()
    other.load_state_dict(buffer.state_dict())
    for row in rows[4:8]:
        other.add(row)
    assert other.drain()["valid"].all()
