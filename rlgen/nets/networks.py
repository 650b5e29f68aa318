"""From observations to numbers: the network that suits what an environment's observations are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from rlgen.envs.parts import Part, kept
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
    images, others = _parts(spec, options)
    net: nn.Module
    if not images:
        inputs, size = _vector(spec)
        body = mlp([size, *hidden, num_out], activation, init_gain, plain)
        net = MLP(*inputs, *body) if inputs else body
    else:
        body_gain = None if init_gain is None else math.sqrt(2)
        encoders = _encoders(spec, images, others, hidden, activation, body_gain, options)
        head = nn.Linear(hidden[-1], num_out)
        if init_gain is not None:
            orthogonal(head, init_gain)
        if len(encoders) == 1:
            net = nn.Sequential(encoders[0], head)
        else:
            joined = _activated([len(encoders) * hidden[-1], hidden[-1]], activation, body_gain, plain)
            net = PartsNetwork(encoders, nn.Sequential(*joined, head))
    initialise(net, options, init_gain)
    return Masked(net, spec.parts) if per_action and spec.has_mask else net


def features(
    spec: EnvSpec, hidden: Sequence[int], activation: type[nn.Module] = nn.ReLU, options: NetworkOptions = PLAIN
) -> tuple[nn.Module, int]:
    """What is before the last hidden layer of such a network, for several heads that have one each.

    Args:
        spec: as of `network`.
        hidden: as of `network`; the last one is the heads'.
        activation: as of `network`.
        options: as of `network`; weights stay as PyTorch draws them.

    Returns:
        A network from observations to features [B, F], and F. Features of numbers are those of the hidden layers but
        the last, of one picture what its convolutions see, of several parts those of each side by side.

    Raises:
        UsageError: as of `network`.
    """
    activation, plain = activation_of(options, activation), replace(options, init="auto")
    images, others = _parts(spec, options)
    if not images:
        inputs, size = _vector(spec)
        if len(hidden) == 1:
            return MLP(*(inputs or [nn.Flatten()])), size
        return MLP(*inputs, *_activated([size, *hidden[:-1]], activation, None, plain)), hidden[-2]
    if len(images) == 1 and not others:
        body = image_network(images[0], spec.parts, None, spec.network, options)
        return body, body.num_features
    encoders = _encoders(spec, images, others, hidden, activation, None, options)
    return PartsNetwork(encoders, nn.Identity()), len(encoders) * hidden[-1]


def _parts(spec: EnvSpec, options: NetworkOptions) -> tuple[list[Part], list[Part]]:
    """The observation's parts that are for a CNN, and the rest."""
    parts = [part for part in kept(spec.parts) if part.kind != "mask"]
    images = [] if spec.network == "mlp" else [part for part in parts if part.kind == "image"]
    of_cnn = [field for field in fields(options) if field.name.startswith("cnn_")]
    own = {field.name: (field.default, getattr(PLAIN, field.name)) for field in of_cnn}  # for pictures, where there are
    given = [name for name, values in own.items() if getattr(options, name) not in values]
    if given and not images:
        flags = ", ".join("--" + name.replace("_", "-") for name in given)
        raise UsageError(f"{flags}: {spec.env_id} is learned without a CNN; leave that out")
    return images, [part for part in parts if part not in images]


def _vector(spec: EnvSpec) -> tuple[list[nn.Module], int]:
    """What makes one vector of all parts, if anything has to, and its size."""
    chosen = [part for part in kept(spec.parts) if part.kind != "mask"]
    plain = len(kept(spec.parts)) == 1 and chosen[0].kind == "vector" and chosen[0].dtype == "float32"
    if plain and chosen[0].scale == 1:
        return [nn.Flatten()] if len(spec.obs_shape) != 1 else [], math.prod(spec.obs_shape)
    numbers = Numbers(chosen, spec.parts)
    return [numbers], numbers.num_features


def _encoders(
    spec: EnvSpec,
    images: Sequence[Part],
    others: Sequence[Part],
    hidden: Sequence[int],
    activation: type[nn.Module],
    gain: float | None,
    options: NetworkOptions,
) -> list[nn.Module]:
    """A network for every picture and one for the rest, each [B, ...] -> [B, F]; F is the last of the sizes."""
    encoders: list[nn.Module] = [image_network(each, spec.parts, hidden[-1], spec.network, options) for each in images]
    if others:
        numbers = Numbers(others, spec.parts)
        plain = replace(options, init="auto")
        encoders.append(MLP(numbers, *_activated([numbers.num_features, *hidden], activation, gain, plain)))
    return encoders


def _activated(
    sizes: Sequence[int], activation: type[nn.Module], gain: float | None, options: NetworkOptions
) -> list[nn.Module]:
    """The layers of an MLP without an output."""
    return [*mlp(sizes, activation, gain, options), *norms(options, sizes[-1]), activation()]
