"""A run as a comparison reads it.

Reading speed, on 200 runs of 100,000 rows (4 GB in a temporary directory): python tests/helpers/synthetic.py 200 100000
"""

import json
import warnings

import numpy as np
import pytest
from comparing import by_group, found, make_pair
from synthetic import make_run

from rlgen.compare import terminal
from rlgen.compare.collect import collect
from rlgen.compare.comparison import compare
from rlgen.compare.entry import SAMPLED_ROWS, scan
from rlgen.errors import UsageError


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
def test_a_run_whose_rows_are_damaged_is_left_out_of_a_comparison_and_said(runs, line):
    make_pair(runs, seeds=2)
    path = runs / "CartPole-v1__dqn__1" / "metrics.jsonl"
    lines = path.read_bytes().splitlines()
    for place in (0, 20, len(lines)):
        path.write_bytes(b"\n".join([*lines[:place], line, *lines[place:]]) + b"\n")
        entries = collect([], str(runs))
        assert len(entries) == 3 and [each["run"] for each in entries.left_out] == ["CartPole-v1__dqn__1"]
    path.write_bytes(b"\n".join(lines) + b"\n" + line)  # torn, which is no damage
    assert len(collect([], str(runs))) == 4 and not collect([], str(runs)).left_out


GARBAGE = {
    "nothing": "",
    "other": '{"step": 50000, "time": 1.0}\n',
    "text": '{"step": 50000, "time": 1.0, "eval/episodic_return": "abc"}\n',
    "not finite": '{"step": 50000, "time": 1.0, "eval/episodic_return": "NaN"}\n',
    "early": '{"step": 1000, "time": 1.0, "eval/episodic_return": 900.0}\n{"step": 50000, "time": 2, "x": 1.0}\n',
    "other metric": '{"step": 50000, "time": 1.0, "foo": 3}\n',
    "cut": '{"step": 20000, "time": 1.0, "eval/episodic_return": 900.0}\n',
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_does_not_count_as_a_seed(runs, name):
    make_pair(runs)
    path = make_run(runs, "dqn", 7)
    (path / "metrics.jsonl").write_text(GARBAGE[name])
    result = found(runs)
    (task,) = result["tasks"]
    assert task["metric"] == "eval/episodic_return" and task["ranked"] and by_group(task)["dqn"]["seeds"] == 6
    assert [each["run"] for each in result["left_out"]] == [path.name] and result["left_out"][0]["reason"]
    assert path.name not in {run["run"] for run in task["runs"]}


def test_a_run_whose_last_evaluation_is_no_number_does_not_count_by_an_earlier_one(runs):
    make_pair(runs)
    with open(runs / "CartPole-v1__dqn__1" / "metrics.jsonl", "a") as file:
        file.write('{"step": 50000, "time": 13.0, "eval/episodic_return": "NaN"}\n')
    result = found(runs)
    assert result["left_out"] == [
        {"run": "CartPole-v1__dqn__1", "reason": "its eval/episodic_return at step 50,000 is nan"}
    ]
    assert by_group(result["tasks"][0])["dqn"]["seeds"] == 5


def test_a_run_without_a_file_of_metrics_does_not_count(runs):
    make_pair(runs, seeds=2)
    (runs / "CartPole-v1__dqn__1" / "metrics.jsonl").unlink()
    assert [each["run"] for each in collect([], str(runs)).left_out] == ["CartPole-v1__dqn__1"]


def test_a_diverged_run_without_metrics_counts_all_the_same(runs):
    make_pair(runs, seeds=2)
    (make_run(runs, "dqn", 3, status="diverged", reached=0) / "metrics.jsonl").write_text("")
    result = found(runs)
    assert by_group(result["tasks"][0])["dqn"]["failed"] == 1 and not result["left_out"]


def test_a_score_at_a_step_is_an_evaluation_at_most_one_period_away(runs):
    make_pair(runs, evals=10)
    path = runs / "CartPole-v1__dqn__1" / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        if 15_000 <= row["step"] <= 35_000:  # a hole: those at 10,000 and 40,000 are left
            row.pop("eval/episodic_return", None)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for step, left in ((5_000, 0), (14_000, 0), (15_000, 0), (16_000, 1), (25_000, 1), (36_000, 0), (50_000, 0)):
        result = found(runs, steps=step)
        assert len(result["left_out"]) == left, step
        assert by_group(result["tasks"][0])["dqn"]["seeds"] == 6 - left
    reason = found(runs, steps=25_000)["left_out"][0]["reason"]
    assert reason == (
        "the nearest eval/episodic_return is at step 10,000, more than one evaluation period (5,000) from 25,000"
    )


def test_a_training_metric_at_a_step_is_of_the_tenth_before_it(runs):
    make_pair(runs, seeds=2)
    path = runs / "CartPole-v1__dqn__1" / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows if not 8_000 < row["step"] <= 10_000))
    result = found(runs, steps=10_000, metric="charts/episodic_return")
    assert "no finite charts/episodic_return in the last tenth before step 10,000" in result["left_out"][0]["reason"]


def test_a_run_that_ends_before_the_step_is_left_out_and_said(runs):
    make_pair(runs, seeds=2)
    path = make_run(runs, "dqn", 3, steps=20_000)
    make_run(runs, "dqn", 4, reached=20_000, status=None)  # may still come there
    result = found(runs, steps=30_000)
    assert result["left_out"] == [{"run": path.name, "reason": "its 20,000 steps end before step 30,000"}]
    assert by_group(result["tasks"][0])["dqn"]["unfinished"] == 1
    with pytest.raises(UsageError, match=r"no run to compare; .* end before step 60,000"):
        found(runs, steps=60_000)


def test_a_run_whose_evaluations_go_back_in_steps_is_damaged(tmp_path):
    """A file that was written twice counted as a seed."""
    path = make_run(tmp_path, "dqn", 1)
    text = (path / "metrics.jsonl").read_text()
    (path / "metrics.jsonl").write_text(text * 2)
    make_run(tmp_path, "dqn", 2)
    (left,) = collect([], str(tmp_path)).left_out
    assert left["run"] == path.name and "go back from step 50,000" in left["reason"]


def test_rows_without_a_time_do_not_hide_the_times_of_the_other_runs(tmp_path):
    for seed in range(3):
        path = make_run(tmp_path, "dqn", seed)
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    text = "".join(json.dumps({name: value for name, value in row.items() if name != "time"}) + "\n" for row in rows)
    (path / "metrics.jsonl").write_text(text)
    (group,) = compare(collect([], str(tmp_path)), resamples=50)["tasks"][0]["groups"]
    assert group["seconds"] == 12.5 and group["steps_per_second"] == 4_000 and group["seeds"] == 3


def test_scores_near_the_largest_number_that_there_is_are_compared_without_a_word_from_numpy(tmp_path):
    for seed in range(4):
        make_run(tmp_path, "dqn", seed, curve=lambda share: 1e308)
        make_run(tmp_path, "ppo", seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = compare(collect([], str(tmp_path)), resamples=50)
    assert max(map(len, terminal.text(result).splitlines())) <= 80


@pytest.mark.parametrize(
    ("shape", "dtype", "groups"),
    [([4], "float32", 1), ([4, 84, 84], "uint8", 1), ([64, 64, 3], "float32", 2)],
)
def test_a_run_from_before_observations_had_parts_is_a_seed_beside_those_of_today_where_they_are_equal(
    runs, shape, dtype, groups
):
    """Pictures of float numbers were divided by 255 then."""
    spec = {"obs_shape": shape, "obs_dtype": dtype}
    for seed, obs in enumerate(["old", "auto"]):
        path = make_run(runs, "dqn", seed, obs=obs) / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 3, "spec": spec}))
    assert len(found(runs).tasks[0].groups) == groups
