"""How results are written."""

import json

import numpy as np
import pytest

from rlgen import text
from rlgen.text import Bytes, Rows, Seconds, cell, document, duration, page, readable, safe, table, warn


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 * 2**20, "3.0 MiB"), (2**41, "2048.0 GiB")]
)
def test_sizes_read_well(number, text):
    assert str(Bytes(number)) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (86400 * 3, "3 d")]
)
def test_spans_of_time_read_well(number, text):
    assert str(Seconds(number)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (1 / 3, "0.333333"),
        ((1, None), "1 -"),
        ([], "-"),
        (list(range(21)), "21 values, see --json"),
        ({"a": 1.0, "b": (2,)}, "a 1, b 2"),
    ],
)
def test_a_cell_is_short(value, text):
    assert cell(value) == text


def test_durations_count_hours():
    assert (duration(3.4), duration(3723), duration(360_000)) == ("0:00:03", "1:02:03", "100:00:00")


def test_a_document_is_strict_json():
    value = {1: (np.float32(0.5), float("inf")), "array": np.array([[1, 2]]), "size": Bytes(3)}
    assert json.loads(document(value)) == {"1": [0.5, "Infinity"], "array": [[1, 2]], "size": 3}


def test_columns_are_as_wide_as_their_widest_cell():
    assert table(("a", "long name"), [("wide cell", "b")]) == "a          long name\nwide cell  b"


def test_rows_are_shown_as_people_read_them():
    rows = Rows([{"name": "x", "path": "/tmp", "size": 3}])
    assert readable(rows).split() == ["name", "size", "x", "3"]
    rows.shown = [{"name": "X"}]
    assert readable(rows).split() == ["name", "X"]
    assert readable([]) == "none"


def test_a_page_has_a_line_for_each_name():
    lines = page({"a": 1.0, "b": {"c": None}, "commands": ["one", "two"], "problems": []}).splitlines()
    words = [["a", "1"], ["b"], ["c", "-"], ["commands", "one"], ["two"], ["problems", "none"]]
    assert [line.split() for line in lines] == words
    assert {line.index(word) for line, word in zip(lines[2:5], ("-", "one", "two"), strict=True)} == {31}


def test_nothing_that_is_shown_moves_the_cursor_or_breaks_a_line(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    evil = "a\x1b[2J\x07\r\nb\x9b\u202e\ud800\u2028"
    for result in (
        evil,
        [{evil: evil}],
        {evil: evil, "values": {evil: [evil, {evil: evil}]}, "commands": [evil, evil]},
    ):
        shown = readable(result)
        assert all(line.isprintable() for line in shown.split("\n")), result
        assert shown.count("\n") == (1 if isinstance(result, (str, list)) else 4) and "\\x1b[2J" in shown
    assert safe(evil) == "a\\x1b[2J\\x07\\r\\nb\\x9b\\u202e\\ud800\\u2028" and safe("é 中 ▁") == "é 中 ▁"


def test_a_warning_is_one_line_without_control_characters(capsys):
    warn("a\x1b[2J\nb")
    warn("c", note=True)
    assert capsys.readouterr().err == "warning: a\\x1b[2J\\nb\nc\n"


ROWS = [["a-long-name-of-a-run", "dqn", "a/very/long/path/of/images", "1"], ["b", "ppo", "digits", "2"]]


@pytest.mark.parametrize(
    ("columns", "kept", "widest"),
    [
        (200, ["name", "algo", "data", "seed"], 26),
        (56, ["name", "algo", "data"], 26),
        (40, ["name", "data"], 18),
        (30, ["name", "data"], 12),
    ],
)
def test_a_table_fits_the_terminal_with_fewer_columns_and_the_widest_cut(monkeypatch, columns, kept, widest):
    monkeypatch.setenv("COLUMNS", str(columns))
    shown, *rows = text.fitted(["name", "algo", "data", "seed"], ROWS, ("seed", "algo"))
    assert shown == kept and max(len(row[kept.index("data")]) for row in rows) == widest
    assert [row[0] for row in rows] == ["a-long-name-of-a-run", "b"], "what is pasted stays whole"
    if columns > 35:
        assert max(map(len, text.table(shown, rows).splitlines())) <= columns


def test_rows_name_the_columns_that_they_can_spare(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    rows = text.Rows([{"run": "mine", "about": "x" * 14, "size": 3}])
    rows.spare = ("about",)
    assert text.readable(rows) == "run   size\nmine  3"


def test_prose_is_wrapped_and_words_stay_whole(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    path = "/a/very-long/path-of/" + "x" * 40
    lines = text.wrapped(f"one two three four five six seven eight nine {path} ten").splitlines()
    assert len(lines[0]) <= 40 and lines[1].startswith("  ") and any(path in line.split() for line in lines)


def test_text_that_does_not_fit_beside_its_name_stands_below_it_whole(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    command = "x" * 60
    lines = page({"extra": command, "short": "y" * 49, "inner": {"place": command, "two": f"{command}\n{command}"}})
    assert lines.splitlines()[:5] == ["extra", f"    {command}", f"{'short':30} {'y' * 49}", "inner", "  place"]
    assert lines.splitlines()[5] == f"    {command}" and max(map(len, lines.splitlines()[:6])) <= 80
    monkeypatch.setenv("COLUMNS", "91")
    assert page({"extra": command}) == f"{'extra':30} {command}"


def test_a_long_list_on_a_page_is_broken_between_words_and_text_is_not(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    command = "rlgen train dqn " + "--name of-a-run " * 6
    parts = [{"name": f"part-{i}", "kind": "vector"} for i in range(6)]
    lines = page({"parts": parts, "command": command, "inner": {"parts": parts, "path": "/x" * 60}}).splitlines()
    assert lines[0].startswith(f"{'parts':30} name part-0, kind") and lines[1].startswith(" " * 31 + "name")
    assert [line for line in lines if len(line) > 80] == [f"{'command':30} {command}", f"  {'path':28} {'/x' * 60}"]
    assert " ".join("\n".join(lines).split()).count("name part-5, kind vector") == 2, "no word is lost"
