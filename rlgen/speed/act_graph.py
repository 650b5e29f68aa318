"""An agent's acting as one CUDA graph: observations come from pinned memory, and actions go back to it.

Of the time that a small agent takes to act on a GPU nearly all goes to Python and to a dozen launches and copies. A
graph is one launch, and the copies are part of it. It is right where `act` does the same every time: an agent says so
by `act_reads`. The 1st, 2nd, 3rd, 10th, 100th, ... act is compared with the eager one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from rlgen.core.learner import Agent, read_by_act
from rlgen.core.step import Eager
from rlgen.speed.graph import CudaGraph

WARM_UP = 3  # acts before a graph is captured, and acts with it that are compared one after the other
TOLERANCE = 1e-3  # relative difference between actions that are real numbers
ALIGNED = 16  # bytes

Wait = Callable[[], np.ndarray]  # waits for actions [N, ...], which are on their way to the host


class Acts:
    """The acts of an agent that declares what they read; eager ones where they cannot be recorded.

    Args:
        make_graph: a `CudaGraph`, or what stands for it.

    Attributes:
        graph: acts; None until it is captured.
        refused: why acts are not recorded; empty while they may be.
    """

    def __init__(self, make_graph: Callable[[], Any] = CudaGraph) -> None:
        self._make_graph = make_graph
        self.graph: ActGraph | None = None
        self.refused = ""
        self._num_warm = 0

    def __call__(self, agent: Agent, obs: Any) -> Wait | None:
        """Begin to act on observations on the host, [N, *obs_shape]; None where the agent is to act eagerly."""
        if self.refused or type(agent.executor) is Eager or read_by_act(type(agent)) is None:
            return None
        try:
            if self.graph is None or self.graph.is_stale(agent):
                self._num_warm += 1
                if self._num_warm <= WARM_UP:
                    return None
                self.graph = None  # the old one's memory first
                self.graph = ActGraph(agent, obs, self._make_graph())
            return self.graph(obs)
        except Exception as failure:  # whatever recording may stumble on; the end of a capture hides what ended it
            self.graph = None
            self.refused = " ".join(str(failure.__context__ or failure).split())[:200] or type(failure).__name__
            tqdm.write(f"note: acting is slower than it could be, not recorded: {self.refused}", sys.stderr)
            return None


class ActGraph:
    """`agent.act` in training, as one graph.

    Args:
        agent: without memory; what it reads is declared.
        obs: like those to come, on the host.
        graph: to capture with.

    Attributes:
        count: acts taken with it.
    """

    def __init__(self, agent: Agent, obs: Any, graph: Any) -> None:
        self.count, self._next_check = 0, 1
        self._agent, self._graph = agent, graph
        self._tensors = [*agent.parameters(), *agent.buffers()]
        self._addresses = [tensor.data_ptr() for tensor in self._tensors]
        self._names = read_by_act(type(agent)) or ()
        numbers = np.zeros(len(self._names), np.float32)
        self._parts = list(obs) if isinstance(obs, dict) else []
        self._input = Packed([numbers, *self._in_order(obs)], agent.device)
        self._seen = self._input.there[1:]
        self._twin = twin(agent, dict(zip(self._names, self._input.there[0], strict=True)))
        self._copied = torch.cuda.Event()

        self._put(obs)
        before = agent.generator.get_state()
        try:
            first = self._act()  # kernels that no act has used yet cannot be loaded while a graph is captured
        finally:
            agent.generator.set_state(before)
        self._action = pinned(first.nbytes).view(first.dtype).view(first.shape)
        self._graph.capture(self._download, [agent.generator])

    def is_stale(self, agent: Agent) -> bool:
        """Whether it is another agent, or its tensors lie elsewhere by now."""
        return agent is not self._agent or [tensor.data_ptr() for tensor in self._tensors] != self._addresses

    def _in_order(self, obs: Any) -> list[np.ndarray]:
        return [obs[part] for part in self._parts] if self._parts else [obs]

    def _as_obs(self, tensors: Sequence[Tensor]) -> Any:
        return dict(zip(self._parts, tensors, strict=True)) if self._parts else tensors[0]

    def _put(self, obs: Any) -> None:
        """Put what the act reads where the graph copies it from."""
        numbers, *seen = self._input.here
        for i, name in enumerate(self._names):
            numbers[i] = getattr(self._agent, name)
        for own, value in zip(seen, self._in_order(obs), strict=True):
            own[...] = value

    def _act(self) -> Tensor:
        self._input.upload()
        acted = self._twin.act(self._as_obs(self._seen))
        if acted.keys() != {"action"}:
            raise ValueError(f"it returns {', '.join(acted)}, and not actions alone")
        return acted["action"]

    def _download(self) -> Sequence[Tensor]:
        action = self._act()
        self._action.copy_(action, non_blocking=True)
        return [action]

    def __call__(self, obs: Any) -> Wait:
        """Begin to act; nothing else may be begun before its actions were waited for."""
        self.count += 1
        if self.count <= WARM_UP or self.count == self._next_check:
            self._next_check = 10 ** len(str(self.count))
            return self._verified(obs)
        return self._begin(obs)

    def _begin(self, obs: Any) -> Wait:
        self._put(obs)
        self._graph.replay()
        self._copied.record()
        return self._wait

    def _wait(self) -> np.ndarray:
        self._copied.synchronize()
        return self._action.numpy().copy()  # the next act overwrites it

    def _verified(self, obs: Any) -> Wait:
        """The same, compared with the eager act from the same random numbers.

        Raises:
            ValueError: they differ; random numbers are as they were before.
        """
        generator = self._agent.generator
        before = generator.get_state()
        action = self._begin(obs)()
        after = generator.get_state()
        generator.set_state(before)
        expected = self._agent.act(self._as_obs([each.clone() for each in self._seen]))["action"].numpy(force=True)
        drawn = generator.get_state()
        generator.set_state(before)
        if not torch.equal(drawn, after):
            raise ValueError(f"act {self.count} draws other random numbers than the eager one")
        if not alike(action, expected):
            raise ValueError(f"act {self.count} differs from the eager one; `act_reads` may leave something out")
        generator.set_state(after)
        return lambda: action


class Packed:
    """Arrays side by side in pinned memory and on the device, so that one copy carries them all.

    Args:
        like: their shapes and dtypes.
        device: where they go.

    Attributes:
        here: the arrays, to be filled.
        there: tensors of them on the device.
    """

    def __init__(self, like: Sequence[np.ndarray], device: torch.device) -> None:
        ends = np.cumsum([-(-array.nbytes // ALIGNED) * ALIGNED for array in like]).tolist()
        self._host = pinned(ends[-1])
        self._device = torch.zeros(ends[-1], dtype=torch.uint8, device=device)

        def views(whole: Tensor) -> list[Tensor]:
            parts = [whole[begin:][: array.nbytes] for begin, array in zip([0, *ends], like, strict=False)]
            pairs = zip(parts, like, strict=True)
            return [part.view(torch.from_numpy(array).dtype).view(array.shape) for part, array in pairs]

        self.here, self.there = [view.numpy() for view in views(self._host)], views(self._device)

    def upload(self) -> None:
        """Begin the copy."""
        self._device.copy_(self._host, non_blocking=True)


def pinned(num_bytes: int) -> Tensor:
    """Memory of the host that a device copies from and to by itself."""
    return torch.zeros(num_bytes, dtype=torch.uint8, pin_memory=True)


def alike(action: np.ndarray, expected: np.ndarray) -> bool:
    """Whether these are the same actions, up to rounding where they are real numbers."""
    if action.dtype.kind != "f":
        return np.array_equal(action, expected)
    return np.allclose(action, expected, TOLERANCE, TOLERANCE * 1e-2, equal_nan=True)


def twin(agent: Agent, values: dict[str, Tensor]) -> Agent:
    """The same agent, of which some numbers are tensors."""

    def held(value: Tensor) -> property:
        return property(lambda _: value)

    kind = type(type(agent).__name__, (type(agent),), {name: held(value) for name, value in values.items()})
    other: Agent = object.__new__(kind)
    other.__dict__ = agent.__dict__
    return other
