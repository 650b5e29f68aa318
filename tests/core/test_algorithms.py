"""Every file found in agents/ and generative/ through the one loop: it learns, stops, and goes on as if it had not."""

import contextlib
import gc
import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from specs import spec_of
from tiny import ALGORITHMS, comparable, those, tiny

from rlgen import experiment, inference
from rlgen.core.buffer import Buffer
from rlgen.core.learner import Generative, Learner
from rlgen.data.images import ImageSpec
from rlgen.errors import UsageError
from rlgen.options import algorithms, config
from rlgen.runs.rows import read_metrics

STILL = {"r3gan": {"d.layers.7.bias"}}  # the constant of logits of which only differences count


def trainable(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: param.detach().clone() for name, param in learner.named_parameters() if param.requires_grad}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_it_learns_through_the_one_loop(name: str, tmp_path: Path) -> None:
    config = tiny(name, tmp_path)
    before, source, _ = experiment.build(config)
    source.close()
    run = experiment.start(config, quiet=True)
    after = inference.load(run.path)
    assert after.num_updates > 10
    moved = {key for key, value in trainable(after).items() if not torch.equal(value, trainable(before)[key])}
    assert moved == set(trainable(before)) - STILL.get(name, set()), "every trainable parameter moved"
    rows = list(read_metrics(run.path))
    values = [value for row in rows for value in row.values() if isinstance(value, float)]
    assert values and all(map(math.isfinite, values))
    assert rows[-1]["step"] >= 1200
    assert any(key.startswith("losses/") for row in rows for key in row)
    assert any(key.startswith("eval/") for row in rows for key in row)
    json.loads((run.path / "config.json").read_text())


IMAGES = ImageSpec((1, 8, 8), 3)
SEEN = [spec_of(Box(-1, 1, (4,))), spec_of(Box(0, 255, (40, 40, 3), np.uint8))]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_makes_other_networks_cannot_change_in_a_fork(name: str) -> None:
    """Each option, at another value or two: what a checkpoint holds has the same shapes, or the option is fixed."""
    kind = algorithms.load(name)
    known, hints = config.options(algorithms.find(name)), get_type_hints(kind.Config)
    checked = 0
    for spec in [IMAGES] if issubclass(kind, Generative) else SEEN:
        mine = shapes(kind, spec, {})
        for each in fields(kind.Config):
            for value in others(each.default, hints[each.name]) if not known[each.name].fixed else ():
                with contextlib.suppress(UsageError):  # it does not go with the rest
                    assert shapes(kind, spec, {each.name: value}) == mine, (each.name, value)
                    checked += 1
    assert checked >= 6


def shapes(kind: Any, spec: Any, options: dict[str, Any]) -> dict[str, torch.Size]:
    torch.manual_seed(0)
    state = kind(kind.Config(**options), spec).state_dict()
    return {name: value.shape for name, value in state.items() if isinstance(value, torch.Tensor)}


def others(value: Any, hint: Any) -> list[Any]:
    """Values of an option beside its default."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, (int, float)):
        return [type(value)(value * 2), value + 1] if isinstance(value, int) else [value / 2]
    if isinstance(value, tuple):
        return [(8, 8, 8)] if value and isinstance(value[0], int) else []
    return [each for each in get_args(hint) if each != value] if isinstance(value, str) else []


@pytest.mark.parametrize("name", those("dqn", "rainbow", "reinforce", "ppo", "gan", "vae"))
def test_seeds_differ_and_a_seed_repeats(name: str, tmp_path: Path) -> None:
    runs = [
        experiment.start(tiny(name, tmp_path, name=f"run{i}", seed=seed, steps=400), quiet=True)
        for i, seed in enumerate((1, 1, 2))
    ]
    rows = [comparable(run.path) for run in runs]
    assert rows[0] == rows[1]
    assert rows[0] != rows[2]


def test_a_generative_run_is_loaded_without_its_data_set(tmp_path: Path) -> None:
    """`rlgen sample` once asked for the training images."""
    images = tmp_path / "images.npz"
    np.savez(images, images=np.random.default_rng(0).integers(0, 255, (50, 8, 8, 1), dtype=np.uint8))
    experiment.start(tiny("vae", tmp_path, name="model", data=str(images), steps=100), quiet=True)
    images.unlink()
    assert inference.sample("model", 3, runs_dir=str(tmp_path)).shape == (3, 8, 8, 1)
    assert inference.load("model", str(tmp_path)).sample(2).shape == (2, 1, 8, 8)


def test_a_run_does_not_go_on_with_other_images_under_the_same_name(tmp_path: Path) -> None:
    images = tmp_path / "images.npz"
    for seed in (0, 1):
        np.savez(images, images=np.random.default_rng(seed).integers(0, 255, (50, 8, 8, 1), dtype=np.uint8))
        if seed == 0:
            experiment.start(tiny("vae", tmp_path, name="model", data=str(images), steps=100), quiet=True)
    with pytest.raises(UsageError, match="not the images that run model began with"):
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
    learner = inference.load(run.path)
    assert all(param.is_cuda for param in learner.parameters())
    assert learner.num_updates > 10
