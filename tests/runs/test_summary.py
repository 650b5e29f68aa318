import json

from toy_runs import quiet

from rlgen.runs.log import RunLog


def test_summary_says_how_it_ended_and_what_to_do_next(run, capsys):
    log = RunLog(run, "disabled", "eval/episodic_return")
    run.step = run.saved = 1000
    log.write(1000, {"eval/episodic_return": 487.25}, kind="eval")
    log.close()
    log.close()
    out = capsys.readouterr().out
    for text in ("mine: finished", "487.25", f"rlgen eval {run.path}\n", f"rlgen resume {run.path} --steps 2000\n"):
        assert out.count(text) == 1, out
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary["status"] == "finished" and summary["metrics"]["eval/episodic_return"] == 487.25
    quiet(run).close(143)
    assert json.loads((run.path / "summary.json").read_text())["status"] == "interrupted"
    assert capsys.readouterr().out == ""


def test_the_table_holds_each_metric_once_under_its_usual_name(run, capsys):
    log = RunLog(run, "disabled", "eval/nll")
    log.write(1000, {"eval/nll": 92.5, "eval/first_1000/nll": 93.25, "eval/elbo": -97.0}, kind="eval")
    log.close()
    out = capsys.readouterr().out
    assert "92.5" in out and "eval/elbo" in out and "first_1000" not in out and "93.25" not in out


def test_the_floor_beside_a_score_is_what_real_images_score_and_an_agent_has_none(run, capsys):
    log = RunLog(run, "disabled", "eval/fd_lenet")
    log.write(1000, {"eval/fd_lenet": 1.5, "eval/floor/fd_lenet": 0.25, "charts/episodic_return": 83.0}, kind="eval")
    log.close()
    rows = [line.replace("│", "").split() for line in capsys.readouterr().out.splitlines()]
    assert ["eval/fd_lenet", "1.5", "(floor", "0.25)"] in rows
    assert ["charts/episodic_return", "83"] in rows
