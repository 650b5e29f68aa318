"""A comparison for a terminal: verdicts, warnings, why something is not ranked, in lines that fit."""

import io
import sys

import pytest
from comparing import found, make_pair
from synthetic import make_run

from rlgen.compare import terminal
from rlgen.compare.tables import Table, sections


def test_text_has_verdicts_warnings_and_failures(comparison):
    text = " ".join(terminal.text(comparison).split())
    assert "double_dqn is better" in text and "All 2 tasks together" in text
    assert "warning: dqn: 1 of 6 seeds failed" in text and "1 unfinished, not scored" in text
    assert "eval/fd \N{DOWNWARDS ARROW}" in text and "eval/episodic_return \N{UPWARDS ARROW}" in text


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_every_line_fits_and_every_number_is_there(comparison, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    text = terminal.text(comparison)
    assert max(map(len, text.splitlines())) <= columns
    words = text.split()
    for section in sections(comparison)[:-1]:
        for table in section.tables:
            for row in table.rows if not table.detail else ():
                assert all(set(cell[0].split()) <= {*words} for cell in row if isinstance(cell, tuple)), row


@pytest.mark.parametrize("columns", [60, 80])
def test_long_names_and_many_groups_fit(runs, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    for lr in range(1, 6):
        for seed in range(2):
            make_run(runs, "an_algorithm_with_quite_a_long_name", seed, lr=lr, gamma=0.9 + lr / 100, data="digits")
    path = make_run(runs, "dqn", 1)
    (path / "summary.json").write_text("[]")
    text = terminal.text(found(runs, until_decided=True))
    assert max(len(line) for line in text.splitlines() if "  rlgen train" not in line) <= columns
    joined = "".join(text.split())
    assert all(f"an_algorithm_with_quite_a_long_namelr={lr}gamma=0.9{lr}" in joined for lr in range(1, 6))
    assert "summary.jsonisdamaged" in joined


def test_a_table_goes_on_below_itself_with_its_first_column_and_loses_nothing():
    rows = [[name, *((f"{name}{i}", float(i)) for i in range(9))] for name in ("left", "right")]
    table = Table("", ["", *(f"column{i}" for i in range(9))], rows)
    parts = [*terminal.parts(table, 40)]
    assert [part.split()[:3] for part in parts] == [
        [f"column{i}", f"column{i + 1}", f"column{i + 2}"] for i in (0, 3, 6)
    ]
    assert all(line.startswith("left") for part in parts for line in part.splitlines()[1:2])
    assert len([*terminal.parts(table, 200)]) == 1


def test_commands_are_whole_however_narrow_the_terminal_is():
    command = "rlgen train dqn " + "--lr 0.001 " * 9
    assert command.strip() in "".join(terminal.parts(Table("", ["command"], [[command]]), 40))


def test_a_terminal_of_ascii_has_words_for_arrows_and_no_question_marks(runs, monkeypatch):
    make_pair(runs)
    make_run(runs, "vae", 1, data="digits")
    make_run(runs, "gan", 1, data="digits", status=None, reached=20_000)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    text = terminal.text(found(runs))
    assert text.isascii() and "?" not in text
    assert "eval/nll (lower is better)" in text and "eval/episodic_return (higher is better)" in text
