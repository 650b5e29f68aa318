import importlib.util
import sys
from types import SimpleNamespace

from toy_runs import losses, quiet

from rlgen.runs import progress
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


def test_a_step_beyond_the_end_is_neither_more_than_all_nor_a_negative_time(run, clock, capsys, monkeypatch):
    run.steps = 100
    log = RunLog(run, "disabled", "eval/episodic_return")
    for clock.seconds, run.step in ((0.0, 0), (6.0, 107)):
        log.add(losses(1.0))
    assert capsys.readouterr().err == "step 107 of 100 (100%), 18 steps/s, 00:00 left\n"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    log = RunLog(run, "disabled", "eval/episodic_return")
    for clock.seconds, run.step in ((0.0, 0), (6.0, 107)):
        log.add(losses(1.0))
    log.close()
    last = capsys.readouterr().err.split("\r")[-1]
    assert "100%" in last and "100/100" in last and "-" not in last.split("<")[1][:3]


def test_the_best_on_the_bar_is_the_best_also_before_it_is_saved(run, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    run.best = {"metric": "eval/episodic_return", "value": 21.0, "step": 100}
    log = RunLog(run, "disabled", "eval/episodic_return")
    for value, best in ((30.0, "best 30"), (10.0, "best 21")):
        log._progress._next = 0.0
        log.write(200, {"eval/episodic_return": value}, kind="eval")
        assert log._progress._text().split(", ")[1] == best
    log.close()


def test_a_notebook_has_its_bar(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ipywidgets" else there(name))
    assert progress.bars() is progress._Bar, "without widgets that of a terminal"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: SimpleNamespace())
    assert progress.bars().__mro__[1].__name__ == "tqdm_notebook"
