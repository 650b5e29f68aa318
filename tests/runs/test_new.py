import contextlib
import errno
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from full_disk import FullDisk
from toy_runs import CONFIG, make_run, parts, quiet, save_at

from rlgen.errors import DiskError, UsageError
from rlgen.runs import checkpoint, lock, new
from rlgen.runs.find import directories
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


def test_of_two_that_begin_at_once_the_later_is_told_who_trains(tmp_path, monkeypatch):
    """As when a job that is queued again is started twice: both saw that there was no such run."""
    begun = "run mine is in use by process"
    with make_run(tmp_path, "mine").running(), pytest.raises(UsageError, match=f"{begun} {os.getpid()} on ") as caught:
        make_run(tmp_path, "mine")
    assert "resume" not in str(caught.value)

    def first(_):  # the other one is there between the look and the rename
        held.enter_context(lock.hold(Path(shutil.copytree(tmp_path / "runs/mine", tmp_path / "runs/other"))))
        return False

    with contextlib.ExitStack() as held:
        monkeypatch.setattr(new.os.path, "lexists", first)
        with pytest.raises(UsageError, match="run other is in use by process"):
            make_run(tmp_path, "other")


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
    """As where another version made them, or config.json was changed by hand."""
    from rlgen import experiment
    from rlgen.commands import main

    options: dict[str, Any] = {"width": 8, "batch_size": 16, "runs_dir": str(tmp_path), "wandb": "disabled"}
    parent = experiment.train("gan", name="parent", steps=64, no_preset=True, quiet=True, **options)
    info = json.loads((parent.path / "config.json").read_text())
    info["config"]["width"] = 16
    (parent.path / "config.json").write_text(json.dumps(info))
    assert main(["fork", "parent", "--steps", "96", "--runs-dir", str(tmp_path)]) == 4
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
    copy, saved = new.copy_file, checkpoint.directory(parent.checkpoints, 10)

    def slowly(source, target):
        copy(source, target)
        if saved.exists():
            checkpoint.discard(saved)

    monkeypatch.setattr(new, "copy_file", slowly)
    with pytest.raises(UsageError, match=r"parent removed its checkpoint of step 10 .*fork again"):
        Run.create(tmp_path / "runs", "child", CONFIG, parent=parent)
    assert not (tmp_path / "runs" / "child").exists()


@pytest.mark.parametrize("forked", [False, True])
def test_killed_while_it_is_made_a_run_is_whole_or_not_there_and_its_name_stays_free(tmp_path, monkeypatch, forked):
    """A queued job that was killed between making the directory and writing config.json could never begin again."""
    parent = make_run(tmp_path, "parent")
    checkpoint.save(parent.checkpoints, 10, {"step": 10})
    parent.step, kind, runs = 10, parent if forked else None, tmp_path / "runs"
    writes = FullDisk(runs)
    with writes:
        Run.create(runs, "first", CONFIG, parent=kind)
    for call in range(len(writes.calls)):
        with monkeypatch.context() as dead, pytest.raises(DiskError), FullDisk(runs, call):
            dead.setattr(shutil, "rmtree", lambda *args, **kwargs: None)  # nobody tidies up
            Run.create(runs, f"killed-{call}", CONFIG, parent=kind)
        assert f"killed-{call}" not in [path.name for path in directories(runs)]
        assert Run.open(Run.create(runs, f"killed-{call}", CONFIG, parent=kind).path).name == f"killed-{call}"
    (runs / "empty").mkdir()  # as an older version left it
    assert Run.create(runs, "empty", CONFIG).path == runs / "empty"
    assert {path.name for path in directories(runs)} == {path.name for path in runs.iterdir() if path.name[0] != "."}


def test_what_a_process_left_that_was_killed_long_ago_is_removed(tmp_path):
    runs = tmp_path / "runs"
    for age, name in ((0, ".tmp-1-mine"), (7200, ".tmp-2-mine"), (7200, ".tmp-2-other")):
        (runs / name).mkdir(parents=True)
        os.utime(runs / name, (time.time() - age,) * 2)
    make_run(tmp_path, "mine")
    assert sorted(path.name for path in runs.iterdir()) == [".tmp-1-mine", ".tmp-2-other", "mine"]


def test_of_two_that_make_the_same_run_at_once_one_is_told(tmp_path):
    with pytest.raises(UsageError, match="run mine exists"), new.directory(tmp_path / "mine") as one:
        (one / "config.json").write_text("{}")
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "config.json").write_text("of the other")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
