"""The verdict on a run, of rows made by hand, and where it is shown."""

import json
import math

import pytest
from fake_wandb import FakeWandb
from toy_runs import losses, make_run, parts, save_at

from rlgen.core.watched import Above, Below, Stays
from rlgen.errors import DivergedError, NonFiniteEnvError
from rlgen.runs import health
from rlgen.runs.health import Health, Verdict, of_rows
from rlgen.runs.log import RunLog
from rlgen.runs.rows import read_metrics

HIGH = Above("losses/m", 1.0, "it is high", "less of it")
LOW = Below("losses/n", 0.0, "it is low", "more of it", after=0.0)


def levels(values, rules=(HIGH,), steps=1000, every=10, name="losses/m"):
    """The verdict after each of many rows of equal distance."""
    found, judge = [], Health(rules, steps)
    for index, value in enumerate(values, 1):
        judge.add({"step": every * index, "time": 0.0, **({} if value is None else {name: value})})
        found.append(judge.verdict.level)
    return found


def test_a_rule_speaks_after_a_twentieth_of_the_run_and_fails_after_the_time_it_gives():
    found = levels([2.0] * 60)
    assert found.index("warn") == 14  # read from step 100 on, beyond for 50 at step 150
    assert found.index("failed") == 39  # for 300 at step 400
    assert set(found[39:]) == {"failed"}
    slow = Above("losses/m", 1.0, "it is high", "less of it", fails_after=0.5)
    assert levels([2.0] * 70, [slow]).index("failed") == 59


def test_nothing_is_said_before_its_time_nor_of_a_value_at_the_limit():
    assert set(levels([2.0] * 14)) == {"healthy"}
    assert set(levels([1.0] * 100)) == {"healthy"}
    assert set(levels([2.0, 2.0, 2.0, 2.0, 2.0, 0.5] * 16)) == {"healthy"}  # five in a row last 40 steps


def test_one_value_says_nothing_however_long_ago_the_last_one_is():
    found = levels([None] * 20 + [2.0] + [None] * 20 + [2.0] + [None] * 10)
    assert found.index("warn") == 41  # the second one
    assert set(levels([None] * 20 + [2.0] + [None] * 79)) == {"healthy"}


def test_it_is_silent_again_after_a_tenth_of_the_run_within_the_limit():
    found = levels([2.0] * 20 + [0.5] * 30)
    assert found[29:31] == ["warn", "healthy"]  # within since step 210: for 100 at step 310
    relapses = levels([2.0] * 20 + ([0.5] * 5 + [2.0]) * 5)
    assert set(relapses[14:39]) == {"warn"} and relapses[-1] == "failed"
    assert levels([2.0] * 45 + [0.5] * 11)[-2:] == ["failed", "healthy"]


def test_the_verdict_is_by_what_has_failed_and_else_by_what_began_first():
    judge = Health([HIGH, LOW], 1000)
    for step in range(10, 1001, 10):
        judge.add({"step": step, "losses/m": 2.0 if step >= 300 else 0.0, "losses/n": -1.0 if step >= 400 else 1.0})
        if step == 500:
            verdict = judge.verdict
    assert (verdict.says, verdict.since, verdict.step, verdict.value, verdict.limit) == (
        "it is high",
        300,
        500,
        2.0,
        1.0,
    )
    assert verdict.reason == "it is high: losses/m is 2 at step 500, the limit is 1"
    judge = Health([LOW, HIGH], 1000)
    changes = []
    for step in range(10, 1001, 10):
        row = {"step": step, "losses/n": -1.0 if step >= 300 else 1.0, "losses/m": 2.0 if 100 <= step < 400 else 0.0}
        if judge.add(row):
            changes.append((step, judge.verdict.level, judge.verdict.says))
    assert changes == [
        (150, "warn", "it is high"),
        (500, "warn", "it is low"),  # the other one is over
        (600, "failed", "it is low"),
    ]


def test_a_value_that_is_not_finite_is_a_failure_at_once():
    judge = Health([HIGH], 1000)
    assert judge.add({"step": 1, "losses/x": math.nan})
    assert (
        judge.verdict.level == "failed" and judge.verdict.reason == "a number is not finite: losses/x is nan at step 1"
    )
    assert json.dumps(judge.verdict.record(), allow_nan=False)
    assert not judge.add({"step": 2, "losses/x": math.inf})


def test_a_run_that_diverged_has_failed_whatever_its_rows_say():
    judge = Health([HIGH], 1000)
    assert judge.at_the_end(0, 10) == Verdict()
    assert judge.at_the_end(1, 10).level == "healthy"  # another error
    assert judge.at_the_end(DivergedError.exit_code, 10).level == "failed"


def test_what_an_environment_returned_is_not_blamed_on_the_network():
    error = NonFiniteEnvError("environment 0 of 1 returned a non-finite reward", "reward", math.inf)
    verdict = Health([HIGH], 1000).at_the_end(error.exit_code, 12, error)
    assert (verdict.level, verdict.advice) == ("failed", "mending the environment")
    assert verdict.reason == "the environment returned what is not finite: reward is inf at step 12"


def watched(run):
    return RunLog(run, "disabled", quiet=True, watched=(HIGH,))


def write(log, run, steps, value):
    for run.step in steps:
        log.write(run.step, {"losses/m": value})


def texts(run):
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row["health"]) for row in rows if "weights" not in row]


def test_every_row_has_it_and_the_one_that_changes_it_has_the_reason(run):
    log = watched(run)
    write(log, run, range(50, 401, 50), 2.0)
    assert texts(run) == [
        (step, "healthy" if step < 150 else "warn" if step < 400 else "failed") for step in range(50, 401, 50)
    ]
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if health.REASON in row] == [150, 400]
    assert rows[2][health.REASON] == "it is high: losses/m is 2 at step 150, the limit is 1"
    assert rows[2][health.ADVICE] == "less of it"
    assert all(row.keys() <= {"step", "time", "charts/SPS", "losses/m"} for row in read_metrics(run.path))
    assert health.written(run.path / "metrics.jsonl") == {
        "verdict": "failed",
        "reason": "it is high: losses/m is 2 at step 400, the limit is 1",
        "try": "less of it",
    }
    log.close()
    summary = json.loads((run.path / "summary.json").read_text())["health"]
    assert summary == {
        "verdict": "failed", "reason": "it is high: losses/m is 2 at step 400, the limit is 1", "metric": "losses/m",
        "value": 2.0, "limit": 1.0, "step": 400, "since": 100, "try": "less of it",
    }  # fmt: skip


def test_rows_of_a_run_that_is_well_again_give_no_reason(run):
    log = watched(run)
    write(log, run, range(50, 201, 50), 2.0)
    write(log, run, range(250, 501, 50), 0.0)
    assert health.written(run.path / "metrics.jsonl") == {"verdict": "healthy"}
    assert health.written(run.path / "nothing.jsonl") is None


@pytest.mark.parametrize("line", ['{"step": 1, "losses/m": 1.0}', '{"step": 1, "health": "splendid"}', "", '"health"'])
def test_rows_that_say_nothing_are_read(run, line):
    (run.path / "metrics.jsonl").write_text(line and line + "\n")
    assert health.written(run.path / "metrics.jsonl") is None


def test_without_rules_rows_are_as_they_were(run):
    log = RunLog(run, "disabled", quiet=True)
    log.write(10, {"losses/m": 2.0})
    log.close()
    assert "health" not in (run.path / "metrics.jsonl").read_text()
    assert "health" not in json.loads((run.path / "summary.json").read_text())


def test_a_resumed_run_judges_as_one_that_never_stopped(tmp_path):
    whole, part = make_run(tmp_path, "whole"), make_run(tmp_path, "part")
    log = watched(whole)
    write(log, whole, range(10, 601, 10), 2.0)
    log = watched(part)
    write(log, part, range(10, 131, 10), 2.0)  # beyond for 30, of the 50 that it takes
    save_at(part, parts(), log, 130)
    write(log, part, range(140, 301, 10), 0.0)  # lost
    again = type(part).open(part.path)
    log = watched(again)
    again.restore(*parts(), log)
    write(log, again, range(140, 601, 10), 2.0)
    assert texts(again) == texts(whole)
    assert log.health.verdict == of_rows((HIGH,), 1000, whole.path).verdict


def test_a_verdict_that_rows_of_before_do_not_have_is_told_with_its_reason(run):
    """As of a run that an older version began, or that is judged by other rules as it goes on."""
    log = RunLog(run, "disabled", quiet=True)
    write(log, run, range(50, 301, 50), 2.0)
    log.close()
    log = watched(run)
    write(log, run, [350], 2.0)
    told = health.written(run.path / "metrics.jsonl")
    assert told == {
        "verdict": "warn",
        "reason": "it is high: losses/m is 2 at step 350, the limit is 1",
        "try": "less of it",
    }
    write(log, run, [360], 2.0)
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if health.REASON in row] == [350], "once"
    log.close()
    other = RunLog(run, "disabled", quiet=True, watched=(Above("losses/m", 1.5, "it is huge", "much less of it"),))
    write(other, run, [380], 2.0)
    assert health.written(run.path / "metrics.jsonl")["reason"].startswith("it is huge: ")


def test_an_alert_is_sent_once_a_change_also_over_a_resume(run, monkeypatch):
    wandb = FakeWandb(run.path)
    monkeypatch.setitem(__import__("sys").modules, "wandb", wandb)

    def online(steps, value, restored=None):
        log = RunLog(run, "offline", quiet=True, watched=(HIGH,))
        if restored:
            run.restore(*parts(), log)
        write(log, run, steps, value)
        save_at(run, parts(), log, run.step)
        log.close()

    online(range(10, 201, 10), 2.0)
    online(range(210, 301, 10), 2.0, restored=True)
    online(range(310, 501, 10), 0.0, restored=True)
    sent = [(options["title"], options["level"]) for name, _, options in wandb.calls if name == "alert"]
    assert sent == [
        (f"{run.name}: warn: it is high", "WARN"),
        (f"{run.name} is healthy again", "INFO"),
    ]
    logged = [args[0][health.NUMBER] for name, args, _ in wandb.calls if name == "log" and health.NUMBER in args[0]]
    assert set(logged) == {0, 1}


def test_what_diverges_is_told_to_wandb_once(run, monkeypatch):
    wandb = FakeWandb(run.path)
    monkeypatch.setitem(__import__("sys").modules, "wandb", wandb)
    log = RunLog(run, "offline", quiet=True, watched=(HIGH,))
    log.add(losses(float("nan")))
    with pytest.raises(DivergedError) as caught:
        log.write(30)
    log.close(caught.value.exit_code)
    assert [options["title"] for name, _, options in wandb.calls if name == "alert"] == [f"{run.name} has diverged"]
    assert json.loads((run.path / "summary.json").read_text())["health"]["verdict"] == "failed"


def test_the_bar_and_the_table_at_the_end_show_it(run, capsys):
    log = RunLog(run, "disabled", watched=(HIGH,))
    write(log, run, range(50, 151, 50), 2.0)
    assert "warn: it is high" in log._progress._text()
    log.close()
    out = capsys.readouterr().out
    assert "warn: it is high: losses/m is 2 at step 150" in out and "less of it" in out


def test_a_plateau_is_told_and_forgotten():
    rule = Stays("losses/m")
    noise = [100 + (37 * k) % 11 for k in range(60)]
    found = levels(noise + [300.0 + value for value in noise[:40]], [rule])
    assert found.index("warn") == 39  # from 0.35 on, for 0.05
    assert found[59] == "warn" and found[-1] == "healthy"
    assert levels(noise + noise[:40], [rule])[-1] == "failed"


def test_what_has_failed_is_shown_before_what_began_earlier():
    slow = Above("losses/m", 1.0, "it is high", "less of it", fails_after=0.9)
    judge = Health([slow, LOW], 1000)
    shown = {}
    for step in range(10, 601, 10):
        judge.add({"step": step, "losses/m": 2.0, "losses/n": -1.0 if step >= 200 else 1.0})
        shown[step] = judge.verdict.level, judge.verdict.says
    assert (shown[490], shown[500]) == (("warn", "it is high"), ("failed", "it is low"))
