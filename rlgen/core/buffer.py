"""One ring of device tensors: a replay buffer, a rollout buffer and a data set.

Transitions stream through it and are sampled (DQN), it is filled and drained (PPO), or it is filled once and sampled
(GAN, VAE). A frame is stored once: `next_obs` of a row is the `obs` of the row after it, except where an episode ended;
there the true last observation lives in a small side table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlgen.core.learner import Batch
from rlgen.errors import UsageError
from rlgen.speed.device import memory
from rlgen.speed.recorded import Lazy

FINAL_BYTES = 2**20  # on a GPU, of the last observations there is room for at first: growth makes graphs stale
FLAGS = ("reward", "terminated", "truncated", "valid")  # what `sample` sums up in `reward` and `discount`


class Buffer:
    """A ring of rows, each of N transitions (or images) side by side; it allocates itself from the first `add`.

    Args:
        capacity: transitions kept, rounded down to whole rows of N; None: as many as the first row holds (a data set).
        gamma: discount per step, for n-step rewards and the `discount` of a sampled batch.
        n_step: rewards summed into a sampled transition.
        frame_stack: k, with 1 for none. Observations come in and go out as stacks [N, k, ...], newest frame last; only
            the newest is stored. An episode's first stack repeats its first frame (`padding_type="reset"`).
        generator: random numbers for `sample`; its device is where the data live.

    Attributes:
        layout: another object whenever tensors that `sample` reads were replaced: a CUDA graph of it is then stale.
    """

    def __init__(
        self,
        capacity: int | None = None,
        *,
        gamma: float = 0.99,
        n_step: int = 1,
        frame_stack: int = 1,
        generator: torch.Generator,
    ) -> None:
        self.capacity, self.gamma, self.n_step, self.frame_stack = capacity, gamma, n_step, frame_stack
        self.generator = generator
        self._on_cpu = generator.device.type == "cpu"  # indexing with NumPy costs a fifth of what it costs with torch
        self.storage: Batch = {}  # every value [R, N, ...]
        self.final_obs: Tensor | None = None  # [F, *frame_shape]: last observations of the episodes still in the ring
        self.layout = object()
        self.num_added = 0  # valid transitions ever added
        self._reset_rows()

    def _reset_rows(self) -> None:
        self._first_row, self._num_rows = self.frame_stack - 1, 0  # oldest row, rows in use; older frames go before it
        self._num_valid = 0  # transitions that can be read
        self._first_final = self._num_finals = 0  # final observations ever dropped, ever added
        self._open_obs: Any = None  # the newest `next_obs`, where it is known to be the `obs` of the row to come

    def __len__(self) -> int:
        """Transitions that can be read."""
        return self._num_valid

    @property
    def nbytes(self) -> int:
        """Memory of the stored tensors, in bytes."""
        tensors = [*self.storage.values(), *([] if self.final_obs is None else [self.final_obs])]
        return sum(tensor.nbytes for tensor in tensors)

    def add(self, *rows: Mapping[str, Any]) -> None:
        """Append rows in order of time and overwrite the oldest when full; many at once cost little more than one.

        Args:
            rows: of each every value [N, ...], a tensor or a NumPy array. With `next_obs` (the true next observation,
                final ones included) also `terminated` and `truncated`, on the host, and `valid` where some of the
                row's transitions may not be drawn. Without it the row is data, such as `image` and `label`. A
                `next_obs` that is passed on as the next row's `obs` is not written twice, so it must not change in
                between.
        """
        if not self.storage:
            self._allocate(rows[0])
        for row in rows:
            for name, shape, _ in self._columns:
                value = row.get(name)
                if value is None or value.shape != shape:
                    shapes = {name: tuple(value.shape) for name, value in row.items()}
                    raise ValueError(f"{name} must have shape {shape} in every row; this one has {shapes}")
            if self.final_obs is not None and row["next_obs"].shape != row["obs"].shape:
                shape, other = tuple(row["obs"].shape), tuple(row["next_obs"].shape)
                raise ValueError(f"next_obs must have shape {shape}, that of obs; it has {other}")
        while rows:
            first = (self._first_row + self._num_rows) % self._rows
            num = min(len(rows), self._rows - first, self._max_rows)  # up to the end of the ring's memory
            self._add_block(first, rows[:num])
            rows = rows[num:]

    def _add_block(self, first: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows to those of the ring from `first` on."""
        num, row = len(rows), rows[0]  # T
        for _ in range(self._num_rows + num - self._max_rows):
            self._drop_oldest()
        block = slice(first, first + num)
        where = block if num > 1 else first  # half the time of a slice of one
        for name, _, stored in self._columns:
            if name != "obs":
                stored[where] = self._joined([row[name] for row in rows])
            elif num > 1 or row["obs"] is not self._open_obs:
                self._write_obs(first, where, [row["obs"] for row in rows])

        valid = None  # [T, N] if some are not
        if any("valid" in row for row in rows):
            valid = _stacked([row.get("valid", self._all_valid) for row in rows])
        num_valid, counts = num * self._num_envs, [self._num_envs] * num
        if valid is not None and np.count_nonzero(valid) < num_valid:
            num_valid, counts = int(np.count_nonzero(valid)), valid.sum(1).tolist()
        else:
            valid = None
        if valid is not None or self._valid_in_row[block] != counts:
            self._row["valid"][block] = True if valid is None else self._native(valid)
            self._valid_in_row[block] = counts
        if valid is not None or self._ids is not None:
            self._add_ids(first, num, valid)
        self._num_valid += num_valid
        self.num_added += num_valid
        if self.final_obs is not None:
            self._close(first, rows, valid)
        self._num_rows += num

    def _joined(self, values: Sequence[Any]) -> Any:
        """Values [N, ...] of T rows as one where the ring is, [T, N, ...]; of one row, [N, ...]."""
        if len(values) == 1:
            return self._native(values[0])
        if self._on_cpu:
            return _stacked(values)
        on_device = all(isinstance(value, Tensor) and value.is_cuda for value in values)
        return torch.stack(list(values)) if on_device else self._native(_stacked(values))

    def _allocate(self, items: Mapping[str, Any]) -> None:
        num = len(next(iter(items.values())))  # N
        capacity = num if self.capacity is None else self.capacity
        if capacity < num:
            raise ValueError(f"a buffer of {capacity} transitions is smaller than one row of {num} environments")
        self._num_envs = num
        self._max_rows = capacity // num
        # the open row holds the newest next_obs; the rows before the oldest hold the older frames of its stack
        self._rows = self._max_rows + ("next_obs" in items) + self.frame_stack - 1
        self._ids: Tensor | None = None  # [max_rows * N] flat indices of the valid ones, once there are others
        shape, device = (self._rows, num), self.generator.device
        row = {name: torch.as_tensor(value) for name, value in items.items() if name != "next_obs"}
        row["valid"] = torch.ones(num, dtype=torch.bool)
        if self.frame_stack > 1:
            row["obs"] = row["obs"][:, -1]
        nbytes = self._rows * sum(value.nbytes for value in row.values())
        if nbytes > (room := memory(device)):
            raise UsageError(
                f"a buffer of {capacity:,} transitions takes {nbytes / 2**30:,.1f} GiB and {device} has "
                f"{room / 2**30:,.1f} GiB: lower --buffer-size"
            )
        for name, value in row.items():
            self.storage[name] = torch.zeros(shape + value.shape[1:], dtype=value.dtype, device=device)
        self._valid_in_row = [0] * self._rows
        if "next_obs" in items:
            obs = row["obs"]
            ahead = 0 if self._on_cpu else min(1024, FINAL_BYTES // obs[0].nbytes)
            room = max(16, num, ahead)
            self.final_obs = torch.zeros((room, *obs.shape[1:]), dtype=obs.dtype, device=device)
            self._final_id = torch.full(shape, -1, dtype=torch.int64, device=device)  # which final obs, or -1
            self._age = torch.zeros(shape, dtype=torch.int64, device=device)  # frames before it in its episode
            self._finals_in_row = [0] * self._rows
        self._view()

    def _view(self) -> None:
        """Views of the storage: by row [R, N, ...], and flat as [R * N, ...], at row * N + env."""
        tables = self.storage | ({} if self.final_obs is None else {"final_id": self._final_id, "age": self._age})
        self._row = {name: self._native(value) for name, value in tables.items()}
        self._flat = {name: self._native(value.flatten(0, 1)) for name, value in tables.items()}
        shapes = {name: tuple(value.shape[1:]) for name, value in self.storage.items() if name != "valid"}
        if self.frame_stack > 1:
            shapes["obs"] = (self._num_envs, self.frame_stack, *shapes["obs"][1:])
        self._columns = [(name, shape, self._row[name]) for name, shape in shapes.items()]
        device = self.generator.device
        steps = torch.arange(self.n_step, device=device)
        self._ahead = self._native(steps * self._num_envs)  # [n]
        gammas = torch.tensor([self.gamma**i for i in range(self.n_step + 1)], device=device)
        self._gammas, self._gammas_after = self._native(gammas[:-1]), self._native(gammas[1:])  # [n] from gamma^0, ^1
        self._back = self._native(torch.arange(self.frame_stack - 1, -2, -1, device=device) * self._num_envs)  # [k + 1]
        self._all_valid = np.ones(self._num_envs, dtype=np.bool_)
        self._first, self._num_drawable = (torch.zeros((), dtype=torch.int64, device=device) for _ in range(2))
        self.layout = object()

    def _native(self, value: Any) -> Any:
        if self._on_cpu:
            return _host(value)
        return torch.as_tensor(value).to(self.generator.device, non_blocking=True)

    def _drop_oldest(self) -> None:
        self._num_valid -= self._valid_in_row[self._first_row]
        if self.final_obs is not None:
            self._first_final += self._finals_in_row[self._first_row]
        self._first_row = (self._first_row + 1) % self._rows
        self._num_rows -= 1

    def _add_ids(self, first: int, num: int, valid: np.ndarray | None) -> None:
        """List the valid transitions of `num` rows, so that `sample` draws among exactly those.

        Until the first row with others in it there is no list: every index between the first row and the last counts.
        """
        device = self.generator.device
        if self._ids is None:
            size = self._rows * self._num_envs
            kept = (self._first_row * self._num_envs + torch.arange(self._num_valid)) % size
            self._ids = torch.zeros(self._max_rows * self._num_envs, dtype=torch.int64, device=device)
            oldest = self.num_added - self._num_valid
            self._ids[((oldest + torch.arange(self._num_valid)) % len(self._ids)).to(device)] = kept.to(device)
            self.layout = object()
        offsets = np.arange(num * self._num_envs) if valid is None else valid.ravel().nonzero()[0]
        slots = (self.num_added + np.arange(len(offsets))) % len(self._ids)
        self._native(self._ids)[self._native(slots)] = self._native(first * self._num_envs + offsets)

    def _write_obs(self, first: int, where: int | slice, values: Sequence[Any]) -> None:
        stored = self._row["obs"]
        if self.frame_stack == 1:
            stored[where] = self._joined(values)
            return
        stored[where] = self._joined([self._native(value)[:, -1] for value in values])
        if self._num_rows == 0:  # in the middle of an episode, perhaps: what came before is in the stack alone
            for back in range(1, self.frame_stack):
                stored[first - back] = self._native(values[0][:, -1 - back])
            self._row["age"][first] = self.frame_stack - 1

    def _close(self, first: int, rows: Sequence[Mapping[str, Any]], valid: np.ndarray | None) -> None:
        """Put the last `next_obs` where the next row's `obs` will be, and those of episodes' ends aside."""
        num, last, stacked = len(rows), rows[-1]["next_obs"], self.frame_stack > 1
        following = (first + num) % self._rows
        self._row["obs"][following] = self._native(last)[:, -1] if stacked else self._native(last)
        ended = _stacked([_host(row["terminated"]) | _host(row["truncated"]) for row in rows])  # [T, N]
        any_ended = np.count_nonzero(ended)  # an eighth of the time of `ended.any()`
        if any_ended or any(self._finals_in_row[first : first + num]):
            for t, row in enumerate(rows):
                envs = ended[t].nonzero()[0]
                if len(envs) or self._finals_in_row[first + t]:
                    self._add_finals(first + t, row["next_obs"][:, -1] if stacked else row["next_obs"], envs)
        self._open_obs = None if any_ended and ended[-1].any() else last
        if stacked:
            age = self._row["age"]
            for t in range(num):
                age[(first + t + 1) % self._rows] = age[first + t] + 1
                if any_ended or valid is not None:
                    for n in (ended[t] if valid is None else ended[t] | ~valid[t]).nonzero()[0].tolist():
                        age[(first + t + 1) % self._rows, n] = 0

    def _add_finals(self, row: int, frame: Any, envs: np.ndarray) -> None:
        """Keep the last observations of the episodes that ended in this row; `envs` lists which."""
        assert self.final_obs is not None
        if self._finals_in_row[row]:
            self._row["final_id"][row] = -1
        self._finals_in_row[row] = len(envs)
        while self._num_finals + len(envs) - self._first_final > len(self.final_obs):
            self._grow_finals()
        ids, envs = self._native(self._num_finals + np.arange(len(envs))), self._native(envs)
        self._row["final_id"][row, envs] = ids
        self._native(self.final_obs)[ids % len(self.final_obs)] = self._native(frame)[envs]
        self._num_finals += len(envs)

    def _grow_finals(self) -> None:
        assert self.final_obs is not None
        kept = torch.arange(self._first_final, self._num_finals, device=self.final_obs.device)
        larger = torch.cat([self.final_obs, torch.zeros_like(self.final_obs)])
        larger[kept % len(larger)] = self.final_obs[kept % len(self.final_obs)]
        self.final_obs = larger
        self.layout = object()

    def sample(self, batch_size: int) -> Any:
        """Draw uniformly, with replacement, among the valid transitions whose n-step window is complete.

        On a GPU the batch is drawn when it is first read, so that a CUDA graph can hold the drawing.

        Returns:
            Every stored key but the flags, [B, ...]. For transitions: `reward` is the sum of gamma^i * reward over the
            k <= n_step steps really there (fewer at an episode's end), `next_obs` is that of the last of them, and
            `discount` is gamma^k, or 0 at termination, so that a target is always
            `reward + discount * value(next_obs)`.
        """
        first, num_drawable = self.prepare_range()
        if not self._on_cpu:
            return Lazy(partial(self.draw, batch_size), batch_size, self.layout)
        drawn = torch.randint(first, first + num_drawable, (batch_size,), generator=self.generator)  # [B]
        batch = self._gather(drawn.numpy() if self._ids is None else self._ids[drawn % len(self._ids)].numpy())
        return {name: torch.from_numpy(value) for name, value in batch.items()}

    def prepare_range(self) -> tuple[int, int]:
        """Where the drawable transitions begin and how many there are; also put where `draw` reads it.

        Raises:
            ValueError: there are none.
        """
        num_drawable = self._num_valid
        for back in range(1, min(self.n_step - 1, self._num_rows) + 1):  # their window would cross the write head
            num_drawable -= self._valid_in_row[(self._first_row + self._num_rows - back) % self._rows]
        if num_drawable <= 0:
            raise ValueError(f"nothing to sample yet: {len(self)} transitions, n_step {self.n_step}")
        first = self._first_row * self._num_envs if self._ids is None else self.num_added - self._num_valid
        if not self._on_cpu:
            self._first.fill_(first)
            self._num_drawable.fill_(num_drawable)
        return first, num_drawable

    def draw(self, batch_size: int) -> Batch:
        """`sample` among what `prepare_range` last found, on the device alone; stale once `layout` has changed."""
        generator = self.generator
        random = torch.randint(2**62, (batch_size,), generator=generator, device=generator.device)
        drawn = self._first + random % self._num_drawable  # [B] the remainder's bias is below 1e-9
        return self._gather(drawn if self._ids is None else self._ids[drawn % len(self._ids)])

    def _gather(self, index: Any) -> dict[str, Any]:
        """What was drawn at `index` [B], counted on past the ring's end."""
        index = index % (self._rows * self._num_envs)
        if self.final_obs is None:
            return {name: self._read(name, index) for name in self.storage if name not in FLAGS}
        reward, discount, last = self._window(index)
        obs, next_obs = self._obs(index, last)
        batch = {"obs": obs} | {name: self._read(name, index) for name in self.storage if name not in (*FLAGS, "obs")}
        return batch | {"reward": reward, "discount": discount, "next_obs": next_obs}

    def _read(self, name: str, index: Any) -> Any:
        flat = self._flat[name]
        return flat.take(index, 0) if self._on_cpu else flat[index]

    def _window(self, index: Any) -> tuple[Any, Any, Any]:
        """What the n steps from `index` [B] on add up to: reward, discount, and the index of the last of them, [B]."""
        if self.n_step == 1:
            return self._read("reward", index), ~self._read("terminated", index) * self._gammas_after[0], index
        size = self._rows * self._num_envs
        ahead = (index[:, None] + self._ahead) % size  # [B, n]
        ended = self._read("terminated", ahead) | self._read("truncated", ahead)  # [B, n]
        going = ended.cumsum(1) <= ended  # [B, n] no episode ended before
        reward = (going * self._gammas * self._read("reward", ahead)).sum(1)  # [B]
        last_step = going.sum(1) - 1  # [B] k - 1
        last = (index + last_step * self._num_envs) % size  # [B]
        return reward, ~self._read("terminated", last) * self._gammas_after[last_step], last

    def _obs(self, index: Any, last: Any) -> tuple[Any, Any]:
        """Observations at `index` [B] and after `last` [B]: two of [B, *obs_shape]; stacks may share their memory."""
        size = self._rows * self._num_envs
        if self.frame_stack == 1:
            obs, next_obs = self._read("obs", index), self._read("obs", (last + self._num_envs) % size)
            self._put_finals(last, next_obs)
            return obs, next_obs
        frames = self._frames(last)
        self._put_finals(last, frames[:, -1])
        return (frames if index is last else self._frames(index))[:, :-1], frames[:, 1:]

    def _frames(self, index: Any) -> Any:
        """The stack at `index` [B] and the frame after it, none from before the episode: [B, k + 1, *frame_shape]."""
        xp: Any = np if self._on_cpu else torch
        oldest = self._read("age", index)[:, None] * self._num_envs  # [B, 1]
        frames = (index[:, None] - xp.minimum(self._back, oldest)) % (self._rows * self._num_envs)  # [B, k + 1]
        return self._read("obs", frames)

    def _put_finals(self, index: Any, following: Any) -> None:
        """Correct `following` [B, *frame_shape], the frames after `index` [B], where an episode ended there."""
        assert self.final_obs is not None
        final_id = self._read("final_id", index)  # [B] -1 where no episode ended
        if self._on_cpu:
            ended = (final_id >= 0).nonzero()[0]
            if len(ended):
                following[ended] = self.final_obs.numpy()[final_id[ended] % len(self.final_obs)]
            return
        final = self.final_obs[final_id.clamp(min=0) % len(self.final_obs)]
        following.copy_(torch.where((final_id >= 0).view(-1, *[1] * (final.ndim - 1)), final, following))

    def drain(self) -> Batch:
        """Everything in order of time, every value [T, N, ...], with `valid` [T, N]; the buffer is empty after."""
        rows = (self._first_row + torch.arange(self._num_rows, device=self.generator.device)) % self._rows
        index = rows[:, None] * self._num_envs + torch.arange(self._num_envs, device=rows.device)  # [T, N]
        flat = self._native(index.flatten())
        batch = {name: self._read(name, flat) for name in self.storage}
        if self.final_obs is not None:
            batch["obs"], batch["next_obs"] = self._obs(flat, flat)
        self._reset_rows()
        self._valid_in_row = [0] * self._rows  # nothing that `state_dict` leaves out is taken for written
        return {name: torch.as_tensor(value).unflatten(0, index.shape) for name, value in batch.items()}

    def state_dict(self) -> dict[str, Any]:
        """Everything stored, as tensors and plain Python; rows never written are left out."""
        state: dict[str, Any] = {n: value for n, value in vars(self).items() if type(value) in (int, list)}
        state.pop("_columns", None)  # views
        if self.storage:
            wrapped = self._first_row + self._num_rows >= self._rows or self._num_rows == self._max_rows
            used = self._rows if wrapped else self._first_row + self._num_rows + 1
            state["storage"] = {name: value[:used].to("cpu", copy=True) for name, value in self.storage.items()}
            state |= {"_ids": self._ids, "final_obs": self.final_obs}
        if self.final_obs is not None:
            state |= {"_final_id": self._final_id[:used].to("cpu", copy=True)}
            state |= {"_age": self._age[:used].to("cpu", copy=True)}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` returned; the buffer then draws what it would have drawn."""
        ours = (self.capacity or -1, self.n_step, self.frame_stack)
        if ours != (state.get("capacity", -1), state["n_step"], state.get("frame_stack", 1)):
            raise ValueError(f"the saved buffer holds {state.get('capacity')} transitions, this one {self.capacity}")
        device = self.generator.device
        for name, value in state.items():
            if type(value) in (int, list):
                setattr(self, name, list(value) if isinstance(value, list) else value)
        self._open_obs = None
        if "storage" not in state:
            return

        def whole(rows: Tensor, fill: int = 0) -> Tensor:
            full = torch.full((self._rows, *rows.shape[1:]), fill, dtype=rows.dtype, device=device)
            full[: len(rows)] = rows.to(device)
            return full

        self.storage = {name: whole(value) for name, value in state["storage"].items()}
        self._ids = None if state["_ids"] is None else state["_ids"].to(device)
        if state["final_obs"] is not None:
            self.final_obs = state["final_obs"].to(device)
            self._final_id = whole(state["_final_id"], fill=-1)
            self._age = whole(state.get("_age", torch.zeros_like(state["_final_id"])))
        self._view()


def _host(value: Any) -> np.ndarray:
    return value if type(value) is np.ndarray else value.numpy()


def _stacked(values: Sequence[Any]) -> np.ndarray:
    """Arrays or host tensors [N, ...] of T rows as one array [T, N, ...]."""
    arrays = [_host(value) for value in values]
    return arrays[0][None] if len(arrays) == 1 else np.array(arrays)  # a third of the time of `np.stack`


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
        shuffled = {name: value[order] for name, value in flat.items()}  # one gather an epoch, not one a minibatch
        for start in range(0, total - batch_size + 1, batch_size):
            yield {name: value[start : start + batch_size] for name, value in shuffled.items()}
