"""What is refused, and what is warned of."""

import json

import pytest
from comparing import by_group, found, make_pair
from synthetic import make_run

from rlgen.errors import UsageError


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
    algos = ("vae", "gan") if "data" in one else ("dqn", "ppo")
    for seed in range(1, 6):
        make_run(runs, algos[0], seed, **one)
        make_run(runs, algos[1], seed, **other)
    (task,) = found(runs)["tasks"]
    assert not task["ranked"] and not task["pairs"]
    assert any(reason in refusal for refusal in task["refusals"]), task["refusals"]


def test_evaluation_and_training_metrics_are_not_ranked_against_each_other(runs):
    make_pair(runs)
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
    assert task["metric"] == "charts/episodic_return" and task["ranked"], task["refusals"]


def test_a_metric_of_unknown_direction_is_not_ranked_until_it_is_stated(runs):
    make_pair(runs, extra={"eval/odd": 1.0})
    (task,) = found(runs, metric="eval/odd")["tasks"]
    assert not task["ranked"] and "eval/odd:higher" in task["refusals"][0]
    assert found(runs, metric="eval/odd:lower")["tasks"][0]["ranked"]
    with pytest.raises(UsageError, match="higher or lower"):
        found(runs, metric="eval/odd:best")


def test_other_data_or_environments_have_nothing_to_rank(runs):
    make_run(runs, "vae", 1, data="digits")
    make_run(runs, "gan", 1, data="mnist")
    assert "no two groups share" in found(runs)["refusals"][0]


def test_other_images_under_one_name_are_not_ranked(runs):
    for algo, digest in (("vae", "aa"), ("gan", "bb")):
        for seed in range(5):
            path = make_run(runs, algo, seed, data="faces.npz", final=10.0 + seed)
            info = json.loads((path / "config.json").read_text())
            (path / "config.json").write_text(json.dumps(info | {"spec": {"sha256": digest}}))
    (task,) = found(runs)["tasks"]
    assert "different data under the name faces.npz" in task["refusals"][0]
    assert not task["pairs"]


def test_what_two_options_say_together_is_said_once(runs):
    """Which images are held out: how many, and which ones."""
    for seed in range(2):
        make_run(runs, "vae", seed, data="faces.npz", holdout=0.2, holdout_seed=0)
        make_run(runs, "gan", seed, data="faces.npz", holdout=0.3, holdout_seed=1)
    (task,) = found(runs)["tasks"]
    (refusal,) = (each for each in task["refusals"] if "held-out images" in each)
    assert refusal.startswith("different evaluation protocol, held-out images: ")
    for value in ("0.2", "0.3", "0", "1"):
        assert value in refusal.replace("=", " ").replace(";", "").replace(",", "").split()


def test_a_model_without_the_metric_is_shown_with_what_it_has(runs):
    for seed in range(1, 6):
        make_run(runs, "vae", seed, data="digits")
        path = make_run(runs, "gan", seed, data="digits", nll_samples=None)
        (path / "metrics.jsonl").write_text('{"step": 50000, "time": 1.0, "eval/d_gap": 0.3}\n')
    (task,) = found(runs)["tasks"]
    assert task["refusals"] == ["gan does not report eval/nll; it has eval/d_gap"]
    assert by_group(task)["gan"]["metrics"]["eval/d_gap"]["iqm"] == 0.3


def test_a_group_without_a_scored_run_is_not_ranked(runs):
    make_run(runs, "dqn", 1)
    make_run(runs, "ppo", 1, status="interrupted", reached=30_000)
    (task,) = found(runs)["tasks"]
    assert (
        "ppo has no score: no run has reached its budget" in task["refusals"] and by_group(task)["ppo"]["iqm"] is None
    )


def test_a_group_without_a_scored_run_does_not_keep_the_others_from_being_ranked(runs):
    for env_id in ("CartPole-v1", "Acrobot-v1"):
        make_pair(runs, env_id=env_id)
        make_run(runs, "ppo", 1, status="interrupted", reached=30_000, env_id=env_id)
    result = found(runs)
    for task in result["tasks"]:
        assert [row["group"] for row in task["groups"]] == ["double_dqn", "dqn", "ppo"] and len(task["pairs"]) == 1
        assert "ppo has no score: no run has reached its budget" in task["warnings"] and not task["refusals"]
    assert result["aggregates"][0]["left_out"] == ["ppo"] and result["aggregates"][0]["pairs"]


def test_few_seeds_and_repeated_seeds_are_warned_of(runs):
    make_pair(runs, seeds=3)
    make_run(runs, "dqn", 3, final=300.0)
    (task,) = found(runs)["tasks"]
    assert any("double_dqn: only 3 seeds" in warning for warning in task["warnings"])
    assert any("dqn: seed 3 more than once" in warning for warning in task["warnings"])


def test_other_simulators_and_seeds_trained_side_by_side_are_warned_of(runs):
    make_pair(runs)
    path = make_run(runs, "dqn", 7, final=300.0)
    info = json.loads((path / "config.json").read_text())
    changes = {"command": "rlgen train dqn --seeds 0:10", "versions": {"gymnasium": "1.2.0"}}
    (path / "config.json").write_text(json.dumps(info | changes | {"own_files": {"my_env": "1a", "my_goal": "2b"}}))
    other = make_run(runs, "dqn", 8, final=300.0) / "config.json"
    other.write_text(json.dumps(json.loads(other.read_text()) | {"own_files": {"my_env": "3c"}}))
    assert found(runs)["tasks"][0]["warnings"] == [
        "seeds of dqn trained side by side; alone, each would take less time",
        "runs of different versions of gymnasium: 1.2.0, 1.4.0",
        "runs of different contents of my_env, a file of the environment",
    ]


def test_groups_of_which_every_run_failed_before_its_first_evaluation_have_no_score(runs):
    """It said that none was scored yet, and that they counted with the worst score, which there was not."""
    for seed in range(2):
        make_run(runs, "dqn", seed, status="diverged", reached=100)
        make_run(runs, "ppo", seed, status="failed", reached=0)
    (task,) = found(runs)["tasks"]
    assert task["refusals"] == ["dqn has no score: every run failed", "ppo has no score: every run failed"]
    assert "dqn: 2 of 2 seeds failed" in task["warnings"]


def test_two_versions_of_an_environment_have_no_threshold_in_common(runs):
    """That of the version which came first was drawn and counted for all."""
    make_run(runs, "dqn", 1, env_id="CartPole-v0")
    make_run(runs, "ppo", 1, env_id="CartPole-v1")
    (task,) = found(runs)["tasks"]
    assert task["threshold"] is None and "different versions of the environment" in task["refusals"][0]
    assert found(runs, env="CartPole-v1")["tasks"][0]["threshold"] == 475
    assert found(runs, threshold=300.0)["tasks"][0]["threshold"] == 300
