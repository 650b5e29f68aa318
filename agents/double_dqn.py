"""Double Q-learning: DQN whose online network chooses the next action that the target network values.

van Hasselt et al. 2016, "Deep reinforcement learning with double Q-learning", equation 4.
"""

from dataclasses import dataclass

from agents import dqn


@dataclass(frozen=True)
class Config(dqn.Config):
    """DQN's, with the choice and the value of the next action taken apart."""

    double: bool = True  # choose the next action with the online network


class DoubleDQN(dqn.DQN):
    """DQN with `double` on."""

    Config = Config
