"""Verdicts judged as a detector is."""

import pytest
from gymnasium.utils.env_checker import check_env

from rlgen.bench import health
from rlgen.bench.corridor import LIMIT, Corridor
from rlgen.bench.health import CASES, HEALTHY, NAMES, SEEDS, Case, run, summary, wilson
from rlgen.bench.report import Report


def test_there_are_as_many_runs_that_fail_as_runs_that_do_not():
    planted = [case for case in CASES if case.fault != HEALTHY]
    assert len(planted) * len(SEEDS) == len(CASES) * len(SEEDS) / 2 == 60
    assert len({case.command for case in CASES}) == len(CASES) == len(NAMES)


@pytest.mark.parametrize(
    ("hits", "num", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (57, 60, 0.8630, 0.9829)],
)
def test_the_interval_of_a_share_is_wilson_s(hits, num, low, high):
    assert wilson(hits, num) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def found(fault, said, at=None, command="a", seed=0):
    return {"fault": fault, "command": f"{command} --seed {seed}", "said": said, "at": at}


def test_hits_and_false_alarms_are_counted_apart():
    rows = [
        found("x", "a: 1", 0.2),
        found("x", "b: 2", 0.6),
        found("x", None),
        found(HEALTHY, None),
        found(HEALTHY, "a: 1", 0.1),
    ]
    result = summary(rows)
    assert (result["recall"]["hits"], result["recall"]["of"]) == (2, 3)
    assert (result["false alarms"]["hits"], result["false alarms"]["of"]) == (1, 2)
    assert result["median detection"] == pytest.approx(0.4)
    assert summary([found("x", None)]).keys() == {"recall"}


def test_the_report_has_a_line_a_case_and_the_shares(monkeypatch):
    rows = [found("x", "a: 1", 0.2), found("x", None, seed=1), found(HEALTHY, None, command="b")]
    machine = {"cpu": "", "cores": 1, "load": 0.0, "gpu": "", "device": "cpu", "threads": 1}
    judged = {"runs": rows} | summary(rows)
    text = Report(command="c", versions={}, machine=machine, method={}, health=judged).text()
    assert "recall: 1 of 2, 50% [" in text and "false alarms: 0 of 1, 0% [" in text
    assert [line.split()[:5] for line in text.splitlines() if line.startswith("x ")] == [["x", "a", "2", "1", "0.20"]]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            "vae --data digits --hidden 16 --latent 4 --nll-samples 1 --steps 6000 --lr 1e-9",
            "nothing is learned",
        ),
        ("vae --data digits --hidden 64 --latent 16 --nll-samples 1 --steps 6000 --lr 5", "a number is not finite"),
    ],
)
def test_a_run_is_trained_and_what_was_said_first_is_found(command, said):
    result = run(Case("x", command), 3)
    assert result["said"].startswith(f"{said}: ") and 0 <= result["at"] <= 0.5
    assert (result["last"], result["command"]) == ("failed", f"{command} --seed 3")


def test_names_choose_cases(monkeypatch):
    monkeypatch.setattr(health, "run", lambda case, seed: found(case.fault, None, command=case.command, seed=seed))
    rows = health.judge(["plateau-ppo"], [1, 2])["runs"]
    assert [row["command"].split()[0] for row in rows] == ["ppo", "ppo"]
    assert len(health.judge()["runs"]) == 120


@pytest.mark.parametrize(("actions", "ends"), [([1] * LIMIT, False), ([0] * LIMIT, False), ([1, 0, 1], True)])
def test_no_constant_action_leaves_the_corridor(actions, ends):
    env = Corridor()
    check_env(env, skip_render_check=True)
    env.reset(seed=0)
    for count, action in enumerate(actions, 1):
        _, reward, terminated, truncated, _ = env.step(action)
        assert reward == -1.0 and terminated == (ends and count == len(actions)) and truncated == (count == LIMIT)
