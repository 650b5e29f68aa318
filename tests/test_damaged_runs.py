"""Every command that reads a run, over sets of runs of which one is damaged (`helpers/damaged_runs.py`).

An eighth of the sets in every test run; the others by `pytest -m slow tests/test_damaged_runs.py`.
"""

import json
from pathlib import Path

import pytest
from damaged_runs import Damage, all_damages, make_set

from rlgen.commands import main

CODES = {0, 2, 3, 4, 5, 6}  # of `rlgen`; 1 is what it did not expect
SECONDS = 60  # that all commands may take; a reader that waits for a pipe or a device takes for ever
READING = (
    ("list", "runs"),
    ("list", "runs", "--json"),
    ("show", "BAD"),
    ("diff", "BAD", "good-1"),
    ("compare",),
    ("__complete", "rlgen", "show", "--runs-dir", "runs", ""),
)
TRAINED = (
    ("eval", "BAD", "--episodes", "1", "--json"),
    ("resume", "BAD"),
    ("fork", "BAD", "--name", "child", "--steps", "1010"),
    ("resume", "BAD", "--steps", "1020"),
    ("eval", "BAD", "--episodes", "1", "--checkpoint", "best"),
)
SAMPLED = (("sample", "BAD", "--num", "1"), ("resume", "BAD"))
ALL = all_damages()
MARKED = [
    pytest.param(damage, id=damage.name, marks=() if number % 8 == 0 else pytest.mark.slow)
    for number, damage in enumerate(ALL)
]


def test_there_are_many_kinds_of_damage_and_each_has_its_name():
    assert len({damage.name for damage in ALL}) == len(ALL) >= 3 * 150


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("damage", MARKED)
def test_no_damage_gives_a_traceback_or_hides_the_healthy_runs(tmp_path, monkeypatch, capsys, damage: Damage):
    make_set(damage, tmp_path)
    monkeypatch.chdir(tmp_path)
    outside = contents(tmp_path / "outside") if damage.name != "run:link" else None
    for words in (*READING, *(TRAINED if damage.base == "dqn" else SAMPLED)):
        argv = [damage.run if word == "BAD" else word for word in words]
        if damage.run.startswith("-"):
            argv = [f"runs/{damage.run}" if word == damage.run else word for word in argv]
        try:
            code = main(argv)
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        told = f"{damage.name}: rlgen {' '.join(argv)!a}: {code}\n{out!a}\n{err!a}"
        assert code in CODES, told
        assert "Traceback" not in err, told
        assert all(line.isprintable() or "\r" in line for line in (out + err).split("\n") if "\t" not in line), told
        assert (code == 0) == ("error: " not in err), told
        assert err.count("\nerror: ") + err.startswith("error: ") == (code != 0), told
        if words[0] == "list":
            names = [row["name"] for row in json.loads(out)] if "--json" in words else out.split()
            assert code == 0 and {"good-1", "good-2"} <= set(names), told
        if words[0] == "compare":
            assert code == 0 and "dqn" in out and "double_dqn" in out, told
        if words[0] == "__complete":
            assert {"good-1", "good-2", "last"} <= set(out.split("\n")), told
    if outside is not None:
        assert contents(tmp_path / "outside") == outside, damage.name


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
