"""Stable-Baselines3 as a contender."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from typing import Any

import gymnasium as gym
import numpy as np

from rlgen.bench import noise, replay
from rlgen.bench.measure import Block, Cost, Costs, Took
from rlgen.bench.peers.counter import Counter
from rlgen.bench.works import Work


def train(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """SB3 through `learn`, in pieces; its environments are stepped one by one."""
    import stable_baselines3 as sb3
    from stable_baselines3.common.env_util import make_vec_env

    num = config["num_envs"]
    envs = make_vec_env(config["env_id"], num, seed=1)
    stack.callback(envs.close)
    same = {"learning_rate": config["lr"], "gamma": config["gamma"], "batch_size": config["batch_size"]}
    same |= {"max_grad_norm": config["max_grad_norm"], "device": config["device"]}
    if off_policy := "train_every" in config:
        every = max(1, config["train_every"] // num)  # vector steps
        same |= {"buffer_size": config["buffer_size"], "learning_starts": config["learning_starts"], "tau": 1.0}
        same |= {"train_freq": every, "gradient_steps": max(1, round(every * num / config["train_every"]))}
        same |= {"exploration_initial_eps": config["epsilon_end"], "exploration_final_eps": config["epsilon_end"]}
        same |= {"target_update_interval": config["target_every"]}
    else:
        same |= {"n_steps": config["rollout_steps"] // num, "n_epochs": config["num_epochs"]}
        same |= {"gae_lambda": config["gae_lambda"], "clip_range": config["clip_coef"]}
        same |= {"ent_coef": config["entropy_coef"], "vf_coef": config["value_coef"]}
    learner = getattr(sb3, config["algo"].upper())
    model = learner("MlpPolicy", envs, policy_kwargs={"net_arch": list(config["hidden"])}, **same)
    piece = 256 if off_policy else config["rollout_steps"]

    def step(block: Counter) -> int:
        before = model.num_timesteps
        model.learn(piece, reset_num_timesteps=not before, log_interval=4 if off_policy else 1)
        if off_policy:  # the others count epochs
            block.updates = model._n_updates
        return model.num_timesteps - before

    return Counter(step, "env_step", config["device"], warm=config.get("learning_starts", 0) + piece)


ZOO = """
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.env_util import make_vec_env

torch.set_num_threads(1)
found = dict(learning_rate=2.3e-3, batch_size=64, buffer_size=100_000, learning_starts=1_000, gamma=0.99)
found |= dict(target_update_interval=10, train_freq=256, gradient_steps=128)
found |= dict(exploration_fraction=0.16, exploration_final_eps=0.04, policy_kwargs=dict(net_arch=[256, 256]))
DQN("MlpPolicy", make_vec_env("CartPole-v1", seed=1), device="cpu", **found).learn(50_000)
"""  # rl-baselines3-zoo, hyperparams/dqn.yml, CartPole-v1


def whole_run(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """DQN on CartPole as its zoo tuned it, in a new process, without evaluations and checkpoints."""

    def block(seconds: float) -> Costs:
        begin = Took.until_now()
        subprocess.run([sys.executable, "-c", ZOO], check=True, capture_output=True)
        return {"s per run": Cost(*Took.until_now().since(begin))}

    return block


def replay_buffer(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """SB3's buffer with its default layout: whole stacks, and the next ones too."""
    from stable_baselines3.common.buffers import ReplayBuffer

    space = gym.spaces.Box(0, 255, work.shape, np.uint8)
    buffer = ReplayBuffer(
        replay.CAPACITY, space, gym.spaces.Discrete(noise.NUM_ACTIONS), config["device"], n_envs=replay.NUM_ENVS
    )
    rows = (row.numpy() for row in replay.stacks(work.shape, "cpu"))
    infos: list[dict[str, Any]] = [{} for _ in range(replay.NUM_ENVS)]
    obs = next(rows)
    zeros, no = np.zeros(replay.NUM_ENVS), np.zeros(replay.NUM_ENVS, dtype=bool)

    def insert() -> int:
        nonlocal obs
        next_obs = next(rows)
        buffer.add(obs, next_obs, zeros, zeros, no, infos)
        obs = next_obs
        return replay.NUM_ENVS

    def sample() -> int:
        buffer.sample(config["batch_size"])
        return 1

    arrays = [value for value in vars(buffer).values() if isinstance(value, np.ndarray)]
    return replay.insert_and_sample(insert, sample, lambda: sum(array.nbytes for array in arrays), config["device"])
