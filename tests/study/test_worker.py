"""Workers: each seed once, whatever ends whom; a trial that fails says why; the rest is one line."""

import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter

import optuna
import pytest
from toy_study import TOY, created, rows, start_worker, starts

from rlgen.commands import study as study_command
from rlgen.errors import DiskError, InterruptedRunError, MissingExtraError, RlgenError, UsageError
from rlgen.runs import lock, stopping
from rlgen.study import record, seeds, show, storage, worker
from rlgen.study.show import shown
from rlgen.study.worker import states, work

linux = pytest.mark.skipif(sys.platform != "linux", reason="a process hears of its parent's end")


pytestmark = pytest.mark.usefixtures("toys")


def trials(study):
    return {row["trial"]: row for row in show.rows(study)}


def until(true, seconds=60):
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def ended(process, seconds=120):
    """What a worker printed: its exit code, stdout, stderr."""
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def test_a_trial_is_the_mean_of_its_seeds_and_every_seed_is_trained_once(tmp_path, capsys):
    study = created(tmp_path)
    work(study, 2)
    found = trials(study)
    assert [row["state"] for row in found.values()] == ["finished", "finished"]
    for row in found.values():
        lr = float(row["params"]["lr"])
        assert row["score"] == 100 * lr + 100.5
        assert row["scores"] == {"100": 100 * lr + 100, "101": 100 * lr + 101}
    assert sorted(starts(study)) == sorted((name, 0) for row in found.values() for name in row["runs"])
    assert show.best(study)["params"] == {"lr": "0.5"}
    assert "trial 0: lr 0.25: 125.5" in capsys.readouterr().out
    work(study, 2)  # nothing is left
    assert len(starts(study)) == 4


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_a_trial_that_is_trained_shows_its_last_rung_and_the_mean_there(tmp_path):
    study = created(tmp_path, prune="median", rungs=2)
    with storage.opened(study) as found:
        trial = found.ask({})
        trial.suggest_categorical("lr", ["0.25", "0.5"])
        assert "0 of 2" in shown(study, False)
        trial.report(62.5, 1)
    assert trials(study)[0] | {"state": "training", "rung": 1, "score": 62.5} == trials(study)[0]
    assert "1 of 2  62.5" in shown(study, False)
    with pytest.raises(UsageError, match="no finished trial"):
        show.best(study)


def test_seeds_advance_together_in_rungs_and_are_paused_in_between(tmp_path):
    """With a process at a time: each goes on where it was, and none is at a second rung before all are at the first."""
    study = created(tmp_path, prune="median", rungs=2)
    work(study, 1)
    begun = starts(study)
    assert len(begun) == 8
    for first in (0, 4):
        (a, at_a), (b, at_b), (a2, at_a2), (b2, at_b2) = begun[first : first + 4]
        assert (a, b) == (a2, b2) and (at_a, at_b) == (0, 0)
        assert 50 <= at_a2 < 100 and 50 <= at_b2 < 100
    for row in trials(study).values():
        assert row["rung"] == 2
        for name in row["runs"]:
            assert [line["step"] for line in rows(study.runs_dir / name)] == [*range(10, 101, 10)]


def test_rungs_before_the_first_that_is_judged_are_no_pauses(tmp_path):
    study = created(tmp_path, prune="median", rungs=5, prune_from=4)
    work(study, 2)
    begun = starts(study)
    assert [at for _, at in begun].count(0) == 4
    assert not [at for _, at in begun if 0 < at < 80]
    with storage.opened(study) as found:
        assert [[*trial.intermediate_values] for trial in found.trials] == [[4, 5], [4, 5]]


def test_a_trial_below_the_median_at_a_rung_is_pruned(tmp_path, capsys):
    study = created(tmp_path, over=("lr=0.5/0.75/0.875/0.125",), prune="median", rungs=2)
    work(study, 2)
    last = trials(study)[3]
    assert last["state"] == "pruned" and last["rung"] == 1 and last["params"] == {"lr": "0.125"}
    assert last["score"] == 50 * 0.125 + 100.5
    assert all(not (study.runs_dir / name / "summary.json").exists() for name in last["runs"])
    assert "trial 3: lr 0.125: pruned" in capsys.readouterr().out


def test_a_finished_seed_is_not_trained_again_by_a_trial_of_another_number(tmp_path):
    study = created(tmp_path)
    work(study, 2)
    with storage.opened(study) as found:
        found.enqueue_trial({"lr": "0.5"})
    work(study, 2)
    assert trials(study)[2]["score"] == 150.5 and trials(study)[2]["runs"] == trials(study)[1]["runs"]
    assert len(starts(study)) == 4


def test_a_failed_trial_is_shown_with_its_reason_and_the_others_go_on(tmp_path):
    study = created(tmp_path, over=("gamma=0.5/0.75",), options={"lr": 0.25})
    work(study, 2)
    found = trials(study)
    assert found[0]["state"] == "failed" and found[0]["reason"].endswith(": cannot be trained")
    assert found[0]["reason"].startswith("seed 10") and found[1]["state"] == "finished"
    assert "cannot be trained" in shown(study, False)
    assert shown(study, True)["trials"][0]["reason"] == found[0]["reason"]


def test_a_worker_stops_where_the_first_trials_fail_alike_and_those_that_failed_are_tried_again(tmp_path, monkeypatch):
    """No value is to blame for a module that is not found, and every trial would be used up."""
    study = created(tmp_path, over=("hidden=8/16/32",), options={"lr": 0.25, "gamma": 0.5}, seeds="100:101")
    monkeypatch.setenv("TOY_EXIT", "2")
    with pytest.raises(UsageError) as raised:
        work(study, 1)
    line = "the last 3 trials failed alike: cannot be trained (mend that, then rlgen study work toy --retry-failed)"
    assert str(raised.value) == line
    assert [row["state"] for row in trials(study).values()] == ["failed"] * 3
    assert "trials 0, 1, 2 failed: seed 100: cannot be trained" in shown(study, False)
    assert worker.retry_failed(study) == 3
    monkeypatch.setenv("TOY_EXIT", "5")  # values that diverge are to blame themselves
    work(study, 1)
    monkeypatch.setattr(seeds, "FOLLOWING", TOY.replace('options.get("gamma") == 0.5', "False"))
    assert worker.retry_failed(study) == 3 and worker.retry_failed(study) == 0
    work(study, 1)
    assert Counter(row["state"] for row in trials(study).values()) == {"again": 6, "finished": 3}


def test_runs_work_where_the_study_was_created(tmp_path, monkeypatch):
    """A module of an environment is found there, and so is a folder of images."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    study = created(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(seeds, "FOLLOWING", "import os, sys; print('in', os.getcwd()); sys.exit(5)")
    with pytest.raises(UsageError, match="has no finished trial"):
        study_command.work(record.read("toy", tmp_path), 1, False)
    assert trials(study)[0]["reason"] == f"seed 100: in {tmp_path / 'here'}"
    (tmp_path / "here").rmdir()
    assert study.home.resolve() == tmp_path


def test_a_trial_that_was_begun_goes_on_before_others_begin(tmp_path, monkeypatch):
    study = created(tmp_path, over=("lr=0.125/0.25/0.5",))
    real, calls = seeds.advance, []

    def advance(runs, *args):
        calls.append(runs[0].path.name)
        if len(calls) == 1:
            raise InterruptedRunError("stopped", 15)
        real(runs, *args)

    monkeypatch.setattr(seeds, "advance", advance)
    with pytest.raises(InterruptedRunError):
        work(study, 2)
    work(study, 2)
    assert calls[0] == calls[1] and len({*calls}) == 3
    assert [row["state"] for row in trials(study).values()] == ["again", "finished", "finished", "finished"]


def test_a_trial_that_takes_too_long_has_failed_and_its_runs_are_saved(tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_STUCK_LR", "0.25")
    study = created(tmp_path, trial_minutes=0.03)
    work(study, 2)
    found = trials(study)
    assert found[0]["state"] == "failed" and found[0]["reason"] == "took more than 0.03 minutes"
    assert found[1]["state"] == "finished"
    assert all(rows(study.runs_dir / name) for name in found[0]["runs"])


@pytest.mark.parametrize(("code", "kind"), [(6, DiskError), (3, MissingExtraError)])
def test_what_no_trial_is_to_blame_for_ends_the_worker_and_the_trial_waits_again(tmp_path, monkeypatch, code, kind):
    monkeypatch.setenv("TOY_EXIT", str(code))
    study = created(tmp_path, over=("gamma=0.5/0.75",), options={"lr": 0.25})
    with pytest.raises(kind, match="cannot be trained"):
        work(study, 1)
    with storage.opened(study) as found:
        assert states(found)["WAITING"] == 2 and states(found)["RUNNING"] == 0
        assert found.get_trials()[-1].params == {"gamma": "0.5"}
    assert trials(study)[0]["state"] == "again"


def test_a_signal_saves_the_runs_and_the_trial_goes_on_where_it_was(tmp_path, monkeypatch):
    study = created(tmp_path)
    process = start_worker(study, TOY_SECONDS="0.2")
    until(lambda: len(starts(study)) >= 2)
    time.sleep(0.5)
    process.terminate()
    code, _, err = ended(process)
    assert code == 143 and err.strip().splitlines()[-1] == "stopped by SIGTERM; go on with: rlgen study work toy"
    work(study, 2)
    begun = starts(study)
    again = [step for name, step in begun if [other for other, _ in begun].count(name) == 2]
    assert sorted(again)[-1] > 0  # from where it was
    assert Counter(row["state"] for row in trials(study).values()) == {"finished": 2, "again": 1}


@linux
def test_kill_9_of_a_worker_in_mid_trial_loses_no_finished_seed(tmp_path, monkeypatch):
    study = created(tmp_path, over=("lr=0.25/0.5",))
    process = start_worker(study, "--jobs", "2", TOY_STUCK="101")
    until(lambda: len(list(study.runs_dir.glob("*-100/summary.json"))) == 1)
    process.kill()
    process.communicate()
    other = start_worker(study)
    code, _, err = ended(other)
    assert code == 0, err
    counts = Counter(name for name, _ in starts(study))
    assert all(count == 1 for name, count in counts.items() if name.endswith("-100")), counts
    found = trials(study)
    assert Counter(row["state"] for row in found.values()) == {"finished": 2, "again": 1}
    assert [row["reason"] for row in found.values() if row["state"] == "again"] == [show.SILENT]
    for row in found.values():
        for name in row["runs"]:
            assert [line["step"] for line in rows(study.runs_dir / name)] == [*range(10, 101, 10)]


def test_two_workers_at_once_share_the_trials_and_train_each_seed_once(tmp_path):
    study = created(tmp_path, over=("lr=0.125/0.25/0.5/0.75",))
    workers = [start_worker(study, "--jobs", "1"), start_worker(study, "--jobs", "1")]
    outcomes = [ended(process) for process in workers]
    assert [code for code, _, _ in outcomes] == [0, 0], outcomes
    lines = [[line for line in out.splitlines() if line.startswith("trial ")] for _, out, _ in outcomes]
    assert sum(map(len, lines)) == 4 and all(lines)
    assert len(starts(study)) == 8 == len(set(starts(study)))
    assert [row["state"] for row in trials(study).values()] == ["finished"] * 4


@linux
def test_a_worker_that_stood_still_finds_its_trial_with_another(tmp_path):
    study = created(tmp_path, over=("lr=0.25/0.5",))
    process = start_worker(study, "--jobs", "1", TOY_SECONDS="0.15")
    until(lambda: len(starts(study)) >= 1)
    process.send_signal(signal.SIGSTOP)
    other = start_worker(study, "--jobs", "1")
    code, _, err = ended(other)
    assert code == 0, err
    process.send_signal(signal.SIGCONT)
    code, _, err = ended(process)
    assert code == 0 and "went to another worker, as this one gave no sign of life" in err
    counts = Counter(name for name, step in starts(study) if step == 0)
    assert set(counts.values()) == {1}, starts(study)
    assert Counter(row["state"] for row in trials(study).values()) == {"finished": 2, "again": 1}


def test_a_second_host_on_sqlite_is_one_line(tmp_path, monkeypatch):
    study = created(tmp_path)
    with storage.working(study):
        with storage.working(study):  # another worker of this machine
            pass
        monkeypatch.setattr(storage.socket, "gethostname", lambda: "elsewhere")
        with pytest.raises(UsageError, match=r"is on SQLite, and workers of .* hold it.*postgresql://USER@"):
            work(study, 1)
    work(study, 2)  # it is free now
    assert [row["state"] for row in trials(study).values()] == ["finished"] * 2


def test_a_run_folder_that_is_deleted_is_trained_again(tmp_path):
    study = created(tmp_path)
    work(study, 2)
    gone = study.runs_dir / trials(study)[0]["runs"][0]
    shutil.rmtree(gone)
    with storage.opened(study) as found:
        found.enqueue_trial({"lr": "0.25"})
    work(study, 2)
    assert trials(study)[2]["score"] == trials(study)[0]["score"]
    assert Counter(name for name, step in starts(study) if step == 0)[gone.name] == 2


def test_a_study_whose_trials_are_gone_is_one_line(tmp_path):
    study = created(tmp_path)
    (study.path / "study.db").unlink()
    with pytest.raises(UsageError, match=r"has lost its trials: .*study.db is gone"):
        work(study, 1)
    (study.path / "study.db").write_bytes(b"")
    with pytest.raises(UsageError, match=r"has no study toy; remove .*/studies/toy, then create it again"):
        work(study, 1)
    (study.path / "study.db").write_bytes(b"no database" * 100)
    with pytest.raises(RlgenError, match=r"cannot be read or written, .*study.db: file is not a database"):
        work(study, 1)


def test_a_full_disk_under_the_trials_is_one_line(tmp_path, monkeypatch):
    study = created(tmp_path)
    report = optuna.Trial.report

    def refused(*args):
        raise optuna.exceptions.StorageInternalError("An exception") from sqlite3.OperationalError(
            "database or disk is full"
        )

    monkeypatch.setattr(optuna.Trial, "report", refused)
    with pytest.raises(DiskError, match=r"cannot write .*study.db: database or disk is full; free space, then rlgen"):
        work(study, 2)
    monkeypatch.setattr(optuna.Trial, "report", report)
    work(study, 2)
    assert len(starts(study)) == 4  # what was trained is not trained again


def test_a_full_disk_under_a_log_is_one_line(tmp_path, monkeypatch):
    study = created(tmp_path)

    def refused(*args, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(seeds.subprocess, "Popen", refused)
    with pytest.raises(DiskError, match=r"cannot write .*txt: No space left"):
        work(study, 2)


def test_a_run_that_ends_as_the_signal_to_pause_comes_has_not_failed(tmp_path):
    """It listens no more then; one that was killed otherwise has failed."""
    study = created(tmp_path)
    run = seeds.seed_runs(study, {"lr": "0.25"}, [100])[0]
    for signum in (signal.SIGTERM, signal.SIGKILL):
        run.process = subprocess.Popen(["sleep", "60"])
        run.process.send_signal(signum)
        run.process.wait()
        if signum == signal.SIGTERM:
            assert run.look(50)
        else:
            with pytest.raises(seeds.FailedTrialError, match="ended by SIGKILL"):
                run.look(50)


def test_an_interrupted_worker_leaves_no_process(tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_STUCK", "101")
    study = created(tmp_path)
    real = seeds.advance

    def advance(runs, *args):
        monkeypatch.setattr(stopping, "asked", lambda: signal.SIGINT)
        real(runs, *args)

    monkeypatch.setattr(seeds, "advance", advance)
    with pytest.raises(InterruptedRunError) as raised:
        work(study, 2)
    assert raised.value.exit_code == 130
    assert not any(lock.is_held(path) for path in study.runs_dir.iterdir())


@pytest.mark.slow
@linux
def test_twelve_trials_of_two_seeds_survive_a_kill_9_in_the_middle(tmp_path):
    """Of real runs: two workers, one killed once six runs are finished; the other ends the study, each seed once."""
    rlgen = [sys.executable, "-m", "rlgen", "study"]
    where = ["long", "--runs-dir", str(tmp_path)]
    words = [
        "--algo",
        "reinforce",
        "--env",
        "CartPole-v1",
        "--no-preset",
        "--steps",
        "1500",
        "--eval-episodes",
        "3",
        "--wandb",
        "disabled",
    ]
    words += ["--over", "lr=1e-3:1e-1:log", "hidden=16/32", "--seeds", "100:102", "--trials", "12", "--heartbeat", "5"]
    subprocess.run([*rlgen, "create", *where, *words, "--prune", "median", "--rungs", "2"], check=True, timeout=300)
    first, second = (
        subprocess.Popen([*rlgen, "work", *where, "--jobs", "1"], stdout=subprocess.PIPE, text=True) for _ in range(2)
    )
    study = record.read("long", tmp_path)
    until(lambda: len(list(study.runs_dir.glob("*/summary.json"))) >= 6, 600)
    time.sleep(3)
    first.kill()
    first.communicate()
    out, _ = second.communicate(timeout=1200)
    print(out, shown(study, False), sep="\n")  # with -s: the log
    assert second.returncode == 0
    found = show.rows(study)
    counts = Counter(row["state"] for row in found)
    assert counts["finished"] + counts["pruned"] == 12 and counts["again"] <= 1 and len(found) == 12 + counts["again"]
    for row in found:
        if row["state"] == "finished":
            for name in row["runs"]:
                steps = [line["step"] for line in rows(study.runs_dir / name) if "eval/episodic_return" in line]
                assert steps == sorted(set(steps)) and steps[-1] >= 1500, name
                assert (study.path / "logs" / f"{name}.txt").read_text().count(f"{name}: finished") == 1
    names = [name for row in found if row["state"] != "again" for name in row["runs"]]
    assert len(names) == len(set(names)) == 24
