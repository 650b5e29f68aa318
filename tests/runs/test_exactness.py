"""How exactly a run goes on is noted and said, and holds."""

import json
from pathlib import Path

import pytest
from tiny import tiny

from rlgen import experiment
from rlgen.runs.exactness import LEVELS
from rlgen.runs.run import Run
from rlgen.runs.show import show

SMALL = {"steps": 300, "num_envs": 2, "eval_every": 300, "eval_episodes": 1}


def noted(path: Path) -> list[str]:
    """The level in config.json, the newest manifest, the summary, and what `rlgen show` has."""
    manifest = json.loads(max(path.glob("checkpoints/step_*/manifest.json")).read_text())
    info, summary = (json.loads((path / name).read_text()) for name in ("config.json", "summary.json"))
    shown = show(path.name, str(path.parent))["resume"]
    assert shown == info["resume"] and shown["means"] == LEVELS[shown["level"]]
    return [info["resume"]["level"], manifest["resume"], summary["resume"]]


@pytest.mark.parametrize(
    ("algo", "options", "level"),
    [
        ("vae", {"steps": 300}, "exact"),
        ("dqn", SMALL | {"vectorization": "native"}, "exact"),
        ("dqn", SMALL | {"vectorization": "sync"}, "tried exact"),
        ("dqn", SMALL | {"env": "leaky:StickyActions-v0"}, "approximate"),
    ],
)
def test_the_level_stands_in_the_run_and_is_said(
    algo: str, options: dict, level: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = experiment.start(tiny(algo, tmp_path, name="mine", **options))
    begun = capsys.readouterr()
    assert noted(run.path) == [level] * 3
    assert (f"resume │ {level}" in " ".join(begun.out.split())) == (level != "exact")
    said = "a resume will be approximate (its reset(seed) keeps traces of the past"
    assert (said in begun.err) == (level == "approximate")
    experiment.resume("mine", str(tmp_path), steps=400)
    resumed = capsys.readouterr().err
    assert f"mine goes on at step {run.step}, {level}" in resumed and LEVELS[level] in resumed
    experiment.resume("mine", str(tmp_path), steps=500, quiet=True)
    assert ("goes on at" in capsys.readouterr().err) == (level == "approximate")


def test_a_source_that_did_not_go_back_is_said_whatever_was_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment.start(tiny("dqn", tmp_path, name="mine", vectorization="sync", **SMALL), quiet=True)
    monkeypatch.setattr("rlgen.envs.stream.EnvStream._repeat_actions", lambda *args: False)
    experiment.resume("mine", str(tmp_path), steps=400, quiet=True)
    assert "approximate (its environments did not come to where they were" in capsys.readouterr().err


def test_seeds_trained_together_do_not_promise_what_one_alone_cannot_keep(tmp_path: Path) -> None:
    runs = experiment.start_seeds(
        tiny("dqn", tmp_path, name="many", vectorization="sync", **SMALL), range(2), quiet=True
    )
    for run in runs.values():
        assert isinstance(run, Run)
        assert noted(run.path) == ["approximate"] * 3
    alone = experiment.start_seeds(
        tiny("dqn", tmp_path, name="one", vectorization="sync", **SMALL), range(1), quiet=True
    )
    assert isinstance(alone[0], Run)
    assert noted(alone[0].path) == ["tried exact"] * 3
