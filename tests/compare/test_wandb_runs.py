"""Runs of wandb projects in a comparison.

No server is asked here: `wandb.Api` is a fake that gives what the public API's objects give (`config`, `state`,
`summary_metrics`, `scan_history` of rows that hold every key). So these tests say what we do with its answers, and not
that a server gives such answers or takes our filters.
"""

import itertools
import threading

import numpy as np
import pytest
from wandb_project import FakeRun, cleanrl, six

from rlgen.commands import main
from rlgen.compare import wandb_api
from rlgen.compare.collect import collect
from rlgen.compare.comparison import compare
from rlgen.compare.wandb_runs import is_project
from rlgen.errors import UsageError


def test_runs_of_a_project_are_compared_as_local_ones_are(api):
    six(api)
    entries = collect(["lab/bench"])
    assert not any(run.scans for run in api.runs)  # nothing is read before it is asked for
    (task,) = compare(entries, resamples=500)["tasks"]
    assert task["metric"] == "charts/episodic_return" and task["ranked"] and not task["warnings"]
    assert [row["group"] for row in task["groups"]] == ["c51", "dqn"]  # exp_name; `track` is no option of learning
    assert task["groups"][0]["seeds"] == 6 and task["pairs"][0]["probability"] == 1.0
    assert task["groups"][1]["scores"][0] == pytest.approx(300 * 0.96, rel=0.02)  # the last tenth
    assert task["groups"][0]["seconds"] == 50.0 and task["steps"] == 50_000
    assert all(run.scans == [["global_step", "_runtime", "charts/episodic_return"]] for run in api.runs)


def test_filters_reach_the_public_api(api):
    six(api)
    collect(["lab/bench?algo=dqn,c51&env_id=CartPole-v1&tag=paper&seed=1"], algo="dqn")
    names = {"$in": ["dqn", "c51"]}
    conditions = [
        {"$or": [{"config.algo": names}, {"config.exp_name": names}]},
        {"$or": [{"config.env_id": {"$in": ["CartPole-v1"]}}]},
        {"$or": [{"tags": {"$in": ["paper"]}}]},
        {"$or": [{"config.seed": {"$in": ["1", 1]}}]},
    ]
    assert api.calls == [("lab/bench", {"$and": conditions}, False)]
    assert len(collect(["lab/bench"], algo="dqn")) == 6
    with pytest.raises(UsageError, match="no run to compare"):
        collect(["lab/bench"], env="Acrobot-v1")


@pytest.mark.parametrize(
    ("word", "expected"),
    [("lab/bench", True), ("lab/bench?seed=1", True), ("runs/x", False), ("runs/x?", False), ("a/b/c", False),
     ("runs/x?tag=b", True), ("*__dqn__*", False), ("./lab/bench", False), ("last", False)],
)  # fmt: skip
def test_what_is_a_project_and_what_a_path(word, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert is_project(word) == expected


def test_a_failed_run_counts_one_that_crashed_is_unfinished_one_that_ends_early_is_left_out(api):
    six(api)
    api.runs += [
        cleanrl("dqn", 6, state="failed", reached=9_000),
        cleanrl("dqn", 7, state="crashed", reached=9_000),
        cleanrl("dqn", 8, state="running", reached=9_000),
        cleanrl("dqn", 9, state="finished", reached=9_000),
    ]
    result = compare(collect(["lab/bench"]), resamples=100)
    (task,) = result["tasks"]
    row = task["groups"][1]
    assert (row["runs"], row["seeds"], row["failed"], row["unfinished"], row["running"]) == (9, 7, 1, 2, 1)
    assert [each["run"] for each in result["left_out"]] == ["dqn-9"]
    assert "its metrics end at step 8,993 of 50,000" in result["left_out"][0]["reason"]
    assert min(row["scores"]) == task["worst"] and row["scores"].count(task["worst"]) == 1


def test_steps_that_a_resumed_run_took_again_are_read_once(api):
    run = cleanrl()
    run.rows += [{"global_step": s, "_runtime": 60.0, "charts/episodic_return": 1.0} for s in (40_000, 45_000)]
    run.rows += [{"global_step": 46_000, "_runtime": 61.0, "charts/episodic_return": "NaN"}]
    api.runs = [run]
    steps, _, values = collect(["lab/bench"])[0].series("charts/episodic_return")
    assert (np.diff(steps) > 0).all() and list(steps[-3:]) == [39_993, 40_000, 45_000] and values[-1] == 1.0


def test_an_evaluation_that_counts_episodes_is_one_value(api):
    """CleanRL logs the episodes of its last evaluation at steps 0, 1, 2, ..."""
    more = [{"global_step": i, "_runtime": 51.0, "eval/episodic_return": 100.0 * i} for i in range(5)]
    api.runs = [cleanrl(more=more)]
    (entry,) = collect(["lab/bench"])
    assert entry.evaluations == ["eval/episodic_return"] and entry.final("eval/episodic_return", None) == 200.0
    assert entry.series("eval/episodic_return")[0] == 50_000


def test_our_own_runs_have_summaries_of_several_values_and_say_how_they_ended(api):
    config = {"algo": "dqn", "exp_name": "dqn", "env_id": "CartPole-v1", "seed": 1, "steps": 20, "lr": 0.1}
    rows = [{"global_step": step, "_runtime": 1.0, "eval/episodic_return": 5.0} for step in (10, 20)]
    best = {"eval/episodic_return": {"max": 7.0, "last": 5.0}, "eval/video": {"_type": "video-file"}}
    best["eval/first_1000/nll"] = 3.0
    api.runs = [
        FakeRun(config, rows, **best),
        FakeRun(config | {"seed": 2}, rows[:1], "failed", status="interrupted"),
    ]
    one, other = collect(["lab/bench"])
    assert one.evaluations == ["eval/episodic_return"] and one.final("eval/episodic_return", None) == 5.0
    assert one.step == 20 and other.status == "interrupted" and not other.failed


def test_runs_that_do_not_say_what_they_are_are_left_out_with_the_reason(api):
    api.runs = [cleanrl(), FakeRun({"lr": 1}, [])]
    entries = collect(["lab/bench"])
    assert len(entries) == 1 and "no exp_name" in entries.left_out[0]["reason"]
    api.runs = api.runs[1:]
    with pytest.raises(UsageError, match=r"no run to compare in wandb's lab/bench"):
        collect(["lab/bench"])


def test_a_missing_project_or_a_broken_history_is_one_line(api, capsys):
    assert main(["compare", "lab/missing"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    api.runs = [cleanrl()]
    (entry,) = collect(["lab/bench"])
    api.runs[0].scan_history = lambda keys: 1 / 0
    with pytest.raises(UsageError, match=r"cannot read charts/episodic_return of dqn-1 from wandb"):
        entry.series("charts/episodic_return")


@pytest.mark.parametrize("rows", [0, 1])
def test_wandb_that_does_not_answer_is_given_up(rows, api, monkeypatch):
    """It reads a history without a limit of its own."""
    monkeypatch.setattr(wandb_api, "SILENT_SECONDS", 0.2)
    hold, run = threading.Event(), cleanrl()

    def silent(*_, **__):
        yield from itertools.islice(run.rows, rows)
        hold.wait()

    api.runs = [run]
    (entry,) = collect(["lab/bench"])
    run.scan_history = silent
    with pytest.raises(UsageError, match=r"cannot read charts/episodic_return of dqn-1 .*: no answer for 0\.2 s$"):
        entry.series("charts/episodic_return")
    run.rows = [run] * rows
    monkeypatch.setattr("wandb.Api.runs", silent)
    with pytest.raises(UsageError, match=r"cannot read lab/bench .*: no answer for 0\.2 s$"):
        collect(["lab/bench"])
    hold.set()


def test_an_answer_in_time_is_waited_for_again_and_again(monkeypatch):
    monkeypatch.setattr(wandb_api, "SILENT_SECONDS", 0.6)
    pause = threading.Event()
    assert list(wandb_api.answers(lambda: (number for number in range(4) if not pause.wait(0.2)))) == [0, 1, 2, 3]
