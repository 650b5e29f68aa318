"""Rainbow: "Rainbow: combining improvements in deep reinforcement learning" (Hessel et al. 2018).

C51 with double Q-learning, prioritized replay, dueling and noisy networks, and n-step returns. A priority is the
cross-entropy that is minimized, as in Dopamine; the paper's is the KL divergence, less by the entropy of the target.
"""

from dataclasses import dataclass

from agents import c51


@dataclass(frozen=True)
class Config(c51.Config):
    """C51's, with all of them on, and table 1's exponent of priorities and n; presets may have another n."""

    double: bool = True  # choose the next action with the online network
    dueling: bool = True  # value and advantages as two streams of a network
    noisy: bool = True  # explore by noise of the layers, which learns: after learning_starts epsilon is 0
    prioritized: bool = True  # draw transitions by their losses
    priority_exponent: float = 0.5  # alpha of prioritized: 0 draws uniformly; in [0, 1]
    n_step: int = 3  # rewards summed before bootstrapping; in [1, 1000]


class Rainbow(c51.C51):
    """C51 with everything on."""

    Config = Config
