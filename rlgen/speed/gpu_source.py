"""Environments stepped for an agent on a GPU: what crosses to the device, and what need not wait for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlgen.core.batch import join_parts, map_parts, split_parts
from rlgen.core.buffer import Buffer
from rlgen.core.form import check_between
from rlgen.core.learner import Agent
from rlgen.core.source import MAX_ROWS, EnvSource
from rlgen.speed.act_graph import Acts, Wait


class GpuEnvSource(EnvSource):
    """An `EnvSource` whose agent acts on a device, of which nothing is waited for but its actions.

    An agent that may act ahead chooses its next actions before the updates that follow, so that the environments step
    while those run. Rows go to the buffer from the host, as they do on a CPU.

    Args:
        device: where observations go.

    Attributes:
        acts: how the agent acts, as one CUDA graph where it can be.
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
        self._device, self.acts = device, Acts()
        self._chosen: tuple[dict[str, Any], Wait] | None = None  # ahead: what came with actions, and the actions

    @torch.no_grad()
    def fill(self, buffer: Buffer, learner: Agent) -> int:
        ticks = 0
        rows: list[dict[str, Any]] = []
        for left in reversed(range(learner.rows_per_turn)):
            obs, (acted, wait) = self.envs.obs, self._chosen or self._choose(learner)
            self._chosen = None
            action = wait()  # the only wait for the device
            step = self.envs.step(action)
            rows.append({"obs": obs, **acted, "action": action, **step._asdict()})
            if learner.memory_spec:
                self.remember(rows[-1])
            if not left or len(rows) == MAX_ROWS:
                buffer.add(*rows)
                ticks += self.count(rows)
                rows = []
        if learner.acts_ahead:
            self._chosen = self._choose(learner)
        return ticks

    def _choose(self, learner: Agent) -> tuple[dict[str, Any], Wait]:
        wait = None if learner.memory_spec else self.acts(learner, self.envs.obs)
        if wait is not None:
            return {}, wait
        obs = map_parts(self._upload, self.envs.obs)
        acted = self.act_with_memory(learner, obs) if learner.memory_spec else learner.act(obs)
        return acted, self._download(acted["action"])

    def _upload(self, obs: np.ndarray) -> Tensor:
        # The allocator of pinned memory reuses a block only after the copy out of it has ended.
        return torch.from_numpy(obs).pin_memory().to(self._device, non_blocking=True)

    def _download(self, action: Tensor) -> Wait:
        """Begin to copy actions [N, ...] to the host; the result waits for them, and for nothing queued after them."""
        host = torch.empty_like(action, device="cpu", pin_memory=True).copy_(action, non_blocking=True)
        copied = torch.cuda.Event()
        copied.record()

        def wait() -> np.ndarray:
            copied.synchronize()
            return host.numpy()

        return wait

    def state_dict(self) -> dict[str, Any]:
        """As of `EnvSource`, and what was chosen ahead: its random numbers were drawn before those that come now."""
        state = super().state_dict()
        if self._chosen is not None:
            acted, wait = self._chosen
            flat = split_parts({**acted, "action": torch.from_numpy(wait().copy())})
            state["chosen"] = {name: value.cpu() for name, value in flat.items()}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        if self._chosen is not None:
            self._chosen[1]()  # whatever is on its way arrives before the next act
        exact = super().load_state_dict(state)
        self._chosen, saved = None, state.get("chosen") if exact else None
        if saved:
            action = saved["action"]
            if self.spec.num_actions:
                check_between(action, 0, self.spec.num_actions, "source.chosen")
            if len(action) != self.spec.num_envs:
                raise ValueError(f"source.chosen is of {len(action)} environments, here there are {self.spec.num_envs}")
            acted = join_parts({name: value.to(self._device) for name, value in saved.items()})
            self._chosen = acted, action.numpy
        if self.memory:
            self.memory = {name: value.to(self._device) for name, value in self.memory.items()}
        return exact
