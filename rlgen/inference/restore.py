"""The learner of a run, as a checkpoint has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rlgen.assemble import build_learner
from rlgen.core.acting import checked
from rlgen.core.learner import Agent, Learner
from rlgen.data.images import ImageSpec
from rlgen.envs.spec import EnvSpec
from rlgen.options import algorithms
from rlgen.runs.find import find
from rlgen.runs.records import spec_of
from rlgen.runs.run import Run


def load(run: str | Path | Run, runs_dir: str = "runs", checkpoint: str = "last", device: str | None = None) -> Learner:
    """The trained learner of a run, for `.act(obs)` or `.sample(num)`.

    An agent takes observations as `rlgen.core.acting.checked` says: arrays or tensors, one or many.

    Args:
        run: as `train` returns it; or a name, a directory, a unique prefix, or `last`.
        runs_dir: where names are looked for.
        checkpoint: `last`, `best`, or a step.
        device: cpu, cuda or auto; None is that of the run, or the CPU where there is no GPU.
    """
    learner, opened = restored(run.path if isinstance(run, Run) else run, runs_dir, checkpoint, device)
    if isinstance(learner, Agent):
        vars(learner)["act"] = checked(learner, spec_of(opened.path, opened.info, EnvSpec))
    return learner


def restored(run: str | Path, runs_dir: str, checkpoint: str, device: str | None = None) -> tuple[Learner, Run]:
    """A run's learner from what its config.json says of the data: neither environments nor images are needed."""
    opened = Run.open(find(str(run), runs_dir))
    if device is not None:
        opened.config["device"] = device
    elif not torch.cuda.is_available():
        opened.config["device"] = "cpu"  # trained on a GPU, looked at without one
    kind: Any = EnvSpec if issubclass(algorithms.load(opened.config["algo"]), Agent) else ImageSpec
    learner = build_learner(opened.config, spec_of(opened.path, opened.info, kind))
    opened.restore_learner(learner, checkpoint)
    return learner.eval(), opened
