"""What is timed: each work is a command line of `rlgen train`, under a name."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

from rlgen.bench.measure import Block
from rlgen.options import algorithms, config
from rlgen.options.flags import parse

DQN_CARTPOLE = (  # CleanRL's dqn.py; epsilon is constant, because acting costs less the more of it is random
    "dqn --env CartPole-v1 --steps 500000 --hidden 120 84 --batch-size 128 --buffer-size 10000 --learning-starts 1000 "
    "--target-every 500 --epsilon-start 0.05 --epsilon-end 0.05"
)
PPO_CARTPOLE = "ppo --env CartPole-v1 --steps 500000 --hidden 64 64 --batch-size 128 --num-epochs 4"  # CleanRL's ppo.py
PQN_CARTPOLE = "pqn --env CartPole-v1 --steps 500000 --hidden 120 84 --batch-size 128 --num-epochs 4"  # DQN's network
DQN_IMAGES = "dqn --env CartPole-v1 --hidden 512 --batch-size 32"


@dataclass(frozen=True)
class Work:
    """Something to time."""

    command: str  # after `rlgen train`
    kind: Literal["env", "image", "update", "sampled", "replay", "start", "memory", "run"]  # what is timed: see ours.py
    shape: tuple[int, ...] = ()  # of one image or observation, where they are noise


WORKS = {
    "dqn-1env": Work(f"{DQN_CARTPOLE} --train-every 10", "env"),
    "dqn-64env": Work(f"{DQN_CARTPOLE} --train-every 10 --num-envs 64 --vectorization native", "env"),
    "dqn-every-step": Work(f"{DQN_CARTPOLE} --train-every 1", "env"),
    "prioritized-1env": Work(f"{DQN_CARTPOLE} --train-every 10 --prioritized", "env"),
    "rainbow-1env": Work(f"rainbow --env{DQN_CARTPOLE[9:]} --train-every 10", "env"),
    "iqn-1env": Work(f"i{DQN_CARTPOLE[1:]} --train-every 10", "env"),
    "double-64env": Work(f"double_{DQN_CARTPOLE} --train-every 10 --num-envs 64 --vectorization native", "env"),
    "reinforce-64env": Work("reinforce --env CartPole-v1 --num-envs 64 --vectorization native --steps 500000", "env"),
    "ppo-4env": Work(f"{PPO_CARTPOLE} --num-envs 4 --rollout-steps 512", "env"),
    "ppo-64env": Work(f"{PPO_CARTPOLE} --num-envs 64 --vectorization native --rollout-steps 8192", "env"),
    "pqn-64env": Work(f"{PQN_CARTPOLE} --num-envs 64 --vectorization native --rollout-steps 8192", "env"),
    "replay": Work(DQN_IMAGES, "replay", (4, 84, 84)),
    "atari-update": Work(DQN_IMAGES, "update", (4, 84, 84)),
    "atari-sampled": Work(f"{DQN_IMAGES} --buffer-size 100000", "sampled", (4, 84, 84)),
    "vae-mlp": Work("vae --hidden 400 --latent 20 --batch-size 128", "image", (1, 28, 28)),
    "gan-r1": Work("gan --width 64 --batch-size 64", "image", (3, 32, 32)),
    "gan-no-r1": Work("gan --width 64 --batch-size 64 --r1-gamma 0", "image", (3, 32, 32)),
    "start": Work(f"{DQN_CARTPOLE} --train-every 10", "start"),
    "memory": Work(f"{DQN_CARTPOLE} --train-every 10", "memory"),
    "default-run": Work("dqn --wandb disabled --threads 1", "run"),
}
STEPPED = [name for name, work in WORKS.items() if work.kind in ("env", "image")]  # those that the loop trains
UPDATES = [name for name, work in WORKS.items() if work.kind in ("update", "sampled")]
QUICK = [name for name, work in WORKS.items() if work.kind != "run"]  # a whole run is timed where it is asked for

# Makes a contender: something that does a work, given its flat configuration, and closes with the stack.
Maker = Callable[[dict[str, Any], Work, ExitStack], Block]


def configure(name: str, **options: Any) -> dict[str, Any]:
    """The flat configuration of a work: its command line, without a preset, and `options` above it."""
    algo, *argv = shlex.split(WORKS[name].command)
    given = parse(f"train {algo}", config.options(algorithms.find(algo)), argv, "")
    fixed = {"no_preset": True, "wandb": "disabled", "device": "cpu", "threads": 1}
    return config.resolve(algo, fixed | given | options).config
