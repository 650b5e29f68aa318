"""Tianshou as a contender."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any

import gymnasium as gym

from rlgen.bench.measure import Block
from rlgen.bench.peers.counter import Counter
from rlgen.bench.works import Work


def q_learning(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """Tianshou 2: collect, then update, as its off-policy trainer does."""
    from tianshou.algorithm.modelfree import dqn as module
    from tianshou.algorithm.optim import AdamOptimizerFactory
    from tianshou.data import Collector, VectorReplayBuffer
    from tianshou.env import DummyVectorEnv
    from tianshou.utils.net.common import Net
    from tianshou.utils.torch_utils import policy_within_training_step, torch_train_mode

    num, device = config["num_envs"], config["device"]
    envs = DummyVectorEnv([partial(gym.make, config["env_id"]) for _ in range(num)])
    stack.callback(envs.close)
    one = gym.make(config["env_id"])
    actions: Any = one.action_space
    model = Net(
        state_shape=one.observation_space.shape, action_shape=actions.n, hidden_sizes=list(config["hidden"])
    ).to(device)
    policy = module.DiscreteQLearningPolicy(model=model, action_space=actions, eps_training=config["epsilon_end"])
    algorithm = getattr(module, config["algo"].upper())(
        policy=policy,
        optim=AdamOptimizerFactory(lr=config["lr"]),
        gamma=config["gamma"],
        target_update_freq=config["target_every"] // config["train_every"],
        is_double=False,
        huber_loss_delta=1.0,
    )
    buffer = VectorReplayBuffer(config["buffer_size"], num)
    collector = Collector(algorithm, envs, buffer, exploration_noise=True)
    collector.reset()
    collector.collect(n_step=-(-config["learning_starts"] // num) * num)
    every = max(1, config["train_every"] // num) * num

    def step(block: Counter) -> int:
        with policy_within_training_step(policy):
            taken = collector.collect(n_step=every).n_collected_steps
            with torch_train_mode(algorithm):
                for _ in range(max(1, round(taken / config["train_every"]))):
                    algorithm.update(buffer=buffer, sample_size=config["batch_size"])
                    block.updates += 1
        return taken

    return Counter(step, "env_step", device)
