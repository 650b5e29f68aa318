"""Which peers can do a work, and which of those are installed."""

from __future__ import annotations

import importlib.util
from contextlib import ExitStack
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any, NamedTuple

from rlgen.bench import ours
from rlgen.bench.measure import Block
from rlgen.bench.peers import checkout, cleanrl, eager, eager_images, eager_models, pythae, sb3, tianshou, torchrl
from rlgen.bench.works import STEPPED, UPDATES, Maker, Work
from rlgen.errors import install


class Peer(NamedTuple):
    """A library that does some of the works."""

    module: str  # what is imported
    package: str  # what pip installs
    makers: dict[str, Maker]  # by a pattern of names of works


PEERS = {
    "eager PyTorch": Peer(
        "torch",
        "torch",
        {
            "dqn-*": eager.q_learning,
            "ppo-*": eager.policy_gradient,
            "atari-update": eager_images.update,
            "atari-sampled": eager_images.sampled_update,
            "vae-*": eager_models.autoencoder,
            "gan-no-r1": eager_models.adversarial,
        },
    ),
    "eager, unclipped": Peer(
        "torch",
        "torch",
        {
            "dqn-*": eager.unclipped(eager.q_learning),
            "atari-update": eager.unclipped(eager_images.update),
            "atari-sampled": eager.unclipped(eager_images.sampled_update),
        },
    ),
    "SB3": Peer(
        "stable_baselines3",
        "stable-baselines3",
        {"dqn-*": sb3.train, "ppo-*": sb3.train, "replay": sb3.replay_buffer, "default-run": sb3.whole_run},
    ),
    "Tianshou": Peer("tianshou", "tianshou", {"dqn-*": tianshou.q_learning}),
    "TorchRL": Peer(
        "torchrl",
        "torchrl",
        {"dqn-1env": torchrl.q_learning, "dqn-every-step": torchrl.q_learning, "replay": torchrl.replay_buffer},
    ),
    "pythae": Peer("pythae", "pythae", {"vae-*": pythae.autoencoder}),
}


@dataclass
class Found:
    """The peers of a work, by name."""

    blocks: dict[str, Block] = field(default_factory=dict)  # those that are ready
    not_installed: dict[str, str] = field(default_factory=dict)  # the others: how to install them
    failed: dict[str, str] = field(default_factory=dict)  # why they could not be made


def chosen(
    peers: bool, scripts: str | None, works: list[str], compiled: bool = False, against: str | None = None
) -> dict[str, Peer]:
    """Who is asked: everybody if `peers`, and CleanRL's own scripts where there is a checkout of them.

    Args:
        peers: all of `PEERS`.
        compiled: rlgen runs machine code, and its recorded steps are another contender.
        scripts: a checkout of CleanRL.
        against: a checkout of another version of rlgen.
        works: names of those that will be timed.

    Raises:
        UsageError: a directory is no such checkout.
        MissingExtraError: its scripts import what is not installed.
    """
    recorded: dict[str, Maker] = dict.fromkeys([*STEPPED, *UPDATES, "default-run"], ours.recorded)
    own = {"rlgen, recorded": Peer("torch", "torch", recorded)} if compiled else {}
    if against is not None:
        own["rlgen, other version"] = Peer("torch", "torch", checkout.makers(against))
    if scripts is not None:
        own["CleanRL"] = Peer("torch", "torch", cleanrl.makers(scripts, works))
    return own | (PEERS if peers else {})


def find(name: str, config: dict[str, Any], work: Work, stack: ExitStack, peers: dict[str, Peer]) -> Found:
    """Make every installed peer that can do a work, with the work's own hyperparameters; they close with the stack."""
    found = Found()
    for peer, (module, package, makers) in peers.items():
        for pattern, maker in makers.items():
            if not fnmatch(name, pattern):
                continue
            if importlib.util.find_spec(module) is None:
                found.not_installed[peer] = install(package)
                continue
            try:
                found.blocks[peer] = maker(config, work, stack)
            except Exception as error:  # another version of the peer than the one this was written against
                found.failed[peer] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return found
