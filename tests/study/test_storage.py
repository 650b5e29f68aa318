"""Workers on PostgreSQL: at the same instant, killed in mid-trial, standing still; and what it says where it is not."""

import errno
import os
import signal
import sys
import time
from collections import Counter

import pytest
from postgres import postgres
from toy_study import created, planned, rows, start_worker, starts

from rlgen.errors import DiskError, MissingExtraError, RlgenError, UsageError
from rlgen.study import plan, record, seeds, show, storage, worker

linux = pytest.mark.skipif(sys.platform != "linux", reason="a process hears of its parent's end")


@pytest.fixture(scope="module")
def address():
    with postgres() as found:
        yield found


@pytest.fixture
def fresh(address):
    """The address, with no table in the database."""
    import psycopg

    with psycopg.connect(address) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return address


def ended(process):
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def states(study):
    return Counter(row["state"] for row in show.rows(study))


@pytest.mark.slow
def test_two_workers_at_the_same_instant_share_the_trials(tmp_path, fresh):
    study = created(tmp_path, over=("lr=0.125/0.25/0.5/0.75",), storage=fresh)
    workers = [start_worker(study, "--jobs", "1"), start_worker(study, "--jobs", "1")]
    outcomes = [ended(process) for process in workers]
    assert [code for code, _, _ in outcomes] == [0, 0], outcomes
    assert all("trial " in out for _, out, _ in outcomes)
    assert len(starts(study)) == 8 == len(set(starts(study)))
    assert states(study) == {"finished": 4}
    assert not (study.path / "study.db").exists()
    with pytest.raises(UsageError, match="there is a study toy at postgresql"):
        plan.create(planned(tmp_path / "other", storage=fresh), {"seconds": 1.0, "disk": 1})
    assert not (tmp_path / "other/studies/toy").exists()


@pytest.mark.slow
@linux
def test_kill_9_in_mid_trial_loses_no_finished_seed(tmp_path, fresh):
    study = created(tmp_path, storage=fresh)
    process = start_worker(study, "--jobs", "2", TOY_STUCK="101")
    until(lambda: len(list(study.runs_dir.glob("*-100/summary.json"))) == 1)
    process.kill()
    process.communicate()
    code, _, err = ended(start_worker(study))
    assert code == 0, err
    counts = Counter(name for name, _ in starts(study))
    assert all(count == 1 for name, count in counts.items() if name.endswith("-100")), counts
    assert states(study) == {"finished": 2, "again": 1}
    for run in study.runs_dir.iterdir():
        assert [line["step"] for line in rows(run)] == [*range(10, 101, 10)]


@pytest.mark.slow
@linux
def test_a_worker_that_stood_still_is_fenced_out(tmp_path, fresh):
    study = created(tmp_path, storage=fresh)
    process = start_worker(study, "--jobs", "1", TOY_SECONDS="0.15")
    until(lambda: len(starts(study)) >= 1)
    process.send_signal(signal.SIGSTOP)
    code, _, err = ended(start_worker(study, "--jobs", "1"))
    assert code == 0, err
    process.send_signal(signal.SIGCONT)
    code, _, err = ended(process)
    assert code == 0 and "went to another worker, as this one gave no sign of life" in err
    assert set(Counter(name for name, step in starts(study) if step == 0).values()) == {1}
    assert states(study) == {"finished": 2, "again": 1}


def test_a_server_that_does_not_answer_is_one_line(tmp_path):
    pytest.importorskip("psycopg")
    with pytest.raises(RlgenError, match="the trials of study toy cannot be read or written, postgresql") as raised:
        created(tmp_path, storage=f"postgresql://me@/nowhere?host={tmp_path}")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "studies/toy").exists()


def test_without_the_driver_the_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"postgresql needs a package: .*pip install 'psycopg\[binary\]'"):
        created(tmp_path, storage="postgresql://me@there/db")
    assert not (tmp_path / "studies/toy").exists()


@pytest.mark.parametrize("folder", ["a b%20c", "what?x=1", "#1", "{name}", "été"])
def test_a_folder_of_any_name_holds_its_own_trials(tmp_path, folder):
    study = created(tmp_path / folder)
    assert (study.path / "study.db").exists() and [each.name for each in tmp_path.iterdir()] == [folder]
    with storage.opened(record.read("toy", tmp_path / folder)) as found:
        assert len(found.get_trials()) == 2


def test_a_study_of_another_user_is_shown_and_not_worked_at(tmp_path, monkeypatch):
    study = created(tmp_path)

    def refused(*args):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(storage, "open", refused, raising=False)
    assert show.rows(study) == []
    with pytest.raises(DiskError, match=r"cannot write .*/\.lock: Permission denied"):
        worker.work(study, 1)


def test_sqlite_at_an_address_is_that_file_from_anywhere_and_serves_one_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = created(tmp_path, storage="sqlite:///all of them.db")
    monkeypatch.chdir(tmp_path.parent)
    assert storage.sqlite_file(record.read("toy", tmp_path)) == tmp_path / "all of them.db"
    with storage.opened(study) as found:
        assert len(found.get_trials()) == 2
    with storage.working(study):
        monkeypatch.setattr(storage.socket, "gethostname", lambda: "elsewhere")
        with pytest.raises(UsageError, match="is on SQLite, and workers of"), storage.working(study):
            pass
    (tmp_path / "all of them.db").unlink()
    with pytest.raises(UsageError, match=r"has lost its trials: .*all of them.db is gone"), storage.opened(study):
        pass


@pytest.mark.parametrize("address", ["nonsense://me@there/db", "postgresql://me@there:port/db", "postgresql://me@[/db"])
def test_an_address_that_cannot_be_is_bad_usage(tmp_path, address):
    with pytest.raises(UsageError, match=r"--storage .*: must be an address of SQLAlchemy, as postgresql://"):
        planned(tmp_path, storage=address)


def test_a_server_that_goes_away_ends_the_worker_with_one_line_and_another_goes_on(tmp_path, fresh, toys, monkeypatch):
    import psycopg

    study = created(tmp_path, storage=fresh)
    score, calls = seeds.SeedRun.score, []

    def cut(self, step):
        if not calls:
            calls.append(os.getpid())
            with psycopg.connect(fresh) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                    "AND backend_type = 'client backend'"
                )
        return score(self, step)

    monkeypatch.setattr(seeds.SeedRun, "score", cut)
    with pytest.raises(RlgenError, match="cannot be read or written, postgresql") as raised:
        worker.work(study, 2)
    assert "\n" not in str(raised.value)
    worker.work(study, 2)
    assert set(states(study)) <= {"finished", "again"} and states(study)["finished"] == 2
