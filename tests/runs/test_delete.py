"""Deleting runs: nothing but the runs that are named in full, and nothing outside them."""

import errno
import os

import pytest

from rlgen.commands import main
from rlgen.files import WholeWrites
from rlgen.runs.run import Run

CONFIG = {"algo": "dqn", "exp_name": "dqn", "env_id": "CartPole-v1", "seed": 3, "steps": 1000}


@pytest.fixture
def runs(tmp_path):
    for name in ("one", "two"):
        Run.create(tmp_path / "runs", name, CONFIG)
    return tmp_path / "runs"


def delete(runs, *words):
    return main(["delete", *words, "--runs-dir", str(runs)])


def names(runs):
    return sorted(os.listdir(runs))


def test_named_runs_go_and_others_stay(runs, capsys):
    assert delete(runs, "one", "--yes") == 0
    assert names(runs) == ["two"] and "deleted one" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["tw", "last", "three"])
def test_a_prefix_last_and_what_is_no_run_are_refused(runs, word, capsys):
    (runs / "three").mkdir()
    assert delete(runs, "one", word, "--yes") == 2  # and with it the whole line
    assert names(runs) == ["one", "three", "two"]


def test_without_yes_it_asks(runs, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert delete(runs, "one") == 0 and names(runs) == ["one", "two"]
    monkeypatch.setattr("builtins.input", lambda question: "y")
    assert delete(runs, "one") == 0 and names(runs) == ["two"]


def test_where_nobody_can_be_asked_yes_is_needed(runs, capsys):
    assert delete(runs, "one") == 2 and names(runs) == ["one", "two"]
    assert "--yes is needed" in capsys.readouterr().err


def test_a_run_in_use_stays(runs, capsys):
    with Run.open(runs / "one").running():
        assert delete(runs, "one", "--yes") == 2
    assert names(runs) == ["one", "two"] and "being trained" in capsys.readouterr().err


def test_links_are_not_followed(runs, tmp_path, capsys):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    (runs / "one" / "samples").symlink_to(outside)
    assert delete(runs, "one", "--yes") == 0 and (outside / "precious").exists()
    (runs / "linked").symlink_to(runs / "two")
    assert delete(runs, "linked", "--yes") == 2 and names(runs) == ["linked", "two"]
    assert "is a link" in capsys.readouterr().err


def test_a_full_disk_does_not_keep_what_would_make_room(runs, monkeypatch):
    def refuse(file, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(WholeWrites, "write", refuse)
    assert delete(runs, "one", "--yes") == 0
    assert names(runs) == ["two"]
