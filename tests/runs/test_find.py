import json
import os
import subprocess
import sys
import time

import pytest
from toy_runs import make_run

from rlgen.errors import UsageError
from rlgen.runs.find import find, find_group, list_runs


def test_find_by_name_directory_prefix_and_last(tmp_path):
    runs_dir = tmp_path / "runs"
    for name in ("pong-1", "pong-2", "cart"):
        make_run(tmp_path, name)
    assert find("pong-1", runs_dir) == runs_dir / "pong-1"
    assert find(str(runs_dir / "cart"), tmp_path) == runs_dir / "cart"
    assert find("ca", runs_dir) == runs_dir / "cart"
    future = time.time_ns() + 10**10
    (runs_dir / "pong-1" / "metrics.jsonl").write_text("")
    os.utime(runs_dir / "pong-1" / "metrics.jsonl", ns=(future, future))
    assert find("last", runs_dir) == runs_dir / "pong-1"
    with pytest.raises(UsageError, match="pong-1, pong-2"):
        find("pong", runs_dir)
    with pytest.raises(UsageError, match="did you mean pong-2"):
        find("ponk-2", runs_dir)
    for text in ("last", "x", ""):
        with pytest.raises(UsageError, match="no run"):
            find(text, tmp_path / "nothing")
    with pytest.raises(UsageError, match="no run ''"):
        find("", runs_dir)


def test_runs_are_listed_without_torch_and_whatever_is_in_them(tmp_path):
    assert list_runs(tmp_path / "nothing") == []
    run = make_run(tmp_path, "mine")
    (run.path / "metrics.jsonl").write_text('{"step": 5}\n{"step": 70}\n{"ste')
    (tmp_path / "runs" / "not-a-run").mkdir()
    make_run(tmp_path, "broken")
    (tmp_path / "runs" / "broken" / "config.json").write_text("{")
    rows = {row["name"]: row for row in list_runs(tmp_path / "runs")}
    assert rows.keys() == {"mine", "broken"}
    assert (rows["mine"]["step"], rows["mine"]["algo"], rows["mine"]["status"]) == (70, "dqn", "stopped")
    assert rows["broken"]["status"] == "damaged"
    json.dumps(list(rows.values()), allow_nan=False)
    code = (
        "import sys; from rlgen.runs.find import list_runs; print(len(list_runs(sys.argv[1]))); "
        "assert 'torch' not in sys.modules"
    )
    out = subprocess.run([sys.executable, "-c", code, tmp_path / "runs"], capture_output=True, text=True)
    assert out.stdout == "2\n", out.stderr


@pytest.mark.parametrize("folder", ["wandb", "studies"])
def test_folders_of_wandb_and_of_studies_among_the_runs_are_none_of_them(tmp_path, folder):
    """A shell makes `runs/*` of it and them: `rlgen compare runs/*` once stopped there."""
    run = make_run(tmp_path, "mine")
    (tmp_path / "runs" / folder).mkdir()
    words = sorted(map(str, (tmp_path / "runs").iterdir()))
    assert [path for word in words for path in find_group(word, tmp_path / "runs")] == [run.path]
    with pytest.raises(UsageError, match="no run"):
        find_group(folder, tmp_path / "runs")
