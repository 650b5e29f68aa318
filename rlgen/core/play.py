"""Whole greedy episodes: what an agent is worth, and how far it overestimates that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from rlgen.core.batch import map_parts
from rlgen.core.interruption import EvaluationInterrupted, never
from rlgen.core.learner import Agent
from rlgen.core.vital import Seen, dead_units
from rlgen.envs.stream import EnvStream

MAX_ENVS = 50  # environments that play side by side
RETURNS = ("eval/episodic_return", "eval/episodic_return_std")  # of an agent's evaluation, always
OTHERS = ("eval/episodic_length", "eval/success_rate", "eval/q_estimate", "eval/q_realised")  # where it has them


@torch.no_grad()
def play(
    agent: Agent,
    envs: EnvStream,
    num_episodes: int,
    film: Callable[[np.ndarray], None] | None = None,
    interrupted: Callable[[], bool] = never,
) -> dict[str, Any]:
    """Play whole greedy episodes.

    Every environment has a share of `num_episodes`: its first ones, however long they are. The first ones to end of
    all environments would be the short ones.

    Args:
        agent: acts greedily.
        envs: freshly reset, N <= `num_episodes`; closed by the caller.
        num_episodes: how many.
        film: gets every frame of the first episode, uint8 [H, W, 3].
        interrupted: asked at every step whether to give up.

    Returns:
        `returns`, one a whole episode, undiscounted; `eval/episodic_length`; `eval/success_rate`, where environments
        tell of success (`rlgen.envs.success`); and, from agents that estimate values,
        `eval/q_estimate`, the mean of max_a Q over the states visited, beside `eval/q_realised`, the discounted return
        really obtained from the same states (van Hasselt et al. 2016, section 3 and figure 3), of rewards as they are
        learned from. States whose return a time limit cut while it still weighed more than 1 % (gamma^k > 0.01) are
        left out of both. Where layers have ReLUs, `health/dead_units` in some of these states (`rlgen.core.vital`).

    Raises:
        EvaluationInterrupted: `interrupted` returned true.
    """
    num_envs = envs.num_envs
    quota = np.full(num_envs, num_episodes // num_envs) + (np.arange(num_envs) < num_episodes % num_envs)  # [N]
    returns: list[float] = []
    lengths: list[int] = []
    tells_success, succeeded = hasattr(envs, "success"), list[float]()  # a stream of another kind does not
    pairs: list[np.ndarray] = []  # [2, k] estimated and realised
    rewards: list[list[float]] = [[] for _ in range(num_envs)]
    estimates: list[list[float]] = [[] for _ in range(num_envs)]
    memory, seen = first_memory(agent, num_envs), Seen()
    while len(returns) < num_episodes:
        if interrupted():
            raise EvaluationInterrupted
        if film is not None and not returns:
            film(envs.render())
        seen.add(envs.obs)
        acted = act(agent, as_seen_by(agent, envs.obs), memory, greedy=True)
        step = envs.step(torch.as_tensor(acted["action"]).numpy(force=True))
        ended = step.terminated | step.truncated
        memory = next_memory(acted, ended | ~step.valid)
        estimate = acted["q_estimate"].tolist() if "q_estimate" in acted else None
        for n in step.valid.nonzero()[0]:
            rewards[n].append(float(step.reward[n]))
            if estimate:
                estimates[n].append(estimate[n])
            if not ended[n]:
                continue
            if quota[n] > 0:
                quota[n] -= 1
                returns.append(sum(rewards[n]))
                lengths.append(len(rewards[n]))
                succeeded += [envs.success[n]] if tells_success else []
                if estimate:
                    learned = clipped(rewards[n], envs.spec.reward_clip)
                    pairs.append(realised(estimates[n], learned, bool(step.terminated[n]), agent.discount))
            rewards[n], estimates[n] = [], []
    result: dict[str, Any] = {"returns": returns, "eval/episodic_length": float(np.mean(lengths))}
    if np.isfinite(succeeded).any():
        result["eval/success_rate"] = float(np.nanmean(succeeded))
    states = np.concatenate(pairs, axis=1) if pairs else np.empty((2, 0))
    if states.size:
        result["eval/q_estimate"], result["eval/q_realised"] = states.mean(axis=1).tolist()
    if not agent.memory_spec:
        inputs = seen.batch(agent.device)
        result |= dead_units(agent, lambda: agent.act(inputs, greedy=True))
    return result


def clipped(rewards: list[float], limit: float | None) -> list[float]:
    """Rewards as an agent learns from them."""
    return rewards if limit is None else [min(max(reward, -limit), limit) for reward in rewards]


def realised(estimates: list[float], rewards: list[float], terminated: bool, discount: float) -> np.ndarray:
    """Estimated values beside the discounted returns of the same states in one episode: [2, k] for the k that count."""
    total = 0.0
    returns = [total := reward + discount * total for reward in reversed(rewards)][::-1]
    remaining = np.arange(len(rewards), 0, -1)  # steps until the end
    complete = np.full(len(rewards), terminated) | (discount**remaining <= 0.01)
    return np.array([estimates, returns])[:, complete]


def as_seen_by(agent: Agent, obs: Any) -> Any:
    """An environment's observations, arrays [N, ...], as the agent takes them."""
    if agent.acts_on_arrays and agent.device.type == "cpu":
        return obs
    return map_parts(lambda array: torch.from_numpy(array).to(agent.device), obs)


def act(agent: Agent, obs: Any, memory: dict[str, Any], greedy: bool = False) -> dict[str, Any]:
    """What the agent does, with its memory if it has one."""
    with_memory: Any = agent.act  # an agent with a `memory_spec` takes one argument more
    return with_memory(obs, greedy, memory) if agent.memory_spec else agent.act(obs, greedy)


def first_memory(agent: Agent, num_envs: int) -> dict[str, torch.Tensor]:
    """Nothing remembered: zeros [N, *shape]; empty for an agent without memory."""
    return {name: torch.zeros(num_envs, *shape, device=agent.device) for name, shape in agent.memory_spec.items()}


def next_memory(acted: dict[str, Any], over: np.ndarray) -> dict[str, torch.Tensor]:
    """What the agent remembers for its next step; nothing where an episode is over [N]."""
    memory = acted.get("memory", {})
    if not np.count_nonzero(over):
        return memory
    forgotten = torch.from_numpy(over)  # filled, not multiplied by zero: infinities are forgotten too
    return {
        name: each.masked_fill(forgotten.to(each.device).view(-1, *[1] * (each.ndim - 1)), 0)
        for name, each in memory.items()
    }
