"""`rlgen resume` of a run that has nothing left to do."""

from pathlib import Path


def files(path):
    """Every file with its bytes and its time."""
    return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in path.rglob("*") if file.is_file()}


def test_a_finished_run_is_said_to_be_finished_and_left_as_it_is(rlgen, trained):
    path = Path(trained, "model")
    before = files(path)
    code, out, err = rlgen("resume", "model", "--runs-dir", trained)
    assert (code, err) == (0, "") and files(path) == before
    assert out == f"run model is finished, at step 512 of 512; to go on: rlgen resume {path} --steps 1024\n"
