"""Prioritized replay: transitions are drawn in proportion to their priorities.

Schaul et al. 2016, "Prioritized experience replay": the proportional variant of section 3.3, weights of section 3.4.
A priority is kept as a whole number of units, so sums are exact in whatever order they are added: they do not drift,
and a CPU and a GPU draw the same. Shapes: R rows, N environments, B sampled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlgen.core.batch import Batch
from rlgen.core.buffer import Buffer
from rlgen.core.form import check_between, check_form
from rlgen.core.index import UniformIndex
from rlgen.core.ring import Arrays, Ring, in_ring

EPSILON = 1e-6  # in every priority: without an error, too, a transition is drawn now and then
UNITS = 2**20  # in a priority of 1; a priority has one unit at least
DRAWN = 2**62  # whole numbers to draw from: so many that they stand for the real ones in [0, 1)
BLOCK = 32  # numbers that one sum is of
TOP = 4096  # sums that are not summed up in blocks again: they are soon added


class PrioritizedBuffer(Buffer):
    """A buffer that draws by priority; its batches have a `weight` [B], and it is told what their priorities become.

    Attributes:
        ranks: processes, of which each draws its part of a batch from rows of its own; None where one has all rows. The
            weights of all parts are over the largest one of all.
    """

    index: PrioritizedIndex
    index_bytes = 8
    ranks: Any = None  # `Ranks` that draw from a share of the rows each

    def __init__(self, capacity: int, **options: Any) -> None:
        super().__init__(capacity, index=PrioritizedIndex, **options)

    def sample(self, batch_size: int, beta: float = 1.0) -> Batch:
        """Draw as `Buffer.sample` does, by priority.

        Args:
            batch_size: B; each of as many equal parts of the sum of all priorities has one draw.
            beta: exponent of the importance weights: 1 corrects for drawing by priority, 0 does not.
        """
        if self.is_allocated:
            self.index.set_beta(beta)
        return super().sample(batch_size)

    def read(self, index: Any) -> dict[str, Any]:
        return super().read(index) | {"weight": self.index.weight(index, self.ranks)}

    def update_priority(self, index: Tensor, priority: Tensor) -> None:
        """From now on draw the transitions at `index` [B] in proportion to `priority` [B], real numbers above 0.

        Of a transition that is there twice the last one counts. What may not be drawn keeps its 0.
        """
        self.index.update(index, priority)


class PrioritizedIndex(UniformIndex):
    """A transition is drawn with probability p / (sum of all p); a new one has the largest p so far, at first 1.

    What may not be drawn has priority 0: a transition that is not valid or no longer there, and one whose n-step window
    is not complete. That is brought up to date before each draw.

    Args:
        ring: where the transitions are.
        n_step: rows of a window.

    Attributes:
        units: of every transition [R * N] int64, with zeros up to a whole block.
        largest: units ever given, 0-d.
        most: units of a transition at most, so that no sum overflows.
        beta: exponent of the importance weights, 0-d.
    """

    def __init__(self, ring: Ring, n_step: int = 1) -> None:
        super().__init__(ring, n_step)
        device, own = ring.backend.device, ring.backend.own
        self.units = torch.zeros(-(-ring.size // BLOCK) * BLOCK, dtype=torch.int64, device=device)
        self.in_rows = own(self.units[: ring.size].view(ring.num_rows, ring.num_envs))  # [R, N]
        self.sums: Any = (BlockSums if type(ring.backend) is Arrays else RunningSum)(own(self.units))
        self.largest, self.beta = torch.full((), UNITS, device=device), torch.ones((), device=device)
        self.most = 2.0 ** (61 - ring.size.bit_length())
        self.held_beta = 1.0  # what `beta` holds
        self.num_rows_added, self.drawable = 0, (0, 0)  # rows from, to; counted since the first one

    def add(self, first: int, rows: Sequence[Mapping[str, Any]]) -> None:
        super().add(first, rows)
        self.num_rows_added += len(rows)

    def clear(self) -> None:
        super().clear()
        self.units.zero_()
        self.sums.changed(0, len(self.units))

    def refresh(self) -> None:
        """Give the largest priority to rows that may be drawn by now, and none to those that are no longer there."""
        ring, oldest = self.ring, self.num_rows_added - self.ring.num_used
        before, now = self.drawable, (oldest, max(oldest, self.num_rows_added - self.n_step + 1))
        if now == before:
            return
        self.drawable, largest = now, ring.backend.own(self.largest)
        for begin, end, units in ((before[0], min(before[1], oldest), 0), (max(before[1], oldest), now[1], largest)):
            for rows in in_ring((ring.oldest + begin - oldest) % ring.num_rows, end - begin, ring.num_rows):
                if rows:
                    self.in_rows[rows.start : rows.stop] = ring.rows["valid"][rows.start : rows.stop] * units
                    self.sums.changed(rows.start * ring.num_envs, rows.stop * ring.num_envs)

    def span(self) -> tuple[int, int]:
        super().span()  # raises where there is nothing to draw
        self.refresh()
        return 0, DRAWN

    def locate(self, drawn: Any) -> Any:
        return self.sums.find(drawn)

    def set_beta(self, beta: float) -> None:
        """The exponent of the weights of batches that are drawn from now on."""
        if beta != self.held_beta:  # to fill it costs a launch on a GPU
            self.beta.fill_(beta)
            self.held_beta = beta

    def weight(self, index: Any, ranks: Any = None) -> Any:
        """Importance weights: (num * P(i))^-beta over the largest of the batch, where all but p cancels.

        With `ranks`, each draws an equal part of the batch from its own rows, so P(i) is p over the sum of those.

        [B] -> [B] float32.
        """
        backend, xp = self.ring.backend, self.ring.backend.xp
        units = backend.take(self.sums.units, index, 0)
        least = units.min()
        if ranks is not None:
            units = units * xp.asarray((self.sums.units > 0).sum(), dtype=xp.float64) / self.sums.units.sum()
            least = backend.own(ranks.least(torch.as_tensor(units.min())))
        return xp.asarray((least / units) ** backend.own(self.beta), dtype=xp.float32)

    def update(self, index: Tensor, priority: Tensor) -> None:
        """As `PrioritizedBuffer.update_priority`. What is not a number counts as the most."""
        self.refresh()
        backend, xp = self.ring.backend, self.ring.backend.xp
        places, units, largest = (backend.own(each) for each in (index, priority.float() * UNITS, self.largest))
        units = xp.asarray(xp.where(units < self.most, units, self.most).clip(1), dtype=xp.int64)
        units = units * (backend.take(self.sums.units, places, 0) > 0)
        self.sums.put(places, units)
        xp.maximum(largest, backend.take(self.sums.units, places, 0).max(), out=largest)

    def state_dict(self) -> dict[str, Any]:
        """Also the priorities, of rows that were ever written."""
        self.refresh()
        num = self.ring.num_saved(self.ring.oldest, self.ring.num_used) * self.ring.num_envs
        units, largest = (each.to("cpu", copy=True) for each in (self.units[:num], self.largest))
        return super().state_dict() | {"units": units, "largest": largest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.num_rows_added, self.drawable = self.ring.num_used, (0, 0)
        self.units.zero_()
        now, end = self.state_dict(), int(self.most) + 1  # as if all priorities were the largest
        check_form(state, now, "index")
        check_between(state["largest"], 1, end, "index.largest")
        check_between(state["units"], 0, end, "index.units")
        if not torch.equal(state["units"] > 0, now["units"] > 0):
            raise ValueError("index.units are not those of the transitions that may be drawn")
        self.units[: len(state["units"])] = state["units"].to(self.units.device)
        self.largest.copy_(state["largest"])
        self.sums.changed(0, len(self.units))


class BlockSums:
    """Whole numbers on the CPU, with sums of blocks of them, and of blocks of those: a place is found by a few blocks.

    Args:
        units: [K], of which K is a multiple of a block.
    """

    def __init__(self, units: np.ndarray) -> None:
        self.units, self.levels = units, [units]  # numbers, their sums, the sums of those, ...
        while len(self.levels[-1]) > TOP:
            num = len(self.levels[-1]) // BLOCK
            self.levels.append(np.zeros(-(-num // BLOCK) * BLOCK, np.int64))
        self.blocks = [level.reshape(-1, BLOCK) for level in self.levels]

    def changed(self, begin: int, end: int) -> None:
        """Numbers from `begin` to before `end` are others now."""
        for blocks, sums in zip(self.blocks, self.levels[1:], strict=False):
            begin, end = begin // BLOCK, (end - 1) // BLOCK + 1
            sums[begin:end] = blocks[begin:end].sum(1)

    def put(self, index: np.ndarray, units: np.ndarray) -> None:
        """Set the numbers at `index` [B]; of several for one place the last one stays."""
        self.units[index] = units
        for blocks, sums in zip(self.blocks, self.levels[1:], strict=False):
            index = index // BLOCK
            sums[index] = blocks.take(index, 0).sum(1)

    def find(self, drawn: np.ndarray) -> np.ndarray:
        """The places to which the sum of all numbers until there goes beyond `in_strata(drawn)`: [B] -> [B]."""
        sums, order = self.levels[-1], np.arange(len(drawn))
        running = sums.cumsum()
        aim = in_strata(np, drawn, order, running[-1])
        place = chosen = running.searchsorted(aim, "right")  # in all of a level, and in what is summed up here
        for blocks in reversed(self.blocks[:-1]):
            aim = aim - (running.take(chosen) - sums.take(chosen))  # beyond what lies before the block
            sums = blocks.take(place, 0)  # [B, BLOCK]
            running = sums.cumsum(1)
            within = (running <= aim[:, None]).argmin(1)
            place, chosen = place * BLOCK + within, order * BLOCK + within
        return place


class RunningSum:
    """Whole numbers on a GPU, where to add up all of them costs less than a launch for each level of sums.

    Args:
        units: [K].
    """

    def __init__(self, units: Tensor) -> None:
        self.units = units
        self.last = torch.zeros_like(units)  # of several for one place

    def changed(self, begin: int, end: int) -> None:
        """As of `BlockSums`."""

    def put(self, index: Tensor, units: Tensor) -> None:
        """As of `BlockSums`, without waiting for the device; in whatever order it writes."""
        order = torch.arange(len(index), device=index.device)
        self.last.scatter_reduce_(0, index, order, "amax", include_self=False)
        self.units[index] = units[self.last[index]]

    def find(self, drawn: Tensor) -> Tensor:
        """As of `BlockSums`."""
        running = self.units.cumsum(0)
        order = torch.arange(len(drawn), device=drawn.device)
        return torch.searchsorted(running, in_strata(torch, drawn, order, running[-1]), right=True)


def in_strata(xp: Any, drawn: Any, order: Any, total: Any) -> Any:
    """Of B equal parts of the numbers below `total` one of each, uniformly: [B] -> [B].

    Args:
        xp: numpy or torch.
        drawn: [B] random numbers below `DRAWN`.
        order: [B] 0, 1, 2, ...
        total: 0-d, at least 1.
    """
    parts = order + xp.asarray(drawn, dtype=xp.float64) / DRAWN
    return xp.minimum(xp.asarray(parts * (total / len(order)), dtype=xp.int64), total - 1)


def weighted(losses: Tensor, batch: Batch, errors: Tensor, exponent: float) -> tuple[Tensor, Batch]:
    """The weighted mean of losses, and the priorities of their samples from now on, as a metric `priority` [B].

    Args:
        losses: [B].
        batch: of a prioritized buffer.
        errors: [B], of any sign: TD errors, or where there are none the losses.
        exponent: alpha; with 0 all priorities are the same.
    """
    return (batch["weight"] * losses).mean(), {"priority": (errors.detach().abs() + EPSILON) ** exponent}
