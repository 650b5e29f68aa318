"""One ring of device tensors: a replay buffer, a rollout buffer and a data set.

Transitions stream through it and are sampled (DQN), it is filled and drained (PPO), or it is filled once and sampled
(GAN, VAE). A frame is stored once: `next_obs` of a row is the `obs` of the row after it, except where an episode ended;
there the true last observation lives in a small side table.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlgen.errors import UsageError
from rlgen.learner import Batch
from rlgen.speed import memory

FLAGS = ("reward", "terminated", "truncated", "valid")  # what `sample` sums up in `reward` and `discount`


class Buffer:
    """A ring of rows, each of N transitions (or images) side by side; it allocates itself from the first `add`.

    Args:
        capacity: transitions kept, rounded down to whole rows of N; None: as many as the first row holds (a data set).
        gamma: discount per step, for n-step rewards and the `discount` of a sampled batch.
        n_step: rewards summed into a sampled transition.
        generator: random numbers for `sample`; its device is where the data live.
    """

    def __init__(
        self, capacity: int | None = None, *, gamma: float = 0.99, n_step: int = 1, generator: torch.Generator
    ) -> None:
        self.capacity, self.gamma, self.n_step = capacity, gamma, n_step
        self.generator = generator
        self._on_cpu = generator.device.type == "cpu"
        self._xp: Any = np if self._on_cpu else torch  # indexing with NumPy costs a fifth of what it costs with torch
        self.storage: Batch = {}  # every value [R, N, ...]
        self.final_obs: Tensor | None = None  # [F, *obs_shape]: last observations of the episodes still in the ring
        self.num_added = 0  # valid transitions ever added
        self._reset_rows()

    def _reset_rows(self) -> None:
        self._first_row = self._num_rows = 0  # oldest row, rows in use
        self._num_valid = 0  # transitions that can be read
        self._first_final = self._num_finals = 0  # final observations ever dropped, ever added

    def __len__(self) -> int:
        """Transitions that can be read."""
        return self._num_valid

    @property
    def nbytes(self) -> int:
        """Memory of the stored tensors, in bytes."""
        tensors = [*self.storage.values(), *([] if self.final_obs is None else [self.final_obs])]
        return sum(tensor.nbytes for tensor in tensors)

    def add(self, items: Batch) -> None:
        """Append one row and overwrite the oldest when full.

        Args:
            items: every value [N, ...]. With `next_obs` (the true next observation, final ones included) also
                `terminated` and `truncated`, on the host, and `valid` where some of the row's transitions are not to
                be drawn. Without it the row is data, such as `image` and `label`.
        """
        if not self.storage:
            self._allocate(items)
        if self._num_rows == self._max_rows:
            self._drop_oldest()
        row = (self._first_row + self._num_rows) % self._rows
        valid = items.get("valid", self._all_valid)
        for name, stored in self.storage.items():
            value = valid if name == "valid" else items.get(name)
            if value is None or value.shape != stored.shape[1:]:
                shapes = {name: tuple(value.shape) for name, value in items.items()}
                raise ValueError(
                    f"{name} must have shape {tuple(stored.shape[1:])} in every row; this one has {shapes}"
                )
            self._flat[name][row * self._num_envs : (row + 1) * self._num_envs] = self._native(value)
        if valid is not self._all_valid or self._ids is not None:
            self._add_ids(row, valid)
        num_valid = self._num_envs if valid is self._all_valid else int(valid.sum())
        self._valid_in_row[row] = num_valid
        self._num_valid += num_valid
        self.num_added += num_valid
        if "next_obs" in items:
            begin = (row + 1) % self._rows * self._num_envs
            self._flat["obs"][begin : begin + self._num_envs] = self._native(items["next_obs"])
            self._add_finals(row, items["next_obs"], (items["terminated"] | items["truncated"]).numpy().nonzero()[0])
        self._num_rows += 1

    def _allocate(self, items: Batch) -> None:
        num = len(next(iter(items.values())))  # N
        capacity = num if self.capacity is None else self.capacity
        if capacity < num:
            raise ValueError(f"a buffer of {capacity} transitions is smaller than one row of {num} environments")
        self._num_envs = num
        self._max_rows = capacity // num
        self._rows = self._max_rows + ("next_obs" in items)  # the open row holds the newest next_obs
        self._all_valid = torch.ones(num, dtype=torch.bool)
        self._ids: Tensor | None = None  # [max_rows * N] flat indices of the valid ones, once there are others
        shape, device = (self._rows, num), self.generator.device
        stored = {name: value for name, value in items.items() if name != "next_obs"} | {"valid": self._all_valid}
        nbytes = self._rows * sum(value.nbytes for value in stored.values())
        if nbytes > (room := memory(device)):
            raise UsageError(
                f"a buffer of {capacity:,} transitions takes {nbytes / 2**30:,.1f} GiB and {device} has "
                f"{room / 2**30:,.1f} GiB: lower --buffer-size"
            )
        for name, value in stored.items():
            self.storage[name] = torch.zeros(shape + value.shape[1:], dtype=value.dtype, device=device)
        self._valid_in_row = [0] * self._rows
        if "next_obs" in items:
            obs = items["next_obs"]
            self.final_obs = torch.zeros((max(16, num), *obs.shape[1:]), dtype=obs.dtype, device=device)
            self._final_id = torch.full(shape, -1, dtype=torch.int64, device=device)  # which final obs, or -1
            self._finals_in_row = [0] * self._rows
        self._view()

    def _view(self) -> None:
        """Views of the storage as [R * N, ...], at row * N + env."""
        self._flat = {name: self._native(value.flatten(0, 1)) for name, value in self.storage.items()}
        if self.final_obs is not None:
            self._flat["final_id"] = self._native(self._final_id.flatten())

    def _native(self, value: Tensor) -> Any:
        return value.numpy() if self._on_cpu else value

    def _drop_oldest(self) -> None:
        self._num_valid -= self._valid_in_row[self._first_row]
        if self.final_obs is not None:
            self._first_final += self._finals_in_row[self._first_row]
        self._first_row = (self._first_row + 1) % self._rows
        self._num_rows -= 1

    def _add_ids(self, row: int, valid: Tensor) -> None:
        """List the row's valid transitions, so that `sample` draws among exactly those.

        Until the first row with others in it there is no list: every index between the first row and the last counts.
        """
        device = self.generator.device
        if self._ids is None:
            size = self._rows * self._num_envs
            kept = (self._first_row * self._num_envs + torch.arange(self._num_valid)) % size
            self._ids = torch.zeros(self._max_rows * self._num_envs, dtype=torch.int64, device=device)
            slots = (self.num_added - self._num_valid + torch.arange(self._num_valid)) % len(self._ids)
            self._ids[slots.to(device)] = kept.to(device)
        envs = valid.cpu().nonzero().squeeze(-1)
        slots = (self.num_added + torch.arange(len(envs))) % len(self._ids)
        self._ids[slots.to(device)] = (row * self._num_envs + envs).to(device)

    def _add_finals(self, row: int, next_obs: Tensor, envs: np.ndarray) -> None:
        """Keep the last observations of the episodes that ended in this row; `envs` lists which."""
        assert self.final_obs is not None
        if self._finals_in_row[row]:
            self._final_id[row] = -1
        self._finals_in_row[row] = len(envs)
        for n in envs.tolist():
            if self._num_finals - self._first_final == len(self.final_obs):
                self._grow_finals()
            self._final_id[row, n] = self._num_finals
            self.final_obs[self._num_finals % len(self.final_obs)] = next_obs[n]
            self._num_finals += 1

    def _grow_finals(self) -> None:
        assert self.final_obs is not None
        kept = torch.arange(self._first_final, self._num_finals, device=self.final_obs.device)
        larger = torch.cat([self.final_obs, torch.zeros_like(self.final_obs)])
        larger[kept % len(larger)] = self.final_obs[kept % len(self.final_obs)]
        self.final_obs = larger

    def sample(self, batch_size: int) -> Batch:
        """Draw uniformly, with replacement, among the valid transitions whose n-step window is complete.

        Returns:
            Every stored key but the flags, [B, ...]. For transitions: `reward` is the sum of gamma^i * reward over the
            k <= n_step steps really there (fewer at an episode's end), `next_obs` is that of the last of them, and
            `discount` is gamma^k, or 0 at termination, so that a target is always
            `reward + discount * value(next_obs)`.
        """
        num_open = min(self.n_step - 1, self._num_rows)  # newest rows, whose window would cross the write head
        rows = ((self._first_row + self._num_rows - 1 - back) % self._rows for back in range(num_open))
        num_drawable = self._num_valid - sum(self._valid_in_row[row] for row in rows)
        if num_drawable <= 0:
            raise ValueError(f"nothing to sample yet: {len(self)} transitions, n_step {self.n_step}")
        first = self._first_row * self._num_envs if self._ids is None else self.num_added - self._num_valid
        generator = self.generator
        drawn = torch.randint(
            first, first + num_drawable, (batch_size,), generator=generator, device=generator.device
        )  # [B]
        if self._ids is not None:
            drawn = self._ids[drawn % len(self._ids)]
        index = self._native(drawn) % (self._rows * self._num_envs)
        batch = {name: self._read(name, index) for name in self.storage if name not in FLAGS}
        if self.final_obs is not None:
            batch |= self._window(index)
        return {name: torch.from_numpy(value) for name, value in batch.items()} if self._on_cpu else batch

    def _read(self, name: str, index: Any) -> Any:
        flat = self._flat[name]
        return flat.take(index, 0) if self._on_cpu else flat.index_select(0, index)

    def _window(self, index: Any) -> dict[str, Any]:
        """What the n steps from `index` [B] on add up to."""
        size = self._rows * self._num_envs
        reward, terminated = self._read("reward", index), self._read("terminated", index)  # [B]
        discount = self._xp.full_like(reward, self.gamma)  # [B]
        for _ in range(1, self.n_step):
            going = ~(terminated | self._read("truncated", index))  # [B]
            index = self._xp.where(going, (index + self._num_envs) % size, index)
            reward = reward + going * discount * self._read("reward", index)
            discount = self._xp.where(going, discount * self.gamma, discount)
            terminated = self._read("terminated", index)
        return {"reward": reward, "discount": ~terminated * discount, "next_obs": self._next_obs(index)}

    def _next_obs(self, index: Any) -> Any:
        """The observations after `index` [B]: [B, *obs_shape]."""
        assert self.final_obs is not None
        following = self._read("obs", (index + self._num_envs) % (self._rows * self._num_envs))
        final_id = self._read("final_id", index)  # [B] -1 where no episode ended
        if self._on_cpu:
            ended = (final_id >= 0).nonzero()[0]
            if len(ended):
                following[ended] = self.final_obs.numpy()[final_id[ended] % len(self.final_obs)]
            return following
        final = self.final_obs[final_id.clamp(min=0) % len(self.final_obs)]
        return torch.where((final_id >= 0).view(-1, *[1] * (final.ndim - 1)), final, following)

    def drain(self) -> Batch:
        """Everything in order of time, every value [T, N, ...], with `valid` [T, N]; the buffer is empty after."""
        rows = (self._first_row + torch.arange(self._num_rows)) % self._rows
        rows = rows.to(self.generator.device)
        batch = {name: value[rows] for name, value in self.storage.items()}
        if self.final_obs is not None:
            index = rows[:, None] * self._num_envs + torch.arange(self._num_envs, device=rows.device)  # [T, N]
            next_obs = self._next_obs(self._native(index.flatten()))
            batch["next_obs"] = torch.as_tensor(next_obs).unflatten(0, index.shape)
        self._reset_rows()
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Everything stored, as tensors and plain Python; rows never written are left out."""
        state: dict[str, Any] = {n: value for n, value in vars(self).items() if isinstance(value, int | list)}
        if self.storage:
            wrapped = self._first_row + self._num_rows >= self._rows or self._num_rows == self._max_rows
            used = self._rows if wrapped else self._first_row + self._num_rows + 1
            state["storage"] = {name: value[:used].clone() for name, value in self.storage.items()}
            state |= {"_ids": self._ids, "final_obs": self.final_obs}
        if self.final_obs is not None:
            state["_final_id"] = self._final_id[:used].clone()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` returned; the buffer then draws what it would have drawn."""
        if (self.capacity or -1, self.n_step) != (state.get("capacity", -1), state["n_step"]):
            raise ValueError(f"the saved buffer holds {state.get('capacity')} transitions, this one {self.capacity}")
        device = self.generator.device
        for name, value in state.items():
            if isinstance(value, int | list):
                setattr(self, name, list(value) if isinstance(value, list) else value)
        if "storage" not in state:
            return

        def whole(rows: Tensor, fill: int = 0) -> Tensor:
            full = torch.full((self._rows, *rows.shape[1:]), fill, dtype=rows.dtype, device=device)
            full[: len(rows)] = rows.to(device)
            return full

        self.storage = {name: whole(value) for name, value in state["storage"].items()}
        self._all_valid = torch.ones(self._num_envs, dtype=torch.bool)
        self._ids = None if state["_ids"] is None else state["_ids"].to(device)
        if state["final_obs"] is not None:
            self.final_obs = state["final_obs"].to(device)
            self._final_id = whole(state["_final_id"], fill=-1)
        self._view()


def minibatches(data: Batch, batch_size: int, num_epochs: int, generator: torch.Generator) -> Iterator[Batch]:
    """Shuffle a rollout and cut it into minibatches, without replacement, anew in every epoch.

    Args:
        data: every value [T, N, ...].
        batch_size: transitions in a minibatch; a remainder that does not fill one is left out of that epoch.
        num_epochs: passes over the data.
        generator: of the shuffles.
    """
    flat = {name: value.flatten(0, 1) for name, value in data.items()}  # [T * N, ...]
    total = len(next(iter(flat.values())))
    for _ in range(num_epochs):
        order = torch.randperm(total, generator=generator, device=generator.device)
        for start in range(0, total - batch_size + 1, batch_size):
            index = order[start : start + batch_size]
            yield {name: value[index] for name, value in flat.items()}
