"""Installed peer libraries as contenders of `rlgen bench --peers`; never a dependency, imported only when timed.

Each maker builds one contender with the work's own hyperparameters and returns a block: seconds of work to costs.
"eager PyTorch" is the yardstick, in eager.py.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from rlgen.bench import REPLAY_ENVS, REPLAY_SIZE, Block, Work, eager, images, matches, replay_block, stacks
from rlgen.bench.eager import Counter, net

Maker = Callable[[dict[str, Any], Work, ExitStack], Block]


def contenders(
    name: str, config: dict[str, Any], work: Work, stack: ExitStack
) -> tuple[dict[str, Block], dict[str, str], dict[str, str]]:
    """The peers that can do a work: those there are, how to install those there are not, and why others failed."""
    found: dict[str, Block] = {}
    missing: dict[str, str] = {}
    failed: dict[str, str] = {}
    for peer, (module, package, makers) in PEERS.items():
        for pattern, maker in makers.items():
            if not matches(name, pattern):
                continue
            if importlib.util.find_spec(module) is None:
                missing[peer] = f"pip install {package}"
                continue
            try:
                found[peer] = maker(config, work, stack)
            except Exception as error:  # another version of the peer than the one this was written against
                failed[peer] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return found, missing, failed


def sb3_train(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
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


def sb3_replay(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """SB3's buffer with its default layout: whole stacks, and the next ones too."""
    from stable_baselines3.common.buffers import ReplayBuffer

    space = gym.spaces.Box(0, 255, work.shape, np.uint8)
    buffer = ReplayBuffer(REPLAY_SIZE, space, gym.spaces.Discrete(6), config["device"], n_envs=REPLAY_ENVS)
    rows = (row.numpy() for row in stacks(work.shape, "cpu"))
    infos: list[dict[str, Any]] = [{} for _ in range(REPLAY_ENVS)]
    obs = next(rows)
    zeros, no = np.zeros(REPLAY_ENVS), np.zeros(REPLAY_ENVS, dtype=bool)

    def insert() -> int:
        nonlocal obs
        next_obs = next(rows)
        buffer.add(obs, next_obs, zeros, zeros, no, infos)
        obs = next_obs
        return REPLAY_ENVS

    def sample() -> int:
        buffer.sample(config["batch_size"])
        return 1

    arrays = [value for value in vars(buffer).values() if isinstance(value, np.ndarray)]
    return replay_block(insert, sample, lambda: sum(array.nbytes for array in arrays), config["device"])


def tianshou_q(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
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


def torchrl_q(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
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


def torchrl_replay(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """TorchRL's buffer of whole stacks, in memory."""
    from tensordict import TensorDict
    from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer

    storage = LazyTensorStorage(REPLAY_SIZE, device=config["device"])
    buffer = TensorDictReplayBuffer(storage=storage, batch_size=config["batch_size"])
    rows, size = stacks(work.shape, config["device"]), [REPLAY_ENVS]
    obs, zeros, no = next(rows), torch.zeros(size), torch.zeros(size, dtype=torch.bool)

    def insert() -> int:
        nonlocal obs
        following = {"observation": next(rows), "reward": zeros, "terminated": no, "truncated": no}
        items = {"observation": obs, "action": zeros.long(), "next": TensorDict(following, size)}
        buffer.extend(TensorDict(items, size))
        obs = following["observation"]
        return REPLAY_ENVS

    def sample() -> int:
        buffer.sample()
        return 1

    def nbytes() -> float:
        values = storage._storage.values(include_nested=True, leaves_only=True)
        return float(sum(value.numel() * value.element_size() for value in values))

    return replay_block(insert, sample, nbytes, config["device"])


def pythae_encoder(config: dict[str, Any], work: Work, stack: ExitStack) -> Block:
    """The trainer of pythae, an epoch of ten batches at a time, with networks of our size."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE as Model
    from pythae.models import VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    sizes, latent, device = [int(np.prod(work.shape)), *config["hidden"]], config["latent"], config["device"]

    class Encoder(BaseEncoder):  # type: ignore[misc]
        def __init__(self) -> None:
            BaseEncoder.__init__(self)
            self.layers = net([*sizes, 2 * latent])

        def forward(self, image: Tensor) -> Any:
            mean, log_var = self.layers(image.flatten(1)).chunk(2, 1)
            return ModelOutput(embedding=mean, log_covariance=log_var)

    class Decoder(BaseDecoder):  # type: ignore[misc]
        def __init__(self) -> None:
            BaseDecoder.__init__(self)
            self.layers = net([latent, *sizes[::-1]])

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=self.layers(z).sigmoid().view(-1, *work.shape))

    settings = VAEConfig(input_dim=work.shape, latent_dim=latent, reconstruction_loss="bce")
    data = torch.from_numpy(images(work.shape, 10 * config["batch_size"]).train).float() / 255
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    training = BaseTrainerConfig(
        output_dir=folder,
        per_device_train_batch_size=config["batch_size"],
        learning_rate=config["lr"],
        no_cuda=device == "cpu",
    )
    trainer = BaseTrainer(
        model=Model(settings, encoder=Encoder(), decoder=Decoder()),
        train_dataset=BaseDataset(data, torch.zeros(len(data))),
        training_config=training,
    )
    trainer.prepare_training()

    def step(block: Counter) -> int:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
            trainer.train_step(epoch=1)
        block.updates += 10
        return len(data)

    return Counter(step, "image", device)


PEERS: dict[str, tuple[str, str, dict[str, Maker]]] = {  # name: module, package, what it can do
    "eager PyTorch": (
        "torch",
        "torch",
        {
            "dqn-*": eager.q,
            "ppo-*": eager.policy,
            "atari-update": eager.update,
            "vae-*": eager.encoder,
            "gan-no-r1": eager.game,
        },
    ),
    "SB3": ("stable_baselines3", "stable-baselines3", {"dqn-*": sb3_train, "ppo-*": sb3_train, "replay": sb3_replay}),
    "Tianshou": ("tianshou", "tianshou", {"dqn-*": tianshou_q}),
    "TorchRL": (
        "torchrl",
        "torchrl",
        {"dqn-1env": torchrl_q, "dqn-every-step": torchrl_q, "replay": torchrl_replay},
    ),
    "pythae": ("pythae", "pythae", {"vae-*": pythae_encoder}),
}
