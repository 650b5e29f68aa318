"""Environments stepped for an agent on a GPU: what crosses to the device, and what need not wait for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlgen.core.batch import map_parts
from rlgen.core.buffer import Buffer
from rlgen.core.learner import Agent
from rlgen.core.source import MAX_ROWS, EnvSource


class GpuEnvSource(EnvSource):
    """An `EnvSource` whose observations cross to the device once, and whose actions come back without a stop.

    An agent that may act ahead chooses its next actions before the updates that follow, so that the environments step
    while those run.

    Args:
        device: where observations go.
    """

    def __init__(self, *args: Any, device: torch.device, **options: Any) -> None:
        super().__init__(*args, **options)
        self._begin(device)

    @classmethod
    def taking_over(cls, source: EnvSource, device: torch.device) -> GpuEnvSource:
        """The environments of a source that has not stepped yet; that one is used no more."""
        taken = cls.__new__(cls)
        vars(taken).update(vars(source))
        taken._begin(device)
        return taken

    def _begin(self, device: torch.device) -> None:
        self._device = device
        self._obs = self._upload(self.envs.obs)  # [N, *obs_shape]
        self._chosen: tuple[dict[str, Any], Callable[[], np.ndarray]] | None = None  # ahead: acted, and its actions

    @torch.no_grad()
    def fill(self, buffer: Buffer, learner: Agent) -> int:
        ticks = 0
        rows: list[dict[str, Any]] = []
        for left in reversed(range(learner.rows_per_turn)):
            obs, (acted, actions) = self._obs, self._chosen or self._choose(learner)
            self._chosen = None
            step = self.envs.step(actions())  # the only wait for the device
            self._obs = self._upload(self.envs.obs)
            next_obs = self._obs if step.next_obs is self.envs.obs else self._upload(step.next_obs)
            rows.append({"obs": obs, **acted, **step._asdict(), "next_obs": next_obs})
            if learner.memory_spec:
                self.remember(rows[-1])
            if not left or len(rows) == MAX_ROWS:
                buffer.add(*rows)
                ticks += self.count(rows)
                rows = []
        if learner.acts_ahead:
            self._chosen = self._choose(learner)
        return ticks

    def _choose(self, learner: Agent) -> tuple[dict[str, Any], Callable[[], np.ndarray]]:
        acted = self.act_with_memory(learner, self._obs) if learner.memory_spec else learner.act(self._obs)
        return acted, self._download(acted["action"])

    def _upload(self, obs: Any) -> Any:
        # The allocator of pinned memory reuses a block only after the copy out of it has ended.
        return map_parts(lambda each: torch.from_numpy(each).pin_memory().to(self._device, non_blocking=True), obs)

    def _download(self, action: Tensor) -> Callable[[], np.ndarray]:
        """Begin to copy actions [N, ...] to the host; the result waits for them, and for nothing queued after them."""
        host = torch.empty_like(action, device="cpu", pin_memory=True).copy_(action, non_blocking=True)
        copied = torch.cuda.Event()
        copied.record()

        def wait() -> np.ndarray:
            copied.synchronize()
            return host.numpy()

        return wait

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        exact = super().load_state_dict(state)
        self._chosen, self._obs = None, self._upload(self.envs.obs)
        if self.memory:
            self.memory = {name: value.to(self._device) for name, value in self.memory.items()}
        return exact
