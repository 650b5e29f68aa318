"""TorchRL as a contender."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from rlgen.bench import replay
from rlgen.bench.measure import Block
from rlgen.bench.peers.counter import Counter
from rlgen.bench.works import Work


def q_learning(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """TorchRL's sota-implementations/dqn cartpole: a collector, a replay buffer, a loss module, a hard update."""
    from tensordict.nn import TensorDictSequential
    from torchrl import collectors
    from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer
    from torchrl.envs import GymEnv, RewardSum, StepCounter, TransformedEnv
    from torchrl.modules import MLP, EGreedyModule, QValueActor
    from torchrl.objectives import DQNLoss as Loss
    from torchrl.objectives import HardUpdate

    device = config["device"]
    env = TransformedEnv(GymEnv(config["env_id"], device=device))
    env.append_transform(RewardSum())
    env.append_transform(StepCounter())
    (width,) = env.observation_spec["observation"].shape
    layers = MLP(width, env.action_spec.space.n, num_cells=list(config["hidden"]), activation_class=nn.ReLU)
    actor = QValueActor(module=layers.to(device), spec=env.action_spec, in_keys=["observation"])
    eps = config["epsilon_end"]
    explore = EGreedyModule(spec=actor.spec, eps_init=eps, eps_end=eps, annealing_num_steps=1)
    sync_collector = getattr(collectors, "Collector", None) or collectors.SyncDataCollector  # its older name
    collector = sync_collector(
        create_env_fn=env,
        policy=TensorDictSequential(actor, explore).to(device),
        frames_per_batch=config["train_every"],
        total_frames=-1,
        device=device,
        storing_device=device,
    )
    stack.callback(collector.shutdown)
    storage = LazyTensorStorage(config["buffer_size"], device=device)
    buffer = TensorDictReplayBuffer(storage=storage, batch_size=config["batch_size"])
    loss_module = Loss(value_network=actor, loss_function="smooth_l1", delay_value=True)
    loss_module.make_value_estimator(gamma=config["gamma"])
    updater = HardUpdate(loss_module, value_network_update_interval=config["target_every"] // config["train_every"])
    optimizer = torch.optim.Adam(loss_module.parameters(), lr=config["lr"])
    batches, taken = iter(collector), 0

    def step(block: Counter) -> int:
        nonlocal taken
        data = next(batches).reshape(-1)
        buffer.extend(data)
        taken += data.numel()
        if taken > config["learning_starts"]:
            loss = loss_module(buffer.sample().to(device))["loss"]
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(loss_module.parameters(), config["max_grad_norm"])
            optimizer.step()
            updater.step()
            block.updates += 1
        return data.numel()

    return Counter(step, "env_step", device, warm=config["learning_starts"] + 2 * config["train_every"])


def replay_buffer(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """TorchRL's buffer of whole stacks, in memory."""
    from tensordict import TensorDict
    from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer

    storage = LazyTensorStorage(replay.CAPACITY, device=config["device"])
    buffer = TensorDictReplayBuffer(storage=storage, batch_size=config["batch_size"])
    rows, size = replay.stacks(work.shape, config["device"]), [replay.NUM_ENVS]
    obs, zeros, no = next(rows), torch.zeros(size), torch.zeros(size, dtype=torch.bool)

    def insert() -> int:
        nonlocal obs
        following = {"observation": next(rows), "reward": zeros, "terminated": no, "truncated": no}
        items = {"observation": obs, "action": zeros.long(), "next": TensorDict(following, size)}
        buffer.extend(TensorDict(items, size))
        obs = following["observation"]
        return replay.NUM_ENVS

    def sample() -> int:
        buffer.sample()
        return 1

    def nbytes() -> float:
        values = storage._storage.values(include_nested=True, leaves_only=True)
        return float(sum(value.numel() * value.element_size() for value in values))

    return replay.insert_and_sample(insert, sample, nbytes, config["device"])
