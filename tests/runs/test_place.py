"""A run whose directory is moved or removed while it trains stops; no half of it lies elsewhere."""

import json
import os
import shutil

import pytest
from tiny import assert_equal, comparable, tiny
from toy_runs import make_run, parts, quiet

from rlgen import experiment
from rlgen.core.loop import train
from rlgen.errors import DiskError, MovedRunError
from rlgen.files import write_whole
from rlgen.runs import checkpoint
from rlgen.runs.place import Place
from rlgen.runs.run import Run


def meddle(monkeypatch, step, act):
    """Do something once the run is at `step`."""
    due, done = Run.due, []

    def meddling(self, what, last_step):
        if self.step >= step and not done:
            done.append(act())
        return due(self, what, last_step)

    monkeypatch.setattr(Run, "due", meddling)


@pytest.mark.parametrize("algo", ["dqn", "vae"])
def test_a_moved_run_stops_where_it_is_now_and_goes_on_there(algo, tmp_path, monkeypatch):
    whole = experiment.start(tiny(algo, tmp_path, name="whole"), quiet=True)
    (tmp_path / "else").mkdir()
    with monkeypatch.context() as context:
        meddle(context, 500, lambda: os.rename(tmp_path / "mine", tmp_path / "else" / "new"))
        with pytest.raises(MovedRunError, match=r"moved to .*/else/new while .* go on with: rlgen resume .*/else/new"):
            experiment.start(tiny(algo, tmp_path, name="mine"), quiet=True)
    assert not (tmp_path / "mine").exists() and MovedRunError.exit_code == 6
    assert 500 <= Run.open(tmp_path / "else/new").saved <= 640
    assert json.loads((tmp_path / "else/new/summary.json").read_text())["step"] < 1200
    part = experiment.resume(str(tmp_path / "else/new"), quiet=True)
    assert_equal(comparable(part.path), comparable(whole.path))


@pytest.mark.parametrize("replaced", [False, True])
def test_a_removed_run_ends_and_what_took_its_name_is_left_alone(replaced, tmp_path, monkeypatch):
    path = tmp_path / "mine"

    def remove():
        shutil.rmtree(path)
        if replaced:
            path.mkdir()
            (path / "mine.txt").write_text("mine")

    meddle(monkeypatch, 500, remove)
    with pytest.raises(MovedRunError, match=r"directory of the run, .*mine, was removed while it trained"):
        experiment.start(tiny("ppo", tmp_path, name="mine"), quiet=True)
    assert path.exists() == replaced and (not replaced or [file.name for file in path.iterdir()] == ["mine.txt"])


def test_the_directory_above_may_be_moved_and_before_the_first_row(tmp_path, monkeypatch):
    run = make_run(tmp_path, "mine", steps=40)
    with pytest.raises(MovedRunError, match="moved/mine"), run.running():
        log = quiet(run)
        os.rename(tmp_path / "runs", tmp_path / "moved")
        train(*parts(), run, log)
    assert not (tmp_path / "runs").exists()
    assert (tmp_path / "moved/mine/metrics.jsonl").exists() and checkpoint.steps(tmp_path / "moved/mine/checkpoints")


@pytest.mark.parametrize("when", ["mkdir", "write"])
def test_a_move_in_the_middle_of_a_checkpoint(when, tmp_path, monkeypatch):
    run, trained = make_run(tmp_path, "mine"), parts()
    with run.running():
        run.step = 10
        run.save(*trained, quiet(run))
        original = checkpoint.made if when == "mkdir" else checkpoint.write_json

        def moving(*args):
            if run.path.name == "mine" and (tmp_path / "runs/mine").exists():
                os.rename(tmp_path / "runs/mine", tmp_path / "runs/new")
            return original(*args)

        monkeypatch.setattr(checkpoint, "made" if when == "mkdir" else "write_json", moving)
        run.step = 20
        run.save(*trained, quiet(run))
        with pytest.raises(MovedRunError, match="runs/new while it trained, saved at step 20"):
            run.raise_if_interrupted()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["new"]
    assert checkpoint.steps(tmp_path / "runs/new/checkpoints") == [10, 20]
    checkpoint.load(tmp_path / "runs/new/checkpoints", 20)


@pytest.mark.parametrize("name", ["checkpoints", "samples", "metrics.jsonl", "summary.json"])
def test_a_link_that_comes_while_it_trains_is_not_followed(name, tmp_path, monkeypatch):
    """Nothing of a run is written outside its directory, at any time."""
    own, other = tmp_path / "mine" / name, tmp_path / "else"

    def replace():
        other.mkdir()
        if own.exists():
            os.rename(own, other / name)
        elif "." not in name:
            (other / name).mkdir()
        own.symlink_to(other / name)
        found.extend(sorted(other.rglob("*")))

    found = []
    meddle(monkeypatch, 500, replace)
    with pytest.raises(DiskError, match=f"{name} is a link: a run writes only into its own directory; .* rlgen resume"):
        experiment.start(tiny("vae", tmp_path, name="mine"), quiet=True)
    assert sorted(other.rglob("*")) == found and own.is_symlink()
    own.unlink()
    if (other / name).exists():
        os.rename(other / name, own)
    experiment.resume(str(tmp_path / "mine"), quiet=True)


def test_another_working_directory_is_no_move(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Run.create("runs", "mine", make_run(tmp_path, "other").config)
    with run.running():
        (tmp_path / "else").mkdir()
        os.chdir(tmp_path / "else")
        assert not run.look() and not run.interrupted
        write_whole(run.path / "note.txt", "here")
    assert (tmp_path / "runs/mine/note.txt").exists() and not list((tmp_path / "else").iterdir())


def test_without_proc_a_moved_run_counts_as_removed(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    place = Place(tmp_path / "here")
    assert place.find(tmp_path / "here") == tmp_path / "here"
    os.rename(tmp_path / "here", tmp_path / "there")
    assert place.find(tmp_path / "here") == tmp_path / "there"
    monkeypatch.setattr(os, "readlink", lambda path: str(tmp_path / "nowhere"))
    with pytest.raises(MovedRunError):
        place.find(tmp_path / "here")
    place.close()


def test_a_full_disk_does_not_remove_what_took_the_name_of_a_new_run(tmp_path):
    run = make_run(tmp_path, "mine")
    with pytest.raises(MovedRunError), run.running():
        shutil.rmtree(run.path)
        run.path.mkdir()
        raise DiskError("cannot write")
    assert run.path.exists()
