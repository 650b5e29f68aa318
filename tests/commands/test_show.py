"""`rlgen show` and `rlgen diff`."""

import json
from pathlib import Path

import pytest
from synthetic import change, make_run

from rlgen.runs.show import HEIGHT


def test_show_draws_the_curves_and_names_the_last_checkpoint(four_runs):
    code, out, _ = four_runs("show", "CartPole-v1__dqn__0")
    assert code == 0
    curves = out[out.index("curves\n") : out.index("\nmetrics\n")].splitlines()[1:]
    assert len(curves) == HEIGHT + 2 <= 10
    assert curves[0].split()[0] == "eval/episodic_return" and "█" in curves[0]
    assert curves[-2].split() == ["0", "50,000", "steps"] and curves[-1].split()[0] == "losses/td_loss"
    assert "last_checkpoint" in out and "step_000050000" in out and "3.0 MiB" in out
    shown = json.loads(four_runs("show", "CartPole-v1__dqn__0", "--json")[1])
    assert len(shown["curves"]["eval/episodic_return"]) == 10
    assert shown["curves"]["eval/episodic_return"][-1] == [50_000, pytest.approx(300)]
    assert shown["last_checkpoint"]["step"] == 50_000 and shown["best"]["value"] == 301.5 and shown["lineage"] == []


def test_a_model_and_a_run_that_has_not_begun_are_shown(four_runs):
    out = four_runs("show", "digits__vae__3")[1]
    assert out.index("eval/nll") < out.index("losses/elbo") and "last 90" in out
    path = make_run(Path("runs"), "dqn", 9)
    (path / "metrics.jsonl").write_text("")
    code, out, _ = four_runs("show", path.name)
    assert code == 0 and "curves\nmetrics\n" in out


def test_the_lineage_is_followed_and_a_circle_ends(four_runs):
    first, second, third = (Path(f"runs/CartPole-v1__{name}") for name in ("dqn__0", "dqn__1", "ppo__2"))
    change(third, parent={"run": second.name, "step": 30_000})
    change(second, parent=first.name)
    assert json.loads(four_runs("show", third.name, "--json")[1])["lineage"] == [f"{second.name}@30000", first.name]
    change(first, parent=first.name)
    assert json.loads(four_runs("show", third.name, "--json")[1])["lineage"] == [f"{second.name}@30000", first.name]


def test_diff_leaves_out_how_many_trials_said_that_a_resume_is_exact(four_runs):
    first, second = "CartPole-v1__dqn__0", "CartPole-v1__dqn__1"
    for name, why in ((first, "177 resets"), (second, "183 resets")):
        change(Path("runs", name), resume={"level": "tried exact", "why": why})
    assert "resume" not in four_runs("diff", first, second)[1]
    change(Path("runs", second), resume={"level": "approximate", "why": "it keeps traces"})
    out = four_runs("diff", first, second)[1]
    assert "resume.level" in out and "it keeps traces" in out


def test_diff_names_what_differs_and_nothing_else(four_runs):
    first, second = "CartPole-v1__dqn__0", "CartPole-v1__dqn__1"
    change(Path("runs", second), versions={"python": "3.11.2", "torch": "2.12.0", "gymnasium": "1.4.0"}, wandb_id="x")
    code, out, _ = four_runs("diff", first, second, "--json")
    assert code == 0 and json.loads(out) == [
        {"what": "config.seed", "a": 0, "b": 1},
        {"what": "config.gamma", "a": 0.99, "b": 0.9},
        {"what": "versions.torch", "a": "2.13.0", "b": "2.12.0"},
        {"what": "versions.numpy", "a": "2.4.6", "b": None},
    ]
    lines = four_runs("diff", first, second)[1].splitlines()
    assert lines[0].split() == ["what", first, second] and lines[2].split() == ["config.gamma", "0.99", "0.9"]
