"""One run on several devices: `torchrun --nproc-per-node K -m rlgen train ALGO ...`.

All flags are of the whole run. Each rank has its share of the environments, of the batch and of the buffer; a gradient
step is that of all batches together. So K ranks learn what one process with the same flags learns.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from rlgen.core.learner import Learner
from rlgen.core.novelty import Novelty
from rlgen.core.priorities import PrioritizedBuffer
from rlgen.core.ranks import Ranks, joined
from rlgen.core.shared_source import shared
from rlgen.envs.spec import EnvSpec
from rlgen.errors import UsageError
from rlgen.experiment import built, run_to_end
from rlgen.options import algorithms, shares
from rlgen.options.config import options
from rlgen.options.shares import share
from rlgen.runs import exactness, notes
from rlgen.runs.find import find
from rlgen.runs.new import default_name
from rlgen.runs.ranked import FOLDER, RankedRun, check_whole, directory
from rlgen.runs.records import check_spec, without_masks
from rlgen.runs.run import Run
from rlgen.speed.ranked import Ranked

PLAIN = {"graph": False, "compile": "never"}  # gradients leave the step before they are clipped


def start(config: dict[str, Any], command: Sequence[str] | None = None) -> None:
    """Train a new run together with the other ranks; rank 0 writes it.

    Args:
        config: flat, of the whole run.
        command: what the user typed.
    """
    check(config)
    own = share(config | PLAIN, options(algorithms.find(config["algo"])), shares.number())
    with joined() as ranks, alone_on_the_terminal(ranks):
        path = ranks.first(
            Path(config["runs_dir"]) / (config["name"] or default_name(Path(config["runs_dir"]), config))
        )
        own["seed"] = own_seed(config["seed"], ranks.rank)
        with built(own, config["runs_dir"], quiet=ranks.rank > 0) as (learner, source, buffer):
            with found_by_all():
                check_source(source)
                check_learner(learner)
            whole = config | PLAIN | {"steps": own["steps"], "seed": own["seed"]}
            spec = asdict(source.spec)
            if not ranks.rank:
                of_all = spec | {name: config[name] for name in of_one(source.spec)}
                run = RankedRun.create(path.parent, path.name, whole, command, of_all)
            ranks.first(None)  # the run's directory is there
            if ranks.rank:
                (path / FOLDER).mkdir(exist_ok=True)
                whole |= {"wandb": "disabled"}
                run = RankedRun.create(path / FOLDER, str(ranks.rank), whole, command, spec)
            run.info["ranks"] = ranks.size
            notes.keep_files(run.info, source)
            begin_alike(learner, ranks)
            go(run, ranks, learner, source, buffer)


def resume(name: str, runs_dir: str, steps: int | None, max_memory: str | None, device: str | None) -> None:
    """Go on with a run of as many ranks, from the newest step that all of them have saved."""
    path = find(name, runs_dir)
    check_whole(path, shares.number())
    with joined() as ranks, alone_on_the_terminal(ranks):
        run = RankedRun.open(directory(path, ranks.rank), steps, max_memory)
        run.info["device"] = exactness.last_device(run.info)
        if device is not None:
            run.config["device"] = device
        own = run.config | {"device": exactness.device_of(run.info, asked=device)} | without_masks(run.info)
        own = share(own, options(algorithms.find(own["algo"])), ranks.size)
        with built(own, run.path, quiet=ranks.rank > 0) as (learner, source, buffer):
            check_spec(run.name, {**run.info["spec"], **of_one(source.spec)}, source.spec)
            notes.say_changed_files(run.name, run.info, source)
            go(run, ranks, learner, source, buffer, restore=True)


def go(run: Run, ranks: Ranks, learner: Learner, source: Any, buffer: Any, restore: bool = False) -> None:
    """Train to the end.

    Where a rank has died, torchrun ends the others by SIGTERM at once; they still say what is lost and what is saved.
    """
    assert isinstance(run, RankedRun)
    before = signal.signal(signal.SIGTERM, lambda *ignored: None)  # what the signal does once training is over
    run.ranks = ranks
    learner.executor = Ranked(ranks)
    if isinstance(buffer, PrioritizedBuffer):
        buffer.ranks = ranks
    source = shared(source, ranks, run.agree, run.ask)
    run_to_end(run, learner, source, buffer, quiet=ranks.rank > 0, restore=restore)
    signal.signal(signal.SIGTERM, before)


def of_one(spec: Any) -> dict[str, Any]:
    """What differs between the data of a rank and of the whole run."""
    return {"num_envs": spec.num_envs} if isinstance(spec, EnvSpec) else {}


def check(config: dict[str, Any]) -> None:
    """Whether ranks can train this.

    Raises:
        UsageError: they cannot.
    """
    if config.get("normalize_obs") or config.get("normalize_reward"):
        raise UsageError("--normalize-obs and --normalize-reward do not work with torchrun: statistics are a process's")
    if config.get("keep", 2) < 2:
        raise UsageError("--keep 1 does not work with torchrun: ranks save one after the other; give --keep 2 or more")


def check_source(source: Any) -> None:
    """Whether all ranks take the same number of steps a turn.

    Raises:
        UsageError: a vector environment has rows that do not count.
    """
    if getattr(getattr(source, "envs", None), "is_next_step_mode", False):
        raise UsageError(
            "this vector environment resets in a step of its own: --vectorization sync works with torchrun"
        )


def check_learner(learner: Learner) -> None:
    """Whether the learner is the same on all ranks.

    Raises:
        UsageError: it keeps statistics of what its own rank has seen.
    """
    if any(isinstance(module, Novelty) for module in learner.modules()):
        raise UsageError("--rnd does not work with torchrun: what is novel to one rank is not to the others")


@contextlib.contextmanager
def found_by_all() -> Iterator[None]:
    """A mistake that every rank finds is said by the first one."""
    try:
        yield
    except UsageError:
        shares.have_met = False
        raise


def own_seed(seed: int, rank: int) -> int:
    """Of a rank's environments and random numbers; rank 0 has the run's."""
    digest = hashlib.sha256(f"{seed} of rank {rank}".encode()).digest()
    return int.from_bytes(digest[:7], "little") if rank else seed


@torch.no_grad()
def begin_alike(learner: Learner, ranks: Ranks) -> None:
    """Give all ranks the networks of rank 0, which are those of one process with the run's seed."""
    own = [*learner.parameters(), *learner.buffers()]
    for tensor, value in zip(own, ranks.first([tensor.cpu() for tensor in own]), strict=True):
        tensor.copy_(value)


@contextlib.contextmanager
def alone_on_the_terminal(ranks: Ranks) -> Iterator[None]:
    """Only rank 0 prints what all would; errors of the others are seen."""
    shares.have_met = True
    if not ranks.rank:
        yield
        return
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        yield
