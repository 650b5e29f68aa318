"""A comparison as a whole: where its runs came from, and what it leaves out."""

import json

from comparing import by_group, found
from synthetic import make_run

from rlgen.compare import tables
from rlgen.compare.panels import panels


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
