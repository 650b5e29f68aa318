"""What a comparison says about a task."""

import math

import pytest
from comparing import by_group, found, make_pair
from synthetic import make_run


def test_two_algorithms_are_ranked_with_intervals_and_the_probability_of_improvement(runs):
    make_pair(runs)
    (task,) = found(runs)["tasks"]
    assert task["task"] == "CartPole-v1" and task["metric"] == "eval/episodic_return" and task["ranked"]
    assert [row["group"] for row in task["groups"]] == ["double_dqn", "dqn"]
    row = by_group(task)["dqn"]
    assert row["scores"] == [305, 310, 315, 320, 325, 330] and row["mean"] == row["median"] == 317.5
    assert row["iqm"] == 317.5 and row["low"] < 317.5 < row["high"]
    assert task["pairs"] == [{"x": "double_dqn", "y": "dqn", "probability": 1.0, "low": 1.0, "high": 1.0, "seeds": 6}]
    assert row["steps_per_second"] == pytest.approx(4_000) and row["seconds"] == pytest.approx(12.5)
    assert 150 < row["area"] < 317 and row["failed"] == row["unfinished"] == 0
    assert not task["warnings"] and not task["refusals"]


def test_steps_and_time_to_a_threshold_count_every_seed(runs):
    for seed in range(1, 6):
        make_run(runs, "dqn", seed, curve=lambda share, seed=seed: 500 * share if seed < 4 else 0.0, speed=1_000)
    (task,) = found(runs, threshold=250)["tasks"]
    row = by_group(task)["dqn"]
    assert row["reached"] == 3 and row["steps_to_threshold"] == pytest.approx(25_000, abs=6_000)
    assert row["seconds_to_threshold"] == pytest.approx(row["steps_to_threshold"] / 1_000)
    (task,) = found(runs)["tasks"]  # CartPole's own threshold
    assert task["threshold"] == 475.0
    make_run(runs, "dqn", 6, curve=lambda share: 0.0)
    make_run(runs, "dqn", 7, curve=lambda share: 0.0)
    (task,) = found(runs, threshold=250)["tasks"]
    assert math.isinf(by_group(task)["dqn"]["steps_to_threshold"])  # most seeds never do


def test_new_evaluation_metrics_appear_by_themselves(runs):
    for seed in range(1, 6):
        make_run(
            runs, "vae", seed, data="digits", extra={"eval/fd": 20.0 + seed, "eval/my_coverage": 0.5, "eval/odd": 1}
        )
    (task,) = found(runs)["tasks"]
    metrics = by_group(task)["vae"]["metrics"]
    assert {name: stats["direction"] for name, stats in metrics.items()} == {
        "eval/nll": -1,
        "eval/elbo": 1,
        "eval/fd": -1,
        "eval/my_coverage": 1,
        "eval/odd": 0,
    }
    assert metrics["eval/fd"]["mean"] == 23.0 and metrics["eval/fd"]["low"] < 23 < metrics["eval/fd"]["high"]


def test_the_area_of_a_run_that_ends_earlier_is_over_its_own_steps(runs):
    make_run(runs, "dqn", 1, steps=50_000, curve=lambda share: 100 * share)
    alone = found(runs)["tasks"][0]["groups"][0]["area"]
    make_run(runs, "ppo", 1, steps=100_000)
    assert by_group(found(runs)["tasks"][0])["dqn"]["area"] == alone


def test_one_seed_has_no_interval(runs):
    make_pair(runs, seeds=1)
    (task,) = found(runs)["tasks"]
    assert task["ranked"] and by_group(task)["dqn"]["low"] is None and task["pairs"][0]["low"] is None
