"""A run as a comparison reads it.

Reading speed, on 200 runs of 100,000 rows (4 GB in a temporary directory): python tests/helpers/synthetic.py 200 100000
"""

import json

import numpy as np
import pytest
from comparing import by_group, found, make_pair
from synthetic import make_run

from rlgen.compare.collect import collect
from rlgen.compare.entry import SAMPLED_ROWS, scan


def test_scan_parses_only_the_rows_that_hold_the_metric(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = ["this is not JSON and is never parsed"] * 3
    lines += [json.dumps({"step": step, "eval/x": step}) for step in range(5)]
    path.write_text("\n".join(lines) + '\n{"step": 9, "eval/x": 1')  # torn
    assert [row["step"] for row in scan(path, b'"eval/')] == [0, 1, 2, 3, 4]
    path.write_text("")
    assert list(scan(path, b'"eval/')) == []
    path.write_text('{"step": 9, "eval/x": 1}')  # the only line, torn before its end
    assert list(scan(path, b'"eval/')) == []


def test_scan_spreads_a_sample_over_the_file_and_takes_all_of_a_short_one(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step, "charts/x": 1.0}) + "\n" for step in range(20_000)))
    steps = [row["step"] for row in scan(path, b'"charts/x"', limit=100)]
    assert 90 <= len(steps) <= 101 and max(np.diff(steps)) < 2.5 * 20_000 / 100 and steps[-1] > 19_500
    path.write_text("".join(json.dumps({"step": step, "charts/x": 1.0}) + "\n" for step in range(90)))
    assert [row["step"] for row in scan(path, b'"charts/x"', limit=100)] == list(range(90))


def test_rows_that_are_not_finite_are_left_out_of_curves(runs):
    path = make_run(runs, "dqn", 1, status="diverged", reached=30_000)
    with open(path / "metrics.jsonl", "a") as file:
        file.write('{"step": 30000, "time": 9, "eval/episodic_return": "NaN"}\n')
    (entry,) = collect([], str(runs))
    assert np.isfinite(entry.series("eval/episodic_return")).all() and entry.seconds == 9


def test_sample_limit_covers_ordinary_runs():
    assert SAMPLED_ROWS >= 200 * 5  # five times the rows of the default log_every


def test_a_training_metric_is_the_mean_over_the_last_tenth(runs):
    make_pair(runs)
    (task,) = found(runs, metric="charts/episodic_return")["tasks"]
    path = runs / "CartPole-v1__dqn__1" / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    late = [row["charts/episodic_return"] for row in rows if row["step"] > 45_000 and "charts/episodic_return" in row]
    assert len(late) == 4 and by_group(task)["dqn"]["scores"][0] == pytest.approx(np.mean(late))


@pytest.mark.parametrize(
    "line", [b"\0" * 30, b"", b"x", b'{"step": 3, "eval/episodic_return": 1', b'{"eval/x": [}', b"[1]"]
)
def test_a_run_whose_rows_are_damaged_is_left_out_of_a_comparison_and_said(runs, line, capsys):
    make_pair(runs, seeds=2)
    path = runs / "CartPole-v1__dqn__1" / "metrics.jsonl"
    lines = path.read_bytes().splitlines()
    for place in (0, 20, len(lines)):
        path.write_bytes(b"\n".join([*lines[:place], line, *lines[place:]]) + b"\n")
        assert len(collect([], str(runs))) == 3
        assert "dqn__1 is left out" in capsys.readouterr().err
    path.write_bytes(b"\n".join(lines) + b"\n" + line)  # torn, which is no damage
    assert len(collect([], str(runs))) == 4
    path.write_bytes(b"")
    assert len(collect([], str(runs))) == 4 and capsys.readouterr().err == ""
