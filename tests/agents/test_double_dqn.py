"""DQN overestimates values where rewards are noisy, Double DQN much less, as in van Hasselt et al. 2016, figure 1.

`PYTHONPATH=.:tests/helpers python tests/agents/test_double_dqn.py` prints the table.
"""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from specs import spec_of
from torch import Tensor

from agents import dqn
from rlgen.metrics.returns import bootstrap

STATES, ACTIONS, GAMMA, NUM, UPDATES = 4, 8, 0.9, 32, 1000
SEEDS = range(5)


def estimate(double: bool, seed: int, num_actions: int = ACTIONS) -> float:
    """The mean of max_a Q over the states of an MDP whose values are all 0, in the second half of learning.

    Every reward is normal with mean 0, and every next state is as likely. No transition is learned from twice.
    """
    torch.manual_seed(seed)
    config = dqn.Config(lr=1e-2, anneal_lr=False, gamma=GAMMA, hidden=(32,), target_every=400, double=double)
    spec = spec_of(Box(0, 1, (STATES,), np.float32), num_actions)
    agent = dqn.DQN(config, spec)
    state, generator = torch.eye(STATES), torch.Generator().manual_seed(seed)
    estimates: list[Tensor] = []
    for update in range(UPDATES):
        now, following = torch.randint(STATES, (2, NUM), generator=generator)
        action = torch.randint(num_actions, (NUM,), generator=generator)
        reward, discount = torch.randn(NUM, generator=generator), torch.full((NUM,), GAMMA)
        obs = {"obs": state[now], "next_obs": state[following]}
        agent.learn(obs | {"action": action, "reward": reward, "discount": discount})
        if update >= UPDATES / 2:
            estimates.append(agent.q(state).detach().amax(-1).mean())
    return torch.stack(estimates).mean().item()


@pytest.mark.slow
def test_dqn_overestimates_and_double_dqn_much_less() -> None:
    one, two = ([estimate(double, seed) for seed in SEEDS] for double in (False, True))
    (mean, low, _), (other, _, high) = (bootstrap([np.array(values)]) for values in (one, two))
    assert low > high and low > 0, "the intervals are apart"
    assert other < mean / 2


if __name__ == "__main__":
    print(f"max Q where the true value is 0, {len(SEEDS)} seeds, IQM [95 % CI]")
    for num_actions in (2, 4, 8, 16):
        for name, double in (("dqn", False), ("double_dqn", True)):
            mean, low, high = bootstrap([np.array([estimate(double, seed, num_actions) for seed in SEEDS])])
            print(f"{num_actions:2} actions  {name:10}  {mean:.2f} [{low:.2f}, {high:.2f}]")
