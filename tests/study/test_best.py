"""What a study found: a preset, its score on fresh seeds, and room on the disk."""

import tomllib
from pathlib import Path

import pytest
from toy_study import created, starts

from rlgen.errors import UsageError
from rlgen.options import algorithms, config
from rlgen.options.checks import check_layer
from rlgen.study import best, show, storage, worker


@pytest.fixture
def study(tmp_path, toys):
    made = created(tmp_path, {"hidden": (8, 8), "gamma": 0.75, "eval_episodes": 3})
    worker.work(made, 2)
    for run in made.runs_dir.iterdir():
        (run / "checkpoints").mkdir()
        (run / "checkpoints/state.pt").write_bytes(bytes(1000))
    return made


def test_the_preset_is_a_table_as_it_lies_beside_the_algorithm(study):
    path = best.preset(study, show.best(study))
    assert path.read_text().startswith("# Study toy, trial 1: eval/episodic_return 150.5, seeds 100 101.\n")
    table = tomllib.loads(path.read_text())["CartPole-v1"]
    assert table == {"steps": 100, "hidden": [8, 8], "gamma": 0.75, "learning_starts": 10, "lr": 0.5}
    assert check_layer(table, config.options(algorithms.find("dqn")), "train dqn")["hidden"] == (8, 8)


def test_fresh_seeds_are_trained_once_and_both_scores_are_said(study, capsys):
    row = show.best(study)
    found = best.both(study, row, best.evaluate(study, row, 3, 2))
    assert found["their mean"] == 150.5 and found["mean of these"] == 51.0 and found["optimism of tuning"] == 99.5
    assert found["fresh seeds"] == "0 1 2" and found["tuned on seeds"] == "100 101"
    assert found["each of these"] == [50.0, 51.0, 52.0] and found["its 95 % interval"] == [50.0, 52.0]
    assert [Path(path).is_dir() and path[-2:] for path in found["their runs"]] == ["-0", "-1", "-2"]
    assert len(starts(study)) == 7
    begin, *ends = capsys.readouterr().err.splitlines()
    assert begin == "3 of 3 seeds are to be trained with the values of trial 1; about 0:00:02"
    assert sorted(ends) == ["seed 0: 50", "seed 1: 51", "seed 2: 52"]
    best.evaluate(study, row, 3, 2)
    assert len(starts(study)) == 7 and not capsys.readouterr().err


def test_seeds_that_were_tuned_on_are_never_final_ones(study):
    with pytest.raises(UsageError, match="--evaluate 101: seed 100 was tuned on"):
        best.evaluate(study, show.best(study), 101, 2)
    assert len(starts(study)) == 4


def test_checkpoints_of_losers_go_and_nothing_is_trained_again(study):
    loser, winner = show.rows(study)
    assert best.clean(study, dry=True)[0] == 2 and (study.runs_dir / loser["runs"][0] / "checkpoints").exists()
    assert best.clean(study, dry=False) == (2, 2000)
    assert not any((study.runs_dir / name / "checkpoints").exists() for name in loser["runs"])
    assert all((study.runs_dir / name / "checkpoints").exists() for name in winner["runs"])
    assert all((study.runs_dir / name / "metrics.jsonl").exists() for name in loser["runs"])
    assert best.clean(study, dry=False) == (0, 0)
    with storage.opened(study) as found:
        found.enqueue_trial({"lr": "0.25"})
    worker.work(study, 2)
    assert show.rows(study)[2]["score"] == loser["score"] and len(starts(study)) == 4


def test_the_best_trials_are_compared_and_one_that_is_gone_is_named(study):
    for run in study.runs_dir.iterdir():
        (run / "config.json").write_text("{}")
    loser, winner = show.rows(study)
    assert [path.name for path in best.leaders(study, 1)] == winner["runs"]
    assert [path.name for path in best.leaders(study, 9)] == winner["runs"] + loser["runs"]
    (study.runs_dir / loser["runs"][1] / "config.json").unlink()
    with pytest.raises(UsageError, match=f"run {loser['runs'][1]} of study toy is gone"):
        best.leaders(study, 2)


def test_without_a_finished_trial_nothing_is_best(tmp_path):
    with pytest.raises(UsageError, match="has no finished trial yet; rlgen study show toy says why"):
        show.best(created(tmp_path))
