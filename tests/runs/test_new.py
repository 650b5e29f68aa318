import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from full_disk import FullDisk
from toy_runs import CONFIG, make_run, parts, quiet, save_at

from rlgen.errors import DiskError, UsageError
from rlgen.runs import checkpoint
from rlgen.runs.rows import read_metrics
from rlgen.runs.run import Run


@pytest.mark.parametrize("name", ["../x", "a/b", "..", ".hidden", "-flag", "", "x" * 81, "a\0b", "😀", "last", "a b"])
def test_bad_names_are_refused(tmp_path, name):
    with pytest.raises(UsageError, match="is not valid"):
        make_run(tmp_path, name)
    assert not (tmp_path / "runs").exists()


def test_taken_names_and_impossible_places_are_refused(tmp_path):
    make_run(tmp_path, "mine")
    with pytest.raises(UsageError, match="rlgen resume mine"):
        make_run(tmp_path, "mine")
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "runs", "/proc/runs"):
        with pytest.raises(UsageError, match="--runs-dir"):
            Run.create(place, "x", CONFIG)


def test_a_fork_goes_on_from_its_parent_with_other_options(tmp_path: Path) -> None:
    from rlgen import experiment
    from rlgen.commands import main
    from rlgen.runs.show import show

    options: dict[str, Any] = {"hidden": (8,), "rollout_steps": 64, "batch_size": 16, "num_envs": 2, "no_preset": True}
    options |= {"runs_dir": str(tmp_path), "wandb": "disabled", "device": "cpu", "eval_episodes": 2}
    options |= {"checkpoint_every": 128, "log_every": 64, "eval_every": 512}
    parent = experiment.train("ppo", name="parent", steps=512, quiet=True, **options)
    before = {path: path.read_bytes() for path in parent.path.rglob("*") if path.is_file()}
    argv = ["fork", "parent", "--name", "child", "--steps", "768", "--set", "lr=1e-5", "entropy-coef=0.1"]
    assert main([*argv, "--runs-dir", str(tmp_path)]) == 0
    child = Run.open(tmp_path / "child", steps=1000)
    assert child.info["parent"] == {"run": "parent", "step": 512, "wandb_id": parent.info["wandb_id"]}
    assert (child.config["lr"], child.config["entropy_coef"], child.saved) == (1e-5, 0.1, 768)
    rows, inherited = list(read_metrics(child.path)), list(read_metrics(parent.path))
    assert rows[: len(inherited)] == inherited and rows[-1]["step"] == 768
    assert show("child", str(tmp_path))["lineage"] == ["parent@512"]
    assert {path: path.read_bytes() for path in before if path.name != ".lock"} == {
        path: value for path, value in before.items() if path.name != ".lock"
    }
    for bad in (["--set", "lr=fast"], ["--set", "hidden=4"], ["--set", "speed=1"], [], ["--steps", "100"]):
        assert main(["fork", "parent", *bad, "--runs-dir", str(tmp_path)]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["child", "parent"]


def test_a_fork_whose_networks_do_not_fit_leaves_no_directory(tmp_path: Path) -> None:
    from rlgen import experiment
    from rlgen.commands import main

    options: dict[str, Any] = {"width": 8, "batch_size": 16, "runs_dir": str(tmp_path), "wandb": "disabled"}
    experiment.train("gan", name="parent", steps=64, no_preset=True, quiet=True, **options)
    assert main(["fork", "parent", "--steps", "96", "--set", "width=16", "--runs-dir", str(tmp_path)]) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["parent"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS])
def test_a_directory_that_could_not_be_filled_is_removed(tmp_path: Path, code: int) -> None:
    parent = make_run(tmp_path, "parent")
    checkpoint.save(parent.checkpoints, 10, {"step": 10})
    parent.step = 10
    (parent.path / "metrics.jsonl").write_text('{"step": 10}\n')
    runs = tmp_path / "runs"
    for kind in (None, parent):
        with FullDisk(runs) as disk:
            Run.create(runs, f"good-{kind is None}", CONFIG, parent=kind)
        for first in range(len(disk.calls)):
            with FullDisk(runs, first, code), pytest.raises(DiskError, match=os.strerror(code)) as caught:
                Run.create(runs, "new", CONFIG, parent=kind)
            assert str(caught.value).startswith(f"cannot write {runs}/new") and "\n" not in str(caught.value)
            assert sorted(path.name for path in runs.iterdir() if path.name[:4] != "good") == ["parent"]


def test_a_fork_of_a_run_that_removes_the_checkpoint_meanwhile_is_one_line_and_no_directory(tmp_path, monkeypatch):
    """Its parent trains on: what is copied file by file is renamed and removed in between."""
    parent, trained = make_run(tmp_path, "parent"), parts()
    save_at(parent, trained, quiet(parent), 10)
    copy, saved = shutil.copyfile, checkpoint.directory(parent.checkpoints, 10)

    def slowly(source, target):
        copy(source, target)
        if saved.exists():
            checkpoint.discard(saved)

    monkeypatch.setattr(shutil, "copyfile", slowly)
    with pytest.raises(UsageError, match=r"parent removed its checkpoint of step 10 .*fork again"):
        Run.create(tmp_path / "runs", "child", CONFIG, parent=parent)
    assert not (tmp_path / "runs" / "child").exists()
