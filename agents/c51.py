"""C51, categorical DQN: "A distributional perspective on reinforcement learning" (Bellemare et al. 2017).

The return of an action is a distribution on K fixed values, its atoms. With `double`, the online network chooses the
next action by its means (Hessel et al. 2018, section 3). With `prioritized`, a sample's priority is its loss. Shapes:
B batch, N environments, A actions, K atoms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agents import dqn
from rlgen.core.learner import Batch
from rlgen.envs.spec import EnvSpec
from rlgen.nets.q_network import of_action, valid_only
from rlgen.text import warn

MUCH = 0.1  # of a target's probability
UNITS = 2.0**40  # in a probability of 1, where probabilities are summed as whole numbers


@dataclass(frozen=True)
class Config(dqn.Config):
    """DQN's, and the atoms; the range suits CartPole-v1, where a return with gamma 0.99 is at most 100."""

    num_atoms: int = 51  # values that a return can have; in [2, 10_000]; fixed: networks of other sizes
    # below v_max: returns need a range; fixed: networks of other returns
    v_min: float = 0.0  # the smallest return, discounted; in (-1e9, 1e9)
    # fixed: networks of other returns
    v_max: float = 100.0  # the largest return, discounted; in (-1e9, 1e9)


class C51(dqn.DQN):
    """Q-learning of categorical distributions of returns.

    Attributes:
        atoms: the values that a return can have, [K].
        clipped: share of the last targets that was clipped to the range.
        is_warned: it has warned that much of them is.
    """

    Config = Config
    atoms: Tensor
    clipped: Tensor | float = 0.0
    is_warned: bool = False

    def __init__(self, cfg: Any, spec: EnvSpec) -> None:
        self.num_values = cfg.num_atoms
        super().__init__(cfg, spec)
        self.register_buffer("atoms", torch.linspace(cfg.v_min, cfg.v_max, cfg.num_atoms), persistent=False)

    def value(self, output: Any) -> Tensor:
        """The mean return of every action: logits [N, A, K] -> [N, A]."""
        logits = torch.as_tensor(output)
        return valid_only((logits.softmax(-1) * self.atoms).sum(-1), logits)

    def loss(self, nets: dqn.DQN, batch: Batch) -> tuple[Tensor, Batch]:
        q, target_q, choosing_q = self.networks(nets, batch)
        with torch.no_grad():
            next_logits = target_q(batch["next_obs"])  # [B, A, K]
            choosing = choosing_q(batch["next_obs"]) if self.cfg.double else next_logits  # [B, A, K]
            next_prob = of_action(next_logits, self.value(choosing).argmax(-1)).softmax(-1)  # [B, K]
            moved = batch["reward"][:, None] + batch["discount"][:, None] * self.atoms  # T z, [B, K]
            target_prob, clipped = project(next_prob, moved, self.cfg.v_min, self.cfg.v_max)  # [B, K], [B]

        log_prob = of_action(q(batch["obs"]), batch["action"]).log_softmax(-1)  # [B, K]
        losses = -(target_prob * log_prob).sum(-1)  # [B], cross-entropy, algorithm 1
        loss, priority = self.mean(losses, batch, losses)
        q_value = (log_prob.exp() * self.atoms).sum(-1)  # [B]

        return loss, {
            "losses/td_loss": loss,
            "losses/q_values": q_value.mean(),
            "losses/clipped_mass": clipped.mean(),
            **priority,
        }

    def update(self, batch: Batch) -> Batch:
        metrics = super().update(batch)
        self.clipped = metrics["losses/clipped_mass"]
        return metrics

    def schedules(self) -> dict[str, float]:
        """As of DQN; says also, once, that much of the last targets was clipped."""
        if not self.is_warned and self.clipped > MUCH:
            self.is_warned = True
            warn(
                f"{float(self.clipped):.0%} of the targets lie outside [{self.cfg.v_min:g}, {self.cfg.v_max:g}] and "
                "are clipped, so values are wrong: give the range of discounted returns by --v-min and --v-max"
            )
        return super().schedules()


def project(prob: Tensor, moved: Tensor, v_min: float, v_max: float) -> tuple[Tensor, Tensor]:
    """Project a distribution on moved atoms back onto the fixed atoms; equation 7.

    A probability is shared by the two atoms beside its value, the nearer one having more. Values outside the range are
    clipped to its ends.

    Args:
        prob: of each value, [B, K].
        moved: the values, [B, K].
        v_min: the first atom.
        v_max: the last one; between them they are evenly spaced.

    Returns:
        The probabilities of the atoms, [B, K], and the share of each distribution that was clipped, [B].
    """
    last = prob.shape[-1] - 1
    place = (moved - v_min) * (last / (v_max - v_min))  # in atoms
    inside = place.clamp(0, last)
    below = inside.floor().clamp(max=last - 1)  # [B, K]
    share = inside - below  # of the atom above
    index = torch.cat([below, below + 1], -1).long()  # [B, 2 * K]
    mass = torch.cat([prob * (1 - share), prob * share], -1)  # [B, 2 * K]
    # whole numbers have the same sum in whatever order a GPU adds them
    units = torch.zeros_like(prob, dtype=torch.int64).scatter_add(-1, index, (mass * UNITS).long())
    clipped = (prob * ((place - inside).abs() > 1e-3)).sum(-1)  # beyond rounding
    return units / UNITS, clipped
