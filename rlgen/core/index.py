"""Which transitions a batch is made of: drawn uniformly, and summed up over n steps.

A choice of transitions is an index [B] into the ring, counted flat: row * N + environment. To choose them otherwise, as
`priorities.py` does, or as sequences, extend `UniformIndex` and give the class to the buffer: `Buffer(..., index=...)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlgen.core.form import check_between, check_form
from rlgen.core.ring import Piece, Ring, around


class UniformIndex:
    """Every transition that may be drawn is drawn with the same probability, with replacement.

    A transition may be drawn if it is valid and the rows that its n-step window needs have been written.

    A draw has three parts: `span` gives a range of whole numbers, the ring's backend draws uniformly among them, and
    `locate` says which transitions they are. On a GPU `locate` may run inside a CUDA graph: what it reads stays in the
    same memory, or `ring.version` counts on.

    Args:
        ring: where the transitions are.
        n_step: rows of a window.

    Attributes:
        num_added: valid transitions ever added.
        num_valid: those still there.
    """

    def __init__(self, ring: Ring, n_step: int = 1) -> None:
        self.ring, self.n_step = ring, n_step
        self.num_added = self.num_valid = 0
        self.valid_in_row = [0] * ring.num_rows
        self._all_valid = np.ones(ring.num_envs, np.bool_)
        self.listed: Tensor | None = None  # [max_used * N] indices of the valid ones; None while all are

    def add(self, first: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Count T rows that were written from row `first` on; `valid` [N] marks those that are real ones."""
        counts, block = [self.ring.num_envs] * len(rows), slice(first, first + len(rows))
        valid: Any = np.True_
        if any("valid" in row for row in rows):
            valid = np.array([row.get("valid", self._all_valid) for row in rows])  # [T, N]
        if np.count_nonzero(valid) < valid.size or self.listed is not None or self.valid_in_row[block] != counts:
            counts = self._mark(block, valid, counts)
        self.num_valid += sum(counts)
        self.num_added += sum(counts)

    def _mark(self, block: slice, valid: Any, counts: list[int]) -> list[int]:
        """Say which transitions of some rows are valid [T, N], and how many of each row."""
        all_valid = bool(valid.all())
        self.valid_in_row[block] = counts = counts if all_valid else valid.sum(1).tolist()
        if all_valid and self.listed is None:
            self.ring.rows["valid"][block] = True
        else:
            self._list(block.start, np.full((len(counts), self.ring.num_envs), valid))
        return counts

    def _list(self, first: int, valid: np.ndarray) -> None:
        """Mark and list the valid transitions of rows from `first` on, [T, N], so that exactly those are drawn.

        There is no list while all transitions are valid: every index between the first row and the last counts.
        """
        ring = self.ring
        if self.listed is None:
            kept = (ring.oldest * ring.num_envs + torch.arange(self.num_valid)) % ring.size
            listed = torch.zeros(ring.max_used * ring.num_envs, dtype=torch.int64)
            listed[(self.num_added - self.num_valid + torch.arange(self.num_valid)) % len(listed)] = kept
            self.listed = listed.to(ring.backend.device)
            ring.version += 1
        places = first * ring.num_envs + valid.ravel().nonzero()[0]
        pieces: list[Piece] = [(ring.rows["valid"], first, valid)]
        ring.backend.write(pieces + around(ring.backend.own(self.listed), self.num_added % len(self.listed), places))

    def drop_oldest(self) -> None:
        """Forget the oldest row, before the ring does."""
        self.num_valid -= self.valid_in_row[self.ring.oldest]

    def clear(self) -> None:
        """Forget all rows."""
        self.num_valid, self.valid_in_row = 0, [0] * self.ring.num_rows

    def span(self) -> tuple[int, int]:
        """The first of the numbers to draw from, and how many there are: indices, or places in the list of valid ones.

        Raises:
            ValueError: there are none.
        """
        ring, num = self.ring, self.num_valid
        for back in range(1, min(self.n_step - 1, ring.num_used) + 1):  # their window would cross the write head
            num -= self.valid_in_row[(ring.oldest + ring.num_used - back) % ring.num_rows]
        if num <= 0:
            raise ValueError(f"nothing to sample yet: {self.num_valid} transitions, n_step {self.n_step}")
        return (ring.oldest * ring.num_envs if self.listed is None else self.num_added - self.num_valid), num

    def locate(self, drawn: Any) -> Any:
        """The flat index of transitions that were drawn from the span: [B] -> [B]."""
        if self.listed is None:
            return drawn % self.ring.size
        return self.ring.backend.take(self.ring.backend.own(self.listed), drawn % len(self.listed), 0)

    def state_dict(self) -> dict[str, Any]:
        """Counts, and the list where there is one."""
        in_row = torch.from_numpy(np.array(self.valid_in_row, np.int32))  # of a list, torch reads each number by itself
        counts = {"num_added": self.num_added, "num_valid": self.num_valid, "valid_in_row": in_row}
        return counts | {"listed": None if self.listed is None else self.listed.to("cpu", copy=True)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` returned.

        Raises:
            ValueError: it is not of this ring, which is loaded before.
        """
        num_added, num_valid, in_row, listed = (state[name] for name in UniformIndex.state_dict(self))
        ring, room = self.ring, self.ring.max_used * self.ring.num_envs
        used = (ring.oldest + np.arange(ring.num_used)) % ring.num_rows
        if len(in_row) != ring.num_rows or not num_added >= num_valid == in_row.numpy()[used].sum():
            raise ValueError(f"index: {num_valid} of {num_added} transitions are not those of a ring of {room}")
        check_between(in_row, 0, ring.num_envs + 1, "index.valid_in_row")
        if listed is not None:
            check_form(listed, torch.zeros(room, dtype=torch.int64), "index.listed")
            check_between(listed, 0, ring.size, "index.listed")
        self.num_added, self.num_valid, self.valid_in_row = num_added, num_valid, in_row.tolist()
        self.listed = None if listed is None else listed.to(ring.backend.device, copy=True)


class NStepReturn:
    """What the n steps from a transition on add up to, ending with an episode.

    Args:
        ring: where the transitions are.
        n_step: rewards summed, at most.
        gamma: discount per step.
        reward_clip: c: every reward is taken within [-c, c]; None as it is.
    """

    def __init__(self, ring: Ring, n_step: int, gamma: float, reward_clip: float | None = None) -> None:
        self.ring, self.n_step = ring, n_step
        self.take_reward: Callable[[Any, Any, int], Any] = ring.backend.take
        if reward_clip is not None:
            self.take_reward = lambda *where: ring.backend.take(*where).clip(-reward_clip, reward_clip)
        device, own = ring.backend.device, ring.backend.own
        gammas = torch.tensor([gamma**i for i in range(n_step + 1)], device=device)
        self.gammas, self.gammas_after = own(gammas[:-1]), own(gammas[1:])  # [n] from gamma^0, from gamma^1
        self.steps = own(torch.arange(n_step, device=device))  # [n]

    def __call__(self, index: Any) -> tuple[Any, Any, Any]:
        """The sum of gamma^i * reward, the discount of what follows, and the index of the last step: [B] each.

        The discount is gamma^k after the k <= n steps that are really there, and 0 at termination, so that a target is
        always `reward + discount * value(next_obs)`. An episode that was truncated is followed by a value.
        """
        if self.n_step > 1:
            return self._several(index)
        take, flat = self.ring.backend.take, self.ring.flat
        discount = ~take(flat["terminated"], index, 0) * self.gammas_after[0]
        return self.take_reward(flat["reward"], index, 0), discount, index

    def _several(self, index: Any) -> tuple[Any, Any, Any]:
        ring, take, flat = self.ring, self.ring.backend.take, self.ring.flat
        ahead = (index[:, None] + self.steps * ring.num_envs) % ring.size  # [B, n]
        ended = take(flat["terminated"], ahead, 0) | take(flat["truncated"], ahead, 0)  # [B, n]
        going = ended.cumsum(1) <= ended  # [B, n] no episode ended before
        reward = (going * self.gammas * self.take_reward(flat["reward"], ahead, 0)).sum(1)  # [B]
        last_step = going.sum(1) - 1  # [B] k - 1
        last = (index + last_step * ring.num_envs) % ring.size  # [B]
        return reward, ~take(flat["terminated"], last, 0) * self.gammas_after[last_step], last
