"""One ring of device tensors: a replay buffer, a rollout buffer and a data set.

Transitions stream through it and are sampled (DQN), it is filled and drained (PPO), or it is filled once and sampled
(GAN, VAE). Where rows lie is `ring.py`, which of them a batch is made of `index.py`, how a frame is stored once
`frames.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch

from rlgen.core.batch import Batch, join_parts, split, split_parts, then
from rlgen.core.form import check_form
from rlgen.core.frames import Observations, StackedFrames
from rlgen.core.index import NStepReturn, UniformIndex
from rlgen.core.ring import Arrays, Backend, Ring, Tensors, available_memory, in_ring
from rlgen.errors import UsageError

MAX_FRAMES = 64  # in a stack, as `--frame-stack` has it
GATHERED = 2**18  # bytes of transitions that are gathered at once: more do not stay in a cache


class Buffer:
    """A ring of rows, each of N transitions (or images) side by side; it allocates itself from the first `add`.

    Args:
        capacity: transitions kept, rounded down to whole rows of N; None: as many as the first row holds (a data set).
        gamma: discount per step, for n-step rewards and the `discount` of a sampled batch.
        n_step: rewards summed into a sampled transition.
        frame_stack: k, with 1 for none. Observations come in and go out as stacks [N, k, ...], newest frame last; only
            the newest is stored.
        frame_padding: what an episode's first stack holds before its first frame: that frame (`reset`), or `zero`.
        reward_clip: c: every reward is read within [-c, c], before those of several steps are summed; None as it is.
        augment: what becomes of every batch that is sampled, with random numbers from the generator; None: nothing.
        generator: random numbers for `sample`; its device is where the data live.
        index: which transitions a batch is made of.

    Attributes:
        index_bytes: of a transition in the index.
    """

    index_bytes: int = 0

    def __init__(
        self,
        capacity: int | None = None,
        *,
        gamma: float = 0.99,
        n_step: int = 1,
        frame_stack: int = 1,
        frame_padding: str = "reset",
        reward_clip: float | None = None,
        augment: Callable[[torch.Generator, Batch], Batch] | None = None,
        generator: torch.Generator,
        index: type[UniformIndex] = UniformIndex,
    ) -> None:
        self.make_index, self.augment = index, augment
        self.capacity, self.gamma, self.n_step = capacity, gamma, n_step
        self.frame_stack, self.frame_padding, self.reward_clip = frame_stack, frame_padding, reward_clip
        self.backend: Backend = (Arrays if generator.device.type == "cpu" else Tensors)(generator)
        self.ring: Ring
        self.index: UniformIndex
        self.is_allocated, self.together = False, 0  # transitions that are gathered at once
        self.observations: Observations | None = None  # None where rows are data

    def __len__(self) -> int:
        """Transitions that can be read."""
        return self.index.num_valid if self.is_allocated else 0

    @property
    def num_added(self) -> int:
        """Valid transitions ever added."""
        return self.index.num_added if self.is_allocated else 0

    @property
    def nbytes(self) -> int:
        """Memory of the stored tensors, in bytes."""
        tensors = list(self.ring.columns.values()) if self.is_allocated else []
        tensors += self.observations.finals.tables.values() if self.observations else []
        return sum(tensor.nbytes for tensor in tensors)

    def add(self, *rows: Mapping[str, Any]) -> None:
        """Append rows in order of time and overwrite the oldest when full; many at once cost little more than one.

        Args:
            rows: of each every value [N, ...], a tensor or a NumPy array, or a dictionary of parts. With `next_obs`
                (the true next observation, final ones included) also `terminated` and `truncated`, on the host, and
                `valid` where some of the row's transitions may not be drawn. Without it the row is data, such as
                `image` and `label`. A `next_obs` that is passed on as the next row's `obs` is not written twice, so it
                must not change in between.
        """
        if any(type(value) is dict for value in rows[0].values()):
            rows = tuple(map(split_parts, rows))
        if not self.is_allocated:
            self._allocate(rows[0])
        for row in rows:
            for name, shape in self.shapes.items():
                if name not in row or row[name].shape != shape:
                    raise misfit(name, shape, row)
        while rows:
            block = rows[: self.ring.room_in_one_piece()]
            for _ in range(self.ring.num_used + len(block) - self.ring.max_used):
                self._drop_oldest()
            parts, following = self.observations.columns_to_write(block) if self.observations else ([], {})
            first = self.ring.write(block, [*self.names, *parts], following)
            self.index.add(first, block)
            if self.observations:
                self.observations.close(first, block)
            rows = rows[len(block) :]

    def _allocate(self, row: Mapping[str, Any]) -> None:
        """Make room for rows like this one."""
        num_envs = len(next(iter(row.values())))  # N
        capacity = num_envs if self.capacity is None else self.capacity
        if capacity < num_envs:
            raise ValueError(f"a buffer of {capacity} transitions is smaller than one row of {num_envs} environments")
        stored = {name: torch.as_tensor(value) for name, value in row.items() if not name.startswith("next_obs")}
        stored["valid"] = torch.ones(num_envs, dtype=torch.bool)
        if self.frame_stack > 1:
            stored["obs"] = stored["obs"][:, -1]
        streams = any(name.startswith("next_obs") for name in row)
        max_used, older = capacity // num_envs, self.frame_stack - 1
        # a row more holds the newest next_obs, and the rows before the oldest hold the older frames of its stack
        num_rows = max_used + streams + older
        nbytes, room = num_rows * sum(value.nbytes for value in stored.values()), available_memory(self.backend.device)
        if nbytes > room:
            raise UsageError(
                f"a buffer of {capacity:,} transitions takes {nbytes / 2**30:,.1f} GiB and {self.backend.device} has "
                f"{room / 2**30:,.1f} GiB: lower --buffer-size"
            )
        self.ring, self.is_allocated = Ring(stored, num_rows, max_used, oldest=older, backend=self.backend), True
        self.index = self.make_index(self.ring, self.n_step)
        if streams:
            self.observations = (
                StackedFrames(self.ring, self.frame_stack, self.frame_padding) if older else Observations(self.ring)
            )
            self.n_step_return = NStepReturn(self.ring, self.n_step, self.gamma, self.reward_clip)
        parts = self.observations.parts if self.observations else []
        self.names = [name for name in stored if name not in (*parts, "valid")]  # columns that are written as they come
        sampled = ("reward", "terminated", "truncated") if streams else ()  # summed up in reward and discount
        self.extras = [name for name in self.names if name not in sampled]
        self.has_parts = any("/" in name for name in stored)
        if type(self.index) is UniformIndex and type(self.backend) is Arrays:
            self.together = GATHERED * num_envs // sum(value.nbytes for value in stored.values())
        self.shapes = {name: tuple(torch.as_tensor(value).shape) for name, value in row.items() if name != "valid"}
        self.shapes |= {f"next_{name}": self.shapes[name] for name in parts}

    def _drop_oldest(self) -> None:
        self.index.drop_oldest()
        if self.observations:
            self.observations.finals.drop_oldest()
        self.ring.oldest = (self.ring.oldest + 1) % self.ring.num_rows
        self.ring.num_used -= 1

    def sample(self, batch_size: int) -> Batch:
        """Draw uniformly, with replacement, among the valid transitions whose n-step window is complete.

        On a GPU the batch is drawn when it is first read, so that a CUDA graph can hold the drawing.

        Returns:
            Every stored key but the flags, [B, ...], and `index` [B]. For transitions: `reward` is the sum of
            gamma^i * reward over the k <= n_step steps really there (fewer at an episode's end), `next_obs` is that of
            the last of them, and `discount` is gamma^k, or 0 at termination, so that a target is always
            `reward + discount * value(next_obs)`.
        """
        if not self.is_allocated:
            raise ValueError("nothing to sample yet: the buffer is empty")
        batch = self.backend.draw(
            lambda drawn: self.read(self.index.locate(drawn)), *self.index.span(), batch_size, self.ring
        )
        batch = join_parts(batch) if self.has_parts and type(batch) is dict else batch
        return batch if self.augment is None else then(batch, partial(self.augment, self.backend.generator))

    def samples(self, num: int, batch_size: int) -> Iterator[Batch]:
        """Draw `num` batches as `sample` draws each, for a learner that draws nothing else between them.

        On a CPU small transitions are gathered for several batches at once.
        """
        for begin in range(0, num, most := max(1, self.together // batch_size)):
            whole = self.sample(batch_size * min(most, num - begin))
            yield from [whole] if most == 1 or begin + 1 == num else split(whole, batch_size)

    def read(self, index: Any) -> dict[str, Any]:
        """What `sample` returns of the transitions at `index` [B], part by part, as the backend has it."""
        batch = {name: self.backend.take(self.ring.flat[name], index, 0) for name in self.extras}
        if self.observations:
            batch["reward"], batch["discount"], last = self.n_step_return(index)
            batch |= self.observations.read(index, last)
        return batch | {"index": index}

    def drain(self) -> Batch:
        """Everything in order of time, every value [T, N, ...], with `valid` [T, N]; the buffer is empty after."""
        index = self.ring.in_order()  # [T, N]
        flat = self.backend.own(index.flatten())
        batch = {name: self.backend.take(self.ring.flat[name], flat, 0) for name in (*self.names, "valid")}
        if self.observations:
            if self.reward_clip is not None:
                batch["reward"] = batch["reward"].clip(-self.reward_clip, self.reward_clip)
            batch |= self.observations.read(flat, flat)
            self.observations.clear()
        self.index.clear()
        self.ring.oldest, self.ring.num_used = self.frame_stack - 1, 0
        return join_parts({n: value.unflatten(0, index.shape) for n, value in self.backend.tensors(batch).items()})

    def mark(self) -> tuple[int, ...]:
        """Where it stands, for `changed_since`."""
        if not self.is_allocated:
            return ()
        finals = self.observations.finals if self.observations else None
        in_finals = (finals.room, finals.added) if finals else ()
        return (self.ring.number, self.ring.position, self.index.num_added, *in_finals)

    def changed_since(self, mark: tuple[int, ...]) -> dict[str, list[range]]:
        """Rows of the `ring`, and of the tables of `frames`, that may have been written since `mark` was taken.

        Nothing is counted for that when rows are written: they are written one after the other, and as long as a
        transition of before can be drawn, the ring has not gone round, nor was it drained.
        """
        if not self.is_allocated:
            return {}
        ring, now = self.ring, self.mark()
        everything = {"ring": [range(ring.num_rows)], "frames": [range(now[3])] if now[3:] else []}
        if mark[:1] != now[:1] or now[2] - mark[2] >= self.index.num_valid:
            return everything
        rows = in_ring(mark[1], (now[1] - mark[1]) % ring.num_rows + 1, ring.num_rows)
        grown = mark[3:4] != now[3:4]  # the table of last observations, where there is one
        finals = everything["frames"] if grown or not now[3:] else in_ring(mark[4] % now[3], now[4] - mark[4], now[3])
        return {"ring": rows, "frames": finals}

    def state_dict(self) -> dict[str, Any]:
        """Everything stored, as tensors and plain Python; rows never written are left out.

        Columns and tables are parts of the buffer's memory, not copies: who keeps the state copies it.
        """
        kind = {"capacity": self.capacity or -1, "n_step": self.n_step, "frame_stack": self.frame_stack}
        if not self.is_allocated:
            return kind
        ring = self.ring.state_dict()
        state = {"row": {name: list(shape) for name, shape in self.shapes.items()}, "ring": ring}
        num_rows = len(next(iter(ring["columns"].values())))
        frames = self.observations.state_dict(num_rows) if self.observations else None
        return kind | state | {"index": self.index.state_dict(), "frames": frames}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` returned; the buffer then draws what it would have drawn."""
        ours, saved = (self.capacity or -1, self.n_step), (state["capacity"], state["n_step"])
        if ours != saved:
            raise ValueError(f"the saved buffer has capacity and n_step {saved}, this one {ours}")
        if state["frame_stack"] not in range(1, MAX_FRAMES + 1):
            raise ValueError(f"frame_stack is {state['frame_stack']!r:.40}")
        self.frame_stack = state["frame_stack"]  # older checkpoints stored whole stacks: 1
        if state.keys() <= {"capacity", "n_step", "frame_stack"}:  # nothing was added yet
            return
        columns = state["ring"]["columns"]
        if {"valid", *(name for name in state["row"] if not name.startswith("next_obs"))} != columns.keys():
            raise ValueError(f"a row of {list(state['row'])} does not fill {list(columns)}")
        row = {}
        for name, shape in state["row"].items():
            column = columns[stored := name if name in columns else name.removeprefix("next_")]
            stack = [self.frame_stack] * (stored == "obs" and self.frame_stack > 1)
            if list(shape) != [*column.shape[1:2], *stack, *column.shape[2:]]:  # before room is made for it
                raise ValueError(f"a row's {name} is {list(shape)!s:.40}, its column {list(column.shape)}")
            row[name] = torch.zeros(shape, dtype=column.dtype)
        self.observations = None
        self._allocate(row)
        check_form(state, self.state_dict(), "buffer")
        self.ring.load_state_dict(state["ring"])
        self.index.load_state_dict(state["index"])
        if self.observations:
            self.observations.load_state_dict(state["frames"])


def misfit(name: str, shape: tuple[int, ...], row: Mapping[str, Any]) -> ValueError:
    """What is wrong with a row that does not fit the others."""
    found = {name: tuple(value.shape) for name, value in row.items()}
    return ValueError(f"{name} must have shape {shape} in every row; this one has {found}")
