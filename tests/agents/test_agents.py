"""One update after another as Stable-Baselines3 and its contrib take them, from the same weights and batches."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from specs import spec_of

from agents import dqn, qr_dqn

sb3 = pytest.importorskip("stable_baselines3")
contrib = pytest.importorskip("sb3_contrib")
SIZE, QUANTILES, ACTIONS = 32, 5, 2  # transitions in a batch; CartPole-v1's actions
torch.set_num_threads(1)


def as_theirs(params: Any, quantiles: int) -> list[torch.Tensor]:
    """Ours with the outputs [A * K] in the order [K * A]."""
    *others, weight, bias = [param.detach().clone() for param in params]
    mixed = [each.unflatten(0, (ACTIONS, quantiles)).transpose(0, 1).flatten(0, 1) for each in (weight, bias)]
    return [*others, *mixed]


def batches(num: int) -> list[dict[str, torch.Tensor]]:
    """Of random transitions, a quarter of which terminate."""
    generator = torch.Generator().manual_seed(0)
    return [
        {
            "obs": torch.randn(SIZE, 4, generator=generator),
            "next_obs": torch.randn(SIZE, 4, generator=generator),
            "action": torch.randint(ACTIONS, (SIZE,), generator=generator),
            "reward": 3 * torch.randn(SIZE, generator=generator),
            "discount": 0.9 * (torch.rand(SIZE, generator=generator) < 0.75).float(),
        }
        for _ in range(num)
    ]


@pytest.mark.parametrize("distributional", [False, True])
def test_updates_are_those_of_stable_baselines(distributional: bool) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"hidden": (16,), "lr": 1e-2, "gamma": 0.9, "anneal_lr": False, "max_grad_norm": 2.0}
    spec = spec_of(Box(-9, 9, (4,), np.float32), ACTIONS)
    policy: dict[str, Any] = {"net_arch": [16], "optimizer_class": torch.optim.Adam}
    agent: Any
    if distributional:
        agent, kind = qr_dqn.QRDQN(qr_dqn.Config(num_quantiles=QUANTILES, **options), spec), contrib.QRDQN
        policy["n_quantiles"] = QUANTILES
    else:
        agent, kind = dqn.DQN(dqn.Config(**options), spec), sb3.DQN
    for param in agent.target_q.parameters():
        param.add_(0.3 * torch.randn_like(param))
    model = kind("MlpPolicy", "CartPole-v1", 1e-2, gamma=0.9, max_grad_norm=2.0, buffer_size=10, policy_kwargs=policy)
    model.set_logger(sb3.common.logger.configure(None, []))
    online, target = (
        (model.quantile_net, model.quantile_net_target) if distributional else (model.q_net, model.q_net_target)
    )
    quantiles = QUANTILES if distributional else 1
    with torch.no_grad():
        for theirs, ours in ((online, agent.q), (target, agent.target_q)):
            for param, value in zip(theirs.parameters(), as_theirs(ours.parameters(), quantiles), strict=True):
                param.copy_(value)
    for batch in batches(20):
        agent.learn(batch)
        given = sb3.common.type_aliases.ReplayBufferSamples(
            batch["obs"], batch["action"][:, None], batch["next_obs"],
            (batch["discount"] == 0).float()[:, None], batch["reward"][:, None],
        )  # fmt: skip
        model.replay_buffer.sample = lambda *_, given=given, **__: given
        model.train(1, SIZE)
        for param, value in zip(online.parameters(), as_theirs(agent.q.parameters(), quantiles), strict=True):
            torch.testing.assert_close(param.detach(), value, atol=1e-6, rtol=1e-5)
