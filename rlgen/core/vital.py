"""Signs of life of networks and samples, measured when a learner is evaluated: rows have them as `health/...`.

They draw no random numbers that training would draw, so what is trained is the same with and without them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from rlgen.core.batch import map_parts
from rlgen.nets.spectral import Spectral

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SIZE = "health/weights"  # the largest gain of any layer
GRADIENTS = "health/gradients"  # length of the gradient, of the optimizer whose gradient is longest
DEAD = "health/dead_units"  # share of a layer, of the one that has most
SPREAD, NEAREST = "health/spread", "health/nearest"  # of samples, relative to images
NUM = 256  # inputs, samples and images that are looked at
MAX_SEEN = 32  # observations of an environment that are kept


class Seen:
    """Some of the observations of episodes, spread evenly over them: every k-th, and k doubles as they become many."""

    ENVS = 8  # of each step

    def __init__(self) -> None:
        self._kept: list[Any] = []
        self._count, self._stride = 0, 1

    def add(self, obs: Any) -> None:
        """Look at the observations of a step: arrays [N, ...], by part where there are several."""
        if self._count % self._stride == 0:
            self._kept.append(map_parts(lambda array: np.array(array[: self.ENVS]), obs))
            if len(self._kept) == 2 * MAX_SEEN:
                self._kept, self._stride = self._kept[::2], 2 * self._stride
        self._count += 1

    def batch(self, device: torch.device) -> Any:
        """What was kept, as tensors [M, ...]."""
        parts = self._kept[0].keys() if isinstance(self._kept[0], dict) else None
        if parts is None:
            return torch.from_numpy(np.concatenate(self._kept)).to(device)
        return {name: torch.from_numpy(np.concatenate([obs[name] for obs in self._kept])).to(device) for name in parts}


@torch.no_grad()
def weights(net: nn.Module) -> float:
    """The largest gain of a layer: the root mean square of its weights times the root of its inputs.

    It is how much larger than independent inputs its outputs are: about 1 when layers are drawn, and 100 in none that
    learns well. 0 without layers. Convolutions that go up count their outputs as inputs. Of an embedding a single row
    comes in. Weights with spectral normalisation count as they are used.
    """
    layers = [param for param in net.parameters() if param.ndim > 1 and param.numel()]
    if not layers:
        return 0.0
    scales: dict[Any, Any] = dict.fromkeys(layers, 1.0)
    for each in net.modules():
        if isinstance(each, nn.Embedding):
            scales[each.weight] = math.sqrt(each.embedding_dim)
    for each in net.modules():
        if isinstance(each, Spectral) and each.layer.weight in scales:  # not in a copy that acts, of buffers
            scales[each.layer.weight] = scales[each.layer.weight] * each.sigma()
    sizes = [torch.linalg.vector_norm(param).float() / scales[param] for param in layers]  # sqrt(numel) * rms
    return float((torch.stack(sizes).cpu() / torch.tensor([math.sqrt(len(param)) for param in layers])).max())


@torch.no_grad()
def gradients(optimizers: Iterable[torch.optim.Optimizer]) -> dict[str, float]:
    """The length of recent gradients, of the optimizer whose gradient is longest: the root of the mean of its square.

    It is read from what Adam and RMSProp keep, their moving mean of squares, and costs a run nothing. Gradients count
    as they are used: clipped, and with the weights' decay, except AdamW's. After a fork that raises beta2 they are read
    as too long for some 1 / (1 - beta2) steps. Nothing is said of SGD, which keeps no squares, before the first step,
    and where a square is too large for float32.
    """
    lengths = []
    for optimizer in optimizers:
        squares = []
        for group in optimizer.param_groups:
            for state in (optimizer.state[param] for param in group["params"] if param in optimizer.state):
                if "exp_avg_sq" in state:  # of Adam: begins at 0
                    squares.append(state["exp_avg_sq"].sum() / _weight(group["betas"][1], state["step"]))
                elif "square_avg" in state:  # of RMSProp
                    squares.append(state["square_avg"].sum() / _weight(group["alpha"], state["step"]))
        if squares:
            lengths.append(float(torch.stack(squares).double().sum().sqrt()))  # waits for a GPU once
    return {GRADIENTS: max(lengths)} if any(lengths) and math.isfinite(sum(lengths)) else {}


def _weight(decay: float, step: Any) -> Tensor:
    """What the weights of a moving mean that began at 0 sum to, 1 - decay^step; a decay near 1 needs float64."""
    return 1 - decay ** torch.as_tensor(step, dtype=torch.float64)


@torch.no_grad()
def dead_units(net: nn.Module, call: Callable[[], Any]) -> dict[str, float]:
    """The share of ReLUs that are 0 whatever comes in, in the layer that has most; nothing where there are no ReLUs.

    A unit of a feature map is a channel. No gradient flows through such a unit: the layer learns nothing more.

    Args:
        net: holds the layers.
        call: sends inputs through some of them, [M, ...].
    """
    alive: dict[nn.Module, Tensor] = {}

    def look(module: nn.Module, args: Any, output: Tensor) -> None:
        units = (output > 0).movedim(-3 if output.ndim == 4 else -1, 0)  # [K, ...]
        found = units.flatten(1).any(1)  # [K]
        alive[module] = alive[module] | found if module in alive else found

    hooks = [each.register_forward_hook(look) for each in net.modules() if type(each) is nn.ReLU]
    try:
        if hooks:
            call()
    finally:
        for hook in hooks:
            hook.remove()
    if not alive:
        return {}
    return {DEAD: max(float(1 - found.float().mean()) for found in alive.values())}


def spread(samples: Tensor, images: Tensor) -> dict[str, float]:
    """How far samples lie apart, relative to as many images: on average, and to the nearest one.

    Both are about 1 for samples as varied as the images, 0 for samples that are all the same; the second one also where
    there are few kinds of them.

    Args:
        samples: [M, C, H, W] in [0, 1], M > 1.
        images: [K, C, H, W] uint8.
    """
    num = min(len(samples), len(images))
    if num < 2:
        return {}
    ours, theirs = (_distances(each[:num].flatten(1).float()) for each in (samples.cpu(), images.cpu() / 255))
    ratios = {}
    for name, own, real in zip((SPREAD, NEAREST), ours, theirs, strict=True):
        if real > 0:
            ratios[name] = own / real
    return ratios


def of_samples(learner: Any, images: Tensor) -> dict[str, float]:
    """The signs of a model: the spread of fixed samples, and dead units on the way of images through it and back.

    Args:
        learner: the model.
        images: held-out ones, [M, C, H, W] uint8.
    """
    some = images[:NUM].to(learner.device)
    found = spread(learner.sample(len(some), seed=0), some)
    return found | dead_units(learner, lambda: learner.reconstruct(some))


def _distances(points: Tensor) -> tuple[float, float]:
    """The mean distance of two points, and the mean distance of a point to the nearest other: of [M, D]."""
    apart = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")  # [M, M], 0 for equal points
    num = len(points)
    nearest = apart.clone().fill_diagonal_(math.inf).amin(1)  # [M]
    return float(apart.sum() / (num * (num - 1))), float(nearest.mean())
