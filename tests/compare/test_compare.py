"""Comparing runs: what counts, what is refused, what is warned of. Nothing trains here.

Reading speed, on 200 runs of 100,000 rows (4 GB in a temporary directory): python tests/helpers/synthetic.py 200 100000
"""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from synthetic import make_run

from rlgen.commands import main as cli
from rlgen.compare import collect as reading
from rlgen.compare.collect import collect, scan
from rlgen.compare.judge import compare, direction
from rlgen.errors import UsageError


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


def pair(runs_dir: Path, seeds: int = 6, **options) -> None:
    """DQN at about 300 and Double DQN at about 400."""
    for seed in range(1, seeds + 1):
        make_run(runs_dir, "dqn", seed, final=300.0 + 5 * seed, **options)
        make_run(runs_dir, "double_dqn", seed, final=400.0 + 5 * seed, **options)


def found(runs_dir: Path, *words: str, **options):
    filters = {name: options.pop(name) for name in ("algo", "env", "data") if name in options}
    return compare(collect(words, str(runs_dir), **filters), resamples=500, **options)


def by_group(task: dict) -> dict[str, dict]:
    return {row["group"]: row for row in task["groups"]}


# what counts


def test_two_algorithms_are_ranked_with_intervals_and_the_probability_of_improvement(runs):
    pair(runs)
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


def test_a_diverged_seed_counts_as_the_worst_score_and_is_never_dropped(runs):
    pair(runs)
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
    pair(runs)
    make_run(runs, "dqn", 7, final=480.0, status="failed", reached=25_000)
    (task,) = found(runs).tasks
    entry = next(entry for group in task.groups for entry in group.entries if entry.failed)
    steps, _, values = task.curve(entry)
    assert steps[-1] == 50_000 and values[-1] == task.worst["eval/episodic_return"] == values.min() < values.max()


def test_a_failed_seed_worse_than_all_others_is_the_worst_itself(runs):
    pair(runs)
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
    pair(runs)
    path = make_run(runs, "dqn", 7, status=None, reached=20_000)
    (task,) = found(runs)["tasks"]
    row = by_group(task)["dqn"]
    assert row["runs"] == 7 and row["seeds"] == 6 and row["unfinished"] == 1
    assert any(f"{path.name} (stopped, 40%)" in warning for warning in task["warnings"])
    shown = next(run for run in task["runs"] if run["run"] == path.name)
    assert shown["score"] is None and shown["last"] > 0 and shown["step"] == 20_000


def test_a_running_run_is_shown_as_such(runs):
    import fcntl

    pair(runs)
    path = make_run(runs, "dqn", 7, status=None, reached=20_000)
    with open(path / ".lock", "w") as lock:
        lock.write("1 on here")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        (task,) = found(runs)["tasks"]
    assert by_group(task)["dqn"]["running"] == 1
    assert any("(running, 40%)" in warning for warning in task["warnings"])


def test_a_training_metric_is_the_mean_over_the_last_tenth(runs):
    pair(runs)
    (task,) = found(runs, metric="charts/episodic_return")["tasks"]
    path = runs / "CartPole-v1__dqn__1" / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    late = [row["charts/episodic_return"] for row in rows if row["step"] > 45_000 and "charts/episodic_return" in row]
    assert len(late) == 4 and by_group(task)["dqn"]["scores"][0] == pytest.approx(np.mean(late))


def test_scores_at_a_step_make_different_budgets_comparable(runs):
    for seed in range(1, 7):
        make_run(runs, "dqn", seed, steps=50_000, curve=lambda share: 100 * share)
        make_run(runs, "ppo", seed, steps=100_000, evals=20, curve=lambda share: 150 * share)
    assert not found(runs)["tasks"][0]["ranked"]
    (task,) = found(runs, steps=50_000)["tasks"]
    assert task["ranked"] and task["steps"] == 50_000
    assert by_group(task)["dqn"]["mean"] == 100.0 and by_group(task)["ppo"]["mean"] == pytest.approx(75, abs=15)


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


def test_new_evaluation_figures_appear_by_themselves(runs):
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


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("eval/episodic_return", 1),
        ("eval/kl", 0),
        ("eval/kid_inception", -1),
        ("eval/precision", 1),
        ("eval/x", 0),
        ("eval/d_gap", 0),
    ],
)
def test_directions(metric, expected):
    assert direction(metric) == expected


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


# several tasks


def test_several_environments_are_aggregated_over_normalised_scores(runs):
    pair(runs, env_id="CartPole-v1")
    pair(runs, env_id="Acrobot-v1")
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


def test_every_group_has_its_command_and_a_changed_working_tree_is_told(runs):
    for lr in (1e-3, 1e-4):
        path = make_run(runs, "dqn", 1, lr=lr)
        info = json.loads((path / "config.json").read_text())
        changes = {"command": f"rlgen train dqn --lr {lr}", "git_commit": "0123456789abcdef-dirty"}
        (path / "config.json").write_text(json.dumps(info | changes))
    result = found(runs)
    assert result["commands"] == ["rlgen train dqn --lr 0.001", "rlgen train dqn --lr 0.0001"]
    assert result["versions"]["git"] == ["0123456789ab-dirty"]


# what cannot be ranked


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        ({"env_id": "LunarLander-v2"}, {"env_id": "LunarLander-v3"}, "different versions of the environment"),
        ({"env_id": "ALE/Pong-v5"}, {"env_id": "PongNoFrameskip-v4"}, "different versions of the environment"),
        ({"sticky_actions": 0.25}, {"sticky_actions": 0.0}, "sticky actions: dqn 0.25, ppo 0"),
        ({"eval_episodes": 10}, {"eval_episodes": 100}, "evaluation episodes: dqn 10, ppo 100"),
        ({"steps": 50_000}, {"steps": 100_000}, "different step budgets: dqn 50,000, ppo 100,000; --steps 50000"),
        ({"data": "digits"}, {"data": "digits", "nll_samples": 5}, "importance samples behind the NLL"),
    ],
)
def test_what_cannot_be_ranked_is_refused_with_the_reason(runs, one, other, reason):
    for seed in range(1, 6):
        make_run(runs, "dqn", seed, **one)
        make_run(runs, "ppo", seed, **other)
    (task,) = found(runs)["tasks"]
    assert not task["ranked"] and not task["pairs"]
    assert any(reason in refusal for refusal in task["refusals"]), task["refusals"]


def test_evaluation_and_training_figures_are_not_ranked_against_each_other(runs):
    pair(runs)
    for seed in range(1, 6):
        path = make_run(runs, "foreign", seed)
        lines = [line for line in (path / "metrics.jsonl").read_text().splitlines() if "eval/" not in line]
        (path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    (task,) = found(runs, metric="eval/episodic_return")["tasks"]
    assert any(
        "foreign does not report eval/episodic_return; it has charts/episodic_return" in text
        for text in task["refusals"]
    )
    (task,) = found(runs)["tasks"]  # both have the training return
    assert task["metric"] == "charts/episodic_return" and task["ranked"]


def test_a_metric_of_unknown_direction_is_not_ranked_until_it_is_stated(runs):
    pair(runs, extra={"eval/odd": 1.0})
    (task,) = found(runs, metric="eval/odd")["tasks"]
    assert not task["ranked"] and "eval/odd:higher" in task["refusals"][0]
    assert found(runs, metric="eval/odd:lower")["tasks"][0]["ranked"]
    with pytest.raises(UsageError, match="higher or lower"):
        found(runs, metric="eval/odd:best")


def test_other_data_or_environments_have_nothing_to_rank(runs):
    make_run(runs, "vae", 1, data="digits")
    make_run(runs, "gan", 1, data="mnist")
    assert "no two groups share" in found(runs)["refusals"][0]


def test_a_refused_task_refuses_the_aggregate(runs):
    pair(runs, env_id="CartPole-v1")
    make_run(runs, "dqn", 1, env_id="Acrobot-v1", steps=10_000)
    make_run(runs, "double_dqn", 1, env_id="Acrobot-v1")
    (aggregate,) = found(runs)["aggregates"]
    assert not aggregate["groups"] and "Acrobot-v1: different step budgets" in aggregate["refusals"][0]


def test_a_group_without_a_scored_run_is_not_ranked(runs):
    make_run(runs, "dqn", 1)
    make_run(runs, "ppo", 1, status="interrupted", reached=30_000)
    (task,) = found(runs)["tasks"]
    assert "ppo has no scored run yet" in task["refusals"] and by_group(task)["ppo"]["iqm"] is None


def test_a_group_without_a_scored_run_does_not_keep_the_others_from_being_ranked(runs):
    for env_id in ("CartPole-v1", "Acrobot-v1"):
        pair(runs, env_id=env_id)
        make_run(runs, "ppo", 1, status="interrupted", reached=30_000, env_id=env_id)
    result = found(runs)
    for task in result["tasks"]:
        assert [row["group"] for row in task["groups"]] == ["double_dqn", "dqn", "ppo"] and len(task["pairs"]) == 1
        assert "ppo has no scored run yet" in task["warnings"] and not task["refusals"]
    assert result["aggregates"][0]["left_out"] == ["ppo"] and result["aggregates"][0]["pairs"]


def test_few_seeds_and_repeated_seeds_are_warned_of(runs):
    pair(runs, seeds=3)
    make_run(runs, "dqn", 3, final=300.0)
    (task,) = found(runs)["tasks"]
    assert any("double_dqn: only 3 seeds" in warning for warning in task["warnings"])
    assert any("dqn: seed 3 more than once" in warning for warning in task["warnings"])


def test_other_simulators_and_seeds_trained_side_by_side_are_warned_of(runs):
    pair(runs)
    path = make_run(runs, "dqn", 7, final=300.0)
    info = json.loads((path / "config.json").read_text())
    changes = {"command": "rlgen train dqn --seeds 0:10", "versions": {"gymnasium": "1.2.0"}}
    (path / "config.json").write_text(json.dumps(info | changes))
    assert found(runs)["tasks"][0]["warnings"] == [
        "seeds of dqn trained side by side; alone, each would take less time",
        "runs of different versions of gymnasium: 1.2.0, 1.4.0",
    ]


def test_the_area_of_a_run_that_ends_earlier_is_over_its_own_steps(runs):
    make_run(runs, "dqn", 1, steps=50_000, curve=lambda share: 100 * share)
    alone = found(runs)["tasks"][0]["groups"][0]["area"]
    make_run(runs, "ppo", 1, steps=100_000)
    assert by_group(found(runs)["tasks"][0])["dqn"]["area"] == alone


def test_two_seeds_a_side_give_no_verdict_however_far_apart(runs, capsys):
    pair(runs, seeds=2)
    assert found(runs)["tasks"][0]["pairs"][0]["low"] == 1.0  # the bootstrap alone would be certain
    assert cli.main(["compare", "--runs-dir", str(runs)]) == 0
    out = capsys.readouterr().out
    assert "too few seeds to tell" in out and "is better" not in out


def test_a_model_without_the_metric_is_shown_with_what_it_has(runs):
    for seed in range(1, 6):
        make_run(runs, "vae", seed, data="digits")
        path = make_run(runs, "gan", seed, data="digits", nll_samples=None)
        (path / "metrics.jsonl").write_text('{"step": 50000, "time": 1.0, "eval/d_gap": 0.3}\n')
    (task,) = found(runs)["tasks"]
    assert task["refusals"] == ["gan does not report eval/nll; it has eval/d_gap"]
    assert by_group(task)["gan"]["metrics"]["eval/d_gap"]["iqm"] == 0.3


def test_one_seed_has_no_interval(runs):
    pair(runs, seeds=1)
    (task,) = found(runs)["tasks"]
    assert task["ranked"] and by_group(task)["dqn"]["low"] is None and task["pairs"][0]["low"] is None


# reading


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


def test_runs_are_found_by_name_prefix_glob_directory_and_filter(runs, monkeypatch):
    pair(runs, seeds=2)
    make_run(runs, "vae", 1, data="digits")
    names = lambda *words, **filters: sorted(entry.name for entry in collect(words, str(runs), **filters))  # noqa: E731
    assert names("CartPole-v1__dqn__1") == ["CartPole-v1__dqn__1"]
    assert names("digits") == ["digits__vae__1"]
    assert names("*__dqn__*") == ["CartPole-v1__dqn__1", "CartPole-v1__dqn__2"]
    assert names(str(runs / "digits__vae__1")) == names(data="dig*") == names(algo="vae") == ["digits__vae__1"]
    assert len(names()) == len(names(str(runs))) == len(names(str(runs), "*__dqn__*")) == 5
    assert len(names(env="CartPole-v1,Acrobot-v1")) == 4 and len(names("*", algo="d*")) == 4
    monkeypatch.chdir(runs.parent)
    assert sorted(entry.name for entry in collect(["runs/*__vae__*"], "elsewhere")) == ["digits__vae__1"]
    for words, filters, message in (
        (["nothing*"], {}, "fits no run"),
        (["nothing"], {}, "no run 'nothing'"),
        ([], {"algo": "ddpg"}, "no run to compare .* --algo ddpg"),
    ):
        with pytest.raises(UsageError, match=message):
            collect(words, str(runs), **filters)


def test_sample_limit_covers_ordinary_runs():
    assert reading.SAMPLED_ROWS >= 200 * 5  # five times the rows of the default log_every


# the command


def test_the_command_prints_tables_or_one_json_document(runs, capsys):
    pair(runs)
    assert cli.main(["compare", "--runs-dir", str(runs)]) == 0
    out = capsys.readouterr().out
    assert "CartPole-v1: eval/episodic_return" in out and "double_dqn is better" in out and "IQM [95 % CI]" in out
    assert cli.main(["compare", "*__dqn__*", "--json", "--runs-dir", str(runs)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["tasks"][0]["groups"][0]["seeds"] == 6 and document["rules"] and document["versions"]["torch"]
    assert cli.main(["compare", "nothing", "--runs-dir", str(runs)]) == 2


def test_the_command_says_why_it_does_not_rank(runs, capsys):
    make_run(runs, "dqn", 1, steps=10_000)
    make_run(runs, "ppo", 1)
    assert cli.main(["compare", "--runs-dir", str(runs)]) == 0
    assert "not ranked: different step budgets" in capsys.readouterr().out


def test_the_command_imports_neither_torch_nor_matplotlib(runs):
    pair(runs, seeds=1)
    code = f"""
import sys
from rlgen.commands.main import main
assert main(["compare", "--runs-dir", {str(runs)!r}]) == 0
assert not {{"torch", "wandb", "matplotlib"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_other_images_under_one_name_are_not_ranked(runs):
    for algo, digest in (("vae", "aa"), ("gan", "bb")):
        for seed in range(5):
            path = make_run(runs, algo, seed, data="faces.npz", final=10.0 + seed)
            info = json.loads((path / "config.json").read_text())
            (path / "config.json").write_text(json.dumps(info | {"spec": {"sha256": digest}}))
    (task,) = found(runs)["tasks"]
    assert "different data under the name faces.npz" in task["refusals"][0]
    assert not task["pairs"]
