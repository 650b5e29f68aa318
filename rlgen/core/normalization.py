"""Observations and rewards normalised for any agent, as Gymnasium's NormalizeObservation and NormalizeReward do.

The ring keeps raw values, and so do scores. An agent sees observations less their mean, over their standard deviation,
and rewards over the standard deviation of the discounted return; both are clipped to [-10, 10]. The statistics are of
all training rows so far and a part of the learner. They stand still while a rollout is collected and learned from, so
that the policy that is updated is the one that acted. Shapes: B batch, T time, N environments, K rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rlgen.core.batch import Batch, then
from rlgen.core.buffer import Buffer
from rlgen.core.learner import Agent, read_by_act
from rlgen.core.watched import Outgrows, Rule
from rlgen.envs.parts import Part, kept
from rlgen.envs.spec import EnvSpec

LIMIT = 10.0  # normalised values are clipped to [-LIMIT, LIMIT]
EPSILON = 1e-8  # added to a variance
LARGEST_SCALE = 1.0001 * EPSILON**-0.5  # of a variance of 0, rounded


class Moments(nn.Module):
    """Count, mean and variance of all rows so far, in float64, whatever blocks they come in (Chan et al. 1983).

    Args:
        shape: of a row.
    """

    count: Tensor
    mean: Tensor
    squares: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("squares", torch.zeros(shape, dtype=torch.float64))  # sum of squared deviations
        self.register_load_state_dict_post_hook(_check_moments)

    def add(self, rows: Tensor) -> None:
        """Count in K rows [K, *shape]."""
        if not len(rows):
            return
        rows = rows.double()
        mean, total = rows.mean(0), self.count + len(rows)
        delta = mean - self.mean
        self.squares += (rows - mean).square().sum(0) + delta.square() * (self.count * len(rows) / total)
        self.mean += delta * (len(rows) / total)
        self.count.copy_(total)

    def scale(self) -> Tensor:
        """1 over the standard deviation, [*shape]; 1 before the first row."""
        variance = torch.where(self.count > 0, self.squares / self.count.clamp(min=1), 1.0)
        return (variance + EPSILON).rsqrt()


def _check_moments(moments: Moments, _: Any) -> None:
    if moments.count < 0 or moments.count != moments.count.round() or (moments.squares < 0).any():
        raise ValueError("statistics of a count or of squares below zero")


def _check_scales(normalizer: Normalizer, _: Any) -> None:
    scales = torch.cat([normalizer.obs_scale.flatten(), normalizer.reward_scale.view(1)])
    if not (scales.gt(0) & scales.le(LARGEST_SCALE)).all():
        raise ValueError(f"scales of observations or rewards that are not in (0, {LARGEST_SCALE:g}]")


class Normalizer(nn.Module):
    """What is known of observations and discounted returns, and what of it is in use.

    Args:
        spec: of the environment.
        obs: normalise observations.
        reward: normalise rewards.
    """

    obs_mean: Tensor
    obs_scale: Tensor
    is_number: Tensor
    reward_scale: Tensor
    discounted_return: Tensor

    def __init__(self, spec: EnvSpec, obs: bool, reward: bool) -> None:
        super().__init__()
        normalised = torch.tensor(
            [is_normalised(part) for part in floats(spec) for _ in range(part.size)], dtype=torch.bool
        )
        # of an array of bytes its first numbers, which are float32; else of all of it
        self.num_in_bytes = None if spec.obs_dtype == "float32" else len(normalised)
        self.stacks = kept(spec.parts)[0].frames > 1  # whose statistics are those of the newest frames
        frame = spec.obs_shape[1:] if self.stacks else spec.obs_shape
        shape = frame if self.num_in_bytes is None else (self.num_in_bytes,)
        shape = shape if obs and normalised.any() else ()
        self.obs = Moments(shape) if shape else None
        self.returns = Moments(()) if reward else None
        self.register_buffer("obs_mean", torch.zeros(shape))
        self.register_buffer("obs_scale", torch.ones(shape))
        self.register_buffer("is_number", normalised.view(shape or -1), persistent=False)
        self.all_numbers = bool(normalised.all())
        self.register_buffer("reward_scale", torch.ones(()))
        # of the episodes under way, up to their last step
        self.register_buffer("discounted_return", torch.zeros(spec.num_envs, dtype=torch.float64))  # [N]
        self.register_load_state_dict_post_hook(_check_scales)

    @torch.no_grad()
    def count_in(self, rows: Sequence[Mapping[str, Any]], gamma: float, clip: float | None = None) -> None:
        """Count in T rows of N transitions, as they go to the buffer, but not an autoreset's junk; `refresh` uses them.

        Args:
            rows: of each `obs`, and on the host `reward`, `terminated`, `truncated` and perhaps `valid`.
            gamma: discount per step.
            clip: c: rewards are learned from within [-c, c]; None as they are.
        """
        device = self.reward_scale.device
        valid = np.array([np.asarray(row.get("valid", np.ones(len(row["reward"]), bool))) for row in rows])  # [T, N]
        kept = None if valid.all() else torch.from_numpy(valid.ravel().nonzero()[0]).to(device)

        def add(moments: Moments, values: Tensor) -> None:
            values = values.flatten(0, 1)  # [T * N, ...]
            moments.add(values if kept is None else values[kept])

        if self.obs:
            numbers = self.numbers(torch.stack([torch.as_tensor(row["obs"]) for row in rows]).to(device))
            add(self.obs, numbers[..., -1, :] if self.stacks else numbers)
        if self.returns:
            over = np.array([np.asarray(row["terminated"]) | np.asarray(row["truncated"]) for row in rows]) | ~valid
            goes_on = torch.from_numpy(~over).to(device)  # [T, N]
            returns = torch.stack([torch.as_tensor(row["reward"]) for row in rows]).to(device, torch.float64)  # [T, N]
            returns = returns if clip is None else returns.clamp(-clip, clip)
            for t in range(len(rows)):
                returns[t] += gamma * self.discounted_return
                self.discounted_return.copy_(returns[t] * goes_on[t])
            add(self.returns, returns)

    @torch.no_grad()
    def refresh(self) -> None:
        """Use the statistics of all that was counted in."""
        if self.obs:
            self.obs_mean.copy_(self.obs.mean)
            self.obs_scale.copy_(self.obs.scale())
        if self.returns:
            self.reward_scale.copy_(self.returns.scale())

    def numbers(self, obs: Any) -> Any:
        """The float32 numbers of observations [..., *obs_shape], an array or a tensor; the memory is shared."""
        if self.num_in_bytes is None:
            return obs
        return obs[..., : 4 * self.num_in_bytes].view(np.float32 if type(obs) is np.ndarray else torch.float32)

    def of_obs(self, obs: Any) -> Any:
        """Observations [..., *obs_shape], an array or a tensor, as a network takes them."""
        if self.obs is None:
            return obs
        raw, is_array = self.numbers(obs), type(obs) is np.ndarray
        mean, scale, is_number = self.obs_mean, self.obs_scale, self.is_number
        if is_array:
            seen = ((raw - mean.numpy()) * scale.numpy()).clip(-LIMIT, LIMIT)
            seen = seen if self.all_numbers else np.where(is_number.numpy(), seen, raw)
        else:
            seen = ((raw - mean) * scale).clamp(-LIMIT, LIMIT)
            seen = seen if self.all_numbers else torch.where(is_number, seen, raw)
        if self.num_in_bytes is None:
            return seen
        others = obs[..., 4 * self.num_in_bytes :]
        return (
            np.concatenate([seen.view(np.uint8), others], -1)
            if is_array
            else torch.cat([seen.view(torch.uint8), others], -1)
        )

    def of_batch(self, batch: Batch) -> Batch:
        """A batch or a rollout out of the buffer, normalised; a sum of n rewards is clipped as one."""
        seen = {name: self.of_obs(batch[name]) for name in ("obs", "next_obs")}
        if self.returns:
            seen["reward"] = (batch["reward"] * self.reward_scale).clamp(-LIMIT, LIMIT)
        return {**batch, **seen}


class NormalizedBuffer:
    """A buffer that keeps raw values and gives normalised ones; it is the given one in all else.

    Args:
        buffer: whose rows are transitions.
        normalizer: counts every row in once, as it is added.
    """

    def __init__(self, buffer: Buffer, normalizer: Normalizer) -> None:
        self.buffer, self.normalizer = buffer, normalizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.buffer, name)

    def __len__(self) -> int:
        return len(self.buffer)

    def add(self, *rows: Mapping[str, Any]) -> None:
        """As of the buffer."""
        self.normalizer.count_in(rows, self.buffer.gamma, self.buffer.reward_clip)
        self.buffer.add(*rows)

    def sample(self, batch_size: int, **options: Any) -> Any:
        """As of the buffer; on a GPU normalised when it is drawn, so that a CUDA graph holds that too."""
        return then(self.buffer.sample(batch_size, **options), self.normalizer.of_batch)

    def samples(self, num: int, batch_size: int) -> Iterator[Any]:
        """As of the buffer."""
        for batch in self.buffer.samples(num, batch_size):
            yield then(batch, self.normalizer.of_batch)

    def drain(self) -> Batch:
        """As of the buffer."""
        return self.normalizer.of_batch(self.buffer.drain())


def is_normalised(part: Part) -> bool:
    """Whether a part holds numbers that no network scales itself: no picture or bytes, one of n, or action mask."""
    return part.kind == "vector" and part.scale == 1


def floats(spec: EnvSpec) -> list[Part]:
    """The parts of an observation that are stored as float32, in the order in which they lie."""
    return [part for part in kept(spec.parts) if part.dtype == "float32"]


def of_losses(rule: Rule) -> bool:
    """Whether a rule compares what a loss has with returns."""
    return isinstance(rule, Outgrows) and rule.metric.startswith("losses/")


def normalized(algorithm: type[Agent], obs: bool, reward: bool) -> type[Agent]:
    """An agent's class that sees normalised observations and rewards, its `normalizer` a part of its state.

    Args:
        algorithm: any agent.
        obs: normalise the parts of observations that `is_normalised` names.
        reward: normalise rewards.
    """

    class Normalized(algorithm):  # type: ignore[valid-type, misc]
        def __init__(self, cfg: Any, spec: EnvSpec) -> None:
            super().__init__(cfg, spec)
            self.normalizer = Normalizer(spec, obs, reward)

        act_reads = read_by_act(algorithm)
        # a loss's values are of normalised rewards, and returns are not
        watched = tuple(rule for rule in algorithm.watched if not (reward and of_losses(rule)))

        def act(self, obs: Any, *more: Any, **options: Any) -> Batch:
            acted: Batch = super().act(self.normalizer.of_obs(obs), *more, **options)
            if "q_estimate" in acted:  # in units of the rewards that are logged
                acted["q_estimate"] = acted["q_estimate"] / self.normalizer.reward_scale
            return acted

        def batches(self, buffer: Buffer) -> Iterator[Batch]:
            if self.num_updates == 0:  # it acted on raw observations: a policy's first outputs are all but the same
                self.normalizer.refresh()
            yield from super().batches(buffer)
            self.normalizer.refresh()

    Normalized.__name__, Normalized.__qualname__ = algorithm.__name__, algorithm.__qualname__
    return Normalized
