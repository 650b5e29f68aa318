"""What an optimizer keeps is in the checkpoint: runs go on from it, alone or beside others, and forks begin with it."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny import assert_equal, comparable, tiny

from rlgen import experiment
from rlgen.errors import UsageError
from rlgen.runs import checkpoint
from rlgen.runs.run import Run
from rlgen.speed import recorded

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adamw": {"optimizer": "adamw", "norm": "layer"},
    "rmsprop": {"optimizer": "rmsprop", "momentum": 0.5, "weight_decay": 0.1, "norm": "rms"},
    "sgd": {"optimizer": "sgd", "lr": 0.01},
    "momentum": {"optimizer": "sgd", "lr": 0.01, "momentum": 0.9, "init": "he"},
}


@pytest.fixture(autouse=True)
def _record_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_run_that_was_killed_ends_as_one_that_was_not(kind: str, tmp_path: Path) -> None:
    whole = experiment.start(small(kind, tmp_path, name="whole"), quiet=True)
    again = experiment.resume(killed(whole, "killed"), str(tmp_path), quiet=True)
    assert_equal(comparable(again.path), comparable(whole.path), "rows")
    assert_equal(again.load()["learner"], whole.load()["learner"])

    child = experiment.fork("whole", {"steps": 410, "lr": 1e-4}, str(tmp_path), "child", quiet=True)
    assert child.step >= 410
    with pytest.raises(UsageError, match="optimizer cannot change: the checkpoint holds the state of its optimizer"):
        experiment.fork("whole", {"optimizer": "adam"}, str(tmp_path), "other", quiet=True)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_seed_beside_others_keeps_a_state_of_its_own(kind: str, tmp_path: Path) -> None:
    runs = [run for run in experiment.start_seeds(small(kind, tmp_path, name="many"), range(2), quiet=True).values()]
    states = [run.load()["learner"]["_extra_state"]["optimizers"]["optimizer"]["state"] for run in runs]  # type: ignore[union-attr]
    one, two = ([*state.values()] for state in states)
    assert bool(one) == (kind != "sgd")
    for own, other in zip(one, two, strict=True):
        assert all((own[name] != other[name]).any() for name in own if name != "step")
    ends = [experiment.resume(killed(runs[1], name), str(tmp_path), quiet=True) for name in ("a", "b")]  # type: ignore[arg-type]
    assert_equal(*(run.load()["learner"] for run in ends))
