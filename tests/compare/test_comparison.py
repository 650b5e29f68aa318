"""A comparison as a whole: where its runs came from, and what it leaves out."""

import json

import pytest
from comparing import by_group, found, make_pair
from synthetic import make_run

from rlgen.compare import files, tables, terminal
from rlgen.compare.panels import panels
from rlgen.errors import UsageError


def test_every_group_has_its_command_and_a_changed_working_tree_is_told(runs):
    for lr in (1e-3, 1e-4):
        path = make_run(runs, "dqn", 1, lr=lr)
        info = json.loads((path / "config.json").read_text())
        changes = {"command": f"rlgen train dqn --lr {lr}", "git_commit": "0123456789abcdef-dirty"}
        (path / "config.json").write_text(json.dumps(info | changes))
    result = found(runs)
    assert result["commands"] == ["rlgen train dqn --lr 0.001", "rlgen train dqn --lr 0.0001"]
    assert result["versions"]["git"] == ["0123456789ab-dirty"]


def test_metrics_of_the_first_images_alone_are_not_listed_ranked_or_drawn(tmp_path):
    """The last row of a run has them beside those of all images."""
    for folder, last in (("plain", {}), ("first", {"eval/first_1000/nll": 1.0, "eval/first_1000/fd": 2.0})):
        for seed in range(1, 6):
            make_run(tmp_path / folder, "vae", seed, final=90.0 + seed, data="digits", last=last)
            make_run(tmp_path / folder, "iwae", seed, final=80.0 + seed, data="digits", last=last)
    plain, first = found(tmp_path / "plain"), found(tmp_path / "first")
    assert first == plain and first["tasks"][0]["metric"] == "eval/nll" and first["tasks"][0]["ranked"]
    assert tables.sections(first) == tables.sections(plain)
    titles = [[figure.title for figure in of_section] for of_section in panels(first)]
    assert titles == [[figure.title for figure in of_section] for of_section in panels(plain)]
    assert "Final eval/nll" in titles[0] and not any("first" in title for title in titles[0])


def test_a_run_that_has_metrics_of_the_first_images_alone_has_no_metric_that_is_known(tmp_path):
    make_run(tmp_path, "vae", 1, data="digits")
    path = make_run(tmp_path, "gan", 1, data="digits")
    (path / "metrics.jsonl").write_text('{"step": 50000, "time": 1.0, "eval/first_1000/nll": 90.0}\n')
    (task,) = found(tmp_path)["tasks"]
    assert task["refusals"] == ["gan does not report eval/nll; it has no metric that is known"]


def test_metrics_of_the_first_images_are_ranked_as_the_usual_ones_if_they_are_asked_for(tmp_path):
    for seed in range(1, 6):
        for algo, samples in (("vae", 500), ("iwae", 5)):
            options = {"data": "digits", "nll_samples": samples, "last": {"eval/first_1000/nll": 90.0 + seed}}
            make_run(tmp_path, algo, seed, **options)
    (task,) = found(tmp_path, metric="eval/first_1000/nll")["tasks"]
    assert task["direction"] == -1 and by_group(task)["vae"]["scores"] == [91.0, 92.0, 93.0, 94.0, 95.0]
    assert "importance samples behind the NLL" in task["refusals"][0]


def test_runs_made_from_python_have_no_command_and_are_compared(runs):
    for algo in ("dqn", "double_dqn"):
        path = make_run(runs, algo, 1)
        info = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps(info | {"command": None}))
    result = found(runs)
    assert result["tasks"][0]["ranked"] and result["commands"] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "foo"}, "--metric foo: no run reports it; there are charts/SPS, .*eval/episodic_return"),
        ({"metric": "eval/foo:higher"}, "--metric eval/foo: no run reports it; there are"),
        ({"metric": ":higher"}, "--metric :higher: before the colon comes the metric's name"),
        ({"group": ["foo"]}, "--group foo: no run has this option. There are algo, .*anneal_lr, .*gamma, .*lr"),
        (
            {"group": ["algo", "learning_start"]},
            "--group learning_start: no run has this option. Did you mean learning_starts[?]",
        ),
    ],
)
def test_a_metric_or_an_option_that_no_run_has_is_refused_with_what_there_is(runs, options, message):
    make_pair(runs, seeds=1)
    with pytest.raises(UsageError, match=message):
        found(runs, **options)


def test_tasks_without_the_metric_are_left_out_and_said(runs):
    make_pair(runs, seeds=2)
    path = make_run(runs, "vae", 1, data="digits")
    result = found(runs, metric="eval/episodic_return")
    assert [task["task"] for task in result["tasks"]] == ["CartPole-v1"]
    assert result["left_out"] == [{"run": path.name, "reason": "it does not report eval/episodic_return"}]


def test_what_is_left_out_stands_in_every_format(runs, tmp_path):
    make_pair(runs, seeds=2)
    make_run(runs, "dqn", 3, steps=20_000)
    result = found(runs, steps=30_000)
    files.write(result, [tmp_path / "a.md", tmp_path / "a.html", tmp_path / "a.json", tmp_path / "a.png"])
    for text in (terminal.text(result), *((tmp_path / f"a.{end}").read_text() for end in ("md", "html", "json"))):
        assert "CartPole-v1__dqn__3" in text and "its 20,000 steps end before step 30,000" in text
