import os

import pytest
from toy_runs import make_run

from rlgen.errors import UsageError
from rlgen.runs.find import list_runs
from rlgen.runs.lock import hold, is_held
from rlgen.runs.run import Run


def test_a_second_process_on_a_run_is_refused_and_told_the_first(tmp_path):
    run = make_run(tmp_path, "mine")
    with run.running():
        assert list_runs(tmp_path / "runs")[0]["status"] == "running"
        with pytest.raises(UsageError, match=f"in use by process {os.getpid()} on"), Run.open(run.path).running():
            pass
    assert list_runs(tmp_path / "runs")[0]["status"] == "stopped"
    with run.running():
        pass


def test_a_lock_that_is_a_link_empties_no_other_file_and_a_pipe_holds_nobody_up(tmp_path):
    (tmp_path / "precious").write_text("here")
    (tmp_path / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(UsageError, match="is a link"), hold(tmp_path):
        pass
    assert (tmp_path / "precious").read_text() == "here"
    (tmp_path / ".lock").unlink()
    os.mkfifo(tmp_path / ".lock")
    assert is_held(tmp_path) is False
