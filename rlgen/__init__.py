"""One replay buffer and one training loop for deep RL agents, GANs and VAEs.

In a notebook: `run = rlgen.train("dqn", env="CartPole-v1", steps=50_000)`, `learner = rlgen.load(run.name)`, and then
`learner.act(obs)` or `learner.sample(8)`. Nothing heavy is imported before the first of these is used.
"""

from typing import TYPE_CHECKING, Any

import rlgen._cores  # noqa: F401, before torch

if TYPE_CHECKING:
    from rlgen.experiment import resume, train
    from rlgen.inference import load

__version__ = "0.1.0"
__all__ = ["__version__", "load", "resume", "train"]


def __getattr__(name: str) -> Any:
    if name in ("resume", "train"):
        from rlgen import experiment

        return getattr(experiment, name)
    if name == "load":
        from rlgen.inference import load

        return load
    raise AttributeError(f"module 'rlgen' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})  # what TAB finds
