"""Prioritized replay against a naive reference: a dictionary of priorities, and sums that are added up one by one."""

from collections.abc import Iterator
from functools import partial
from itertools import islice, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from rank_threads import ThreadRanks, at_once
from transitions import GAMMA, expected_stacks, stacked_rows, stream

from rlgen.core import priorities
from rlgen.core.priorities import DRAWN, UNITS, BlockSums, PrioritizedBuffer, RunningSum, in_strata
from rlgen.core.ring import Tensors

ON = pytest.mark.parametrize("as_on_gpu", [False, True], ids=["cpu", "as on gpu"])


def make(capacity: int, n_step: int = 1, frame_stack: int = 1, as_on_gpu: bool = False) -> PrioritizedBuffer:
    generator = torch.Generator().manual_seed(0)
    buffer = PrioritizedBuffer(capacity, gamma=GAMMA, n_step=n_step, frame_stack=frame_stack, generator=generator)
    if as_on_gpu:
        buffer.backend = Tensors(generator)
    return buffer


def filled(num: int, given: list[float] | None = None, as_on_gpu: bool = False) -> PrioritizedBuffer:
    """A buffer of so many transitions, one environment, with these priorities."""
    buffer = make(num, as_on_gpu=as_on_gpu)
    buffer.add(*stream(1, num, seed=0))
    if given:
        buffer.update_priority(torch.arange(num), torch.tensor(given))
    return buffer


def ids(buffer: PrioritizedBuffer, index: torch.Tensor) -> list[int]:
    found: list[int] = buffer.ring.columns["id"].flatten()[index].tolist()
    return found


def units_of(buffer: PrioritizedBuffer) -> dict[int, int]:
    """By the transition's id."""
    buffer.index.refresh()
    index = buffer.index.units.nonzero().flatten()
    return dict(zip(ids(buffer, index), buffer.index.units[index].tolist(), strict=True))


def numbered(num_envs: int, frames: int, junk: bool) -> Iterator[dict[str, Any]]:
    if frames > 1:
        yield from stacked_rows(num_envs, 90, frames, junk)
        return
    for t, row in enumerate(stream(num_envs, 90, seed=5, junk=junk)):
        yield row | {"id": torch.arange(num_envs) + t * num_envs}


def drawable(rows: list[dict[str, Any]], capacity: int, n_step: int) -> set[int]:
    kept = [{name: np.asarray(value) for name, value in row.items()} for row in rows]
    return set(expected_stacks(kept, capacity, n_step))


@ON
def test_ranks_weigh_what_they_draw_against_the_batches_of_all(as_on_gpu: bool) -> None:
    """By hand: a rank draws with p over the sum of its own; of all those the least likely one weighs 1."""
    given = [[1.0, 2.0, 4.0, 1.0], [8.0, 2.0, 2.0, 1.0, 1.0, 4.0]]
    buffers = [filled(len(each), each, as_on_gpu) for each in given]

    def draw(buffer: PrioritizedBuffer, ranks: ThreadRanks) -> dict[str, torch.Tensor]:
        buffer.ranks = ranks
        batch = buffer.sample(5, beta=0.5)
        return {name: batch[name] for name in ("index", "weight")}

    batches = at_once([partial(draw, buffer) for buffer in buffers])
    own = zip(given, batches, strict=True)
    ratios = [np.array(each)[batch["index"]] * len(each) / sum(each) for each, batch in own]
    for ratio, batch in zip(ratios, batches, strict=True):
        assert batch["weight"].numpy() == pytest.approx((np.concatenate(ratios).min() / ratio) ** 0.5, rel=1e-6)


@ON
@pytest.mark.parametrize("junk", [False, True], ids=["", "invalid rows"])
@pytest.mark.parametrize(("num_envs", "n_step", "frames"), [(1, 1, 1), (3, 3, 1), (2, 1, 3), (3, 3, 2)])
def test_priorities_are_those_of_a_dictionary(
    num_envs: int, n_step: int, frames: int, junk: bool, as_on_gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over additions, updates, episodes' ends and three rounds of the ring, with four levels of sums."""
    monkeypatch.setattr(priorities, "BLOCK", 2)
    monkeypatch.setattr(priorities, "TOP", 3)
    rng, capacity = np.random.default_rng(n_step), 23
    buffer = make(capacity * num_envs, n_step, frames, as_on_gpu)
    coming, added, naive, largest = numbered(num_envs, frames, junk), [], {}, UNITS
    while batch := [*islice(coming, rng.integers(1, 7))]:
        buffer.add(*batch)
        added += batch
        may_be_drawn = drawable(added, capacity, n_step)
        naive = {each: naive.get(each, largest) for each in may_be_drawn}
        if not naive:
            continue
        assert units_of(buffer) == naive
        for lower, upper in pairwise(getattr(buffer.index.sums, "levels", [])):
            of_blocks = lower.reshape(-1, 2).sum(1)
            assert np.array_equal(upper[: len(of_blocks)], of_blocks) and not upper[len(of_blocks) :].any()

        drawn = buffer.sample(9)
        assert set(drawn["id"].tolist()) <= may_be_drawn
        anywhere = torch.from_numpy(rng.integers(0, buffer.ring.size, 4))
        index = torch.cat([drawn["index"], drawn["index"][:3], anywhere])
        given = torch.from_numpy(rng.exponential(size=len(index))).float() ** 3
        for place, each, priority in zip(index.tolist(), ids(buffer, index), given.tolist(), strict=True):
            if buffer.index.units[place] > 0:
                naive[each] = max(1, int(priority * UNITS))
        buffer.update_priority(index, given)
        largest = max(largest, *naive.values())
        assert units_of(buffer) == naive and buffer.index.largest.item() == largest
    assert len(added) == 90


@ON
def test_a_transition_is_drawn_as_often_as_its_priority_says(as_on_gpu: bool) -> None:
    given = [0.1, 5.0, 1.0, 1.0, 0.02, 3.0, 2.0, 0.5]
    buffer = filled(8, given, as_on_gpu)
    drawn = torch.cat([buffer.sample(20)["index"] for _ in range(300)])
    expected = 6000 * torch.tensor(given) / sum(given)
    chi_square = ((drawn.bincount(minlength=8) - expected) ** 2 / expected).sum()
    assert chi_square < 24.3  # of seven degrees of freedom, 0.1 %; strata only lower it


@ON
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_of_every_equal_part_of_the_sum_one_is_drawn(
    levels: int, as_on_gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(priorities, "BLOCK", 8)
    monkeypatch.setattr(priorities, "TOP", {1: 512, 2: 64, 3: 8}[levels])
    rng = np.random.default_rng(levels)
    units = np.where(rng.random(512) < 0.3, 0, rng.integers(1, 4, 512))  # so that aims hit the ends of sums
    drawn = rng.integers(0, DRAWN, 100)
    sums: Any = RunningSum(torch.from_numpy(units)) if as_on_gpu else BlockSums(units)
    if not as_on_gpu:
        sums.changed(0, 512)
        assert len(sums.levels) == levels
    found = np.asarray(sums.find(torch.from_numpy(drawn) if as_on_gpu else drawn))
    running, total = units.cumsum(), int(units.sum())
    aims = [int((part + number / DRAWN) * (total / 100)) for part, number in enumerate(drawn.tolist())]
    assert found.tolist() == [next(i for i, each in enumerate(running) if each > aim) for aim in aims]
    assert all(part * total / 100 - 1 < aim < (part + 1) * total / 100 for part, aim in enumerate(aims))


@pytest.mark.parametrize("xp", [np, torch])
def test_the_ends_of_the_sum_are_inside(xp: Any) -> None:
    for total in (1, 3, 2**61):
        order = xp.arange(4)
        ends = [in_strata(xp, order * 0 + number, order, xp.asarray(total)) for number in (0, DRAWN - 1)]
        assert ends[0][0] == 0 and ends[1][-1] == total - 1


@ON
def test_weights_are_those_of_the_paper(as_on_gpu: bool) -> None:
    given, beta = [1.0, 2.0, 4.0, 0.5], 0.7
    buffer = filled(4, given, as_on_gpu)
    batch = buffer.sample(64, beta=beta)
    probability = torch.tensor(given)[batch["index"]] / sum(given)
    weight = (4 * probability) ** -beta
    assert batch["weight"].dtype == torch.float32
    assert torch.allclose(batch["weight"], weight / weight.max())
    assert (buffer.sample(8, beta=0.0)["weight"] == 1).all()
    assert buffer.sample(64)["weight"].unique().tolist() == [0.125, 0.25, 0.5, 1.0]


@ON
def test_of_a_transition_that_is_updated_twice_the_last_priority_counts(as_on_gpu: bool) -> None:
    buffer = filled(8, as_on_gpu=as_on_gpu)
    buffer.update_priority(torch.tensor([3, 5, 3, 3, 5]), torch.tensor([9.0, 7.0, 8.0, 2.0, 0.5]))
    assert (buffer.index.units[:8] / UNITS).tolist() == [1, 1, 1, 2, 1, 0.5, 1, 1]
    buffer.add(*stream(1, 1, seed=1))
    buffer.index.refresh()
    assert buffer.index.units[8] == 2 * UNITS  # 9 never was a priority


def test_of_a_transition_that_is_there_twice_a_gpu_writes_one_number_twice() -> None:
    """In which order it writes is not known."""

    class Written(list[Any]):
        def __setitem__(self, index: Any, units: Any) -> None:
            self.append((index.tolist(), units.tolist()))

    sums: Any = RunningSum(torch.zeros(8, dtype=torch.int64))
    sums.units = Written()
    sums.put(torch.tensor([3, 5, 3, 5, 1]), torch.tensor([9, 7, 8, 2, 4]))
    assert sums.units == [([3, 5, 3, 5, 1], [8, 2, 8, 2, 4])]


@ON
def test_no_priority_is_too_small_too_large_or_no_number(as_on_gpu: bool) -> None:
    buffer = filled(5, [0.0, 1e-30, 1e30, np.inf, np.nan], as_on_gpu)
    most = int(buffer.index.most)
    assert buffer.index.units[:5].tolist() == [1, 1, most, most, most]
    assert most / UNITS > 2**30 and most * buffer.ring.size < 2**62
    assert set(buffer.sample(100)["index"].tolist()) == {2, 3, 4}
    assert buffer.sample(100)["weight"].isfinite().all()


def test_what_is_drawn_on_a_gpu_is_what_is_drawn_on_a_cpu() -> None:
    rng, buffers = np.random.default_rng(0), [make(60, 2), make(60, 2, as_on_gpu=True)]
    for row in stream(3, 70, seed=1, junk=True):
        for buffer in buffers:
            buffer.add(row)
        if buffer.ring.num_used > 2:
            drawn = torch.from_numpy(rng.integers(0, DRAWN, 7))
            [index, other] = [torch.as_tensor(each.index.locate(each.backend.own(drawn))) for each in buffers]
            assert torch.equal(index, other)
            given = torch.from_numpy(rng.random(7)).float()
            for buffer in buffers:
                buffer.update_priority(index, given)
    assert torch.equal(buffers[0].index.units, buffers[1].index.units)


@ON
@pytest.mark.parametrize("num_rows", [2, 9, 33])
def test_a_buffer_that_is_saved_and_loaded_draws_what_it_would_have_drawn(
    num_rows: int, as_on_gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a time when rows have come that no draw has seen."""
    monkeypatch.setattr(priorities, "BLOCK", 2)
    monkeypatch.setattr(priorities, "TOP", 3)
    rows = list(stream(2, num_rows + 4, seed=3, junk=True))
    one, other = make(16, 2, as_on_gpu=as_on_gpu), make(16, 2, as_on_gpu=as_on_gpu)
    one.add(*rows[: num_rows - 1])
    if num_rows > 2:
        one.update_priority(one.sample(6)["index"], torch.arange(6.0) + 1)
    one.add(rows[num_rows - 1])
    state = {"buffer": one.state_dict(), "generator": one.backend.generator.get_state()}
    other.load_state_dict(state["buffer"])
    other.backend.generator.set_state(state["generator"])
    for row in rows[num_rows:]:
        for buffer in (one, other):
            buffer.add(row)
        batches = [dict(buffer.sample(6, beta=0.5)) for buffer in (one, other)]
        assert all(torch.equal(batches[0][name], batches[1][name]) for name in batches[0])
        for buffer, batch in zip((one, other), batches, strict=True):
            buffer.update_priority(batch["index"], batch["reward"].abs())
    assert torch.equal(one.index.units, other.index.units)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("units", lambda units: units[:-1]),
        ("units", lambda units: units.float()),
        ("units", lambda units: units[:, None]),
        ("units", lambda units: units * 2**45),
        ("units", lambda units: -units),
        ("units", lambda units: units.roll(1)),
        ("units", lambda units: units * 0),
        ("largest", lambda largest: largest * 0),
        ("largest", lambda largest: largest.float()),
        ("largest", lambda largest: largest[None]),
    ],
)
def test_a_damaged_state_is_refused(name: str, value: Any) -> None:
    buffer = make(16, 2)
    buffer.add(*stream(1, 7, seed=3, junk=True))
    state = buffer.state_dict()
    state["index"] |= {name: value(state["index"][name])}
    with pytest.raises(ValueError, match=f"index.{name}"):
        make(16, 2).load_state_dict(state)


def test_an_empty_buffer_has_nothing_to_draw_before_and_after() -> None:
    buffer = make(8)
    with pytest.raises(ValueError, match="nothing to sample yet"):
        buffer.sample(2)
    make(8).load_state_dict(buffer.state_dict())
    buffer.add(*stream(1, 5, seed=1))
    buffer.sample(2)
    buffer.drain()
    with pytest.raises(ValueError, match="nothing to sample yet"):
        buffer.sample(2)
    assert not buffer.index.units.any()
    buffer.add(*stream(1, 3, seed=2))
    assert set(buffer.sample(50)["index"].tolist()) == {0, 1, 2}
