"""Parameters as a second objective: counted, shown as a Pareto table; samplers and pruning that do not go with it."""

import re
import sys

import pytest
from toy_study import created, planned

from rlgen.errors import MissingExtraError, UsageError
from rlgen.study import best, pareto, show, worker

ARCHITECTURES = {"over": ("hidden=8/16/16,16",), "options": {"lr": 0.5}, "second": "parameters"}


pytestmark = pytest.mark.usefixtures("toys")


def test_parameters_are_those_that_learn_and_the_table_has_what_none_beats(tmp_path, capsys):
    study = created(tmp_path, **ARCHITECTURES)
    assert pareto.shown(study) == "Pareto table: no trial is finished"
    worker.work(study, 2)
    found = {row["params"]["hidden"]: row["parameters"] for row in show.rows(study)}
    assert found == {  # 4 numbers in, 2 out; DQN's target network does not learn
        "8": 5 * 8 + 9 * 2,
        "16": 5 * 16 + 17 * 2,
        "16,16": 5 * 16 + 17 * 16 + 17 * 2,
    }
    assert [row["params"]["hidden"] for row in pareto.front(study)] == ["8"]  # toys score the same
    assert re.search(r"^0 +58 +150\.5 +8$", pareto.shown(study), re.M)
    assert re.search(r"^trial +state +score +parameters +hidden", show.shown(study, False), re.M)
    assert "150.5, 58 parameters" in capsys.readouterr().out
    assert show.best(study)["score"] == 150.5


def test_more_parameters_are_in_the_table_only_with_a_better_score(tmp_path, monkeypatch):
    study = created(tmp_path, over=("lr=0.25/0.5/0.125/0.75",), seeds="100:101", second="parameters")
    counts = {"0.25": 100, "0.5": 300, "0.125": 200, "0.75": 400}
    monkeypatch.setattr(pareto, "parameters", lambda study, params: counts[params["lr"]])
    worker.work(study, 2)
    assert [row["parameters"] for row in pareto.front(study)] == [100, 300, 400]
    for run in study.runs_dir.iterdir():
        (run / "checkpoints").mkdir()
    assert best.clean(study, dry=False)[0] == 1  # the run of the trial that is not in the table
    study.record["direction"] = "minimize"
    assert [row["parameters"] for row in pareto.front(study)] == [100, 200]


def test_networks_that_cannot_be_are_a_failed_trial(tmp_path, monkeypatch):
    study = created(tmp_path, **ARCHITECTURES)
    monkeypatch.setitem(study.record["options"], "env", "Nothing-v0")
    with pytest.raises(UsageError, match="the last 3 trials failed alike: environment 'Nothing-v0' does not exist"):
        worker.work(study, 2)
    assert {row["state"] for row in show.rows(study)} == {"failed"}
    assert all("Nothing-v0" in row["reason"] for row in show.rows(study))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"second": "parameters", "prune": "median"}, "--second parameters with --prune median: pruning judges one"),
        ({"second": "parameters", "sampler": "cmaes"}, "--second parameters with --sampler cmaes: CMA-ES has one"),
        ({"sampler": "cmaes"}, "--sampler cmaes with lr=0.25/0.5: CMA-ES is over ranges of numbers"),
        ({"sampler": "cmaes", "over": ("lr=0.1:0.5",)}, "--sampler cmaes with lr alone: it takes two ranges or more"),
    ],
)
def test_what_does_not_go_together_is_one_line(tmp_path, asked, said):
    with pytest.raises(UsageError) as raised:
        planned(tmp_path, **asked)
    assert said in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes"])
def test_every_sampler_chooses_numbers_within_their_ranges_and_not_the_same_twice(tmp_path, sampler):
    if sampler == "cmaes":
        pytest.importorskip("cmaes")
    study = created(tmp_path, over=("lr=0.1:0.9", "n_step=1:9"), seeds="100:101", trials=5, sampler=sampler)
    worker.work(study, 2)
    found = show.rows(study)
    assert [row["state"] for row in found] == ["finished"] * 5, found
    assert all(0.1 <= row["params"]["lr"] <= 0.9 and row["params"]["n_step"] in range(1, 10) for row in found)
    assert len({row["params"]["lr"] for row in found}) == 5


def test_without_cmaes_the_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(MissingExtraError, match=r"--sampler cmaes needs a package: .*pip install cmaes"):
        created(tmp_path, over=("lr=0.1:0.9", "n_step=1:9"), trials=2, sampler="cmaes")
    assert not (tmp_path / "studies/toy").exists()
