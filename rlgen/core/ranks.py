"""Ranks: processes that train one run together, each with environments, a buffer and random numbers of its own.

`torchrun` starts them. They exchange sums; whatever is decided, rank 0 decides or all of them find the same.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor

from rlgen.core import functional
from rlgen.core.batch import SHARED, Batch
from rlgen.errors import RankLostError

T = TypeVar("T")
PATIENCE = timedelta(hours=12)  # how long a rank waits for the others: longer than an evaluation or a save takes


class Ranks:
    """The ranks of this run, over `torch.distributed`.

    Attributes:
        rank: this process; rank 0 logs, evaluates and decides.
        size: how many there are, K.
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all ranks of `values`, which have the same shape everywhere; in place."""
        with _lost_ranks():
            torch.distributed.all_reduce(values)
        return values

    def most(self, *values: int) -> list[int]:
        """The largest that any rank has, of each value."""
        found = torch.tensor(values)
        with _lost_ranks():
            torch.distributed.all_reduce(found, op=torch.distributed.ReduceOp.MAX)
        return found.tolist()

    def least(self, value: Tensor) -> Tensor:
        """The smallest that any rank has, element by element."""
        with _lost_ranks():
            torch.distributed.all_reduce(least := value.clone(), op=torch.distributed.ReduceOp.MIN)
        return least

    def gather(self, value: T) -> list[T]:
        """What each rank has, by rank; anything that can be pickled."""
        found: list[Any] = [None] * self.size
        with _lost_ranks():
            torch.distributed.all_gather_object(found, value)
        return found

    def first(self, value: T) -> T:
        """What rank 0 has."""
        found = [value]
        with _lost_ranks():
            torch.distributed.broadcast_object_list(found, src=0)
        return found[0]


@contextlib.contextmanager
def _lost_ranks() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise RankLostError("another rank has ended; its own line says why") from error


@contextlib.contextmanager
def joined() -> Iterator[Ranks]:
    """Meet the other ranks, and part from them at the end."""
    from torch import distributed

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    with _lost_ranks():
        distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def alike(batch: Batch, ranks: Any) -> Batch:
    """The batch, whose shared tensors are those of rank 0 on every rank: its own samples, under one noise."""
    names = [name for name in batch if name.startswith(SHARED)]
    own = {name: batch[name].clone() if ranks.rank == 0 else torch.zeros_like(batch[name]) for name in names}
    return batch if not own else {**batch, **{name: ranks.sum(value) for name, value in own.items()}}


@contextlib.contextmanager
def one_batch(ranks: Any) -> Iterator[None]:
    """Means over a mask are those over the batches of all ranks, for losses that are averaged over ranks after.

    A mean that gradients flow through becomes this rank's part of it, K times as large; any other one the mean itself.
    """

    def shares(total: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        count = ranks.sum(count.to(torch.float64))
        return (total * ranks.size if total.requires_grad else ranks.sum(total.clone())), count.to(total.dtype)

    token = functional.shares.set(shares)
    try:
        yield
    finally:
        functional.shares.reset(token)
