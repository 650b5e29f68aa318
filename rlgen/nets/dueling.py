"""Dueling networks: the value of a state apart from the advantages of its actions (Wang et al. 2016, arXiv:1511.06581).

Shapes: B batch, F features, A actions, K numbers an action.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from rlgen.envs.spec import EnvSpec
from rlgen.nets.layers import PLAIN, NetworkOptions, initialise
from rlgen.nets.networks import features
from rlgen.nets.perceptron import mlp


def dueling(value: Any, advantage: Any) -> Any:
    """Q = V + A - mean A over actions (equation 9): [B, 1, ...] and [B, A, ...] -> [B, A, ...]; of arrays an array.

    Without the mean, what is added to V could be taken from every A.
    """
    if isinstance(value, torch.Tensor) != isinstance(advantage, torch.Tensor):  # NumPy does the small stream alone
        value, advantage = torch.as_tensor(value), torch.as_tensor(advantage)
    return value + advantage - advantage.mean(1)[:, None]


class Dueling(nn.Module):
    """Two streams on the same features, one of the state's value and one of the actions' advantages.

    The mean is over all actions, also where some are not valid: a state's value then does not jump with the mask. Which
    mean it is changes no difference between actions.

    Args:
        body: observations [B, ...] -> [B, F].
        value: [B, F] -> [B, K].
        advantage: [B, F] -> [B, A * K].
        num_actions: A.
    """

    def __init__(self, body: nn.Module, value: nn.Module, advantage: nn.Module, num_actions: int) -> None:
        super().__init__()
        self.body, self.value, self.advantage, self.num_actions = body, value, advantage, num_actions

    def __call__(self, obs: Any) -> Any:
        """[B, ...] -> [B, A], or [B, A, K] where K is above 1; of an array perhaps an array, as an MLP answers it."""
        return self.forward(obs) if type(obs) is np.ndarray else super().__call__(obs)

    def forward(self, obs: Any) -> Any:
        seen = self.body(obs)
        value, advantage = self.value(seen), self.advantage(seen)
        if (num_values := value.shape[1]) > 1:
            value = value.reshape(-1, 1, num_values)
            advantage = advantage.reshape(-1, self.num_actions, num_values)
        return dueling(value, advantage)


def dueling_network(
    spec: EnvSpec, hidden: Sequence[int], num_values: int = 1, options: NetworkOptions = PLAIN
) -> Dueling:
    """From observations to `num_values` numbers of every action, each stream with a hidden layer of its own.

    Args:
        spec: of discrete actions.
        hidden: sizes of the hidden layers; the last one is that of both streams.
        num_values: K.
        options: what layers are made of.

    Raises:
        UsageError: as of `network`.
    """
    num_actions: Any = spec.num_actions
    body, num_features = features(spec, hidden, options=options)
    plain = replace(options, init="auto")
    value, advantage = (
        mlp([num_features, hidden[-1], num_out * num_values], options=plain) for num_out in (1, num_actions)
    )
    net = Dueling(body, value, advantage, num_actions)
    initialise(net, options, outputs=(value[-1], advantage[-1]))
    return net
