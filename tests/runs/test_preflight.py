"""A run that its disk or memory is too small for is refused before it begins, with what would fit."""

import os
import shutil
from collections import namedtuple
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny import tiny

from rlgen import experiment
from rlgen.errors import DiskError, UsageError
from rlgen.runs import checkpoint, preflight, pruning, segments
from rlgen.runs.preflight import Needs, check, needs
from rlgen.runs.table import size

GB = 2**30
CPU = torch.device("cpu")
# four checkpoints of 1 GB and a buffer of a million; a quarter of it, and two blocks, is new in every one
LARGE = Needs(GB, 1024, 2**20, 2**18, checkpoints=4, sure=2, other=0, memory=GB)


@pytest.fixture
def machine(monkeypatch):
    """What is free of its disk and of its memory."""
    usage = namedtuple("usage", "total used free")

    def machine(disk=1000 * GB, memory=1000 * GB):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2 * disk, disk, disk))
        monkeypatch.setattr(preflight, "available_memory", lambda device: memory)

    machine()
    return machine


@pytest.mark.parametrize("keep", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(4, marks=pytest.mark.slow)])
def test_what_checkpoints_share_is_counted_once(tmp_path, monkeypatch, keep):
    monkeypatch.setattr(segments, "LARGE", 1000)
    monkeypatch.setattr(segments, "BLOCK", 2000)
    most, prune = [0], pruning.prune
    monkeypatch.setattr(
        pruning, "prune", lambda folder, *args: (most.append(size(folder / "segments")), prune(folder, *args))
    )
    options = {"buffer_size": 2000, "steps": 3000, "checkpoint_every": 200, "eval_every": 500, "eval_episodes": 1}
    config = tiny("dqn", tmp_path, name="x", keep=keep, **options)
    with closing(experiment.build_source(config)) as source:
        learner = experiment.build_learner(config, source.spec)
        need = needs(config, learner, source, experiment.build_buffer(learner, source.spec))
    experiment.start(config, quiet=True)
    said = need.disk - need.other - need.checkpoints * need.learner
    assert max(most) < said < 1.8 * max(most)
    assert need.checkpoints == keep + 2


FILLED = {"buffer_size": 3000, "steps": 3000}
ALMOST_EMPTY = {"buffer_size": 100_000, "steps": 3000}


@pytest.mark.parametrize(
    ("algo", "options"), [("dqn", FILLED), ("dqn", ALMOST_EMPTY), ("ppo", {}), ("vae", {})], ids=str
)
def test_what_is_said_is_what_a_run_uses(tmp_path, monkeypatch, algo, options):
    most, save = [0], pruning.prune

    def prune(folder, *args):
        most[0] = max(most[0], size(folder.parent))
        save(folder, *args)

    monkeypatch.setattr(pruning, "prune", prune)  # before it there are most files
    config = tiny(algo, tmp_path, name="x", **options)
    with closing(experiment.build_source(config)) as source:
        learner = experiment.build_learner(config, source.spec)
        need = needs(config, learner, source, experiment.build_buffer(learner, source.spec))
    run = experiment.start(config, quiet=True)
    assert most[0] < need.disk < 2 * most[0] + 200_000
    saved = checkpoint.directory(run.checkpoints, run.step) / "state.pt"
    assert 0.7 * saved.stat().st_size < need.checkpoint < 1.5 * saved.stat().st_size + 40_000


def test_priorities_are_counted_in_memory_and_in_each_checkpoint(tmp_path):
    found = []
    for prioritized in (False, True):
        config = tiny("dqn", tmp_path, prioritized=prioritized, **FILLED)
        with closing(experiment.build_source(config)) as source:
            learner = experiment.build_learner(config, source.spec)
            found.append(needs(config, learner, source, experiment.build_buffer(learner, source.spec)))
    without, need = found
    assert need.memory - without.memory == need.learner - without.learner == 8 * 3000
    assert replace(need, memory=without.memory, learner=without.learner) == without


def test_a_disk_that_cannot_hold_the_checkpoints_is_refused_with_what_would_fit(tmp_path, machine):
    for disk, fix in (
        (3.3, "free some, or lower --buffer-size to 680,000"),
        (2, "free some, or name another disk with --runs-dir"),
    ):
        machine(disk=int(disk * GB))
        with pytest.raises(DiskError) as caught:
            check(LARGE, tmp_path / "not" / "made", CPU)
        message = str(caught.value)
        assert message.startswith("this run will need 3.3 GiB of disk; ") and message.endswith(fix), message
        assert f"GiB are free in {tmp_path}/not/made" in message
    machine(disk=4 * GB)
    check(LARGE, tmp_path, CPU)  # older ones go before the next is written


def test_what_may_be_too_much_is_a_warning_what_is_large_is_said_and_what_is_small_is_not(tmp_path, machine, capsys):
    machine(disk=7 * GB)
    check(LARGE, tmp_path, CPU)
    said = f"this run will need up to 6.6 GiB of disk; 7.0 GiB are free in {tmp_path}"
    assert capsys.readouterr().err == f"warning: {said}\n"
    check(LARGE, tmp_path, CPU, quiet=True)
    machine(disk=9 * GB)
    check(LARGE, tmp_path, CPU)
    assert capsys.readouterr().err == f"{said.replace('7.0', '9.0')}\n"
    check(replace(LARGE, learner=2**20, transitions=2**16), tmp_path, CPU)
    assert capsys.readouterr().err == ""
    machine(disk=6 * GB)
    check(LARGE, tmp_path, CPU)
    assert capsys.readouterr().err.endswith(
        f"free in {tmp_path}: older checkpoints go earlier where there is no room\n"
    )
    with pytest.raises(DiskError, match=r"these 10 runs will need 33\.1 GiB of disk; 6\.0 GiB are free"):
        check(LARGE, tmp_path, CPU, runs=10)


def test_checkpoints_that_a_resume_replaces_make_room(tmp_path, machine):
    machine(disk=2 * GB)
    with pytest.raises(DiskError):
        check(LARGE, tmp_path, CPU)
    (tmp_path / "checkpoints").mkdir()
    with open(tmp_path / "checkpoints" / "state.pt", "wb") as file:
        os.truncate(file.fileno(), 2 * GB)  # a hole
    check(LARGE, tmp_path, CPU)


def test_a_buffer_too_large_for_memory_is_refused_and_one_that_barely_fits_is_a_warning(tmp_path, machine, capsys):
    machine(memory=GB // 2)
    with pytest.raises(UsageError) as caught:
        check(LARGE, tmp_path, CPU)
    assert str(caught.value) == (
        "this run will need 1.0 GiB of memory for the buffer; 512.0 MiB are at hand: lower --buffer-size to 520,000"
    )
    machine(memory=6 * GB // 5)
    check(LARGE, tmp_path, CPU)
    assert "will need 1.0 GiB of memory for the buffer; 1.2 GiB are" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"these 4 runs will need 4\.0 GiB"):
        check(LARGE, tmp_path, CPU, runs=4)


@pytest.mark.parametrize("seeds", [False, True])
def test_nothing_is_made_for_a_run_that_is_refused(tmp_path, machine, seeds):
    machine(disk=10_000)
    config = tiny("dqn", tmp_path / "runs", name="x")
    if seeds:
        results = experiment.start_seeds(config, range(2), quiet=True)
        assert {type(result) for result in results.values()} == {DiskError}
    else:
        with pytest.raises(DiskError, match="this run will need"):
            experiment.start(config, quiet=True)
    assert not (tmp_path / "runs").exists()


def test_resume_and_fork_are_checked_too(tmp_path, machine, monkeypatch):
    run = experiment.start(tiny("dqn", tmp_path, name="x"), quiet=True)
    machine(disk=0)
    monkeypatch.setattr(preflight, "size", lambda path: 0)
    with pytest.raises(DiskError, match=f"are free in {run.path}"):
        experiment.resume("x", str(tmp_path), steps=50_000, quiet=True)
    with pytest.raises(DiskError, match=f"are free in {tmp_path}"):
        experiment.fork("x", {"steps": 50_000}, str(tmp_path), name="y", quiet=True)
    assert not (tmp_path / "y").exists()


def test_what_is_free_is_that_of_the_nearest_folder_there_is(tmp_path):
    assert abs(preflight.free(tmp_path / "a" / "b") - shutil.disk_usage(tmp_path).free) < GB
    assert preflight.free(Path("not made")) > 0


@pytest.mark.parametrize(
    ("algo", "options", "last"),
    [
        ("ppo", {"rollout_steps": 512, "steps": 100, "num_envs": 1}, 512),
        ("reinforce", {"rollout_steps": 32, "steps": 90, "num_envs": 2}, 96),
        ("dqn", {"steps": 301, "num_envs": 1, "train_every": 4}, 304),
        ("vae", {"batch_size": 64, "steps": 100}, 128),
        ("vae", {"batch_size": 50, "steps": 100}, 100),
    ],
)
def test_how_far_a_run_goes_beyond_its_end_is_known_and_said_before_it_starts(tmp_path, capsys, algo, options, last):
    run = experiment.start(tiny(algo, tmp_path, name="x", **options))
    lines = [line for line in capsys.readouterr().err.splitlines() if "at a time" in line]
    assert run.step == last
    much = last > 1.01 * options["steps"]
    assert [line.partition(":")[0] for line in lines] == [
        f"this run will take about {last} steps, not {options['steps']}"
    ] * much


def test_a_run_that_went_on_is_counted_from_where_it_stood():
    learner, source = SimpleNamespace(rows_per_turn=8), SimpleNamespace(streams=True, spec=SimpleNamespace(num_envs=4))
    assert preflight.end(learner, source, 100) == 128
    assert preflight.end(learner, source, 100, 10) == 106
    assert preflight.end(learner, source, 96) == 96
    assert preflight.end(learner, SimpleNamespace(streams=False), 15) == 16
