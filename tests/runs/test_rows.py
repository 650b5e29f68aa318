import json

import pytest

from rlgen.errors import UsageError
from rlgen.runs.rows import read_metrics, truncate


def test_metrics_are_read_without_a_torn_last_line_and_cut_at_a_step(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": step, "a": "NaN" if step == 2 else step}) for step in (1, 2, 2, 3)]
    path.write_text("\n".join(lines) + '\n{"step": 4, "a')
    rows = list(read_metrics(tmp_path))
    assert [row["step"] for row in rows] == [1, 2, 2, 3] and rows[1]["a"] != rows[1]["a"]
    truncate(path, 2)
    assert path.read_text() == "\n".join(lines[:3]) + "\n"
    truncate(path, 2)
    truncate(path, 0)
    assert path.read_text() == ""
    assert list(read_metrics(tmp_path / "nothing")) == []
    path.write_text(lines[0] + "\n\x00\x00\n" + lines[1] + "\n")
    with pytest.raises(UsageError, match="line 2"):
        list(read_metrics(path))
