"""Plain PyTorch as everybody writes it: the yardstick beside the peers of `rlgen bench --peers`.

The single-file loops of CleanRL and of pytorch/examples, with the hyperparameters of the work they are timed on: a
forward for one observation at a time, NumPy replay, autograd's `backward`, Adam as it comes, `.item()` while it trains.
"""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rlgen.bench import noise
from rlgen.bench.measure import Block
from rlgen.bench.peers.counter import Counter
from rlgen.bench.works import Work


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


def q_update(q: nn.Module, target: nn.Module, optimizer: Any, batch: dict[str, Tensor], clip: float) -> Tensor:
    """A step of Q-learning as everybody writes it; returns the loss."""
    with torch.no_grad():
        value = batch["reward"] + batch["discount"] * target(batch["next_obs"]).max(dim=1).values  # [B]
    loss = functional.smooth_l1_loss(q(batch["obs"]).gather(1, batch["action"][:, None]).squeeze(1), value)
    optimizer.zero_grad()
    loss.backward()
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


def update(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """CleanRL's dqn_atari.py: an update from a batch that is already on the device."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            convs = [nn.Conv2d(4, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(), nn.Conv2d(64, 64, 3, 1)]
            self.layers = nn.Sequential(*convs, nn.ReLU(), nn.Flatten(), net([3136, *config["hidden"], 6]))

        def forward(self, obs: Tensor) -> Tensor:
            return self.layers(obs / 255.0)

    q = Scaled().to(config["device"])
    target, optimizer = copy.deepcopy(q), torch.optim.Adam(q.parameters(), lr=config["lr"])
    batch = noise.transitions(config["batch_size"], work.shape, config["device"])

    def step(block: Counter) -> int:
        q_update(q, target, optimizer, batch, config["max_grad_norm"])
        block.updates += 1
        return 1

    return Counter(step, "update", config["device"])


def _loader(config: dict[str, Any], work: Work, low: float = 0.0) -> Iterator[list[Tensor]]:
    data = torch.from_numpy(noise.images(work.shape).train).float() / 255 * (1 - low) + low
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(data), batch_size=config["batch_size"], shuffle=True, drop_last=True
    )
    while True:
        yield from loader


def autoencoder(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """pytorch/examples' vae: a DataLoader of float images, summed binary cross-entropy, `.item()` every step."""
    sizes, latent, device = [int(np.prod(work.shape)), *config["hidden"]], config["latent"], config["device"]
    encoder, decoder = net([*sizes, 2 * latent]).to(device), net([latent, *sizes[::-1]]).to(device)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=config["lr"])
    batches, total = _loader(config, work), 0.0

    def step(block: Counter) -> int:
        nonlocal total
        image = next(batches)[0].to(device).view(-1, sizes[0])
        mean, log_var = encoder(image).chunk(2, 1)
        decoded = torch.sigmoid(decoder(mean + torch.randn_like(mean) * torch.exp(0.5 * log_var)))
        loss = functional.binary_cross_entropy(decoded, image, reduction="sum")
        loss = loss - 0.5 * torch.sum(1 + log_var - mean.pow(2) - log_var.exp())
        optimizer.zero_grad()
        loss.backward()
        total += loss.item()
        optimizer.step()
        block.updates += 1
        return len(image)

    return Counter(step, "image", device)


def adversarial(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """pytorch/examples' dcgan at 32 x 32, batch normalisation and all: not our networks, but the usual ones."""
    width, latent, device = config["width"], config["latent"], config["device"]

    def up(num_in: int, num_out: int, stride: int = 2, padding: int = 1) -> list[nn.Module]:
        conv = nn.ConvTranspose2d(num_in, num_out, 4, stride, padding, bias=False)
        return [conv, nn.BatchNorm2d(num_out), nn.ReLU(True)]

    def down(num_in: int, num_out: int) -> list[nn.Module]:
        conv = nn.Conv2d(num_in, num_out, 4, 2, 1, bias=False)
        return [conv, nn.BatchNorm2d(num_out), nn.LeakyReLU(0.2, inplace=True)]

    head = [nn.ConvTranspose2d(width, work.shape[0], 4, 2, 1, bias=False), nn.Tanh()]
    g = nn.Sequential(*up(latent, 4 * width, 1, 0), *up(4 * width, 2 * width), *up(2 * width, width), *head).to(device)
    first = [nn.Conv2d(work.shape[0], width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
    last = [nn.Conv2d(4 * width, 1, 4, 1, 0, bias=False), nn.Sigmoid(), nn.Flatten(0)]
    d = nn.Sequential(*first, *down(width, 2 * width), *down(2 * width, 4 * width), *last).to(device)
    g_optimizer = torch.optim.Adam(g.parameters(), lr=2e-4, betas=(0.5, 0.999))
    d_optimizer = torch.optim.Adam(d.parameters(), lr=2e-4, betas=(0.5, 0.999))
    batches, criterion = _loader(config, work, low=-1.0), nn.BCELoss()

    def step(block: Counter) -> int:
        d.zero_grad()
        real = next(batches)[0].to(device)
        real_loss = criterion(d(real), torch.ones(len(real), device=device))
        real_loss.backward()
        fake = g(torch.randn(len(real), latent, 1, 1, device=device))
        fake_loss = criterion(d(fake.detach()), torch.zeros(len(real), device=device))
        fake_loss.backward()
        d_optimizer.step()
        g.zero_grad()
        g_loss = criterion(d(fake), torch.ones(len(real), device=device))
        g_loss.backward()
        g_optimizer.step()
        (real_loss + fake_loss).item(), g_loss.item()
        block.updates += 1
        return len(real)

    return Counter(step, "image", device)
