"""Batches: dictionaries of tensors, perhaps with observations of several parts; a rollout cut into minibatches.

All tensors of a batch are rows, [B, ...], but those that are declared by their name: `shared_...` is one draw for all
samples, as the noise of a layer is. Where samples are shared out, a shared tensor goes to everybody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Batch = dict[str, Tensor]  # [B, ...] but for `shared_...`, on the training device; `obs` may be a dictionary of parts
SHARED = "shared_"  # how the name of what is no row begins
Obs = Tensor | dict[str, Tensor]  # one tensor [N, ...], or one for every part of a Dict or Tuple observation


def split_parts(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Every part under a name of its own: `{"obs": {"camera": x}}` becomes `{"obs/camera": x}`."""
    flat: dict[str, Any] = {}
    for name, value in batch.items():
        if isinstance(value, dict):
            flat |= {f"{name}/{part}": each for part, each in value.items()}
        else:
            flat[name] = value
    return flat


def join_parts(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The reverse of `split_parts`."""
    batch: dict[str, Any] = {}
    for name, value in flat.items():
        whole, _, part = name.partition("/")
        if part:
            batch.setdefault(whole, {})[part] = value
        else:
            batch[name] = value
    return batch


def map_parts(function: Callable[[Any], Any], value: Any) -> Any:
    """`function` of a tensor, or of every part where there are several."""
    return {part: function(each) for part, each in value.items()} if isinstance(value, dict) else function(value)


def flatten_time(value: Any) -> Any:
    """Time and environments as one axis: [T, N, ...] -> [T * N, ...], part by part."""
    return map_parts(lambda each: each.flatten(0, 1), value)


class LazyBatch(Mapping[str, Tensor]):
    """A batch on a GPU, drawn when it is first read. Whoever reads it later reads the same numbers.

    Args:
        draw: device work alone, so that a CUDA graph may hold it.
        key: equal for two batches whose draws one CUDA graph may serve.
    """

    def __init__(self, draw: Callable[[], Batch], key: tuple[Any, ...]) -> None:
        self.draw, self.key = draw, key
        self.tensors: Batch | None = None  # once drawn

    def undrawn(self) -> LazyBatch:
        """Another batch of the same draw."""
        return LazyBatch(self.draw, self.key)

    def _drawn(self) -> Batch:
        if self.tensors is None:
            self.tensors = join_parts(self.draw())
        return self.tensors

    def __getitem__(self, name: str) -> Tensor:
        return self._drawn()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._drawn())

    def __len__(self) -> int:
        return len(self._drawn())

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:  # as of a batch on the CPU, which is a dictionary
        return {**self, **other}

    def __ror__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**other, **self}


def then(batch: Any, function: Callable[[Batch], Batch]) -> Any:
    """What a function makes of a batch: of one that is still to be drawn once it is, so that a CUDA graph holds both.

    Args:
        batch: a dictionary, or a `LazyBatch`.
        function: device work alone.
    """
    if isinstance(batch, LazyBatch):
        return LazyBatch(lambda: function(join_parts(batch.draw())), batch.key)
    return function(batch)


class Rows:
    """Metrics of S learners, [S, K], in memory that is going to be written to again."""

    def __init__(self, numbers: Tensor) -> None:
        self.numbers = numbers
        self.kept: Sequence[Tensor] | None = None  # [K] each, in memory of their own


class Row(dict[str, Tensor]):
    """The metrics of one of them, which are views of that memory.

    Args:
        metrics: K numbers by name, and perhaps others after them.
        rows: of all learners.
        index: of this one.
    """

    def __init__(self, metrics: Mapping[str, Tensor], rows: Rows, index: int) -> None:
        super().__init__(metrics)
        self._numbers = [value for value in metrics.values() if not value.ndim]
        self._rows, self._index = rows, index

    def keep(self) -> Tensor | None:
        """Its numbers [K] in memory of their own, by one copy for all learners; None where it holds others by now."""
        if [*map(id, self.values())] != [*map(id, self._numbers)]:
            return None
        if self._rows.kept is None:
            self._rows.kept = self._rows.numbers.clone().unbind()
        return self._rows.kept[self._index]


def minibatches(data: Batch, batch_size: int, num_epochs: int, generator: torch.Generator) -> Iterator[Batch]:
    """Shuffle a rollout and cut it into minibatches, without replacement, anew in every epoch.

    Args:
        data: every value [T, N, ...].
        batch_size: transitions in a minibatch; a remainder that does not fill one is left out of that epoch.
        num_epochs: passes over the data.
        generator: of the shuffles.
    """
    flat = {name: value.flatten(0, 1) for name, value in split_parts(data).items()}  # [T * N, ...]
    total = len(next(iter(flat.values())))
    for _ in range(num_epochs):
        order = torch.randperm(total, generator=generator, device=generator.device)[: total // batch_size * batch_size]
        yield from split(join_parts({name: value[order] for name, value in flat.items()}), batch_size)  # one gather


def split(batch: Batch, size: int) -> Iterator[Batch]:
    """Cut a batch into parts of `size`: views of it, of a multiple of that many; what is shared is in each."""
    flat = split_parts(batch)
    shared = {name: flat.pop(name) for name in [*flat] if name.startswith(SHARED)}
    parts = zip(*(value.split(size) for value in flat.values()), strict=True)
    for part in parts:
        cut = dict(zip(flat, part, strict=True)) | shared
        yield cut if len(cut) == len(batch) else join_parts(cut)
