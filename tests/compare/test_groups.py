"""What counts: groups, scores of failed and unfinished runs, scores at a step."""

import fcntl

import pytest
from comparing import by_group, found, make_pair
from synthetic import make_run


def test_a_diverged_seed_counts_as_the_worst_score_and_is_never_dropped(runs):
    make_pair(runs)
    make_run(runs, "double_dqn", 7, final=480.0, status="diverged", reached=30_000)
    (task,) = found(runs)["tasks"]
    row = by_group(task)["double_dqn"]
    assert row["failed"] == 1 and row["seeds"] == 7
    assert row["scores"].count(task["worst"]) == 1 and task["worst"] == row["worst"] < 305
    assert row["mean"] == pytest.approx((sum(400 + 5 * seed for seed in range(1, 7)) + task["worst"]) / 7)
    assert task["pairs"][0]["probability"] == pytest.approx(36 / 42)  # it beats none
    assert any("1 of 7 seeds failed" in warning for warning in task["warnings"])
    assert [run["score"] for run in task["runs"] if run["status"] == "diverged"] == [task["worst"]]


def test_a_diverged_seed_costs_something_where_all_others_end_equally_good(runs):
    for seed in range(1, 7):
        make_run(runs, "dqn", seed, final=500.0)
        options = {"status": "diverged", "reached": 2_000} if seed < 3 else {}
        make_run(runs, "ppo", seed, final=500.0, **options)
    (task,) = found(runs)["tasks"]
    assert [row["mean"] == 500.0 for row in task["groups"]] == [True, False]
    assert task["pairs"][0]["x"] == "dqn" and task["pairs"][0]["probability"] == pytest.approx((24 / 2 + 12) / 36)


def test_the_curve_of_a_failed_seed_goes_on_at_the_worst_score(runs):
    make_pair(runs)
    make_run(runs, "dqn", 7, final=480.0, status="failed", reached=25_000)
    (task,) = found(runs).tasks
    entry = next(entry for group in task.groups for entry in group.entries if entry.failed)
    steps, _, values = task.curve(entry)
    assert steps[-1] == 50_000 and values[-1] == task.worst["eval/episodic_return"] == values.min() < values.max()


def test_a_failed_seed_worse_than_all_others_is_the_worst_itself(runs):
    make_pair(runs)
    make_run(runs, "dqn", 7, status="diverged", reached=25_000, curve=lambda share: 10.0)
    (task,) = found(runs)["tasks"]
    assert task["worst"] < 60 and min(by_group(task)["dqn"]["scores"]) == task["worst"]


def test_where_lower_is_better_the_worst_is_the_highest(runs):
    for seed in range(1, 7):
        make_run(runs, "vae", seed, final=90.0 + seed, data="digits")
        make_run(runs, "iwae", seed, final=85.0 + seed, data="digits")
    make_run(runs, "iwae", 7, status="diverged", reached=20_000, data="digits")
    (task,) = found(runs)["tasks"]
    assert task["metric"] == "eval/nll" and task["direction"] == -1 and task["groups"][0]["group"] == "iwae"
    assert task["worst"] == max(by_group(task)["vae"]["scores"] + by_group(task)["iwae"]["scores"]) >= 96.0
    assert task["pairs"][0]["x"] == "iwae" and task["pairs"][0]["probability"] > 0.5


def test_unfinished_runs_are_shown_and_not_scored(runs):
    make_pair(runs)
    path = make_run(runs, "dqn", 7, status=None, reached=20_000)
    (task,) = found(runs)["tasks"]
    row = by_group(task)["dqn"]
    assert row["runs"] == 7 and row["seeds"] == 6 and row["unfinished"] == 1
    assert any(f"{path.name} (stopped, 40%)" in warning for warning in task["warnings"])
    shown = next(run for run in task["runs"] if run["run"] == path.name)
    assert shown["score"] is None and shown["last"] > 0 and shown["step"] == 20_000


def test_a_running_run_is_shown_as_such(runs):
    make_pair(runs)
    path = make_run(runs, "dqn", 7, status=None, reached=20_000)
    with open(path / ".lock", "w") as lock:
        lock.write("1 on here")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        (task,) = found(runs)["tasks"]
    assert by_group(task)["dqn"]["running"] == 1
    assert any("(running, 40%)" in warning for warning in task["warnings"])


def test_scores_at_a_step_make_different_budgets_comparable(runs):
    for seed in range(1, 7):
        make_run(runs, "dqn", seed, steps=50_000, curve=lambda share: 100 * share)
        make_run(runs, "ppo", seed, steps=100_000, evals=20, curve=lambda share: 150 * share)
    assert not found(runs)["tasks"][0]["ranked"]
    (task,) = found(runs, steps=50_000)["tasks"]
    assert task["ranked"] and task["steps"] == 50_000
    assert by_group(task)["dqn"]["mean"] == 100.0 and by_group(task)["ppo"]["mean"] == pytest.approx(75, abs=15)


def test_runs_with_other_options_are_another_group_unless_they_are_pooled(runs):
    for seed in range(1, 6):
        make_run(runs, "dqn", seed, lr=1e-3)
        make_run(runs, "dqn", seed + 10, lr=1e-4, threads=4, device="cuda")
    (task,) = found(runs)["tasks"]
    assert set(by_group(task)) == {"dqn lr=0.001", "dqn lr=0.0001"}
    assert task["differences"] == {"lr": {"dqn lr=0.001": ["0.001"], "dqn lr=0.0001": ["0.0001"]}}
    (task,) = found(runs, group=["algo"])["tasks"]
    assert by_group(task)["dqn"]["seeds"] == 10 and "pools runs that differ in lr" in task["warnings"][0]
    assert set(by_group(found(runs, group=["lr"])["tasks"][0])) == {"lr=0.001", "lr=0.0001"}
