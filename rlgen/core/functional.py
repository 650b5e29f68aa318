"""Pure functions that several algorithms share; T time, N environments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar

import torch
from torch import Tensor, nn

# Adds a sum and a count of this rank's batch to those of the others (`one_batch`). None in a run of one process.
shares: ContextVar[Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None] = ContextVar("shares", default=None)


def gae(
    reward: Tensor,
    value: Tensor,
    next_value: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """Generalized advantage estimates (Schulman et al. 2016, equation 16).

    Termination stops the bootstrap; termination and truncation both stop the trace, so a truncated step still counts
    the value of its true last observation.

    Args:
        reward: [T, N] float.
        value: V(obs), [T, N].
        next_value: V(next_obs), [T, N], of the true next observation, also where an episode ended.
        terminated: [T, N] bool.
        truncated: [T, N] bool.
        gamma: discount per step.
        gae_lambda: 0 is the one-step TD error, 1 the Monte Carlo return minus the value.

    Returns:
        advantage: [T, N].
    """
    delta = reward + gamma * next_value * ~terminated - value  # [T, N]
    decay = gamma * gae_lambda * ~(terminated | truncated)  # [T, N]
    return traced(delta, decay)


def lambda_returns(
    reward: Tensor, next_value: Tensor, terminated: Tensor, truncated: Tensor, gamma: float, trace: float
) -> Tensor:
    """Lambda returns R_t = r_t + gamma ((1 - lambda) V(s_t+1) + lambda R_t+1) (Sutton and Barto 2018, equation 12.18).

    With the largest value of an action as V these are the returns of Peng's Q(lambda) (Peng and Williams 1996). After
    termination there is no value; at truncation, and in the last row, the value of the next state is all that follows.

    Args:
        reward: [T, N] float.
        next_value: V(next_obs), [T, N], of the true next observation, also where an episode ended.
        terminated: [T, N] bool.
        truncated: [T, N] bool.
        gamma: discount per step.
        trace: lambda: 0 is the target of one step, 1 the rewards to the episode's or the rollout's end.

    Returns:
        [T, N].
    """
    goes_on = ~(terminated | truncated)
    goes_on[-1] = False
    decay = gamma * trace * goes_on  # [T, N]
    return traced(reward + (gamma * ~terminated - decay) * next_value, decay)


def traced(value: Tensor, decay: Tensor) -> Tensor:
    """Sums S_t = value_t + decay_t S_t+1 backwards in time, of which the last one is its value: [T, N] -> [T, N]."""
    reach = 1
    while reach < len(value):  # every step holds what the next `reach` steps add up to; each pass doubles that
        value = torch.cat([value[:-reach] + decay[:-reach] * value[reach:], value[-reach:]])
        decay = torch.cat([decay[:-reach] * decay[reach:], decay[-reach:]])
        reach *= 2
    return value


class SoftUpdate:
    """Moves a network towards another; their tensors are looked up once, as that takes longer than to move them.

    Args:
        target: moves.
        online: where to.
    """

    def __init__(self, target: nn.Module, online: nn.Module) -> None:
        self._target_params: list[Tensor] = list(target.parameters())
        self._params: list[Tensor] = list(online.parameters())
        self._buffers = list(zip(target.buffers(), online.buffers(), strict=True))

    @torch.no_grad()
    def __call__(self, tau: float = 1.0) -> None:
        """Move parameters a fraction `tau` of the way; buffers are copied; 1 is a copy."""
        if tau == 1.0:
            torch._foreach_copy_(self._target_params, self._params)
        else:
            torch._foreach_lerp_(self._target_params, self._params, tau)
        for target_buffer, buffer in self._buffers:
            target_buffer.copy_(buffer)


def soft_update(target: nn.Module, online: nn.Module, tau: float = 1.0) -> None:
    """Move a network now and then towards another, as `SoftUpdate` does."""
    SoftUpdate(target, online)(tau)


def clip_norm(grads: Sequence[Tensor], max_norm: float) -> tuple[Tensor, ...]:
    """Scale gradients down together so that their global L2 norm is at most `max_norm`."""
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(grad) for grad in grads]))
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    return tuple(grad * scale for grad in grads)


def same_layout(grad: Tensor, param: Tensor) -> Tensor:
    """The gradient in the order of memory of its parameter: fused optimizers pair entries by their place."""
    return grad if grad.stride() == param.stride() else torch.empty_like(param).copy_(grad)


def masked_mean(value: Tensor, mask: Tensor) -> Tensor:
    """Mean of `value` [B] over the entries where `mask` [B] is true; 0 where there are none."""
    total, count = (value * mask).sum(), mask.sum()
    if share := shares.get():  # several ranks have a batch each
        total, count = share(total, count)
    return total / count.clamp(min=1)


def linear_schedule(start: float, end: float, fraction: float, progress: float) -> float:
    """Go from `start` to `end` over the first `fraction` of the run, of which `progress` in [0, 1] has passed."""
    return start + (end - start) * min(progress / fraction, 1.0) if fraction > 0 else end
