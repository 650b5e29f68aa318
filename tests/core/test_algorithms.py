"""Every file found in agents/ and generative/ through the one loop: it learns, stops, and goes on as if it had not."""

import gc
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlgen import experiment
from rlgen.core.buffer import Buffer
from rlgen.core.learner import Learner
from rlgen.errors import UsageError
from rlgen.options import algorithms as registry
from rlgen.runs.rows import read_metrics
from rlgen.runs.run import Run

ALGORITHMS = sorted(registry.names())
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
}


def tiny(algo: str, runs_dir: Path, **more: Any) -> dict[str, Any]:
    """A resolved configuration of a run of a second or two."""
    from rlgen.options import config

    algorithm = registry.find(algo)
    options = config.options(algorithm)
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


def trainable(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: param.detach().clone() for name, param in learner.named_parameters() if param.requires_grad}


def comparable(path: Path) -> list[dict[str, Any]]:
    """The rows of a run, without what depends on the clock on the wall."""
    return [
        {key: value for key, value in row.items() if key not in ("time", "charts/SPS")}
        for row in read_metrics(path)
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


@pytest.mark.parametrize("name", ALGORITHMS)
def test_it_learns_through_the_one_loop(name: str, tmp_path: Path) -> None:
    config = tiny(name, tmp_path)
    before, source, _ = experiment.build(config)
    source.close()
    run = experiment.start(config, quiet=True)
    after = experiment.load(run.path)
    assert after.num_updates > 10
    moved = {key for key, value in trainable(after).items() if not torch.equal(value, trainable(before)[key])}
    assert moved == set(trainable(before)), "every trainable parameter moved"
    rows = list(read_metrics(run.path))
    values = [value for row in rows for value in row.values() if isinstance(value, float)]
    assert values and all(map(math.isfinite, values))
    assert rows[-1]["step"] >= 1200
    assert any(key.startswith("losses/") for row in rows for key in row)
    assert any(key.startswith("eval/") for row in rows for key in row)
    json.loads((run.path / "config.json").read_text())


@pytest.mark.parametrize("stop_at", [300, 777])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_resume_goes_on_as_if_never_stopped(
    name: str, stop_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at any step and resumed from its last checkpoint, a run ends bit for bit as one that was not."""
    whole = experiment.start(tiny(name, tmp_path, name="whole"), quiet=True)

    class KilledError(Exception):
        """Stands for kill -9: nothing is saved on the way out."""

    def kill(self: Run) -> None:
        if self.step >= stop_at:
            raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(Run, "raise_if_interrupted", kill)
        experiment.start(tiny(name, tmp_path, name="killed"), quiet=True)
    resumed = experiment.resume("killed", str(tmp_path), quiet=True)

    state, other = whole.load(), resumed.load()
    for part in ("step", "learner", "source", "buffer", "rng"):
        assert_equal(state[part], other[part], part)
    assert comparable(whole.path) == comparable(resumed.path)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_seeds_differ_and_a_seed_repeats(name: str, tmp_path: Path) -> None:
    runs_ = [
        experiment.start(tiny(name, tmp_path, name=f"run{i}", seed=seed, steps=400), quiet=True)
        for i, seed in enumerate((1, 1, 2))
    ]
    rows = [comparable(run.path) for run in runs_]
    assert rows[0] == rows[1]
    assert rows[0] != rows[2]


def test_a_generative_run_is_loaded_without_its_data_set(tmp_path: Path) -> None:
    """`rlgen sample` once asked for the training images."""
    images = tmp_path / "images.npz"
    np.savez(images, images=np.random.default_rng(0).integers(0, 255, (50, 8, 8, 1), dtype=np.uint8))
    experiment.start(tiny("vae", tmp_path, name="model", data=str(images), steps=100), quiet=True)
    images.unlink()
    assert experiment.sample("model", 3, runs_dir=str(tmp_path)).shape == (3, 8, 8, 1)
    assert experiment.load("model", str(tmp_path)).sample(2).shape == (2, 1, 8, 8)


def test_a_run_does_not_go_on_with_other_images_under_the_same_name(tmp_path: Path) -> None:
    images = tmp_path / "images.npz"
    for seed in (0, 1):
        np.savez(images, images=np.random.default_rng(seed).integers(0, 255, (50, 8, 8, 1), dtype=np.uint8))
        if seed == 0:
            experiment.start(tiny("vae", tmp_path, name="model", data=str(images), steps=100), quiet=True)
    with pytest.raises(UsageError, match="not the images that model began with"):
        experiment.resume("model", str(tmp_path), steps=200)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_its_state_holds_every_optimizer(name: str, tmp_path: Path) -> None:
    learner, source, buffer = experiment.build(tiny(name, tmp_path))
    assert isinstance(buffer, Buffer)
    source.close()
    optimizers = [value for value in vars(learner).values() if isinstance(value, torch.optim.Optimizer)]
    owned = {id(param) for opt in optimizers for group in opt.param_groups for param in group["params"]}
    assert owned == {id(param) for param in learner.parameters() if param.requires_grad}
    assert len(learner.state_dict()["_extra_state"]["optimizers"]) == len(optimizers) > 0


def test_a_run_that_has_ended_leaves_nothing_in_memory(tmp_path: Path) -> None:
    """Recorded steps hold their learner; frozen for good, the networks of every run in a notebook would stay."""

    def alive() -> int:
        gc.collect()
        return sum(issubclass(type(each), Buffer | Learner) for each in gc.get_objects())

    before = alive()
    for seed in (1, 2):
        experiment.start(tiny("dqn", tmp_path, seed=seed, steps=300), quiet=True)
    assert gc.get_freeze_count() == 0
    assert alive() <= before


@pytest.mark.gpu
@pytest.mark.parametrize("name", ALGORITHMS)
def test_it_learns_on_the_gpu(name: str, tmp_path: Path) -> None:
    run = experiment.start(tiny(name, tmp_path, device="cuda"), quiet=True)
    learner = experiment.load(run.path)
    assert all(param.is_cuda for param in learner.parameters())
    assert learner.num_updates > 10
