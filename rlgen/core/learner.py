"""What an algorithm fulfils: a Learner owns its networks, targets, optimizers and randomness.

The loop calls two verbs, `batches` and `update`; a source calls `act`, `sample` or `evaluate`. Nothing here calls back
into an algorithm's mathematics: a loss is a pure function of (networks, batch) and is written in the algorithm's file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from rlgen.core.functional import clip_norm, same_layout
from rlgen.speed.recorded import Work

if TYPE_CHECKING:
    from rlgen.core.buffer import Buffer
    from rlgen.speed.recorded import Replay
    from rlgen.speed.stacked import Together

Batch = dict[str, Tensor]  # every value [B, ...], on the training device
Loss = Callable[[Any, Batch], tuple[Tensor, Batch]]  # (networks, batch) -> (0-d loss, metrics)
Draw = Callable[[Batch], Batch]  # batch -> batch with the random numbers that its loss needs


class Learner(nn.Module):
    """Networks, targets and optimizers of one algorithm; all of it is in `state_dict()`.

    Construct it under `torch.manual_seed(seed)` and `with torch.device(device):`. Subclasses take `(cfg, spec)`: their
    frozen `Config` and the source's description of its data (`EnvSpec` or `ImageSpec`).
    """

    Config: ClassVar[type]
    cfg: Any
    collect: int = 1  # rows a source adds between two calls of `batches`: vector steps, or images
    progress: float = 0.0  # fraction of the run behind us, set by the loop, read by schedules
    num_updates: int = 0  # gradient steps taken; counted by `update`
    precision: str = "float32"  # of the losses: float32 (tf32 is float32 with rounded factors), or bf16
    replay: Replay | Together | None = None  # recorded gradient steps; None takes every step as it is

    def __init__(self, cfg: Any) -> None:
        super().__init__()
        self.cfg = cfg
        self.generator = torch.Generator(torch.get_default_device()).manual_seed(torch.initial_seed() % 2**63)

    def __setattr__(self, name: str, value: Any) -> None:
        if type(value) in (int, float):  # nn.Module looks for parameters for 8 us, at every count of an update
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @property
    def device(self) -> torch.device:
        """Where the networks live; batches and noise belong there too."""
        return self.generator.device

    def make_buffer(self) -> Buffer:
        """An empty buffer of the size and kind this algorithm reads."""
        raise NotImplementedError

    def batches(self, buffer: Buffer) -> Iterator[Batch]:
        """The batches to learn from now: one uniform sample. Code after a `yield` runs after that batch's update."""
        yield buffer.sample(self.cfg.batch_size)

    def update(self, batch: Batch) -> Batch:
        """One gradient step; metrics as detached 0-d tensors on the device, so that nothing waits for the GPU."""
        raise NotImplementedError

    def schedules(self) -> dict[str, float]:
        """Values that follow a schedule, as they are now, for the log."""
        return {}

    def minimize(
        self,
        loss: Loss,
        batch: Batch,
        optimizer: torch.optim.Optimizer,
        max_grad_norm: float | None = None,
        draw: Draw | None = None,
    ) -> Batch:
        """Take one step down `loss(self, batch)` in the optimizer's own parameters, and no others.

        Args:
            loss: pure function of (networks, batch) to (0-d loss, metrics).
            batch: what the loss reads; every value [B, ...].
            optimizer: owns the parameters that move; what it does not own is frozen, as D is in the step of G.
            max_grad_norm: clip the gradient's global L2 norm to this.
            draw: turns the batch into the one that the loss reads, with random numbers from `self.generator`.

        Returns:
            The loss's metrics, detached.
        """
        work = Work(self, loss, batch, optimizer, max_grad_norm, draw)
        replayed = None if self.replay is None else self.replay.minimize([work])
        return self.minimize_eagerly(work) if replayed is None else replayed[0]

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """What a loss is computed in: matrix products and convolutions in bfloat16 if `precision` says so."""
        if self.precision != "bf16":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False)  # a cache would outlive a step

    def minimize_eagerly(self, work: Work) -> Batch:
        """`minimize` without a recording."""
        params = [param for group in work.optimizer.param_groups for param in group["params"]]
        batch = work.drawn()
        with self.autocast():
            value, metrics = work.loss(self, batch)
        grads: Sequence[Tensor] = torch.autograd.grad(value, params)
        if work.max_grad_norm is not None:
            grads = clip_norm(grads, work.max_grad_norm)
        for param, grad in zip(params, grads, strict=True):
            param.grad = same_layout(grad, param)
        work.optimizer.step()
        return {name: metric.detach() for name, metric in metrics.items()}

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {name: value for name, value in vars(self).items() if isinstance(value, torch.optim.Optimizer)}

    def get_extra_state(self) -> dict[str, Any]:
        """Optimizers, generator and counters, so that `state_dict()` is all there is to save."""
        return {
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self._optimizers().items()},
            "generator": self.generator.get_state(),
            "num_updates": self.num_updates,
            "progress": self.progress,
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Put back what `get_extra_state` returned."""
        for name, optimizer in self._optimizers().items():
            optimizer.load_state_dict(state["optimizers"][name])
            for param, moments in optimizer.state.items():
                for key, value in moments.items():  # saved, perhaps, when weights lay otherwise in memory
                    moments[key] = same_layout(value, param) if value.shape == param.shape else value
        if state["generator"].numel() == self.generator.get_state().numel():  # CPU and CUDA states differ in size
            self.generator.set_state(state["generator"].cpu())
        self.num_updates, self.progress = state["num_updates"], state["progress"]


class Agent(Learner):
    """A learner that acts in an environment."""

    acts_ahead: bool = False  # may choose its next actions before the updates that are due: it learns off-policy
    acts_on_arrays: bool = False  # while it trains on a CPU, `act` takes observations as the environment gives them

    def act(self, obs: Any, greedy: bool = False) -> Batch:
        """Choose an action for every environment.

        Args:
            obs: [N, *obs_shape], the environment's dtype; a tensor, or with `acts_on_arrays` also a NumPy array, in
                which case the actions may be one too.
            greedy: the most likely or most valuable action, without exploration.

        Returns:
            `action` [N] int64 or [N, A] float32, stored with the transition. A value-based agent adds
            `q_estimate` [N], its own estimate of the discounted return, when greedy, to be compared with what came.
        """
        raise NotImplementedError


class Generative(Learner):
    """A learner that models images."""

    def sample(self, num: int, seed: int | None = None) -> Tensor:
        """Draw images, the same ones for the same seed: [num, C, H, W] float32 in [0, 1]."""
        raise NotImplementedError

    def reconstruct(self, images: Tensor) -> Tensor | None:
        """Images through the latent and back: [B, C, H, W] uint8 -> float32 in [0, 1]; None if there is no way back."""
        return None

    def evaluate(self, images: Tensor) -> Batch:
        """Metrics of held-out images, each the mean over the batch as a 0-d tensor.

        Args:
            images: [B, C, H, W] uint8.
        """
        raise NotImplementedError
