"""Variants of DQN on four actions, some of them perhaps not valid, and six transitions to learn from."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from specs import spec_of, stored
from torch import Tensor, nn

SPACE = Box(-1, 1, (3,), np.float32)
MASKS = np.array([[1, 0, 1, 1], [0, 0, 0, 1], [1, 1, 1, 1], [0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]], bool)
VALID = np.where(MASKS.any(1, keepdims=True), MASKS, True)  # the last one is of an episode's end


def made(module: Any, masks: bool = False, **options: Any) -> Any:
    """A learner of four actions whose two networks have nothing in common."""
    torch.manual_seed(0)
    kind = next(cls for cls in vars(module).values() if isinstance(cls, type) and issubclass(cls, nn.Module))
    agent = kind(module.Config(hidden=(8,), **options), spec_of(SPACE, num_actions=4, masks=masks))
    with torch.no_grad():
        for param in [*agent.q.parameters(), *agent.target_q.parameters()]:
            param.copy_(torch.randn_like(param))
    return agent


def transitions(masks: bool = False) -> dict[str, Tensor]:
    """Six of them, of valid actions; the last one terminated."""
    SPACE.seed(0)
    spec = spec_of(SPACE, num_actions=4, masks=masks)
    obs, next_obs = (
        torch.from_numpy(stored(spec, SPACE, [SPACE.sample() for _ in MASKS], list(mask) if masks else None))
        for mask in (MASKS[::-1], MASKS)
    )
    reward = torch.tensor([0.5, -1.0, 2.0, 0.0, 8.0, 1.0])
    discount = torch.tensor([0.9, 0.81, 0.9, 0.9, 0.9, 0.0])
    return {"obs": obs, "next_obs": next_obs, "action": torch.tensor([0, 1, 1, 1, 3, 2]),
            "reward": reward, "discount": discount}  # fmt: skip


def outputs(net: nn.Module, obs: Tensor, masks: bool) -> np.ndarray:
    """What a network says of every action, valid or not, [B, A, ...]."""
    return (net.net if masks else net)(obs).detach().double().numpy()  # type: ignore[operator]


def chosen(value: np.ndarray, masks: bool) -> np.ndarray:
    """The most valuable valid action of each state."""
    return np.where(VALID, value, -np.inf).argmax(-1) if masks else value.argmax(-1)


def softmax(logits: np.ndarray) -> np.ndarray:
    exp = np.exp(logits - logits.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


def assert_valid_actions_alone(module: Any) -> None:
    """However it acts, and every one of them now and then."""
    agent, obs = made(module, masks=True), transitions(masks=True)["next_obs"]
    for greedy in (True, False):
        for form in (obs, obs.numpy()):
            taken = {(i, int(a)) for _ in range(60) for i, a in enumerate(agent.act(form, greedy)["action"])}
            valid = {tuple(pair) for pair in np.argwhere(VALID).tolist()}
            assert taken <= valid if greedy else taken == valid
    values = agent.value(agent.q(obs))
    assert np.array_equal(agent.value(agent.q(obs.numpy())) > -1e30, VALID) and np.array_equal(values > -1e30, VALID)
