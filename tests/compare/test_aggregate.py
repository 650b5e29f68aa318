"""Scores over several tasks."""

import numpy as np
import pytest
from comparing import found, make_pair
from synthetic import make_run


def test_several_environments_are_aggregated_over_normalised_scores(runs):
    make_pair(runs, env_id="CartPole-v1")
    make_pair(runs, env_id="Acrobot-v1")
    make_run(runs, "ppo", 1, env_id="Acrobot-v1")
    (aggregate,) = found(runs, algo="dqn,double_dqn")["aggregates"]
    assert aggregate["tasks"] == ["Acrobot-v1", "CartPole-v1"] and not aggregate["refusals"]
    best, worst = aggregate["groups"]
    assert best["group"] == "double_dqn" and best["runs"] == 12
    low = found(runs, algo="dqn,double_dqn").tasks[1].worst["eval/episodic_return"]
    assert aggregate["range"]["CartPole-v1"] == [low, 475.0] and aggregate["range"]["Acrobot-v1"][1] == 430.0
    assert max(best["scores"][0]) == 1.0 and min(worst["scores"][1]) == pytest.approx((305 - low) / (475 - low))
    for name in ("iqm", "median", "mean", "optimality_gap"):
        value, low, high = best[name]
        assert low <= value <= high
    assert best["mean"][0] + best["optimality_gap"][0] == pytest.approx(1.0)
    assert aggregate["pairs"][0]["probability"] == 1.0
    (aggregate,) = found(runs)["aggregates"]
    assert aggregate["left_out"] == ["ppo"]
    assert not found(runs, algo="dqn")["aggregates"], "one group alone says nothing normalised by itself"


def test_the_optimality_gap_is_to_the_threshold_where_there_is_one(runs):
    """Were 1 the best run, nothing could exceed it, and the gap would be the mean once more."""
    for env_id in ("CartPole-v1", "LunarLander-v3"):
        for seed in range(1, 7):
            make_run(runs, "dqn", seed, env_id=env_id, curve=lambda share: 100.0 if share == 1 else 0.0)
            make_run(runs, "ppo", seed, env_id=env_id, curve=lambda share: 300.0 * share)
    (aggregate,) = found(runs)["aggregates"]
    low = {task["task"]: task["worst"] for task in found(runs)["tasks"]}
    assert aggregate["range"] == {
        "CartPole-v1": [low["CartPole-v1"], 475],
        "LunarLander-v3": [low["LunarLander-v3"], 200],
    }
    best, scores = (
        aggregate["groups"][0],
        [(300 - low[name]) / (high - low[name]) for name, (_, high) in aggregate["range"].items()],
    )
    assert best["mean"][0] == pytest.approx(np.mean(scores)) and scores[1] > 1
    assert best["optimality_gap"][0] == pytest.approx((1 - scores[0]) / 2)


def test_a_refused_task_refuses_the_aggregate(runs):
    make_pair(runs, env_id="CartPole-v1")
    make_run(runs, "dqn", 1, env_id="Acrobot-v1", steps=10_000)
    make_run(runs, "double_dqn", 1, env_id="Acrobot-v1")
    (aggregate,) = found(runs)["aggregates"]
    assert not aggregate["groups"] and "Acrobot-v1: different step budgets" in aggregate["refusals"][0]
