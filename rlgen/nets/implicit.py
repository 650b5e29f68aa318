"""Implicit quantile networks: the quantile of a return at any probability (Dabney et al. 2018, arXiv:1806.06923).

Shapes: B batch, A actions, K probabilities, F features, n cosines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from rlgen.envs.spec import EnvSpec
from rlgen.nets.dueling import Dueling
from rlgen.nets.layers import PLAIN, NetworkOptions, activation_of, initialise, norms
from rlgen.nets.masks import Masked
from rlgen.nets.networks import features
from rlgen.nets.noisy import Noisy
from rlgen.nets.perceptron import mlp

NUM_COSINES = 64  # n


def midpoints(num: int, device: torch.device | None = None) -> Tensor:
    """Of `num` equal parts of [0, 1], [num]: as probabilities, their quantiles have nearly the distribution's mean."""
    return (torch.arange(num, device=device) + 0.5) / num


class ImplicitQuantiles(nn.Module):
    """Quantiles f(psi(x) * phi(tau)) of every action's return: features of the observation times those of tau.

    Args:
        body: psi, observations [B, ...] -> [B, F].
        embedding: phi, of cos(pi i tau) for i from 0 to n - 1, [..., n] -> [..., F] (equation 4).
        head: f, [M, F] -> [M, A].
        num_values: K, where no probabilities are given: they are then the midpoints of K equal parts of [0, 1].
    """

    frequencies: Tensor
    midpoints: Tensor

    def __init__(self, body: nn.Module, embedding: nn.Module, head: nn.Module, num_values: int) -> None:
        super().__init__()
        self.body, self.embedding, self.head = body, embedding, head
        self.register_buffer("frequencies", math.pi * torch.arange(NUM_COSINES), persistent=False)  # [n]
        self.register_buffer("midpoints", midpoints(num_values), persistent=False)  # [K]

    def forward(self, obs: Any, tau: Tensor | None = None) -> Tensor:
        """Observations [B, ...], and probabilities [B, K] or those of `num_values` -> quantiles [B, A, K]."""
        seen = torch.as_tensor(self.body(obs))  # [B, F]
        tau = self.midpoints if tau is None else tau
        at_tau = self.embedding((tau[..., None] * self.frequencies).cos())  # [K, F] or [B, K, F]
        both = seen[:, None] * at_tau  # [B, K, F]
        return self.head(both.flatten(0, 1)).unflatten(0, both.shape[:2]).mT


def implicit_network(
    spec: EnvSpec,
    hidden: Sequence[int],
    num_values: int,
    options: NetworkOptions = PLAIN,
    dueling: bool = False,
    noisy: bool = False,
) -> Any:
    """From observations to quantiles of every action, [B, A, K]; it takes their probabilities `tau` [B, K].

    Where the environment says which actions are valid, all quantiles of the others are the lowest number that there is.

    Args:
        spec: of discrete actions.
        hidden: sizes of the hidden layers. The last one is that of the head, or of both its streams; of numbers, a
            single one is also that of the features.
        num_values: quantiles where no probabilities are given.
        options: what layers are made of.
        dueling: the head is of two streams, as of `q_network`.
        noisy: linear layers have noise, the embedding too; the network is a `Noisy`.

    Raises:
        UsageError: as of `network`.
    """
    num_actions: Any = spec.num_actions
    hidden = hidden if len(hidden) > 1 else [*hidden, *hidden]
    body, size = features(spec, hidden, options=options)
    plain = replace(options, init="auto")
    activation = activation_of(options, nn.ReLU)
    embedding = nn.Sequential(nn.Linear(NUM_COSINES, size), *norms(options, size), activation())
    head: Any = mlp([size, hidden[-1], num_actions], options=plain)
    outputs = [head[-1]]
    if dueling:
        value = mlp([size, hidden[-1], 1], options=plain)
        head, outputs = Dueling(nn.Identity(), value, head, num_actions), [value[-1], *outputs]
    net: nn.Module = ImplicitQuantiles(body, embedding, head, num_values)
    initialise(net, options, outputs=outputs)
    net = Masked(net, spec.parts) if spec.has_mask else net
    return Noisy(net) if noisy else net
