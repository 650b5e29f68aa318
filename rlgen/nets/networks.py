"""From observations to numbers: the network that suits what an environment's observations are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from rlgen.envs.parts import kept
from rlgen.envs.spec import EnvSpec
from rlgen.errors import UsageError
from rlgen.nets.images import image_network
from rlgen.nets.layers import PLAIN, NetworkOptions, activation_of, initialise, norms
from rlgen.nets.masks import Masked
from rlgen.nets.parts import Numbers
from rlgen.nets.perceptron import MLP, mlp, orthogonal


class PartsNetwork(nn.Module):
    """Features of every picture by a CNN and of the rest by an MLP; concatenated, one layer more, and a linear head.

    Args:
        encoders: of the parts, each [B, ...] -> [B, F].
        head: [B, sum of all F] -> [B, num_out].
    """

    def __init__(self, encoders: Sequence[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.encoders, self.head = nn.ModuleList(encoders), head

    def forward(self, obs: Any) -> Tensor:
        obs = torch.as_tensor(obs)
        return self.head(torch.cat([encoder(obs) for encoder in self.encoders], -1))


def network(
    spec: EnvSpec,
    hidden: Sequence[int],
    num_out: int,
    activation: type[nn.Module] = nn.ReLU,
    init_gain: float | None = None,
    per_action: bool = False,
    options: NetworkOptions = PLAIN,
) -> nn.Module:
    """From observations to `num_out` numbers, by an MLP, a CNN or both, as the observation's parts ask for.

    Args:
        spec: says what an observation is made of, and which network is wanted.
        hidden: sizes of the hidden layers; for pictures the last one is the size of the features.
        num_out: size of the output, [B, num_out].
        activation: between the layers of an MLP.
        init_gain: as in `mlp`.
        per_action: there is one output for every action, or choice: where the environment says which of them are
            valid, those of the others are the lowest number that there is.
        options: what layers are made of, where that is not what `activation` and `init_gain` say.

    Raises:
        UsageError: pictures are too small for the network that is wanted, or there are none for a CNN.
    """
    activation, plain = activation_of(options, activation), replace(options, init="auto")
    parts = [part for part in kept(spec.parts) if part.kind != "mask"]
    images = [] if spec.network == "mlp" else [part for part in parts if part.kind == "image"]
    others = [part for part in parts if part not in images]
    body_gain = None if init_gain is None else math.sqrt(2)
    net: nn.Module
    if not images:
        if (options.cnn_width, options.cnn_depth) != (PLAIN.cnn_width, PLAIN.cnn_depth):
            raise UsageError(f"--cnn-width, --cnn-depth: {spec.env_id} is learned without a CNN; leave them out")
        net = _of_numbers(spec, [*hidden, num_out], activation, init_gain, plain)
    else:
        size = hidden[-1]
        encoders: list[nn.Module] = [image_network(each, spec.parts, size, spec.network, options) for each in images]
        if others:
            numbers = Numbers(others, spec.parts)
            body = mlp([numbers.num_features, *hidden], activation, body_gain, plain)
            encoders.append(MLP(numbers, *body, *norms(options, hidden[-1]), activation()))
        head = nn.Linear(hidden[-1], num_out)
        if init_gain is not None:
            orthogonal(head, init_gain)
        if len(encoders) == 1:
            net = nn.Sequential(encoders[0], head)
        else:
            joined = mlp([len(encoders) * hidden[-1], hidden[-1]], activation, body_gain, plain)
            net = PartsNetwork(encoders, nn.Sequential(*joined, *norms(options, hidden[-1]), activation(), head))
    initialise(net, options, init_gain)
    return Masked(net, spec.parts) if per_action and spec.has_mask else net


def _of_numbers(
    spec: EnvSpec, sizes: Sequence[int], activation: type[nn.Module], init_gain: float | None, options: NetworkOptions
) -> MLP:
    """An MLP of all parts, as one vector."""
    chosen = [part for part in kept(spec.parts) if part.kind != "mask"]
    plain = len(kept(spec.parts)) == 1 and chosen[0].kind == "vector" and chosen[0].dtype == "float32"
    if plain and chosen[0].scale == 1:
        body = mlp([math.prod(spec.obs_shape), *sizes], activation, init_gain, options)
        return MLP(nn.Flatten(), *body) if len(spec.obs_shape) != 1 else body
    numbers = Numbers(chosen, spec.parts)
    return MLP(numbers, *mlp([numbers.num_features, *sizes], activation, init_gain, options))
