"""Plain PyTorch as everybody writes it: the yardstick beside the peers of `rlgen bench --peers`.

The single-file loops of CleanRL, with the hyperparameters of the work they are timed on: a forward for one observation
at a time, NumPy replay, autograd's `backward`, Adam as it comes, `.item()` while it trains. Updates from images are in
`eager_images.py`, a VAE and a GAN in `eager_models.py`.

Arithmetic is ours: our Q-learning minimizes Huber's loss and clips the gradient's norm. CleanRL's does neither. What
clipping costs is seen beside `unclipped`.
"""

from __future__ import annotations

import copy
import itertools
import random
from contextlib import ExitStack
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rlgen.bench.measure import Block
from rlgen.bench.peers.counter import Counter
from rlgen.bench.works import Maker, Work


def net(sizes: list[int], activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers with the activation between."""
    layers: list[nn.Module] = []
    for num_in, num_out in itertools.pairwise(sizes):
        layers += [nn.Linear(num_in, num_out), activation()]
    return nn.Sequential(*layers[:-1])


def _single_envs(config: dict[str, Any], stack: ExitStack) -> gym.vector.SyncVectorEnv:
    def make() -> gym.Env:
        return gym.wrappers.RecordEpisodeStatistics(gym.make(config["env_id"]))

    same_step = gym.vector.AutoresetMode.SAME_STEP
    envs = gym.vector.SyncVectorEnv([make] * config["num_envs"], autoreset_mode=same_step)
    stack.callback(envs.close)
    return envs


def unclipped(maker: Maker) -> Maker:
    """The same contender without clipping of the gradient's norm."""
    return lambda config, work, stack: maker(config | {"max_grad_norm": None}, work, stack)


def q_update(q: nn.Module, target: nn.Module, optimizer: Any, batch: dict[str, Tensor], clip: float | None) -> Tensor:
    """A step of Q-learning as everybody writes it; returns the loss. `clip` is the gradient's largest norm."""
    with torch.no_grad():
        value = batch["reward"] + batch["discount"] * target(batch["next_obs"]).max(dim=1).values  # [B]
    loss = functional.smooth_l1_loss(q(batch["obs"]).gather(1, batch["action"][:, None]).squeeze(1), value)
    optimizer.zero_grad()
    loss.backward()
    if clip is not None:
        nn.utils.clip_grad_norm_(q.parameters(), clip)
    optimizer.step()
    return loss


def q_learning(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """CleanRL's dqn.py: environments one by one, a NumPy replay buffer, `.item()` every 100 steps."""
    envs, device, num, size = _single_envs(config, stack), config["device"], config["num_envs"], config["buffer_size"]
    num_actions: int = envs.single_action_space.n  # type: ignore[attr-defined]
    (width,) = envs.single_observation_space.shape or (1,)
    q = net([width, *config["hidden"], num_actions]).to(device)
    target, optimizer = copy.deepcopy(q), torch.optim.Adam(q.parameters(), lr=config["lr"])
    obs_rows, next_rows = np.zeros((2, size // num, num, width), np.float32)  # [R, N, D] both
    action_rows = np.zeros((size // num, num), np.int64)
    reward_rows, end_rows = np.zeros((2, size // num, num), np.float32)
    obs, steps, log = envs.reset(seed=1)[0], 0, []
    period = config["target_every"] // config["train_every"]

    def step(block: Counter) -> int:
        nonlocal obs, steps
        if random.random() < config["epsilon_end"]:
            action = np.array([envs.single_action_space.sample() for _ in range(num)])
        else:
            action = torch.argmax(q(torch.Tensor(obs).to(device)), dim=1).cpu().numpy()
        next_obs, reward, terminated, truncated, infos = envs.step(action)
        real_next_obs = next_obs.copy()
        for n in (terminated | truncated).nonzero()[0]:
            real_next_obs[n] = infos["final_obs"][n]
        row = steps // num % (size // num)
        obs_rows[row], next_rows[row], action_rows[row] = obs, real_next_obs, action
        reward_rows[row], end_rows[row] = reward, terminated
        obs, steps = next_obs, steps + num
        while block.updates < (steps - config["learning_starts"]) // config["train_every"]:
            rows = np.random.randint(min(steps // num, size // num), size=config["batch_size"])
            columns = np.random.randint(num, size=config["batch_size"])
            arrays = (obs_rows, action_rows, reward_rows, end_rows, next_rows)
            parts = [torch.as_tensor(array[rows, columns]).to(device) for array in arrays]
            batch = {"obs": parts[0], "action": parts[1], "reward": parts[2], "next_obs": parts[4]}
            batch["discount"] = config["gamma"] * (1 - parts[3])
            loss = q_update(q, target, optimizer, batch, config["max_grad_norm"])
            block.updates += 1
            if block.updates * config["train_every"] % 100 == 0:
                log.append(loss.item())
            if block.updates % period == 0:
                target.load_state_dict(q.state_dict())
        return num

    return Counter(step, "env_step", device, warm=config["learning_starts"] + 2 * config["train_every"])


def policy_gradient(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """CleanRL's ppo.py: environments one by one, the value and log-probability kept while acting, `.item()` a batch."""
    envs, device, num = _single_envs(config, stack), config["device"], config["num_envs"]
    num_actions: int = envs.single_action_space.n  # type: ignore[attr-defined]
    shape, length = envs.single_observation_space.shape or (1,), config["rollout_steps"] // num
    actor = net([*shape, *config["hidden"], num_actions], nn.Tanh).to(device)
    critic = net([*shape, *config["hidden"], 1], nn.Tanh).to(device)
    params = [*actor.parameters(), *critic.parameters()]
    optimizer = torch.optim.Adam(params, lr=config["lr"], eps=1e-5)
    obs_rows = torch.zeros(length, num, *shape, device=device)
    action_rows, log_prob_rows, reward_rows, end_rows, value_rows = torch.zeros(5, length, num, device=device)
    next_obs, next_end = torch.Tensor(envs.reset(seed=1)[0]).to(device), torch.zeros(num, device=device)

    def step(block: Counter) -> int:
        nonlocal next_obs, next_end
        for t in range(length):
            obs_rows[t], end_rows[t] = next_obs, next_end
            with torch.no_grad():
                policy = torch.distributions.Categorical(logits=actor(next_obs))
                action = policy.sample()
                action_rows[t], log_prob_rows[t] = action, policy.log_prob(action)
                value_rows[t] = critic(next_obs).flatten()
            obs, reward, terminated, truncated, _ = envs.step(action.cpu().numpy())
            reward_rows[t] = torch.tensor(reward).to(device).view(-1)
            next_obs = torch.Tensor(obs).to(device)
            next_end = torch.Tensor(np.logical_or(terminated, truncated)).to(device)
        with torch.no_grad():
            advantage, last, value = (
                torch.zeros_like(reward_rows),
                torch.zeros_like(next_end),
                critic(next_obs).flatten(),
            )
            for t in reversed(range(length)):
                going = 1.0 - (next_end if t == length - 1 else end_rows[t + 1])
                following = value if t == length - 1 else value_rows[t + 1]
                delta = reward_rows[t] + config["gamma"] * following * going - value_rows[t]
                last = advantage[t] = delta + config["gamma"] * config["gae_lambda"] * going * last
            returns = advantage + value_rows
        flat = [v.flatten(0, 1) for v in (obs_rows, action_rows, log_prob_rows, advantage, returns)]
        order, log = np.arange(length * num), []
        for _ in range(config["num_epochs"]):
            np.random.shuffle(order)
            for start in range(0, length * num, config["batch_size"]):
                index = order[start : start + config["batch_size"]]
                b_obs, b_action, b_log_prob, b_advantage, b_return = (v[index] for v in flat)
                policy = torch.distributions.Categorical(logits=actor(b_obs))
                log_ratio = policy.log_prob(b_action) - b_log_prob
                ratio = log_ratio.exp()
                log.append(((ratio - 1.0).abs() > config["clip_coef"]).float().mean().item())
                b_advantage = (b_advantage - b_advantage.mean()) / (b_advantage.std() + 1e-8)
                clipped = torch.clamp(ratio, 1 - config["clip_coef"], 1 + config["clip_coef"])
                policy_loss = torch.max(-b_advantage * ratio, -b_advantage * clipped).mean()
                value_loss = 0.5 * ((critic(b_obs).view(-1) - b_return) ** 2).mean()
                loss = policy_loss - config["entropy_coef"] * policy.entropy().mean()
                loss = loss + config["value_coef"] * value_loss
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(params, config["max_grad_norm"])
                optimizer.step()
                block.updates += 1
        return length * num

    return Counter(step, "env_step", device)
