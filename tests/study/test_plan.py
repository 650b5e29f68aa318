"""A study is checked before it is made, says what it costs, and is there whole or not at all."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from full_disk import FullDisk, largest_file
from toy_study import created, planned

from rlgen.errors import DiskError, UsageError
from rlgen.study import plan, record, storage
from rlgen.study.worker import states


def test_a_study_that_is_read_again_is_the_one_that_was_made(tmp_path):
    options = {"gamma": 0.9, "hidden": (8, 8), "env_kwargs": ["a=1", "b=[null]"], "max_episode_steps": 9}
    made = created(tmp_path, options, over=("lr=1e-4:1e-2:log", "anneal_lr=on/off"), sampler="random", trials=7)
    again = record.read("toy", tmp_path)
    assert again.record == made.record and again.space == made.space
    params = {"lr": 0.001, "anneal_lr": "off"}
    values = again.values(params)
    assert values["hidden"] == [8, 8] and values["env_kwargs"] == ["a=1", "b=[null]"] and values["anneal_lr"] is False
    assert again.key(params) == made.key(params) != made.key(params | {"lr": 0.002})
    assert again.run_path(params, 100).name == f"toy-{made.key(params)}-100"
    with storage.opened(again) as found:
        assert states(found)["WAITING"] == 7


def test_what_was_tuned_before_stays_when_a_preset_changes(tmp_path):
    study = created(tmp_path, {"no_preset": False, "steps": 60_000})
    assert study.record["options"]["n_step"] == 20  # of the preset of CartPole-v1
    assert "lr" not in study.record["options"]  # it is tried


@pytest.mark.parametrize(
    ("options", "asked", "said"),
    [
        ({}, {"sampler": "grid", "trials": 5}, "--trials 5 with --sampler grid: the grid has 2; leave it out"),
        ({}, {"prune": "median", "rungs": 11}, "--rungs 11: a run has 10 evaluations"),
        ({}, {"prune": "median", "rungs": 4, "prune_from": 4}, "--prune-from 4 of --rungs 4: no rung would be judged"),
        ({}, {"prune_from": 2}, "--prune-from 2 needs --prune median"),
        ({}, {"metric": ":higher"}, "--metric :higher: say which is better, as NAME:higher or NAME:lower"),
        ({}, {"metric": "mine"}, "--metric mine: say which is better, as mine:higher or mine:lower"),
        ({}, {"storage": "sqlite"}, "--storage sqlite: must be an address"),
        ({}, {"storage": "postgresql://me:secret1@there/db"}, "--storage holds a password"),
        ({}, {"over": ("num_envs=1/1000",)}, "--num-envs 1000 with --steps 100"),
        ({}, {"rungs": 7}, "--rungs 7 needs --prune median"),
        ({}, {"prune": "median", "rungs": 1}, "--rungs 1: no rung would be judged, as the last one is the end"),
        ({"lr": 1.0}, {"over": ("lr=0.1:0.5",), "sampler": "tpe"}, "--lr with --over lr=0.1:0.5: it is tried"),
        ({"lr": 0.25}, {}, "--lr with --over lr=0.25/0.5: it is tried; leave --lr out"),
        ({}, {"seeds": "3"}, "--seeds 3"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(tmp_path, options, asked, said):
    with pytest.raises(UsageError) as raised:
        planned(tmp_path, options, **asked)
    assert said in str(raised.value) and "secret1" not in str(raised.value)
    assert not [*tmp_path.iterdir()]


def test_the_metric_says_which_way_is_better(tmp_path):
    assert planned(tmp_path).record["direction"] == "maximize"
    assert planned(tmp_path, metric="charts/x:lower").record["direction"] == "minimize"
    assert planned(tmp_path, metric="eval/nll").record["direction"] == "minimize"


def test_the_first_trial_has_the_values_of_a_run_without_a_study_where_they_are_tried(tmp_path):
    over = ("lr=1e-4:1e-2:log", "hidden=8,8/256,256", "n_step=1:9:2")
    study = created(tmp_path, over=over, sampler="tpe", trials=3)
    assert study.record["first"] == {"lr": 5e-4, "hidden": "256,256", "n_step": 1}
    with storage.opened(record.read("toy", tmp_path)) as found:
        trial = found.ask()
        assert {each.name: each.suggest(trial) for each in study.space} == study.record["first"]
        assert not found.get_trials()[1].system_attrs["fixed_params"]
    given = planned(tmp_path / "a", {"lr": 1e-3}, over=over, sampler="random")
    assert given.record["first"]["lr"] == 1e-3
    for other in (("lr=1e-3:1e-2",), ("hidden=8/16",), ("n_step=2:8:2",)):
        assert "first" not in planned(tmp_path / "b", over=other, sampler="tpe").record


def test_a_name_is_taken_once_and_a_bad_one_is_refused(tmp_path):
    created(tmp_path)
    with pytest.raises(UsageError, match="study toy exists in"):
        planned(tmp_path)
    (tmp_path / "studies/toy/study.toml").unlink()
    with pytest.raises(UsageError, match="studies/toy is there and is no study; remove it, or give another name"):
        planned(tmp_path)
    for name in ("../up", "last", "x" * 61):
        with pytest.raises(UsageError, match="must be 1 to 60 letters"):
            record.folder(name, tmp_path)


def test_of_two_that_make_a_study_at_once_the_second_reads_that_it_is_there(tmp_path):
    first, second = planned(tmp_path), planned(tmp_path)
    plan.create(first, {"seconds": 1.0, "disk": 1})
    with pytest.raises(UsageError, match=r"study toy exists in .*; give another name, or rlgen study work toy"):
        plan.create(second, {"seconds": 1.0, "disk": 1})


def test_a_study_that_is_interrupted_while_it_is_made_does_not_keep_its_name_in_a_database(tmp_path, monkeypatch):
    import optuna

    def interrupt(*args, **options):
        raise KeyboardInterrupt

    address = f"sqlite:///{tmp_path}/all.db"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(optuna.Study, "enqueue_trial", interrupt)
        created(tmp_path, storage=address)
    assert not (tmp_path / "studies/toy").exists()
    assert created(tmp_path, storage=address).path.exists()


def test_a_full_disk_leaves_no_half_of_a_study(tmp_path):
    study, cost = planned(tmp_path), {"seconds": 1.0, "disk": 1}
    with FullDisk(tmp_path) as disk:
        plan.create(study, cost)
    shutil.rmtree(study.path)
    for first in range(len(disk.calls) - 1):  # without the one for the folder of all studies
        with FullDisk(tmp_path, first), pytest.raises(DiskError):
            plan.create(study, cost)
        assert not [*study.path.parent.glob("*")]
    with largest_file(2**14), pytest.raises(DiskError, match=r"cannot write .*study"):
        plan.create(study, cost)  # as SQLite finds it
    assert not [*study.path.parent.glob("*")]
    plan.create(study, cost)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("format = 1", "format = 2", "study toy has format 2, and this rlgen reads 1: remove "),
        ("format = 1", "", "has format none"),
        ("trials = 2", "trials = 'two'", "is damaged: trials: must be a whole number"),
        ("steps = 100", "steps = -1", "is damaged: steps -1: must be in"),
        ('lr = "0.25/0.5"', 'lrr = "1/2"', "is damaged: --over lrr: there is no such option"),
        ("format = 1", "format = ", "cannot be read"),
    ],
)
def test_a_file_of_another_version_or_a_damaged_one_is_one_line(tmp_path, before, after, said):
    file = created(tmp_path).path / "study.toml"
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))
    with pytest.raises(UsageError) as raised:
        record.read("toy", tmp_path)
    assert said in str(raised.value) and "\n" not in str(raised.value)


def test_a_study_that_there_is_not_names_those_that_there_are(tmp_path):
    with pytest.raises(UsageError, match=r"no study 'toi' in .* Make one: rlgen study create"):
        record.read("toi", tmp_path)
    created(tmp_path)
    with pytest.raises(UsageError, match=r"no study 'toi' in .* Did you mean toy\?"):
        record.read("toi", tmp_path)


def test_the_trials_open_in_several_workers_at_the_same_instant(tmp_path):
    created(tmp_path)

    def open_it(_):
        with storage.opened(record.read("toy", tmp_path)) as found:
            return states(found)["WAITING"]

    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(open_it, range(8))] == [2] * 8
