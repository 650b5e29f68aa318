"""Distributions over actions as pure functions of a network's output; B batch, A actions or action dimensions.

torch.distributions draws from the global generator; these draw from the one they are given, and wait for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property, partial, wraps
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from rlgen.nets.acting import Uniforms
from rlgen.nets.layers import PLAIN, NetworkOptions
from rlgen.nets.masks import LOWEST
from rlgen.nets.networks import network

if TYPE_CHECKING:
    from rlgen.envs.spec import EnvSpec


class Categorical:
    """One of A actions.

    Args:
        logits: unnormalised log-probabilities, [B, A]; a NumPy array can be acted on only: `sample` and `mode`.
    """

    def __init__(self, logits: Any) -> None:
        self.logits = logits

    @cached_property
    def log_probs(self) -> Tensor:
        """Normalised: [B, ..., A]."""
        return self.logits.log_softmax(-1)

    def sample(self, generator: torch.Generator) -> Any:
        """Draw actions, [B] int64, by the Gumbel-max trick: an exponential's -log is a Gumbel."""
        if type(self.logits) is np.ndarray:
            noise = torch.empty(self.logits.shape).exponential_(generator=generator)  # [B, A]
            return (self.logits - np.log(noise.numpy())).argmax(-1)
        noise = torch.empty_like(self.logits).exponential_(generator=generator)  # [B, A]
        return (self.logits - noise.log_()).argmax(-1)

    def mode(self) -> Any:
        """The most likely actions, [B] int64."""
        return self.logits.argmax(-1)

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-probability of each action, [B] -> [B]."""
        return self.log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Tensor:
        """Entropy in nats, [B]."""
        return -(self.log_probs.exp() * self.log_probs).sum(-1)


class IndependentCategoricals:
    """K choices at once, none of which depends on another: the product of K categoricals.

    Args:
        logits: of all choices, one after the other, [B, sum of num_choices]; an array can be acted on only.
        num_choices: of each of the K.
    """

    def __init__(self, logits: Any, num_choices: Sequence[int]) -> None:
        self.parts: list[Categorical] = []  # neighbours of the same size are one, of logits [B, k, A]
        begin = 0
        for size, alike in groupby(num_choices):
            end = begin + size * len([*alike])
            self.parts.append(Categorical(logits[:, begin:end].reshape(len(logits), -1, size)))
            begin = end
        self._join: Any = np.concatenate if type(logits) is np.ndarray else torch.cat

    def sample(self, generator: torch.Generator) -> Any:
        """Draw actions, [B, K] int64."""
        return self._join([part.sample(generator) for part in self.parts], -1)

    def mode(self) -> Any:
        """The most likely actions, [B, K] int64."""
        return self._join([part.mode() for part in self.parts], -1)

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-probability of each action, [B, K] -> [B]: the sum over its choices."""
        sizes = [part.logits.shape[1] for part in self.parts]
        chosen = zip(self.parts, action.split(sizes, -1), strict=True)
        return torch.cat([part.log_prob(each) for part, each in chosen], -1).sum(-1)

    def entropy(self) -> Tensor:
        """Entropy in nats, [B]: the sum over the choices."""
        return torch.cat([part.entropy() for part in self.parts], -1).sum(-1)


class DiagonalNormal:
    """Independent normals, unbounded; the environments' border clips what it is given.

    Args:
        mean_log_std: means and logarithms of the standard deviations, [B, 2 * A].
    """

    def __init__(self, mean_log_std: Tensor) -> None:
        self.mean, self.log_std = mean_log_std.chunk(2, -1)  # [B, A] each

    def sample(self, generator: torch.Generator) -> Tensor:
        """Draw actions, [B, A]."""
        noise = torch.empty_like(self.mean).normal_(generator=generator)  # [B, A]
        return self.mean + self.log_std.exp() * noise

    def mode(self) -> Tensor:
        """The most likely actions, [B, A]."""
        return self.mean

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-density of each action, [B, A] -> [B]."""
        z = (action - self.mean) * (-self.log_std).exp()  # [B, A]
        return (-0.5 * z.square() - self.log_std - 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self) -> Tensor:
        """Differential entropy in nats, [B]."""
        return (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)


def without_gradients(function: Callable[..., Any]) -> Callable[..., Any]:
    """Switch gradients off for an agent's act; nothing where they are off already, as switching takes a sixth of it."""

    @wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        if not torch.is_grad_enabled():
            return function(*args, **options)
        with torch.no_grad():
            return function(*args, **options)

    return call


def epsilon_greedy(q_value: Any, epsilon: float, generator: torch.Generator | Uniforms) -> Any:
    """The most valuable action, or with probability epsilon a valid one: [N, A] -> [N] int64, of an array an array."""
    is_array = type(q_value) is np.ndarray
    uniforms = generator if isinstance(generator, Uniforms) else Uniforms(generator)
    if not is_array and q_value.is_cuda:
        return epsilon_greedy_in_few_kernels(q_value, epsilon, uniforms.generator)
    values = q_value if is_array else q_value.numpy()  # a few numbers cost NumPy less
    action, (explore, choice) = values.argmax(-1), uniforms(len(values))
    explore = explore < epsilon
    if np.count_nonzero(explore):
        valid = values[explore] > LOWEST  # [k, A]
        place = (choice[explore] * valid.sum(-1, dtype=np.float32)).astype(np.int64)  # [k] among the valid ones
        action[explore] = (valid.cumsum(-1) > place[:, None]).argmax(-1)
    return action if is_array else torch.from_numpy(action)


def epsilon_greedy_in_few_kernels(q_value: Tensor, epsilon: float, generator: torch.Generator) -> Tensor:
    """The same on a GPU, where a launch takes longer than the numbers: of random values the largest is drawn evenly."""
    uniform = torch.rand(len(q_value), 1 + q_value.shape[1], generator=generator, device=q_value.device)  # [N, 1 + A]
    exploring = (uniform[:, :1] < epsilon) & (q_value > LOWEST)  # [N, A]
    return torch.where(exploring, uniform[:, 1:], q_value).argmax(-1)


class _WithLogStd(nn.Module):
    """A network of the means, and standard deviations that do not depend on the observation; they begin at 1."""

    def __init__(self, mean: nn.Module, num_dims: int) -> None:
        super().__init__()
        self.mean = mean
        self.log_std = nn.Parameter(torch.zeros(num_dims))

    def forward(self, obs: Tensor) -> Tensor:
        mean = self.mean(torch.as_tensor(obs))  # [B, A]
        return torch.cat([mean, self.log_std.expand_as(mean)], -1)


def actor(
    spec: EnvSpec, hidden: Sequence[int], options: NetworkOptions = PLAIN
) -> tuple[nn.Module, Callable[..., Categorical | IndependentCategoricals | DiagonalNormal]]:
    """A policy for the environment's actions: `distribution(network(obs))`.

    Args:
        spec: it has `num_actions`, or `num_choices`, or neither: a Box of real numbers.
        hidden: sizes of the hidden tanh layers, initialised orthogonally, with gain 0.01 for the last.
        options: what layers are made of, where it is something else.

    Returns:
        The network and what makes its output a distribution.
    """
    if spec.num_actions is not None:
        return network(spec, hidden, spec.num_actions, nn.Tanh, 0.01, per_action=True, options=options), Categorical
    if spec.num_choices:
        distribution = partial(IndependentCategoricals, num_choices=spec.num_choices)
        num_out = sum(spec.num_choices)
        return network(spec, hidden, num_out, nn.Tanh, 0.01, per_action=True, options=options), distribution
    num_dims = math.prod(spec.action_shape)  # A
    return _WithLogStd(network(spec, hidden, num_dims, nn.Tanh, 0.01, options=options), num_dims), DiagonalNormal
