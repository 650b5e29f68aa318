import sys
from pathlib import Path

from fake_wandb import FakeWandb, finished

from rlgen.runs import checkpoint, wandb_artifacts
from rlgen.runs.files import digest


def test_checkpoints_weights_and_code_are_artifacts_that_name_their_parent(run, fake):
    module = fake()
    finished(run, parent="older")
    made = {args: options["metadata"] for name, args, options in module.calls if name == "Artifact"}
    assert list(made) == [("rlgen-code", "code"), ("mine-checkpoint", "checkpoint"), ("mine-weights", "model")]
    weights = made["mine-weights", "model"]
    sha256 = digest(run.path / "weights.safetensors")["sha256"]
    assert weights == {"step": 1000, "sha256": sha256, "run": "mine", "algo": "dqn", "parent": "older"}
    aliases = [options["aliases"] for name, _, options in module.calls if name == "log_artifact"]
    assert aliases[1:] == [["latest", "step-500", "best"], ["latest", "step-1000", "last"], ["latest", "step-1000"]]
    files = {options["name"]: args[0] for name, args, options in module.calls if name == "add_file"}
    assert {"rlgen/runs/wandb_sink.py", "state.pt", "manifest.json", "weights.safetensors"} <= files.keys()
    checkpoint.discard(checkpoint.directory(run.checkpoints, 1000))
    assert Path(files["state.pt"]).is_file(), "pruning does not take from wandb what is not uploaded yet"
    [config] = [options["config"] for name, _, options in module.calls if name == "init"]
    assert config["parent"] == "older" and config["git_commit"] == run.info["git_commit"]


def test_artifacts_that_fail_or_are_too_large_cost_no_row(run, fake, monkeypatch, capsys):
    module = fake()
    monkeypatch.setattr(wandb_artifacts, "MAX_BYTES", 10)
    finished(run)
    assert "Artifact" not in {name for name, *_ in module.calls}
    assert capsys.readouterr().err.count("wandb is not sent mine-checkpoint") == 2
    monkeypatch.undo()
    monkeypatch.setattr(wandb_artifacts.Artifacts, "send_code", lambda self: None)
    module = FakeWandb(run.path, "Artifact")
    monkeypatch.setitem(sys.modules, "wandb", module)
    finished(run)
    assert capsys.readouterr().err.count("warning: wandb has not all results") == 1
    assert module.calls[-1] == ("finish", (), {"exit_code": 0})


def test_a_checkpoint_goes_to_wandb_with_its_segments(run, fake, monkeypatch):
    module, name = fake(), "a" * 64
    finished(run)
    (run.checkpoints / "segments").mkdir()
    (run.checkpoints / "segments" / name).write_bytes(b"rows")
    monkeypatch.setattr(checkpoint, "segments_of", lambda path: {name: 4})
    module = fake()
    finished(run)
    files = {options["name"] for call, _, options in module.calls if call == "add_file"}
    assert {"state.pt", "manifest.json", f"segments/{name}"} <= files
