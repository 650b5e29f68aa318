"""Networks of Q-learning: of every action its value, or several numbers that describe the distribution of its return.

Shapes: B batch, A actions, K numbers an action.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rlgen.envs.spec import EnvSpec
from rlgen.errors import UsageError
from rlgen.nets.dueling import dueling_network
from rlgen.nets.layers import PLAIN, NetworkOptions
from rlgen.nets.masks import Masked
from rlgen.nets.networks import network
from rlgen.nets.noisy import Noisy


class PerAction(nn.Module):
    """Several numbers of every action; of an array perhaps an array, as an MLP answers it.

    Args:
        net: [B, ...] -> [B, A * K].
        num_actions: A.
    """

    def __init__(self, net: nn.Module, num_actions: int) -> None:
        super().__init__()
        self.net, self.num_actions = net, num_actions

    def forward(self, obs: Any) -> Any:
        """[B, ...] -> [B, A, K]."""
        out = self.net(obs)
        return out.reshape(len(out), self.num_actions, -1)


def check_actions(spec: EnvSpec) -> None:
    """Whether values can be learned of every action.

    Raises:
        UsageError: an action is several choices, or continuous.
    """
    if spec.num_actions is None:
        kind = f"{len(spec.num_choices)} choices in an action" if spec.num_choices else "continuous actions"
        raise UsageError(
            f"{spec.env_id} has {kind}, of shape {tuple(spec.action_shape)}; Q-learning needs Discrete ones, "
            f"reinforce and ppo do not: rlgen train ppo --env {spec.env_id}"
        )


def q_network(
    spec: EnvSpec,
    hidden: Sequence[int],
    num_values: int = 1,
    options: NetworkOptions = PLAIN,
    dueling: bool = False,
    noisy: bool = False,
) -> Any:
    """From observations to the value of every action, [B, A], or to `num_values` numbers of each, [B, A, num_values].

    Where the environment says which actions are valid, all numbers of the others are the lowest that there is.

    Args:
        spec: of discrete actions.
        hidden: sizes of the hidden layers; for pictures the last one is the size of the features.
        num_values: K, numbers an action.
        options: what layers are made of.
        dueling: the value of a state and the advantages of its actions have a stream each, with the last hidden layer.
        noisy: linear layers have noise; the network is a `Noisy`.

    Raises:
        UsageError: pictures are too small for the network that is wanted, or there are none for a CNN.
    """
    num_actions: Any = spec.num_actions
    if dueling:
        net: nn.Module = dueling_network(spec, hidden, num_values, options)
    else:
        net = network(spec, hidden, num_actions * num_values, options=options)
        net = net if num_values == 1 else PerAction(net, num_actions)
    net = Masked(net, spec.parts) if spec.has_mask else net
    return Noisy(net) if noisy else net


def valid_only(value: Tensor, output: Tensor) -> Tensor:
    """Values [B, A] made of a network's output [B, A, K]; of actions that are not valid the lowest number."""
    return torch.where(output[..., 0] > torch.finfo(output.dtype).min, value, torch.finfo(value.dtype).min)


def of_action(output: Tensor, action: Tensor) -> Tensor:
    """The numbers of one action each: [B, A, K] and [B] int64 -> [B, K]."""
    return torch.take_along_dim(output, action[:, None, None], 1).squeeze(1)
