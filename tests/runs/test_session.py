"""A whole run on a disk that is full from some call on: one line, exit code 6, and what was saved stays."""

import contextlib
import errno
import os

import pytest
from full_disk import CODES, FullDisk, largest_file
from toy_runs import Counter, make_run, parts

from rlgen import experiment
from rlgen.errors import DiskError, InterruptedRunError, UsageError
from rlgen.runs import about, checkpoint
from rlgen.runs.find import list_runs
from rlgen.runs.rows import read_metrics
from rlgen.runs.run import Run


def train(folder):
    run = make_run(folder, "mine", steps=40, log_every=10, eval_every=20, checkpoint_every=20, wandb="disabled")
    experiment.run_to_end(run, *parts(), quiet=True)


def what_is_left(folder):
    """The steps saved and the rows written of a run that a full disk ended; nothing is half-written."""
    path = folder / "runs" / "mine"
    assert not list(folder.rglob(".tmp-*"))
    saved = checkpoint.steps(path / "checkpoints")
    assert all(checkpoint.load(path / "checkpoints", step) for step in saved)
    return saved, [row["step"] for row in read_metrics(path)]


def check_the_end(folder, message):
    saved, written = what_is_left(folder)
    assert message.count("\n") == 0 and message.startswith("cannot write "), message
    assert (folder / "runs" / "mine").exists() == bool(saved or written), "one that has nothing is removed"
    if (folder / "runs" / "mine").exists():
        assert message.endswith(f"then: rlgen resume {folder}/runs/mine" if saved else ", then train again"), message


def test_a_disk_that_is_full_from_any_call_on_ends_the_run_with_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "few_collections", contextlib.nullcontext)  # half of the time of so short a run
    monkeypatch.setattr(about, "git_commit", lambda: None)
    (tmp_path / "good").mkdir()
    with FullDisk(tmp_path) as disk:
        train(tmp_path / "good")
    assert what_is_left(tmp_path / "good") == ([20, 40], [10, 20, 20, 30, 40, 40]) and len(disk.calls) > 40
    for first in range(0, len(disk.calls), 2):
        folder = tmp_path / str(first)
        folder.mkdir()
        code = CODES[first % len(CODES)]
        with FullDisk(folder, first, code), pytest.raises(DiskError, match=os.strerror(code)) as caught:
            train(folder)
            pytest.fail(f"not ended by {disk.calls[first]}")
        check_the_end(folder, str(caught.value))


@pytest.mark.parametrize("size", [0, 10, 100, 500, 1000, 2000, 3000, 4000])
def test_a_disk_that_takes_a_part_ends_the_run_with_one_line(tmp_path, size):
    with largest_file(size), pytest.raises(DiskError, match="File too large") as caught:
        train(tmp_path)
    check_the_end(tmp_path, str(caught.value))


class Failing(Counter):
    """A source whose third turn fails."""

    def fill(self, buffer, learner):
        if self.count == 3:
            raise ValueError(f"cannot log in with {os.environ.get('MY_TOKEN')}\nand more")
        return super().fill(buffer, learner)


def test_what_ends_a_run_is_whole_in_error_txt_without_secrets_until_it_ends_well(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "abc-def-123")
    run = make_run(tmp_path, "mine", steps=40, log_every=2, eval_every=20, checkpoint_every=2, wandb="disabled")
    learner, _, buffer = parts()
    with pytest.raises(ValueError, match="abc-def-123") as caught:
        experiment.run_to_end(run, learner, Failing(), buffer, quiet=True)
    file = run.path / "error.txt"
    assert caught.value.__notes__ == [f"the whole traceback is in {file}"]
    text = file.read_text()
    assert text.startswith("Traceback (most recent call last):") and "in fill\n" in text
    assert text.endswith("ValueError: cannot log in with ***\nand more\n")
    with pytest.raises(UsageError), Run.open(run.path).running():
        raise UsageError("this as well")
    assert "UsageError: this as well" in file.read_text(), "the last one"
    with pytest.raises(UsageError, match="in use"), run.running(), Run.open(run.path).running():
        pass
    assert "in use" in file.read_text(), "of the session that trained; the other wrote nothing"
    experiment.run_to_end(Run.open(run.path), *parts(), quiet=True, restore=True)
    assert not file.exists() and list_runs(tmp_path / "runs")[0]["status"] == "finished"


def test_a_session_that_does_not_get_the_lock_writes_nothing(tmp_path):
    run = make_run(tmp_path, "mine")
    with run.running():
        with pytest.raises(UsageError, match="in use"), Run.open(run.path).running():
            pass
        assert not (run.path / "error.txt").exists()


def test_an_interrupted_run_has_no_error(tmp_path):
    run = make_run(tmp_path, "mine")
    with pytest.raises(InterruptedRunError), run.running():
        raise InterruptedRunError("stopped", 15)
    with pytest.raises(KeyboardInterrupt), run.running():
        raise KeyboardInterrupt
    assert not (run.path / "error.txt").exists()


def test_a_lock_that_cannot_be_written_is_a_disk_error_and_the_run_stays(tmp_path):
    run = make_run(tmp_path, "mine")
    run = Run.open(run.path)
    for code in CODES:  # EACCES: it is another user's
        refused = pytest.raises(DiskError, match=rf"mine/\.lock: {os.strerror(code)}")
        with FullDisk(run.path, 0, code), refused, run.running():
            pass
    with largest_file(0), pytest.raises(DiskError, match=r"mine/\.lock: File too large"), run.running():
        pass  # it opens, and is full when it is written
    assert [row["status"] for row in list_runs(tmp_path / "runs")] == ["stopped"]


def test_a_resume_that_cannot_write_takes_nothing_away(tmp_path):
    run = make_run(tmp_path, "mine", wandb="disabled")
    with FullDisk(run.path, 1, errno.EROFS), pytest.raises(DiskError, match="then train again"):
        experiment.run_to_end(Run.open(run.path), *parts(), quiet=True)
    assert (run.path / "config.json").exists()
