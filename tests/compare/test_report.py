"""The report's formats: they agree with each other, stand alone, and say what was not ranked."""

import csv
import json
import re
import sys
import warnings

import numpy as np
import pytest
from PIL import Image
from synthetic import make_run

from rlgen.commands import main as cli
from rlgen.compare import figures, report
from rlgen.compare.collect import collect
from rlgen.compare.judge import compare
from rlgen.errors import MissingExtraError, UsageError


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two agents on two environments, one seed diverged and one unfinished, and two models."""
    runs = tmp_path_factory.mktemp("lab") / "runs"
    for env_id in ("CartPole-v1", "Acrobot-v1"):
        for seed in range(1, 6):
            make_run(runs, "dqn", seed, final=300.0 + seed, bias=30.0, env_id=env_id)
            make_run(runs, "double_dqn", seed, final=400.0 + seed, bias=3.0, env_id=env_id)
    make_run(runs, "dqn", 6, status="diverged", reached=20_000)
    make_run(runs, "double_dqn", 6, status=None, reached=20_000)
    for seed in range(1, 6):
        make_run(runs, "vae", seed, final=95.0 + seed, data="digits", extra={"eval/fd": 30.0 + seed})
        make_run(runs, "a|<b>", seed, final=90.0 + seed, data="digits", extra={"eval/fd": 20.0 + seed})
    return runs


@pytest.fixture(scope="module")
def comparison(runs):
    return compare(collect([], str(runs)), resamples=500)


def test_text_has_verdicts_warnings_and_failures(comparison):
    text = report.text(comparison)
    assert "double_dqn is better" in text and "All 2 tasks together" in text
    assert "warning: dqn: 1 of 6 seeds failed" in text and "1 unfinished, not scored" in text
    assert "eval/fd \N{DOWNWARDS ARROW}" in text and "eval/episodic_return \N{UPWARDS ARROW}" in text


def test_json_and_csv_hold_the_same_numbers(comparison, tmp_path):
    report.write(comparison, [tmp_path / "r.json", tmp_path / "r.csv"])
    document = json.loads((tmp_path / "r.json").read_text())
    with open(tmp_path / "r.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    by_key = {(row["task"], row["group"], row["metric"]): row for row in rows}
    for task in document["tasks"]:
        for group in task["groups"]:
            for name, stats in group["metrics"].items():
                row = by_key.pop((task["task"], group["group"], name))
                assert float(row["iqm"]) == stats["iqm"] and int(row["failed"]) == group["failed"]
                assert bool(row["area"]) == (name == task["metric"])
    assert not by_key


def test_markdown_is_tables_with_as_many_cells_as_columns(comparison, tmp_path):
    report.write(comparison, [tmp_path / "r.md"])
    text = (tmp_path / "r.md").read_text()
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block
    assert "a\\|<b>" in text and "rlgen train dqn --env CartPole-v1 --seed 1" in text and "2.13.0" in text


def test_html_stands_alone(comparison, tmp_path):
    pytest.importorskip("matplotlib")
    report.write(comparison, [tmp_path / "r.html"])
    text = (tmp_path / "r.html").read_text()
    assert not re.search(r'(?:src|srcset|href)="(?!data:)', text) and "<link" not in text and "@import" not in text
    assert "http" not in re.sub(r"data:image/[^\"]+", "", text), "no address but those inside pictures"
    assert 'name="viewport"' in text and "prefers-color-scheme: dark" in text and "aria-sort" in text
    assert "a|&lt;b&gt;" in text and "<b>" not in text  # a group's name is text, not markup
    assert text.count('class="picture"') == 2  # a sample grid of each model
    assert text.count("<source") == text.count("<picture") > 8
    for wanted in ("Learning curves", "against wall time", "Performance profiles", "Expected and obtained value"):
        assert wanted in text
    for tag in ("section", "table", "details", "figure", "div", "tr", "td"):
        assert len(re.findall(f"<{tag}[ >]", text)) == text.count(f"</{tag}>"), tag


@pytest.mark.parametrize("better", [1, -1])
def test_a_performance_profile_falls_exactly_at_the_scores(better):
    """On an even grid, ten runs at 500 would be better than 500.2."""
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    scores = np.array([470.0, 499.9, 500.0])
    ax = Figure().add_subplot()
    figures.profiles("", "", {"dqn": [scores]}, better, {"dqn": 0}).draw(ax)
    line = ax.get_lines()[0]
    x, y = line.get_data()
    assert set(scores) < set(x) and line.get_drawstyle() == {1: "steps-post", -1: "steps-pre"}[better]
    inside = np.interp([480, 499.95], *((x[:-1], np.arange(len(x) - 1)))).astype(int) + (better < 0)
    assert y[inside].tolist() == pytest.approx([2 / 3, 1 / 3] if better > 0 else [1 / 3, 2 / 3])


def test_axes_have_their_units(comparison):
    axes = figures._label("eval/nll", -1), figures._label("eval/episodic_return", 1)
    assert axes == ("eval/nll \N{DOWNWARDS ARROW} [nats per image]", "eval/episodic_return \N{UPWARDS ARROW}")


def test_png_is_a_picture_of_every_panel(comparison, tmp_path):
    pytest.importorskip("matplotlib")
    report.write(comparison, [tmp_path / "r.png"])
    picture = Image.open(tmp_path / "r.png").convert("RGB")
    assert picture.width > 1_000 and picture.height > 2_000
    assert len(picture.getcolors(2**24)) > 50


def test_many_groups_with_long_names_have_room_and_can_be_told_apart(tmp_path):
    """Their legends lay over the next row, and four names were cut to the same 26 letters."""
    pytest.importorskip("matplotlib")
    for lr in range(8):
        make_run(tmp_path / "runs", "an_algorithm_with_a_long_name", 1, lr=lr, hidden=[64, 64] * (lr % 2 + 1))
    many = compare(collect([], str(tmp_path / "runs")), resamples=100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a layout that does not fit
        report.write(many, [tmp_path / "r.png"])
    assert Image.open(tmp_path / "r.png").height > 1_200
    from matplotlib.figure import Figure

    ax = Figure().add_subplot()
    points = [(row["group"], (row["iqm"], None, None), row["scores"]) for row in many["tasks"][0]["groups"]]
    figures.intervals("", "", points, {name: 0 for name, *_ in points}).draw(ax)
    assert len({label.get_text() for label in ax.get_yticklabels()}) == 8


def test_the_same_comparison_is_the_same_file(comparison, runs, tmp_path):
    pytest.importorskip("matplotlib")
    again = compare(collect(["*digits*"], str(runs)), resamples=500)
    first = compare(collect(["*digits*"], str(runs)), resamples=500)
    report.write(first, [tmp_path / "a.html", tmp_path / "a.md"])
    report.write(again, [tmp_path / "b.html", tmp_path / "b.md"])
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert (tmp_path / "a.md").read_bytes() == (tmp_path / "b.md").read_bytes()


def test_refusals_are_in_every_readable_format(tmp_path):
    pytest.importorskip("matplotlib")
    make_run(tmp_path / "runs", "dqn", 1, steps=10_000)
    make_run(tmp_path / "runs", "ppo", 1)
    refused = compare(collect([], str(tmp_path / "runs")), resamples=100)
    report.write(refused, [tmp_path / "r.html", tmp_path / "r.md"])
    for text in (report.text(refused), (tmp_path / "r.html").read_text(), (tmp_path / "r.md").read_text()):
        assert "different step budgets: dqn 10,000, ppo 50,000" in text and "is better" not in text


def test_unfinished_runs_alone_still_make_a_report(tmp_path):
    pytest.importorskip("matplotlib")
    make_run(tmp_path / "runs", "dqn", 1, status=None, reached=20_000)
    make_run(tmp_path / "runs", "ppo", 1, status=None, reached=0)
    report.write(compare(collect([], str(tmp_path / "runs"))), [tmp_path / "r.html", tmp_path / "r.png"])
    assert "unfinished" in (tmp_path / "r.html").read_text()


def test_files_are_refused_before_the_work(tmp_path):
    for name in ("r.pdf", "missing/r.html", "r"):
        with pytest.raises(UsageError, match="must end in"):
            report.check([tmp_path / name])


def test_without_matplotlib_the_error_is_the_command_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r'pip install "rlgen\[report\]"'):
        report.check([tmp_path / "r.html"])
    report.check([tmp_path / "r.md"])


def test_the_command_writes_several_files(runs, tmp_path, capsys):
    out = [str(tmp_path / name) for name in ("a.md", "b.csv", "c.json")]
    argv = ["compare", "--runs-dir", str(runs), "--data", "digits", "--out", f"{out[0]},{out[1]}", out[2]]
    assert cli.main(argv) == 0
    assert all((tmp_path / name).stat().st_size for name in ("a.md", "b.csv", "c.json"))
    assert cli.main(["compare", "--runs-dir", str(runs), "--out", "x.pdf"]) == 2
