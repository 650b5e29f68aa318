"""Optimizers are PyTorch's, and what they keep is in the checkpoint: runs go on from it, alone or beside others."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import assert_equal, comparable, tiny
from torch import nn

from rlgen import experiment
from rlgen.core.optimizer import OptimizerOptions, make_optimizer, state_names
from rlgen.errors import UsageError
from rlgen.runs import checkpoint
from rlgen.runs.run import Run
from rlgen.speed import recorded

ORACLES: dict[str, tuple[OptimizerOptions, Any]] = {
    "adam": (OptimizerOptions(), lambda params: torch.optim.Adam(params, lr=0.1)),
    "adam_decay": (
        OptimizerOptions(weight_decay=0.5),
        lambda params: torch.optim.Adam(params, lr=0.1, weight_decay=0.5),
    ),
    "adamw": (OptimizerOptions("adamw"), lambda params: torch.optim.AdamW(params, lr=0.1, weight_decay=0.01)),
    "adamw_decay": (
        OptimizerOptions("adamw", weight_decay=0.5),
        lambda params: torch.optim.AdamW(params, lr=0.1, weight_decay=0.5),
    ),
    "rmsprop": (OptimizerOptions("rmsprop"), lambda params: torch.optim.RMSprop(params, lr=0.1)),
    "rmsprop_momentum": (
        OptimizerOptions("rmsprop", momentum=0.9, weight_decay=0.5),
        lambda params: torch.optim.RMSprop(params, lr=0.1, momentum=0.9, weight_decay=0.5),
    ),
    "sgd": (OptimizerOptions("sgd"), lambda params: torch.optim.SGD(params, lr=0.1)),
    "sgd_momentum": (
        OptimizerOptions("sgd", momentum=0.9, weight_decay=0.5),
        lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9, weight_decay=0.5),
    ),
}


@pytest.mark.parametrize("kind", ORACLES)
def test_the_steps_are_those_of_pytorch(kind: str) -> None:
    options, oracle = ORACLES[kind]
    one, other = (nn.Parameter(torch.tensor([1.0, -2.0, 3.0])) for _ in range(2))
    ours, theirs = make_optimizer(options, [one], 0.1), oracle([other])
    for i in range(5):
        for param, optimizer in ((one, ours), (other, theirs)):
            param.grad = torch.tensor([0.1, 1.0, -1.0]) * (i + 1)
            optimizer.step()
    assert torch.allclose(one, other, atol=1e-6)
    assert set(state_names(ours)) == set(ours.state[one]) == set(theirs.state[other])


def test_adam_s_own_settings_reach_those_that_have_them() -> None:
    param = nn.Parameter(torch.zeros(3))
    for kind in ("adam", "adamw"):
        [group] = make_optimizer(OptimizerOptions(kind), [param], 0.1, eps=1e-5, betas=(0.0, 0.9)).param_groups
        assert (group["eps"], group["betas"]) == (1e-5, (0.0, 0.9))
    [group] = make_optimizer(OptimizerOptions("rmsprop"), [param], 0.1, eps=1e-5, betas=(0.0, 0.9)).param_groups
    assert group["eps"] == 1e-5
    make_optimizer(OptimizerOptions("sgd"), [param], 0.1, eps=1e-5, betas=(0.0, 0.9))


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_momentum_that_would_do_nothing_is_refused(kind: Any) -> None:
    with pytest.raises(UsageError, match=rf"--momentum 0.9 with --optimizer {kind}: it is of rmsprop and sgd"):
        make_optimizer(OptimizerOptions(kind, momentum=0.9), [nn.Parameter(torch.zeros(3))], 0.1)


def test_of_other_optimizers_no_names_are_known() -> None:
    param = nn.Parameter(torch.zeros(3))
    assert state_names(torch.optim.Adamax([param])) == ()
    assert state_names(torch.optim.SGD([param], lr=0.1)) == ()


OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adamw": {"optimizer": "adamw", "norm": "layer"},
    "rmsprop": {"optimizer": "rmsprop", "momentum": 0.5, "weight_decay": 0.1, "norm": "rms"},
    "sgd": {"optimizer": "sgd", "lr": 0.01},
    "momentum": {"optimizer": "sgd", "lr": 0.01, "momentum": 0.9, "init": "he"},
}


def with_others_slow(kind: str) -> list[Any]:
    """All of them, of which one is always tested."""
    return [kind, *(pytest.param(other, marks=pytest.mark.slow) for other in OPTIMIZERS if other != kind)]


@pytest.fixture
def record_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "MIN_UPDATES_LEFT", 0)


def small(kind: str, folder: Path, **more: Any) -> dict[str, Any]:
    sizes = {"steps": 400, "log_every": 50, "eval_every": 200, "checkpoint_every": 100, "keep": 100, "eval_episodes": 1}
    return tiny("dqn", folder, **sizes | OPTIMIZERS[kind] | more)


def killed(whole: Run, name: str) -> str:
    """What it left after the checkpoint in its middle: rows beyond it are already written."""
    path = whole.path.with_name(name)
    shutil.copytree(whole.path, path)
    for step in checkpoint.steps(path / "checkpoints"):
        if step > 250:
            shutil.rmtree(checkpoint.directory(path / "checkpoints", step))
    return name


@pytest.mark.usefixtures("record_at_once")
@pytest.mark.parametrize("kind", with_others_slow("rmsprop"))
def test_a_run_that_was_killed_ends_as_one_that_was_not(kind: str, tmp_path: Path) -> None:
    whole = experiment.start(small(kind, tmp_path, name="whole"), quiet=True)
    again = experiment.resume(killed(whole, "killed"), str(tmp_path), quiet=True)
    assert_equal(comparable(again.path), comparable(whole.path), "rows")
    assert_equal(again.load()["learner"], whole.load()["learner"])

    child = experiment.fork("whole", {"steps": 410, "lr": 1e-4}, str(tmp_path), "child", quiet=True)
    assert child.step >= 410
    with pytest.raises(UsageError, match="optimizer cannot change: the checkpoint holds the state of its optimizer"):
        experiment.fork("whole", {"optimizer": "adam"}, str(tmp_path), "other", quiet=True)


@pytest.mark.usefixtures("record_at_once")
@pytest.mark.parametrize("kind", with_others_slow("momentum"))
def test_a_seed_beside_others_keeps_a_state_of_its_own(kind: str, tmp_path: Path) -> None:
    runs = [run for run in experiment.start_seeds(small(kind, tmp_path, name="many"), range(2), quiet=True).values()]
    states = [run.load()["learner"]["_extra_state"]["optimizers"]["optimizer"]["state"] for run in runs]  # type: ignore[union-attr]
    one, two = ([*state.values()] for state in states)
    assert bool(one) == (kind != "sgd")
    for own, other in zip(one, two, strict=True):
        assert all((own[name] != other[name]).any() for name in own if name != "step")
    ends = [experiment.resume(killed(runs[1], name), str(tmp_path), quiet=True) for name in ("a", "b")]  # type: ignore[arg-type]
    assert_equal(*(run.load()["learner"] for run in ends))
