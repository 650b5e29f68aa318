"""What an algorithm fulfils: a Learner owns its networks, targets, optimizers and randomness.

The loop asks it for batches and lets it learn from each; a source calls `act`, `sample` or `evaluate`. Nothing here
calls back into an algorithm's mathematics: a loss is a pure function of (networks, batch), written in its own file.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rlgen.core import vital
from rlgen.core.batch import Batch, Obs
from rlgen.core.buffer import Buffer
from rlgen.core.functional import same_layout
from rlgen.core.step import Eager, Executor, GradientStep, Loss, Noise, autocast
from rlgen.core.watched import Above, Below, Grows, Lags, Outgrows, Rule, Stays
from rlgen.data.tree import listed
from rlgen.errors import UsageError
from rlgen.nets.acting import Uniforms
from rlgen.nets.spectral import power_iteration


class Learner(nn.Module):
    """Networks, targets and optimizers of one algorithm; all of it is in `state_dict()`.

    Construct it under `torch.manual_seed(seed)` and `with torch.device(device):`. Subclasses take `(cfg, spec)`: their
    frozen `Config` and the source's description of its data (`EnvSpec` or `ImageSpec`).

    Attributes:
        rows_per_turn: what one turn of the loop takes: vector steps of an agent, images drawn by a model.
        min_added: transitions that the buffer gets before the first round of updates.
        progress: the fraction of the run behind us; set by the loop, read by schedules.
        num_updates: updates taken, this one included; counted by `learn`.
        precision: of the losses, float32 (tf32 is float32 with rounded factors) or bf16.
        executor: how gradient steps are taken.
        watched: what makes a verdict on a run; a class adds its own to those of its base.
        per_sample: values [B] of the last update, one a sample of its batch, by name; a loss returns them as metrics.
    """

    Config: ClassVar[type]
    cfg: Any
    rows_per_turn: int = 1
    min_added: int = 0
    progress: float = 0.0
    num_updates: int = 0
    precision: str = "float32"
    executor: Executor = Eager()
    watched: Sequence[Rule] = (
        Above(vital.SIZE, 30.0, "the weights blow up", "a smaller step size, or gradients clipped at less"),
        Above(vital.DEAD, 0.95, "a layer is dead", "a smaller step size, or another activation (leaky_relu, silu)"),
    )
    per_sample: Batch

    def __init__(self, cfg: Any) -> None:
        super().__init__()
        self.cfg = cfg
        self.generator = torch.Generator(torch.get_default_device()).manual_seed(torch.initial_seed() % 2**63)
        self.per_sample = {}

    def __setattr__(self, name: str, value: Any) -> None:
        if type(value) in (int, float, dict):  # nn.Module looks for parameters for 8 us, at every count of an update
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
        """The batches to learn from now. Code after a `yield` runs after that batch's update."""
        raise NotImplementedError

    def update(self, batch: Batch) -> Batch:
        """One update, called by `learn`, which counts it; returns metrics, detached 0-d tensors on the device."""
        raise NotImplementedError

    def learning_rates(self) -> dict[str, float]:
        """The step size of each optimizer now, by its attribute's name; an optimizer left out keeps its own."""
        return {}

    def schedules(self) -> dict[str, float]:
        """Values that follow a schedule, as they are now, for the log."""
        return {}

    def learn(self, batch: Batch) -> Batch:
        """Count one update, set its learning rates, and take it: what the loop calls for every batch.

        Layers with spectral normalisation take their step of power iteration before it.
        """
        number = self.num_updates = self.num_updates + 1
        for name, rate in self.learning_rates().items():
            for group in getattr(self, name).param_groups:
                group["lr"] = rate
        self.per_sample.clear()
        power_iteration(self)
        metrics, self.num_updates = self.update(batch), number  # an old plug-in's `update` counts too
        return metrics

    def minimize(
        self,
        loss: Loss,
        batch: Batch,
        optimizer: torch.optim.Optimizer,
        max_grad_norm: float | None = None,
        noise: Noise | None = None,
    ) -> Batch:
        """Take one step down `loss(self, batch)` in the optimizer's own parameters, and no others.

        Args:
            loss: pure function of (networks, batch) to (0-d loss, metrics). It may be recorded: no `.item()`, no
                Python branch on a tensor, nothing read but networks and batch. A metric of shape [B] goes to
                `per_sample` and not into the log.
            batch: what the loss reads; every value [B, ...], but one named `shared_...`, which is one for all samples.
            optimizer: owns the parameters that move; what it does not own is frozen, as D is in the step of G.
            max_grad_norm: clip the gradient's global L2 norm to this.
            noise: turns the batch into the one that the loss reads, with random numbers from `self.generator`.

        Returns:
            The loss's 0-d metrics, detached.
        """
        metrics = self.executor.minimize(GradientStep(self, loss, batch, optimizer, max_grad_norm, noise))
        for name in [name for name, value in metrics.items() if value.ndim]:
            self.per_sample[name] = metrics.pop(name)
        return metrics

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """What a loss is computed in: matrix products and convolutions in bfloat16 if `precision` says so."""
        return autocast(self.device, self.precision)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Every optimizer, by its attribute's name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, torch.optim.Optimizer)}

    def get_extra_state(self) -> dict[str, Any]:
        """Optimizers, generator and counters, so that `state_dict()` is all there is to save."""
        return {
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers().items()},
            "generator": self.generator.get_state(),
            "num_updates": self.num_updates,
            "progress": self.progress,
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Put back what `get_extra_state` returned; an optimizer's settings but its lr are the configuration's."""
        for name, optimizer in self.optimizers().items():
            saved = state["optimizers"][name]
            pairs = zip(saved["param_groups"], optimizer.param_groups, strict=True)
            groups = [dict(own, params=group["params"], lr=group["lr"]) for group, own in pairs]
            optimizer.load_state_dict({"state": saved["state"], "param_groups": groups})
            for param, moments in optimizer.state.items():
                for key, value in moments.items():  # saved, perhaps, when weights lay otherwise in memory
                    moments[key] = same_layout(value, param) if value.shape == param.shape else value
        saved = state["generator"].cpu()
        if saved.numel() == self.generator.get_state().numel():
            self.generator.set_state(saved)
        else:  # of another kind of device: others than at the start, and every time the same
            self.generator.manual_seed(int.from_bytes(hashlib.sha256(saved.numpy()).digest()[:7], "little"))
        self.num_updates, self.progress = state["num_updates"], state["progress"]


class Agent(Learner):
    """A learner that acts in an environment.

    Attributes:
        memory_spec: shapes of what the agent remembers from step to step, by name, without the environments' axis;
            empty for an agent without memory.
        acts_ahead: it may choose its next actions before the updates that are due, as it learns off-policy.
        acts_on_arrays: on a CPU, `act` takes observations as the environment gives them, NumPy arrays, and may return
            arrays; otherwise tensors.
        act_reads: names of the agent's numbers that change and that `act` reads without `greedy`, beside networks,
            generator and observations. On a GPU the acts are then one CUDA graph, in which those numbers are 0-d
            tensors: no `.item()` and no Python branch on a tensor. None: `act` may read anything, and stays as it is. A
            class with an `act` of its own declares it anew.
        discount: per step, of the values that it estimates when it acts greedily.
        uniforms: random numbers of its acts.
    """

    watched = (
        *Learner.watched,
        Lags("eval/episodic_return"),
        Stays("charts/episodic_return"),
        Outgrows("eval/q_estimate"),
    )
    memory_spec: Mapping[str, tuple[int, ...]] = MappingProxyType({})
    acts_ahead: bool = False
    acts_on_arrays: bool = False
    act_reads: Sequence[str] | None = None
    discount: float = 1.0

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg)
        self.uniforms = Uniforms(self.generator)

    def act(self, obs: Obs, greedy: bool = False) -> Batch:
        """Choose an action for every environment.

        Args:
            obs: [N, *obs_shape], the environment's dtype; a dictionary of parts where it has several.
            greedy: the most likely or most valuable action, without exploration.

        Returns:
            `action` [N] int64, of several choices [N, A] int64, of real numbers [N, A] float32, of which -1 and 1 mean
            the bounds where `spec.action_rescaled` says so. It is stored with the transition. A value-based agent adds
            `q_estimate` [N], its own estimate of the discounted return, when greedy, to be compared with what came.

        An agent with a `memory_spec` also takes `memory`, a dictionary of [N, *shape] float32 that is zero where an
        episode starts, and returns the next one as `memory`, in other tensors. The source stores with every transition
        the memory that its action was chosen with.
        """
        raise NotImplementedError


def read_by_act(kind: type[Agent]) -> Sequence[str] | None:
    """An agent's `act_reads`, of its very `act`: one that extends a class may read more than that class declared."""
    for each in kind.__mro__:
        if "act_reads" in vars(each) or "act" in vars(each):
            declared: Sequence[str] | None = vars(each).get("act_reads")
            return declared
    return None


class Generative(Learner):
    """A learner that models images.

    Attributes:
        num_classes: of the labels that it learned with, of which `sample` takes one as `label`; None without labels.
        classes: those that it learned, where not all of these had images.
        averages: `sample` takes `ema`, false for the weights that train in place of their average.
        latent_size: Z of the latents from N(0, I) that its images are made of by `decode`, which takes the labels and
            `ema` that `sample` takes; None of a model that has none.
    """

    num_classes: int | None = None
    classes: Sequence[int] | None = None
    averages: bool = False
    latent_size: int | None = None

    watched = (
        *Learner.watched,
        Grows(vital.GRADIENTS, 10.0, "the gradients blow up", "a smaller step size, or a gradient penalty"),
        Below(vital.SPREAD, 0.1, "the samples are all the same", "a smaller step size, or a wider model", after=0.15),
    )

    def batches(self, buffer: Buffer) -> Iterator[Batch]:
        """One batch of images, drawn uniformly."""
        yield buffer.sample(self.rows_per_turn)

    def sample(self, num: int, *, seed: int | None = None) -> Tensor:
        """Draw images, the same ones for the same seed: [num, C, H, W] float32 in [0, 1]."""
        raise NotImplementedError

    def latents(self, num: int, seed: int | None = None) -> Tensor:
        """Latents that `sample` makes images of, the same ones for the same seed: [num, Z]."""
        if self.latent_size is None:
            raise UsageError("this model has no latents")
        generator = self.generator if seed is None else torch.Generator(self.device).manual_seed(seed)
        return torch.randn(num, self.latent_size, generator=generator, device=self.device)

    def decode(self, latent: Tensor) -> Tensor:
        """Images of latents [N, Z]: [N, C, H, W] float32 in [0, 1]."""
        raise NotImplementedError

    @property
    def kinds(self) -> Sequence[int]:
        """The labels that it learned; none of a model that learned without."""
        return range(self.num_classes or 0) if self.classes is None else self.classes

    def labels(self, num: int, label: int | Tensor | None) -> Tensor | None:
        """Labels of images to draw, [num] int64, or None of a model that learned without.

        Args:
            num: of images.
            label: one for all of them, or each its own [num]; None: of each class that it learned as many, in order.

        Raises:
            UsageError: there is no such class.
        """
        if label is None and self.kinds:
            which = torch.arange(num, device=self.device) * len(self.kinds) // max(num, 1)
            return torch.tensor(self.kinds, device=self.device)[which]
        if label is None:
            return None
        if self.num_classes is None:
            raise UsageError(f"label {label}: this model learned without labels; leave it out, or train one with them")
        those = f"in [0, {self.num_classes - 1}]"
        if self.classes is not None:
            those = f"one of {listed([*map(str, self.classes)], 10)}"
        for each in label.flatten().tolist() if isinstance(label, Tensor) else [label]:  # which no tensor may hold
            if each not in self.kinds:
                raise UsageError(f"label {each}: must be {those}, one that the model learned with")
        return torch.as_tensor(label, device=self.device).expand(num)

    def reconstruct(self, images: Tensor) -> Tensor | None:
        """Images through the latent and back: [B, C, H, W] uint8 -> float32 in [0, 1]; None if there is no way back."""
        return None

    def evaluate(self, images: Tensor) -> Batch:
        """Metrics of a whole set of held-out images, 0-d tensors; the learner takes it in chunks if it must.

        Args:
            images: [M, C, H, W] uint8, on the learner's device.
        """
        raise NotImplementedError
