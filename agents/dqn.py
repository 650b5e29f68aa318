"""Deep Q-learning from a replay buffer: "Human-level control through deep reinforcement learning" (Mnih et al. 2015).

With `double`, the online network chooses the next action and the target network values it (van Hasselt et al. 2016,
"Deep reinforcement learning with double Q-learning"). With `dueling`, a network is two streams (Wang et al. 2016,
"Dueling network architectures for deep reinforcement learning"). With `noisy`, its layers have noise that explores
(Fortunato et al. 2018, "Noisy networks for exploration"). With `prioritized`, transitions are drawn by their TD errors
(Schaul et al. 2016, "Prioritized experience replay"). With `shift`, pictures are learned from as moved at random
(Yarats et al. 2021, "Image augmentation is all you need"); `rnd`: `rlgen/core/novelty.py`. B batch, N envs, A actions.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from rlgen.core.buffer import Buffer
from rlgen.core.functional import linear_schedule, soft_update
from rlgen.core.learner import Agent, Batch
from rlgen.core.novelty import Novelty, NoveltyOptions, explore
from rlgen.core.optimizer import OptimizerOptions, make_optimizer
from rlgen.core.priorities import PrioritizedBuffer, weighted
from rlgen.core.shift import RandomShift
from rlgen.core.watched import Outgrows
from rlgen.envs.spec import EnvSpec
from rlgen.nets.layers import NetworkOptions
from rlgen.nets.noisy import Acting, with_noise
from rlgen.nets.policies import epsilon_greedy, without_gradients
from rlgen.nets.q_network import check_actions, q_network


@dataclass(frozen=True)
class Config(OptimizerOptions, NetworkOptions, NoveltyOptions):
    """Periods are in environment steps, over all environments."""

    lr: float = 5e-4  # step size; in (0, inf)
    anneal_lr: bool = True  # let lr fall linearly to 0 at the end of the run
    gamma: float = 0.99  # discount per step; in [0, 1]
    # at most buffer_size: a batch cannot be larger than the buffer
    # divided by ranks
    batch_size: int = 128  # transitions in an update; in [1, 10**6]
    # divided by ranks
    buffer_size: int = 100_000  # transitions kept; in [1, inf); fixed: a buffer of another size
    # at most buffer_size: learning would never start; below steps: nothing would be learned
    # divided by ranks
    learning_starts: int = 1_000  # steps before updates; until the first one all actions are random; in [1, inf)
    # learning_starts + train_every at most steps: nothing would be learned
    # n_step * num_envs + train_every at most steps: nothing would be learned
    # divided by ranks
    train_every: int = 4  # steps between updates; in [1, inf)
    gradient_steps: int = 1  # updates every train_every steps; in [1, inf)
    # divided by ranks
    target_every: int = 500  # steps between updates of the target network; in [1, inf)
    tau: float = 1.0  # how far the target then moves to the online network; 1 copies it; in (0, 1]
    epsilon_start: float = 1.0  # share of random actions at first, not used with noisy; in [0, 1]
    epsilon_end: float = 0.05  # share of random actions after exploration_fraction; in [0, 1]
    exploration_fraction: float = 0.2  # part of the run in which it falls; in [0, 1]
    # n_step * num_envs at most buffer_size: no window of so many steps would fit
    n_step: int = 1  # rewards summed before bootstrapping; in [1, 1000]; fixed: a buffer of other windows
    max_grad_norm: float = 10.0  # the gradient's norm is clipped to this; in (0, inf)
    double: bool = False  # choose the next action with the online network
    dueling: bool = False  # value and advantages as two streams of a network; fixed: networks of other layers
    # fixed: networks of other layers
    noisy: bool = False  # explore by learned noise in the layers; epsilon is 0 after learning_starts
    prioritized: bool = False  # draw transitions by their TD errors; fixed: a buffer of another kind
    priority_exponent: float = 0.6  # alpha of prioritized: 0 draws uniformly; in [0, 1]
    weight_exponent: float = 0.4  # beta of prioritized at the start, rising to 1: importance weights; in [0, 1]
    shift: int = 0  # move pictures that are learned from by up to so many pixels at random, as DrQ; in [0, 1024]
    hidden: tuple[int, ...] = (256, 256)  # sizes of the hidden layers; in [1, 65536]; fixed: networks of other sizes


class DQN(Agent):
    """Q-learning with a replay buffer and a target network.

    A variant of it says which network it has (`make_network`), with how many numbers for every action (`num_values`),
    how they become the action's value (`value`), its `loss`, and the `noise` of that.

    Attributes:
        num_values: numbers of every action that the network puts out, K.
        make_network: makes a network of it, with the arguments of `q_network`.
        values_are_returns: a value is an estimate of the discounted return, and of nothing beside it.
    """

    Config = Config
    watched = (*Agent.watched, Outgrows("losses/q_values"))
    acts_ahead = acts_on_arrays = True
    act_reads = ("epsilon",)
    num_values: int = 1
    make_network: Callable[..., Any] = staticmethod(q_network)
    values_are_returns: bool = True

    def __init__(self, cfg: Any, spec: EnvSpec) -> None:
        super().__init__(cfg)
        check_actions(spec)
        self.discount, self.rows_per_turn = cfg.gamma, max(1, cfg.train_every // spec.num_envs)
        self.min_added = max(cfg.learning_starts, cfg.n_step * spec.num_envs)  # transitions before the first update
        # counted in updates, so that the number of environments changes nothing
        self.target_period = max(1, round(cfg.target_every * cfg.gradient_steps / cfg.train_every))

        self.shift = RandomShift(spec, cfg.shift) if cfg.shift else None
        self.q = self.make_network(spec, cfg.hidden, self.num_values, cfg, cfg.dueling, cfg.noisy)
        self.target_q = copy.deepcopy(self.q).requires_grad_(False)
        if cfg.noisy:
            self.acting_q = Acting(self.q)
        self.optimizer = make_optimizer(cfg, self.q.parameters(), cfg.lr)
        if cfg.rnd:
            self.novelty = Novelty(spec)
            self.novelty_optimizer = make_optimizer(cfg, self.novelty.predictor.parameters(), cfg.rnd_lr)

    def make_buffer(self) -> Buffer:
        cfg, kind = self.cfg, PrioritizedBuffer if self.cfg.prioritized else Buffer
        return kind(cfg.buffer_size, gamma=cfg.gamma, n_step=cfg.n_step, augment=self.shift, generator=self.generator)

    def learning_rates(self) -> dict[str, float]:
        return {"optimizer": self.cfg.lr * (1 - self.progress) if self.cfg.anneal_lr else self.cfg.lr}

    def schedules(self) -> dict[str, float]:
        sigma = {"charts/sigma": self.q.size()} if self.cfg.noisy else {}
        beta = {"charts/beta": self.beta} if self.cfg.prioritized else {}
        return {"charts/epsilon": self.epsilon, **sigma, **beta}

    @property
    def epsilon(self) -> float:
        """Share of random actions now: all of them until the first update."""
        cfg = self.cfg
        if self.num_updates == 0 or cfg.noisy:
            return float(self.num_updates == 0)
        return linear_schedule(cfg.epsilon_start, cfg.epsilon_end, cfg.exploration_fraction, self.progress)

    @property
    def beta(self) -> float:
        """Exponent of the importance weights now."""
        return linear_schedule(self.cfg.weight_exponent, 1.0, 1.0, self.progress)

    def value(self, output: Any) -> Any:
        """Values [N, A] of a network's output, which is [N, A], or [N, A, K] where `num_values` is K."""
        return output

    @without_gradients
    def act(self, obs: Any, greedy: bool = False) -> Batch:
        q = self.q if greedy or not self.cfg.noisy else self.acting_q
        q_value = self.value(q(obs))  # [N, A]
        if greedy:
            q_value = torch.as_tensor(q_value)
            estimate = {"q_estimate": q_value.amax(-1)} if self.values_are_returns and not self.cfg.rnd else {}
            return {"action": q_value.argmax(-1), **estimate}
        return {"action": epsilon_greedy(q_value, self.epsilon, self.uniforms)}

    def batches(self, buffer: Any) -> Iterator[Batch]:
        num_due = (buffer.num_added - self.min_added) // self.cfg.train_every * self.cfg.gradient_steps
        num = num_due - self.num_updates
        yield from self.prioritized(buffer, num) if self.cfg.prioritized else buffer.samples(num, self.cfg.batch_size)
        if self.cfg.noisy:
            self.acting_q.draw(self.q, self.generator)

    def prioritized(self, buffer: Any, num: int) -> Iterator[Batch]:
        """Batches drawn by priority; what each update finds is the priority of its samples."""
        for _ in range(num):
            batch = buffer.sample(self.cfg.batch_size, beta=self.beta)
            yield batch
            buffer.update_priority(batch["index"], self.per_sample["priority"])

    def noise(self, batch: Batch) -> Batch:
        """The batch with an update's random numbers: of `noisy` layers the noise, a sample for each of `networks`."""
        return batch | {"shared_noise": self.q.draw(3, self.generator)} if self.cfg.noisy else batch

    def networks(self, nets: DQN, batch: Batch) -> tuple[Callable[..., Tensor], ...]:
        """The online network, the target network, and that which chooses the next action with `double`."""
        return with_noise((nets.q, nets.target_q, nets.q), batch.get("shared_noise"))

    def loss(self, nets: DQN, batch: Batch) -> tuple[Tensor, Batch]:
        q, target_q, choosing_q = self.networks(nets, batch)
        with torch.no_grad():
            target_q_value = target_q(batch["next_obs"])  # [B, A]
            choosing = choosing_q(batch["next_obs"]) if self.cfg.double else target_q_value  # [B, A]
            next_value = target_q_value.gather(-1, choosing.argmax(-1, keepdim=True)).squeeze(-1)  # [B]
            target = batch["reward"] + batch["discount"] * next_value  # [B]; discount is 0 at termination

        q_value = q(batch["obs"]).gather(-1, batch["action"][:, None]).squeeze(-1)  # [B]
        losses = huber_loss(q_value, target, reduction="none")  # [B]
        loss, priority = self.mean(losses, batch, q_value - target)

        return loss, {"losses/td_loss": loss, "losses/q_values": q_value.mean(), **priority}

    def mean(self, losses: Tensor, batch: Batch, errors: Tensor) -> tuple[Tensor, Batch]:
        """The mean of losses [B]; with `prioritized` the weighted one, and the priorities that follow from errors."""
        exponent = self.cfg.priority_exponent
        return weighted(losses, batch, errors, exponent) if self.cfg.prioritized else (losses.mean(), {})

    def update(self, batch: Batch) -> Batch:
        batch, found = explore(self, batch) if self.cfg.rnd else (batch, {})
        metrics = found | self.minimize(self.loss, batch, self.optimizer, self.cfg.max_grad_norm, self.noise)
        if self.num_updates % self.target_period == 0:
            soft_update(self.target_q, self.q, self.cfg.tau)
        return metrics
