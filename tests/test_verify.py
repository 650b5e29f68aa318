"""A run is repeated bit for bit, and what was not is said with where and why."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import comparable, those, tiny

from rlgen import experiment
from rlgen.commands import main
from rlgen.errors import UsageError
from rlgen.runs import rows
from rlgen.runs.rows import read_metrics
from rlgen.runs.run import Run
from rlgen.verify import verify

SHORT = {"steps": 600, "log_every": 50, "eval_every": 300, "checkpoint_every": 300}


def trained(algo: str, folder: Path, **more: Any) -> Run:
    return experiment.start(tiny(algo, folder, name="mine", **(SHORT | more)), quiet=True)


def edit(path: Path, old: str, new: str) -> None:
    text = (path / "metrics.jsonl").read_text()
    assert old in text
    (path / "metrics.jsonl").write_text(text.replace(old, new))


@pytest.mark.parametrize("algo", those("dqn", "ppo", "gan", "rainbow"))
def test_every_algorithm_repeats_its_rows_and_weights(algo: str, tmp_path: Path) -> None:
    run = trained(algo, tmp_path)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    found = verify("mine", str(tmp_path), steps=run.step)
    assert found["differs"] is None and found["problems"] == [] and found["since"] == {}
    assert (found["rows"], found["steps"]) == (len(comparable(run.path)), run.step)
    assert found["weights"] == len(rows.digests(run.path)) >= 2
    assert sorted(path.name for path in tmp_path.rglob("*")) == before, "it leaves nothing"


def test_by_default_it_goes_to_the_first_checkpoint_after_something_was_learned(tmp_path: Path) -> None:
    late = {"learning_starts": 350, "checkpoint_every": 100}
    trained("dqn", tmp_path, vectorization="sync", num_envs=1, **late)
    assert verify("mine", str(tmp_path))["steps"] == 400


def test_by_default_it_goes_to_the_first_checkpoint(tmp_path: Path) -> None:
    run = trained("dqn", tmp_path, vectorization="sync", num_envs=1)
    found = verify("mine", str(tmp_path))
    assert (found["steps"], found["weights"]) == (300, 1)
    assert found["rows"] == sum(row["step"] <= 300 for row in read_metrics(run.path)) > 3


def test_the_first_difference_is_named_with_both_values_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained("dqn", tmp_path, vectorization="sync", num_envs=1)
    row = next(row for row in read_metrics(run.path) if row["step"] == 200)
    value = row["losses/td_loss"]
    edit(run.path, json.dumps(value), "0.5")
    assert main(["verify", "mine", "--runs-dir", str(tmp_path), "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["differs"] == {"step": 200, "name": "losses/td_loss", "then": 0.5, "now": value}
    assert f"losses/td_loss at step 200 was 0.5, now it is {value}; versions and machine are the same" in err
    assert err.count("\n") == 1


def test_other_weights_under_the_same_rows_are_found(tmp_path: Path) -> None:
    run = trained("vae", tmp_path)
    step, digest = min(rows.digests(run.path).items())
    edit(run.path, digest, "0" * 64)
    differs = verify("mine", str(tmp_path))["differs"]
    assert differs == {"step": step, "name": "digest of weights", "then": "0" * 64, "now": digest}


def test_what_is_another_version_or_machine_is_said(tmp_path: Path) -> None:
    run = trained("dqn", tmp_path, vectorization="sync", num_envs=1)
    info = json.loads((run.path / "config.json").read_text())
    info["versions"]["torch"], info["hardware"]["host"] = "1.0", "elsewhere"
    (run.path / "config.json").write_text(json.dumps(info))
    edit(run.path, '"weights": "', '"weights": "0')
    found = verify("mine", str(tmp_path))
    assert found["since"]["versions.torch"][0] == "1.0" and found["since"].keys() == {"versions.torch", "hardware.host"}
    assert "since then other: versions.torch, hardware.host" in found["problems"][0]


def test_a_run_of_before_has_rows_alone(tmp_path: Path) -> None:
    run = trained("dqn", tmp_path, vectorization="sync", num_envs=1)
    lines = (run.path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run.path / "metrics.jsonl").write_text("".join(line for line in lines if '"weights"' not in line))
    found = verify("mine", str(tmp_path))
    assert (found["weights"], found["differs"], found["steps"]) == (0, None, 300) and found["rows"] > 3


def test_seeds_trained_together_are_repeated_together(tmp_path: Path) -> None:
    experiment.start_seeds(tiny("ppo", tmp_path, name="many", **SHORT), range(2, 4), quiet=True)
    found = verify("many-3", str(tmp_path), steps=600)
    assert found["differs"] is None and found["weights"] >= 2


def test_a_run_that_was_extended_is_repeated_as_it_was_before(tmp_path: Path) -> None:
    run = trained("dqn", tmp_path, vectorization="sync", num_envs=1)
    experiment.resume("mine", str(tmp_path), steps=900, quiet=True)
    found = verify("mine", str(tmp_path), steps=600)
    assert found["differs"] is None and found["weights"] >= 2
    with pytest.raises(UsageError, match="--steps 601 is beyond step 600"):
        verify(str(run.path), steps=601)


def test_a_resumed_run_is_repeated_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class KilledError(Exception):
        pass

    def kill(self: Run) -> None:
        if self.step >= 400:
            raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(Run, "raise_if_interrupted", kill)
        trained("dqn", tmp_path, vectorization="sync", num_envs=2)
    experiment.resume("mine", str(tmp_path), quiet=True)
    assert verify("mine", str(tmp_path), steps=600)["differs"] is None


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    trained("dqn", tmp_path, vectorization="sync", num_envs=1)
    experiment.fork("mine", {"steps": 700}, str(tmp_path), "forked", quiet=True)
    with pytest.raises(UsageError, match="began with the state of mine"):
        verify("forked", str(tmp_path))
    (tmp_path / "mine/metrics.jsonl").unlink()
    with pytest.raises(UsageError, match="no rows"):
        verify("mine", str(tmp_path))


def test_digests_are_no_rows_of_metrics(tmp_path: Path) -> None:
    run = trained("vae", tmp_path)
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert sum("weights" in line for line in lines) == len(rows.digests(run.path)) > 0
    assert all(len(row) > 2 and "weights" not in row for row in read_metrics(run.path))
    assert torch.is_tensor(run.load()["learner"]["_extra_state"]["generator"])
