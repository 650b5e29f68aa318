"""A ring of rows on one device, and what its data are handled with: NumPy arrays on the CPU, tensors on a GPU.

On the CPU arrays and tensors share their memory, and to index an array costs a fifth of what a tensor costs.
Shapes: R rows, N environments side by side, T rows written at once, B sampled.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlgen.core.batch import Batch, LazyBatch
from rlgen.memory import at_hand

NUMBERS = itertools.count()  # of rings
ALIGNED = 16  # bytes, where a column begins among those that cross together
PACKED = 2**26  # bytes of a column that crosses with others: more would be in the host's memory twice
Backend = Any  # `Arrays` or `Tensors`: the same methods, on arrays or on tensors
Piece = tuple[
    Any, int, Any
]  # a table [K, ...], its first entry that is written, and what with: a sequence [T] of [...]


class Ring:
    """Columns of R rows of N entries; the newest row overwrites the oldest.

    Args:
        row: one row of every column, [N, ...]: shapes and dtypes.
        num_rows: R.
        max_used: rows in use at most; the rest is room that other parts of the buffer write to.
        oldest: the first row that is written.
        backend: what the data are handled with.

    Attributes:
        columns: the tensors, [R, N, ...] each.
        rows: the same as the backend has them.
        flat: the same as [R * N, ...], at row * N + environment.
        oldest: the oldest row in use.
        num_used: rows in use.
        number: its own; no two rings ever have the same.
        version: counts how often tensors were replaced: what was recorded with older ones is then stale.
    """

    def __init__(self, row: Mapping[str, Tensor], num_rows: int, max_used: int, oldest: int, backend: Backend) -> None:
        self.num_envs = len(next(iter(row.values())))
        self.num_rows, self.max_used, self.oldest, self.num_used = num_rows, max_used, oldest, 0
        self.version = 0
        self.size = num_rows * self.num_envs
        self.backend, self.number = backend, next(NUMBERS)
        self.columns: Batch = {
            name: torch.zeros((num_rows, *value.shape), dtype=value.dtype, device=backend.device)
            for name, value in row.items()
        }
        self.rows = {name: self.backend.own(column) for name, column in self.columns.items()}
        self.flat = {name: self.backend.own(column.flatten(0, 1)) for name, column in self.columns.items()}

    def write(self, rows: Sequence[Mapping[str, Any]], names: Sequence[str], following: Mapping[str, Any]) -> int:
        """Write T rows where the newest one ended; returns the first row that was written.

        They must fit in one piece: see `room_in_one_piece`.

        Args:
            rows: of each every value [N, ...].
            names: of the columns that are written.
            following: values [N, ...] by name, of the row after them.
        """
        first = (self.oldest + self.num_used) % self.num_rows
        self.num_used += len(rows)
        pieces = [(self.rows[name], first, [row[name] for row in rows]) for name in names]
        pieces += [(self.rows[name], (first + len(rows)) % self.num_rows, [value]) for name, value in following.items()]
        self.backend.write(pieces)
        return first

    def room_in_one_piece(self) -> int:
        """Rows that can be written before the end of the ring's memory."""
        return min(self.num_rows - (self.oldest + self.num_used) % self.num_rows, self.max_used)

    def in_order(self) -> Tensor:
        """Flat indices of all that is in use, oldest row first: [T, N]."""
        rows = (self.oldest + torch.arange(self.num_used, device=self.backend.device)) % self.num_rows
        return rows[:, None] * self.num_envs + torch.arange(self.num_envs, device=rows.device)

    def num_saved(self, oldest: int, num_used: int) -> int:
        """Rows that were ever written, so that they are saved."""
        wrapped = oldest + num_used >= self.num_rows or num_used == self.max_used
        return self.num_rows if wrapped else oldest + num_used + 1

    @property
    def position(self) -> int:
        """The row that is written next; the newest `next_obs` is in it already."""
        return (self.oldest + self.num_used) % self.num_rows

    def state_dict(self) -> dict[str, Any]:
        """Rows that were ever written: parts of the columns, not copies, which may not be in memory twice."""
        used = self.num_saved(self.oldest, self.num_used)
        columns = {name: column[:used] for name, column in self.columns.items()}
        return {"oldest": self.oldest, "num_used": self.num_used, "columns": columns}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` returned; rows that were never written keep their zeros.

        Args:
            state: with `blocks`, the rows lie in files: its columns have their shape alone.

        Raises:
            ValueError: it is not of a ring of this size.
        """
        oldest, num_used, columns = state["oldest"], state["num_used"], state["columns"]
        if oldest not in range(self.num_rows) or num_used not in range(self.max_used + 1):
            raise ValueError(f"{num_used} rows from row {oldest} on are no part of a ring of {self.num_rows}")
        for name, column in self.columns.items():
            rows = columns[name]
            if len(rows) != self.num_saved(oldest, num_used) or rows.shape[1:] != column.shape[1:]:
                raise ValueError(
                    f"{name} has shape {list(rows.shape)}, with {num_used} rows of {list(column.shape)} in use"
                )
            if "blocks" not in state:
                column[: len(rows)].copy_(rows)  # without another copy on the device
        if "blocks" in state:
            state["blocks"].read_into({name: column[: len(columns[name])] for name, column in self.columns.items()})
        self.oldest, self.num_used = oldest, num_used
        self.version += 1


class Arrays:
    """NumPy on the CPU.

    Args:
        generator: of random numbers.
    """

    xp: Any = np
    take: Any = staticmethod(np.ndarray.take)  # entries of a table [K, ...] at an index [...], along axis 0

    def __init__(self, generator: torch.Generator) -> None:
        self.generator, self.device = generator, generator.device

    def own(self, value: Any) -> np.ndarray:
        """An array or a tensor as this backend has it; the memory is shared."""
        return value.numpy() if type(value) is Tensor else value

    def write(self, pieces: Sequence[Piece]) -> None:
        """Write to tables, to no place twice."""
        for table, first, values in pieces:
            if len(values) == 1:
                table[first] = self.own(values[0])  # half the time of a slice of one
            else:
                table[first : first + len(values)] = [*map(self.own, values)] if type(values) is list else values

    def join(self, values: Sequence[Any]) -> np.ndarray:
        """Values [K, ...] each, one after the other."""
        return np.concatenate([self.own(value) for value in values])

    def replace(self, values: np.ndarray, numbers: np.ndarray, table: Tensor) -> None:
        """Where `numbers` [B] are not negative, replace values [B, ...] by `table[numbers % len(table)]`."""
        chosen = (numbers >= 0).nonzero()[0]
        if len(chosen):
            values[chosen] = table.numpy()[numbers[chosen] % len(table)]

    def draw(self, read: Callable[[Any], dict[str, Any]], first: int, num: int, size: int, ring: Ring) -> Any:
        """Read at `size` random numbers from `first` to `first + num - 1`: a batch of tensors."""
        values = read(torch.randint(first, first + num, (size,), generator=self.generator).numpy())
        return {name: torch.from_numpy(value) for name, value in values.items()}

    def tensors(self, values: dict[str, Any]) -> Batch:
        """Arrays of this backend as tensors; the memory is shared."""
        return {name: torch.from_numpy(value) for name, value in values.items()}


class Tensors:
    """torch on a GPU, where the drawing of a batch may be part of a CUDA graph.

    Args:
        generator: of random numbers; its device is where the data live.
    """

    xp: Any = torch

    def __init__(self, generator: torch.Generator) -> None:
        self.generator, self.device = generator, generator.device
        self._first, self._num = (torch.zeros((), dtype=torch.int64, device=self.device) for _ in range(2))
        self._filled = (0, 0)  # what they hold

    def take(self, table: Tensor, index: Tensor, axis: int = 0) -> Tensor:
        return table[index]

    def own(self, value: Any) -> Tensor:
        return torch.as_tensor(value).to(self.device, non_blocking=True)

    def write(self, pieces: Sequence[Piece]) -> None:
        """As of `Arrays`. What is on the host crosses in one copy, and one kernel puts it in its places."""
        packed, size = list[tuple[int, Tensor, Any]](), 0
        for table, first, values in pieces:
            target = table[first : first + len(values)]
            is_there = any(isinstance(value, Tensor) and value.device == self.device for value in values)
            if is_there or target.nbytes > PACKED:
                torch._foreach_copy_([*target], [torch.as_tensor(value) for value in values], non_blocking=True)
            else:
                packed.append((size, target, values))
                size += -(-target.nbytes // ALIGNED) * ALIGNED
        if not packed:
            return
        # The allocator of pinned memory reuses a block only after the copy out of it has ended.
        host = torch.empty(size, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        for begin, target, values in packed:
            here = host[begin : begin + target.nbytes].view(target.dtype).view(target.shape).numpy()
            for t, value in enumerate(values):
                here[t] = value
        there = host.to(self.device, non_blocking=True)
        targets = [target.view(torch.uint8) for _, target, _ in packed]  # of one type: a kernel for all of them
        sources = [there[begin:] for begin, *_ in packed]
        sources = [source[: each.nbytes].view(each.shape) for source, each in zip(sources, targets, strict=True)]
        torch._foreach_copy_(targets, sources)

    def join(self, values: Sequence[Any]) -> Any:
        if any(isinstance(value, Tensor) and value.device == self.device for value in values):
            return torch.cat([self.own(value) for value in values])
        return np.concatenate([torch.as_tensor(value).numpy() for value in values])

    def replace(self, values: Tensor, numbers: Tensor, table: Tensor) -> None:
        others = table[numbers.clamp(min=0) % len(table)]
        values.copy_(torch.where((numbers >= 0).view(-1, *[1] * (others.ndim - 1)), others, values))

    def draw(self, read: Callable[[Any], dict[str, Any]], first: int, num: int, size: int, ring: Ring) -> Any:
        for tensor, value, held in zip((self._first, self._num), (first, num), self._filled, strict=True):
            if value != held:  # to fill one costs a launch, and a ring that is full has always as many
                tensor.fill_(value)  # always in the same memory, where a CUDA graph reads them
        self._filled = (first, num)

        def draw() -> Batch:
            random = torch.randint(2**62, (size,), generator=self.generator, device=self.device)
            return read(self._first + random % self._num)  # the remainder's bias is below 1e-9

        return LazyBatch(draw, (size, ring.number, ring.version))

    def tensors(self, values: dict[str, Any]) -> Batch:
        return values


def around(table: Any, begin: int, values: Any) -> list[Piece]:
    """What writes values [K, ...] from entry `begin` of a table on, which goes on at its first one."""
    before = values[: len(table) - begin]
    pieces = (table, begin, before), (table, 0, values[len(before) :])
    return [piece for piece in pieces if len(piece[-1])]


def in_ring(first: int, num: int, size: int) -> list[range]:
    """`num` rows from `first` on in a ring of `size`, as one or two ranges; all of them where that is more."""
    if num >= size:
        return [range(size)]
    return [range(first, min(first + num, size)), range(first + num - size)]


def available_memory(device: torch.device) -> int:
    """Bytes that could be allocated there."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else at_hand()
