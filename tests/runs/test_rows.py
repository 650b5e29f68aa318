import itertools
import json
import math
import random
import re
import tracemalloc
from pathlib import Path

import pytest

from rlgen.errors import UsageError
from rlgen.metrics import OF_SAMPLES
from rlgen.runs import rows as rows_module
from rlgen.runs.rows import last_evaluation, read_metrics, truncate

ROOT = Path(__file__).parents[2]


def test_metrics_are_read_without_a_torn_last_line_and_cut_at_a_step(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": step, "a": "NaN" if step == 2 else step}) for step in (1, 2, 2, 3)]
    path.write_text("\n".join(lines) + '\n{"step": 4, "a')
    rows = list(read_metrics(tmp_path))
    assert [row["step"] for row in rows] == [1, 2, 2, 3] and rows[1]["a"] != rows[1]["a"]
    truncate(path, 2)
    assert path.read_text() == "\n".join(lines[:3]) + "\n"
    truncate(path, 2)
    truncate(path, 0)
    assert path.read_text() == ""
    assert list(read_metrics(tmp_path / "nothing")) == []
    path.write_text(lines[0] + "\n\x00\x00\n" + lines[1] + "\n")
    with pytest.raises(UsageError, match="line 2"):
        list(read_metrics(path))


DAMAGE = {
    "a letter": b"x",
    "nulls": b"\x00" * 40,
    "an empty line": b"",
    "no text": b"\xff\xfe{",
    "no object": b"[1, 2]",
    "no step": b'{"a": 1}',
    "a step that is true": b'{"step": true}',
    "a negative step": b'{"step": -1}',
    "a list as a value": b'{"step": 2, "a": [1]}',
    "a number beyond every float": b'{"step": 2, "a": 1' + b"0" * 400 + b"}",
    "deep nesting": b"[" * 100_000,
    "steps that go backwards": b'{"step": 1}',
    "a long line": b'{"step": 2, "a": "' + b"x" * 5_000 + b'"}',
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_resume_loses_nothing_behind_a_damaged_line(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(rows_module, "MAX_LINE", 4_000)
    path = tmp_path / "metrics.jsonl"
    good = [json.dumps({"step": step, "a": step}).encode() for step in range(2, 12)]
    content = b"\n".join([*good[:2], DAMAGE[kind], *good[2:]]) + b"\n"
    path.write_bytes(content)
    aside = truncate(path, 9)
    assert path.read_bytes() == b"\n".join(good[:8]) + b"\n"
    assert aside == tmp_path / "metrics.damaged-1.jsonl" and aside.read_bytes() == content
    path.write_bytes(content)
    assert truncate(path, 9) == tmp_path / "metrics.damaged-2.jsonl"  # an earlier one is never written over
    assert len(list(read_metrics(path))) == 8 and truncate(path, 9) is None


def test_a_wrong_step_costs_its_own_row_alone(tmp_path):
    path = tmp_path / "metrics.jsonl"
    good = [json.dumps({"step": step}).encode() for step in range(10)]
    for wrong in (8, 900):
        path.write_bytes(b"\n".join([*good[:3], json.dumps({"step": wrong}).encode(), *good[4:]]) + b"\n")
        assert truncate(path, 20) is not None
        assert path.read_bytes() == b"\n".join(good[:3] + good[4:]) + b"\n"


def test_the_longest_part_in_order_is_found():
    draw = random.Random(0)
    for _ in range(200):
        values = [draw.randrange(5) for _ in range(draw.randrange(9))]
        found = rows_module.in_order(values)
        assert found == sorted(found) and [values[i] for i in found] == sorted(values[i] for i in found)
        subsets = (chosen for n in range(len(values), -1, -1) for chosen in itertools.combinations(values, n))
        assert len(found) == len(next(chosen for chosen in subsets if list(chosen) == sorted(chosen)))


@pytest.mark.parametrize(
    ("end", "kept", "whole"),
    [
        (b'{"step": 3, "a', 2, True),  # a killed process left it
        (b'{"step": 2, "a": 1}', 3, True),  # an editor took the newline
        (b'{"step": 3}\r{"step": 4', 2, False),
        (b'{"step": 3' + b"\0" * 9, 2, False),
        (b"x", 2, False),
    ],
)
def test_of_a_last_line_without_a_newline_only_a_cut_row_is_dropped_in_silence(tmp_path, end, kept, whole):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2}\n' + end)
    aside = truncate(path, 2)
    assert path.read_bytes() == b"\n".join([b'{"step": 1}', b'{"step": 2}', end][:kept]) + b"\n"
    assert aside is None if whole else aside.read_bytes().endswith(end)


def test_rows_with_other_line_ends_are_kept_aside(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\r{"step": 2}\r')
    assert truncate(path, 2).read_bytes() == b'{"step": 1}\r{"step": 2}\r'


def test_a_text_that_says_weights_is_no_digest(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "note": "weights"}\n{"step": 2, "weights": "0f"}\n')
    assert rows_module.digests(tmp_path) == {2: "0f"}


@pytest.mark.parametrize("kind", sorted(set(DAMAGE) - {"steps that go backwards"}))
def test_readers_name_the_damaged_line(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(rows_module, "MAX_LINE", 4_000)
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n' + DAMAGE[kind] + b"\n")
    with pytest.raises(UsageError, match="line 2"):
        list(read_metrics(tmp_path))


def test_texts_of_a_row_are_left_out_and_its_numbers_stay(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "a": "NaN", "b": 2, "weights": "0f3a"}\n')
    (row,) = read_metrics(tmp_path)
    assert math.isnan(row.pop("a")) and row == {"step": 1, "b": 2}


def test_a_line_of_any_length_takes_little_memory(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with open(path, "wb") as file:
        file.write(b'{"step": 1, "a": "')
        file.truncate(2**28)  # zeros that take no room on the disk
    tracemalloc.start()
    with pytest.raises(UsageError, match="line 1"):  # the file ends without a newline; that much is not a torn row
        list(read_metrics(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * rows_module.MAX_LINE


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ('{"step": 1, "eval/x": 2}\n{"step": 2, "eval/x": 3}\n', 2),
        ('{"step": 1, "eval/x": 2}\n' + '{"step": 3, "losses/x": 1}\n' * 9_000, 1),  # far from the end
        ('{"step": 1, "eval/x": 2}\n{"step": 2, "eval/x"', 1),  # torn
        ('{"step": 1, "eval/x": 2}\nx "eval/x"\n{"step": 2, "eval/x": "abc"}\n', 1),
        ('{"step": 1, "losses/x": 2}\n', None),
        ("", None),
        (None, None),
    ],
)
def test_the_last_evaluation_is_found_from_the_end(tmp_path, text, step):
    if text is not None:
        (tmp_path / "metrics.jsonl").write_text(text)
    assert last_evaluation(tmp_path / "metrics.jsonl").get("step") == step


@pytest.mark.parametrize("run", ["reference/ppo-cartpole-0", "family/rainbow-cartpole-0", "gan/fmgan-0"])
def test_the_readme_names_every_key_of_a_row(run):
    text = (ROOT / "rlgen/runs/README.md").read_text(encoding="utf-8")
    table = text.partition("| key | what it is |\n|---|---|\n")[2].partition("\n\n")[0]
    named = [span for line in table.splitlines() for span in re.findall("`(.+?)`", line.split("|")[1])]
    known = [OF_SAMPLES, *(re.compile(re.escape(name).replace(r"\.\.\.", ".+")) for name in named)]
    lines = (ROOT / "runs" / run / "metrics.jsonl").read_text().splitlines()
    keys = {key for line in lines for key in json.loads(line)} - {"step", "time", "health", "weights"}
    assert {key for key in keys if not any(each.fullmatch(key) for each in known)} == set()
