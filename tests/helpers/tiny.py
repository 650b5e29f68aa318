"""Runs of a second or two of every algorithm, and what of two runs must be equal."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from rlgen import experiment
from rlgen.options import algorithms, config
from rlgen.runs import checkpoint
from rlgen.runs.rows import read_metrics
from rlgen.runs.run import Run

ALGORITHMS = sorted(algorithms.names())
TINY = {  # options an algorithm has get these values; it keeps its defaults for the rest
    "batch_size": 16,
    "learning_starts": 64,
    "buffer_size": 500,
    "target_every": 50,
    "rollout_steps": 32,
    "hidden": (32,),
    "width": 8,
    "num_epochs": 2,
    "nll_samples": 4,
    "eval_episodes": 3,
    "eval_samples": 150,
}
GAMES: dict[str, dict[str, Any]] = {  # of `gan`: every loss, and every other option at least once
    "hinge": {"loss": "hinge", "spectral_norm": True, "conditional": True},
    "least_squares": {"loss": "least_squares", "diff_augment": ["color", "translation", "cutout"]},
    "wasserstein": {"loss": "wasserstein", "r1_gamma": 0, "gp_weight": 10, "n_critic": 2, "architecture": "resnet"},
    "relativistic": {"loss": "relativistic", "r2_gamma": 1, "pack": 2},
    "residual": {"loss": "relativistic", "architecture": "resnet", "conditional": True, "spectral_norm": True},
}


def those(*names: str) -> list[Any]:
    """Every algorithm, for a test that takes long: all but these are slow."""
    return [pytest.param(name, marks=[pytest.mark.slow] * (name not in names)) for name in ALGORITHMS]


def tiny(algo: str, runs_dir: Path, **more: Any) -> dict[str, Any]:
    """A resolved configuration of a run of a second or two."""
    options = config.options(algorithms.find(algo))
    given = {key: value for key, value in TINY.items() if key in options}
    given |= {
        "steps": 1200,
        "runs_dir": str(runs_dir),
        "wandb": "disabled",
        "no_preset": True,
        "device": "cpu",
        "threads": 1,
    }
    given |= {"log_every": 100, "eval_every": 400, "checkpoint_every": 300} | more
    return config.resolve(algo, given).config


def assert_resumed_equal(whole: Run, step: int) -> None:
    """A copy of the run that goes on from its checkpoint at `step` ends as the run did, bit for bit."""
    half = whole.path.with_name("half")
    shutil.copytree(whole.path, half)
    for later in checkpoint.steps(half / "checkpoints"):
        if later > step:
            shutil.rmtree(checkpoint.directory(half / "checkpoints", later))
    resumed = experiment.resume("half", str(half.parent), quiet=True)
    assert_equal(comparable(resumed.path), comparable(whole.path), "rows")
    for part in ("learner", "source", "buffer"):
        assert_equal(resumed.load()[part], whole.load()[part], part)


def comparable(path: Path) -> list[dict[str, Any]]:
    """The rows of a run, without what depends on the clock on the wall."""
    return [
        {key: value for key, value in row.items() if key not in ("time", "charts/SPS")} for row in read_metrics(path)
    ]


def assert_equal(one: Any, other: Any, where: str = "state") -> None:
    """The same numbers, bit for bit, all the way down."""
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_equal(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_equal(a, b, f"{where}[{i}]")
    else:
        assert one == other or (one != one and other != other), where
