"""Batches that are cut, and batches that are drawn late."""

import torch

from rlgen.core.batch import Batch, LazyBatch, minibatches, split


def test_minibatches_are_a_shuffle_without_replacement() -> None:
    data = {"obs": torch.arange(12).view(4, 3), "reward": torch.arange(12.0).view(4, 3)}
    generator = torch.Generator().manual_seed(0)
    parts = list(minibatches(data, 4, 2, generator))
    assert len(parts) == 6
    for epoch in (parts[:3], parts[3:]):
        assert sorted(torch.cat([part["obs"] for part in epoch]).tolist()) == list(range(12))
    assert all(torch.equal(part["obs"].float(), part["reward"]) for part in parts)
    assert not torch.equal(parts[0]["obs"], parts[3]["obs"])


def test_a_lazy_batch_is_drawn_once_and_only_if_read() -> None:
    drawn = []

    def draw() -> Batch:
        drawn.append(1)
        return {"x": torch.ones(2)}

    batch = LazyBatch(draw, (2, 0))
    assert not drawn
    assert batch["x"].sum() == 2 and list(batch) == ["x"] and len(batch) == 1
    assert drawn == [1]


def test_another_batch_of_the_same_draw_has_numbers_of_its_own() -> None:
    generator = torch.Generator().manual_seed(0)
    batch = LazyBatch(lambda: {"x": torch.rand(4, generator=generator)}, (4, 0))
    first = batch["x"]
    other = batch.undrawn()
    assert other.tensors is None and other.key == batch.key
    assert not torch.equal(other["x"], first)
    assert batch["x"] is first


def test_what_is_shared_by_all_samples_is_not_cut() -> None:
    """It is declared by its name: of the same size as a batch it would be taken for rows."""
    batch = {"obs": {"near": torch.arange(4), "far": torch.arange(4)}, "shared_noise": torch.arange(4)}
    parts = list(split(batch, 2))  # type: ignore[arg-type]
    assert [part["obs"]["near"].tolist() for part in parts] == [[0, 1], [2, 3]]  # type: ignore[call-overload]
    assert [part["shared_noise"].tolist() for part in parts] == [[0, 1, 2, 3]] * 2
