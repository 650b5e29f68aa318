"""The formats: they agree with each other, and say what was not ranked."""

import csv
import json
import re
import sys
import warnings

import pytest
from full_disk import largest_file
from PIL import Image
from synthetic import make_run

from rlgen.compare import figures, files, terminal
from rlgen.compare.collect import collect
from rlgen.compare.comparison import compare
from rlgen.errors import DiskError, MissingExtraError, UsageError


def test_json_and_csv_hold_the_same_numbers(comparison, tmp_path):
    files.write(comparison, [tmp_path / "r.json", tmp_path / "r.csv"])
    document = json.loads((tmp_path / "r.json").read_text())
    with open(tmp_path / "r.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    of_groups, of_runs = ([row for row in rows if bool(row["run"]) is runs] for runs in (False, True))
    by_key = {(row["task"], row["group"], row["metric"]): row for row in of_groups}
    for task in document["tasks"]:
        for group in task["groups"]:
            for name, stats in group["metrics"].items():
                row = by_key.pop((task["task"], group["group"], name))
                assert float(row["iqm"]) == stats["iqm"] and int(row["failed"]) == group["failed"]
                assert bool(row["area"]) == (name == task["metric"])
    assert not by_key
    expected = [
        (task["task"], run["run"], run["seed"], run["score"]) for task in document["tasks"] for run in task["runs"]
    ]
    assert [
        (row["task"], row["run"], int(row["seed"]), float(row["score"]) if row["score"] else None) for row in of_runs
    ] == expected
    assert {"diverged", "stopped"} < {row["state"] for row in of_runs} and {row["seeds"] for row in of_runs} == {""}


@pytest.mark.parametrize(
    "suffix",
    [pytest.param(each, marks=[pytest.mark.slow] * (each in (".svg", ".pdf"))) for each in files.FORMATS],
)
def test_a_file_is_written_whole_or_not_at_all(comparison, tmp_path, suffix):
    if suffix in files.DRAWN:
        pytest.importorskip("matplotlib")
    path = tmp_path / f"r{suffix}"
    path.write_text("of before")
    with largest_file(100), pytest.raises(DiskError, match=rf"cannot write .*/r\{suffix}: "):
        files.write(comparison, [path])
    assert path.read_text() == "of before" and list(tmp_path.iterdir()) == [path]


def test_markdown_is_tables_with_as_many_cells_as_columns(comparison, tmp_path):
    files.write(comparison, [tmp_path / "r.md"])
    text = (tmp_path / "r.md").read_text()
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block
    assert "a\\|<b>" in text and "rlgen train dqn --env CartPole-v1 --seed 1" in text and "2.13.0" in text


def test_png_is_a_picture_of_every_figure(comparison, tmp_path):
    pytest.importorskip("matplotlib")
    files.write(comparison, [tmp_path / "r.png"])
    picture = Image.open(tmp_path / "r.png").convert("RGB")
    assert picture.width > 1_000 and picture.height > 2_000
    assert len(picture.getcolors(2**24)) > 50


def test_many_groups_with_long_names_have_room_and_can_be_told_apart(tmp_path):
    """Four names were cut to the same 26 letters."""
    pytest.importorskip("matplotlib")
    for lr in range(8):
        make_run(tmp_path / "runs", "an_algorithm_with_a_long_name", 1, lr=lr, hidden=[64, 64] * (lr % 2 + 1))
    many = compare(collect([], str(tmp_path / "runs")), resamples=100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a layout that does not fit
        files.write(many, [tmp_path / "r.png"])
    from matplotlib.figure import Figure

    ax = Figure().add_subplot()
    points = [(row["group"], (row["iqm"], None, None), row["scores"]) for row in many["tasks"][0]["groups"]]
    figures.intervals("", "", "", points, {name: 0 for name, *_ in points}).draw(ax)
    assert len({label.get_text() for label in ax.get_yticklabels()}) == 8


def test_the_same_comparison_is_the_same_file(lab, tmp_path):
    pytest.importorskip("matplotlib")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        result = compare(collect(["*digits*"], str(lab)), resamples=500)
        files.write(result, [tmp_path / folder / f"r{suffix}" for suffix in files.FORMATS])
    for suffix in files.FORMATS:
        assert (tmp_path / f"a/r{suffix}").read_bytes() == (tmp_path / f"b/r{suffix}").read_bytes(), suffix


def test_one_figure_alone_is_all_that_is_drawn(comparison, tmp_path):
    pytest.importorskip("matplotlib")
    files.write(comparison, [tmp_path / "r.svg", tmp_path / "r.pdf"], "profiles")
    text = (tmp_path / "r.svg").read_text()
    assert "share of runs better" in text and "wall time" not in text and "<text" in text  # text stays text
    assert (tmp_path / "r.pdf").read_bytes()[:5] == b"%PDF-"


def test_a_figure_that_there_is_not_is_refused_with_those_that_there_are(comparison, tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(UsageError, match=r"--figure curve: there is no such figure; .*curves, time, final, .*values"):
        files.write(comparison, [tmp_path / "r.svg"], "curve")
    with pytest.raises(UsageError, match=r"--figure curves: say where it goes, as --out curves.pdf"):
        files.check([tmp_path / "r.html"], "curves")
    assert not list(tmp_path.iterdir())


def test_refusals_are_in_every_readable_format(tmp_path):
    pytest.importorskip("matplotlib")
    make_run(tmp_path / "runs", "dqn", 1, steps=10_000)
    make_run(tmp_path / "runs", "ppo", 1)
    refused = compare(collect([], str(tmp_path / "runs")), resamples=100)
    files.write(refused, [tmp_path / "r.html", tmp_path / "r.md"])
    for text in (terminal.text(refused), (tmp_path / "r.html").read_text(), (tmp_path / "r.md").read_text()):
        assert "different step budgets: dqn 10,000, ppo 50,000" in text and "is better" not in text


def test_unfinished_runs_alone_still_make_a_report(tmp_path):
    pytest.importorskip("matplotlib")
    make_run(tmp_path / "runs", "dqn", 1, status=None, reached=20_000)
    make_run(tmp_path / "runs", "ppo", 1, status=None, reached=0)
    files.write(compare(collect([], str(tmp_path / "runs"))), [tmp_path / "r.html", tmp_path / "r.png"])
    assert "unfinished" in (tmp_path / "r.html").read_text()


def test_files_are_refused_before_the_work(tmp_path):
    for name in ("r.doc", "missing/r.html", "r"):
        with pytest.raises(UsageError, match="must end in"):
            files.check([tmp_path / name])


def test_without_matplotlib_the_error_is_the_command_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"-m pip install matplotlib$"):
        files.check([tmp_path / "r.html"])
    files.check([tmp_path / "r.md"])
