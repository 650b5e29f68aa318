"""Observations in the ring, each frame stored once.

The `next_obs` of a row is the `obs` of the row after it. Where an episode ended the two differ: the true last
observation is then kept in a side table. Where observations are stacks of frames, a row stores the newest frame alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlgen.core.form import check_between
from rlgen.core.ring import Piece, Ring, around

FINAL_BYTES = 2**20  # on a GPU, what the side table takes at first: when it grows, recorded graphs become stale


class Observations:
    """Writes and reads `obs` and `next_obs`; of several parts, if the environment's observations have them.

    Args:
        ring: has a column for every part: `obs`, or `obs/camera`, `obs/speed`.
    """

    def __init__(self, ring: Ring) -> None:
        self.ring = ring
        self.parts = [name for name in ring.columns if name.partition("/")[0] == "obs"]
        self.open: Mapping[str, Any] = {}  # the newest `next_obs`, already written where the row to come has its `obs`
        self.finals = FinalObservations(ring, self.parts)

    def columns_to_write(self, rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], dict[str, Any]]:
        """The parts of `obs` that rows have to be written with, and all parts of the row after them.

        Of one row there may be none to write, as they are there already.
        """
        parts = [name for name in self.parts if len(rows) > 1 or rows[0][name] is not self.open.get(name)]
        return parts, {name: rows[-1][f"next_{name}"] for name in self.parts}

    def close(self, first: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Note where episodes ended in T rows that were written from row `first` on."""
        ended = np.array([row["terminated"] for row in rows]) | np.array([row["truncated"] for row in rows])  # [T, N]
        # To count takes an eighth of the time of `ended.any()`.
        if np.count_nonzero(ended) or any(self.finals.in_row[first : first + len(rows)]):
            self.finals.write(first, rows, ended)
        self.open = {} if np.count_nonzero(ended[-1]) else {name: rows[-1][f"next_{name}"] for name in self.parts}

    def read(self, index: Any, last: Any) -> dict[str, Any]:
        """`obs` at `index` [B], and `next_obs` after `last` [B]."""
        ring, take, found = self.ring, self.ring.backend.take, {}
        after = (last + ring.num_envs) % ring.size
        for name in self.parts:
            found[name] = take(ring.flat[name], index, 0)
            found[f"next_{name}"] = take(ring.flat[name], after, 0)
        return self.finals.put(last, found)

    def clear(self) -> None:
        """Forget all rows."""
        self.open = {}
        self.finals.clear()

    def state_dict(self, num_rows: int) -> dict[str, Any]:
        """What the ring does not hold, of its first rows."""
        return self.finals.state_dict(num_rows)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` returned."""
        self.open = {}
        self.finals.load_state_dict(state)


class FinalObservations:
    """The last observations of the episodes that ended in the ring, as a ring of their own, [F, ...] each part.

    Args:
        ring: whose rows they belong to.
        parts: names of the observation's columns.
    """

    def __init__(self, ring: Ring, parts: Sequence[str]) -> None:
        self.ring, device = ring, ring.backend.device
        frame = sum(ring.columns[name][0, 0].nbytes for name in parts)
        ahead = 0 if device.type == "cpu" else min(1024, FINAL_BYTES // frame)
        room = max(16, ring.num_envs, ahead)
        self.tables = {
            name: torch.zeros((room, *ring.columns[name].shape[2:]), dtype=ring.columns[name].dtype, device=device)
            for name in parts
        }
        self.dropped = self.added = 0  # how many were ever dropped, ever added
        self.in_row = [0] * ring.num_rows
        self.number = torch.full((ring.num_rows, ring.num_envs), -1, device=device)  # of a row's, or -1 for none
        self.number_flat = ring.backend.own(self.number.flatten())

    def write(self, first: int, rows: Sequence[Mapping[str, Any]], ended: np.ndarray) -> None:
        """Keep the last observations of the episodes that ended in T rows from `first` on, where `ended` [T, N]."""
        backend, block, count = self.ring.backend, slice(first, first + len(rows)), int(np.count_nonzero(ended))
        self.in_row[block] = ended.sum(1).tolist() if len(rows) > 1 else [count]
        while self.added + count - self.dropped > self.room:
            self._grow()
        numbers = np.full(ended.shape, -1)
        numbers[ended] = self.added + np.arange(count)  # one after the other in time
        pieces: list[Piece] = [(backend.own(self.number), first, numbers)]
        for name, table in self.tables.items() if count else ():
            steps = np.any(ended, 1).nonzero()[0].tolist()
            last = backend.join([self.frame(rows[t][f"next_{name}"], table)[ended[t].nonzero()[0]] for t in steps])
            pieces += around(backend.own(table), self.added % self.room, last)
        backend.write(pieces)
        self.added += count

    @staticmethod
    def frame(obs: Any, table: Tensor) -> Any:
        """What is kept of observations [N, ...]: all, or of stacks [N, k, ...] the newest frame."""
        return obs if obs.ndim == table.ndim else obs[:, -1]

    @property
    def room(self) -> int:
        """F."""
        return len(next(iter(self.tables.values())))

    def _grow(self) -> None:
        kept = torch.arange(self.dropped, self.added, device=self.number.device)
        for name, table in self.tables.items():
            larger = torch.cat([table, torch.zeros_like(table)])
            larger[kept % len(larger)] = table[kept % len(table)]
            self.tables[name] = larger
        self.ring.version += 1

    def put(self, index: Any, found: dict[str, Any]) -> dict[str, Any]:
        """Correct `next_obs` [B, ...] of the transitions at `index` [B] where an episode ended there."""
        backend = self.ring.backend
        numbers = backend.take(self.number_flat, index, 0)  # [B] -1 where no episode ended
        for name, table in self.tables.items():
            backend.replace(found[f"next_{name}"], numbers, table)
        return found

    def drop_oldest(self) -> None:
        """Forget those of the oldest row, before the ring does."""
        self.dropped += self.in_row[self.ring.oldest]

    def clear(self) -> None:
        """Forget all."""
        self.dropped = self.added = 0
        self.in_row = [0] * self.ring.num_rows
        self.number.fill_(-1)

    def state_dict(self, num_rows: int) -> dict[str, Any]:
        """The tables, not copies, and which row has which."""
        number = self.number[:num_rows].to("cpu", copy=True)
        in_row = torch.from_numpy(np.array(self.in_row, np.int32))
        counts = {"dropped": self.dropped, "added": self.added, "in_row": in_row}
        return counts | {"tables": dict(self.tables), "number": number}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` returned.

        Raises:
            ValueError: it is not of this ring.
        """
        room = {len(table) for table in state["tables"].values()}
        if (
            state["tables"].keys() != self.tables.keys()
            or len(room) != 1
            or 0 in room
            or len(state["in_row"]) != len(self.in_row)
        ):
            raise ValueError(f"frames of {list(state['tables'])} are not those of {list(self.tables)}")
        if not 0 <= state["dropped"] <= state["added"] <= state["dropped"] + min(room):
            raise ValueError(f"frames: {state['dropped']} of {state['added']} were dropped, in tables of {min(room)}")
        shape = (self.ring.num_saved(self.ring.oldest, self.ring.num_used), self.ring.num_envs)
        if state["number"].shape != shape:
            raise ValueError(f"frames.number has shape {list(state['number'].shape)}, here it is {list(shape)}")
        check_between(state["in_row"], 0, self.ring.num_envs + 1, "frames.in_row")
        check_between(state["number"], -1, max(1, state["added"]), "frames.number")
        for name, table in state["tables"].items():
            if table.shape[1:] != self.tables[name].shape[1:]:
                raise ValueError(f"frames of {name} have shape {list(table.shape[1:])}")
        self.dropped, self.added, self.in_row = state["dropped"], state["added"], state["in_row"].tolist()
        self.tables = {name: table.to(self.number.device, copy=True) for name, table in state["tables"].items()}
        if "blocks" in state:  # the tables have their shape alone
            state["blocks"].read_into(self.tables)
        self.number[: len(state["number"])] = state["number"].to(self.number.device)


class StackedFrames(Observations):
    """Observations that are stacks of the last k frames [N, k, ...], newest last; a row stores the newest alone.

    Stacks never cross an episode: a first stack holds its first frame k times, or zeros before it.

    Args:
        ring: as for `Observations`; its `obs` has the shape of a frame.
        num_frames: k.
        padding: of an episode's first stacks, `reset` (its first frame again) or `zero`.
    """

    def __init__(self, ring: Ring, num_frames: int, padding: str) -> None:
        super().__init__(ring)
        device = ring.backend.device
        self.num_frames, self.padding = num_frames, padding
        self.back = ring.backend.own(torch.arange(num_frames - 1, -2, -1, device=device))  # [k + 1] rows back
        self.age = torch.zeros((ring.num_rows, ring.num_envs), dtype=torch.int64, device=device)  # frames before it
        self.next_age = np.zeros(ring.num_envs, np.int64)  # [N] of the row to come, on the host

    def columns_to_write(self, rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], dict[str, Any]]:
        return [], {}  # stacks are not written as they come

    def close(self, first: int, rows: Sequence[Mapping[str, Any]]) -> None:
        ring, backend, following = self.ring, self.ring.backend, (first + len(rows)) % self.ring.num_rows
        if ring.num_used == len(rows):  # in the middle of an episode, perhaps: what came before is in the stack alone
            for back in range(1, self.num_frames):
                ring.rows["obs"][first - back] = backend.own(rows[0]["obs"][:, -1 - back])
            self.next_age = np.full(ring.num_envs, self.num_frames - 1)
        ages = [self.next_age]
        for row in rows:
            begins = np.asarray(row["terminated"]) | np.asarray(row["truncated"])  # [N] a new episode
            begins = begins | ~np.asarray(row["valid"]) if "valid" in row else begins
            ages.append(np.where(begins, 0, ages[-1] + 1))
        obs, age, newest = ring.rows["obs"], backend.own(self.age), [row["obs"][:, -1] for row in rows]
        pieces: list[Piece] = [(age, first, ages[:-1]), (age, following, ages[-1:])]
        pieces += [(obs, following, [rows[-1]["next_obs"][:, -1]])]
        if len(rows) > 1 or rows[0]["obs"] is not self.open.get("obs"):
            pieces += [(obs, first, newest)]
        backend.write(pieces)
        self.next_age = ages[-1]
        super().close(first, rows)

    def read(self, index: Any, last: Any) -> dict[str, Any]:
        frames = self._frames(last)
        self.finals.put(last, {"next_obs": frames[:, -1]})
        return {"obs": (frames if index is last else self._frames(index))[:, :-1], "next_obs": frames[:, 1:]}

    def _frames(self, index: Any) -> Any:
        """The stack at `index` [B] and the frame after it: [B, k + 1, ...]."""
        ring, backend = self.ring, self.ring.backend
        age = backend.take(backend.own(self.age).reshape(-1), index, 0)[:, None]  # [B, 1]
        places = (index[:, None] - backend.xp.minimum(self.back, age) * ring.num_envs) % ring.size  # [B, k + 1]
        frames = backend.take(ring.flat["obs"], places, 0)
        if self.padding == "zero":
            frames = frames * (self.back <= age).reshape(*frames.shape[:2], *[1] * (frames.ndim - 2))
        return frames

    def state_dict(self, num_rows: int) -> dict[str, Any]:
        return super().state_dict(num_rows) | {"age": self.age[:num_rows].to("cpu", copy=True)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        if state["age"].shape != state["number"].shape:
            raise ValueError(f"frames.age has shape {list(state['age'].shape)}")
        check_between(state["age"], 0, 2**62, "frames.age")
        self.age[: len(state["age"])] = state["age"].to(self.age.device)
        self.next_age = state["age"][self.ring.position].numpy().copy()
