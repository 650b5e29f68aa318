import sys

from toy_runs import losses, quiet

from rlgen.runs.log import RunLog


def test_without_a_terminal_there_is_one_line_early_and_then_one_a_minute(run, clock, capsys):
    log = RunLog(run, "disabled", "eval/episodic_return")
    for clock.seconds in range(200):
        run.step = 5 * clock.seconds
        log.add(losses(1.0))
        if clock.seconds == 3:
            log.write(run.step, {"charts/episodic_return": 21.0})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and "\r" not in "".join(lines)
    assert lines[0] == "step 25 of 1,000 (2%), 5 steps/s, 03:15 left, episodic_return 21"
    assert lines[1].startswith("step 325 of")


def test_on_a_terminal_there_is_a_bar(run, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    log = RunLog(run, "disabled", "eval/episodic_return")
    log.write(100, {"eval/episodic_return": 21.0}, kind="eval")
    run.step, run.saved = 1000, 900
    log.close()
    last = capsys.readouterr().err.split("\r")[-1]
    assert "dqn: 100%" in last and "1.00k/1.00k" in last and "eval/episodic_return 21" in last and "saved 900" in last


def test_quiet_prints_nothing(run, clock, capsys):
    log = quiet(run)
    for clock.seconds in (0, 100, 200):
        log.add(losses(1.0))
    log.close()
    assert capsys.readouterr() == ("", "")
