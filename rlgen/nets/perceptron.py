"""Multilayer perceptrons, which also answer NumPy arrays: acting on them takes half of the time that tensors take.

The arrays share the memory of the parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from rlgen.nets.acting import steady
from rlgen.nets.layers import PLAIN, LayerOptions, activation_of, initialise, norms
from rlgen.nets.parts import Numbers

MAX_PRODUCTS = 2**18  # multiplications of a matrix product that NumPy does in one thread
WITHOUT_PARAMS: dict[type[nn.Module], Callable[[np.ndarray], np.ndarray]] = {
    nn.ReLU: lambda value: np.maximum(value, 0),
    nn.Tanh: np.tanh,
    nn.SiLU: lambda value: value * (0.5 + 0.5 * np.tanh(0.5 * value)),
    nn.Flatten: lambda value: value.reshape(len(value), -1),
}
known: WeakKeyDictionary[nn.Module, ArrayNetwork] = WeakKeyDictionary()


def orthogonal(layer: nn.Linear | nn.Conv2d, gain: float = math.sqrt(2)) -> nn.Linear | nn.Conv2d:
    """Orthogonal weights and zero bias (Saxe et al. 2014); sqrt(2) suits ReLU and tanh bodies."""
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


class MLP(nn.Sequential):
    """Layers one after the other. A NumPy array is answered without gradients: that is how a small agent acts fast."""

    def __call__(self, obs: Any) -> Any:
        """[B, ...] -> [B, num_out]."""
        return forward_array(self, obs) if type(obs) is np.ndarray else super().__call__(obs)


def mlp(
    sizes: Sequence[int],
    activation: type[nn.Module] = nn.ReLU,
    init_gain: float | None = None,
    options: LayerOptions = PLAIN,
) -> MLP:
    """Linear layers of the given sizes with the activation between them; the last layer is linear.

    Args:
        sizes: [in, hidden..., out].
        activation: of every layer but the last.
        init_gain: orthogonal weights, with sqrt(2) in the body and this gain in the last layer; None keeps torch's.
        options: what is wanted instead, and normalisation.
    """
    activation = activation_of(options, activation)
    layers: list[nn.Module] = []
    for i, (num_in, num_out) in enumerate(pairwise(sizes)):
        last = i == len(sizes) - 2
        layer = nn.Linear(num_in, num_out)
        if init_gain is not None:
            orthogonal(layer, init_gain if last else math.sqrt(2))
        layers += [layer] if last else [layer, *norms(options, num_out), activation()]
    net = MLP(*layers)
    initialise(net, options, init_gain)
    return net


def forward_array(net: MLP, obs: np.ndarray) -> Any:
    """The network's output for acting, without gradients: [N, ...] -> [N, num_out].

    Args:
        net: on the CPU; a small one is computed in NumPy.
        obs: a NumPy array.

    Returns:
        An array, or a tensor if torch computed it.
    """
    arrays = steady.found.get(net) or find_arrays(net)
    if not arrays.layers or obs.dtype != np.float32 or arrays.largest * len(obs) > MAX_PRODUCTS:
        with torch.no_grad():
            return net(torch.from_numpy(obs))
    for layer in arrays.layers:
        obs = layer(obs)
    return obs


def find_arrays(net: MLP) -> ArrayNetwork:
    """The network on arrays, where its parameters are now."""
    arrays = known.get(net)
    if arrays is None or arrays.are_stale():
        arrays = known[net] = ArrayNetwork(net)
    if steady.is_on:
        steady.found[net] = arrays
    return arrays


class ArrayNetwork:
    """An MLP's layers as functions of NumPy arrays, in the parameters' own memory; none if a layer is not known.

    Only the very classes are known: a subclass may compute something else.
    """

    def __init__(self, net: MLP) -> None:
        self._params = [*net.parameters(), *net.buffers()]  # buffers, where nothing learns them
        self._addresses = [param.data_ptr() for param in self._params]
        self.largest = max((param.numel() for param in self._params), default=0)
        self.layers: list[Callable[[np.ndarray], np.ndarray]] = []
        for module in net:
            if type(module) is nn.Linear and module.bias is not None:
                self.layers.append(_linear(module.weight.detach().numpy().T, module.bias.detach().numpy()))
            elif type(module) in WITHOUT_PARAMS:
                self.layers.append(WITHOUT_PARAMS[type(module)])
            elif type(module) in NORMS and is_usual(module):
                self.layers.append(NORMS[type(module)](module))
            elif type(module) is Numbers:
                self.layers.append(module.of_array)
            else:
                self.layers = []
                return

    def are_stale(self) -> bool:
        """Whether the parameters have moved to other memory."""
        return [param.data_ptr() for param in self._params] != self._addresses


def _linear(weight: np.ndarray, bias: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    def linear(value: np.ndarray) -> np.ndarray:
        value = value.dot(weight)  # two thirds of the time of `@`
        value += bias
        return value

    return linear


def is_usual(norm: Any) -> bool:
    """Whether a normalisation is over the last axis, with parameters."""
    return len(norm.normalized_shape) == 1 and all(param is not None for param in norm._parameters.values())


def _layer_norm(norm: nn.LayerNorm) -> Callable[[np.ndarray], np.ndarray]:
    weight, bias, eps = norm.weight.detach().numpy(), norm.bias.detach().numpy(), norm.eps

    def layer_norm(value: np.ndarray) -> np.ndarray:
        value = value - value.mean(-1, keepdims=True)
        return value / np.sqrt(np.square(value).mean(-1, keepdims=True) + np.float32(eps)) * weight + bias

    return layer_norm


def _rms_norm(norm: nn.RMSNorm) -> Callable[[np.ndarray], np.ndarray]:
    weight, eps = norm.weight.detach().numpy(), torch.finfo(torch.float32).eps if norm.eps is None else norm.eps

    def rms_norm(value: np.ndarray) -> np.ndarray:
        return value / np.sqrt(np.square(value).mean(-1, keepdims=True) + np.float32(eps)) * weight

    return rms_norm


NORMS: dict[type[nn.Module], Callable[[Any], Callable[[np.ndarray], np.ndarray]]] = {
    nn.LayerNorm: _layer_norm,
    nn.RMSNorm: _rms_norm,
}
