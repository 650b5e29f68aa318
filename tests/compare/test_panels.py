"""Which figures a comparison has."""

import shutil

import pytest
from comparing import found
from synthetic import make_run

from rlgen.compare import figures, panels
from rlgen.pictures import COLOURS


def names(comparison):
    return [[figure.name for figure in of_section] for of_section in panels.panels(comparison)]


def test_axes_have_their_units(comparison):
    axes = panels.axis_label("eval/nll", -1), panels.axis_label("eval/episodic_return", 1)
    assert axes == ("eval/nll \N{DOWNWARDS ARROW} [nats per image]", "eval/episodic_return \N{UPWARDS ARROW}")


def test_a_model_without_the_ranked_metric_shows_the_curves_of_those_that_it_has(runs):
    """A GAN had no likelihood, so its section was empty axes."""
    gan = {"eval/d_real": 0.2, "eval/d_fake": -0.2}
    for seed in range(2):
        make_run(runs, "vae", seed, data="digits", extra={"eval/kl": 17.0})
        path = make_run(runs, "gan", seed, data="digits", extra=gan)
        rows = (path / "metrics.jsonl").read_text()
        for name in ("eval/nll", "eval/elbo", "losses/elbo"):
            rows = rows.replace(name, name.replace("e", "x"))
        (path / "metrics.jsonl").write_text(rows)
    both, _ = panels.panels(found(runs))
    drawn = {figure.name: [*figure.colours] for figure in both}
    assert drawn["curves"] == ["vae"] and drawn["curves-d_real"] == drawn["curves-d_fake"] == ["gan"]
    assert "curves-kl" not in drawn  # the VAE has a curve of what it is ranked by
    alone = names(found(runs, algo="gan"))[0]
    assert {"curves", "curves-d_fake"} <= {*alone} and len(alone) == len(set(alone))


SCORES = {"eval/fd_lenet": 2.0, "eval/precision_lenet": 0.8, "eval/recall_lenet": 0.7, "eval/coverage_lenet": 0.6}
FLOORS = {"eval/floor/fd_lenet": 0.5, "eval/floor/precision_lenet": 0.95, "eval/floor/coverage_lenet": 0.97}


@pytest.fixture
def scored(runs):
    """Two models whose samples were compared with the same images."""
    others = {"eval/kid_lenet": 0.1, "eval/swd": 0.2, "eval/floor/swd": 0.1}
    for algo in ("gan", "vae"):
        make_run(runs, algo, 0, data="digits", extra=SCORES | FLOORS | others)
    return runs


def lines(figure):
    """What is drawn: colour, dash and heights of each line."""
    ax = pytest.importorskip("matplotlib.figure").Figure().add_subplot()
    figure.draw(ax)
    found = [(line.get_color(), line.get_linestyle(), set(line.get_ydata().round(6))) for line in ax.get_lines()]
    return ax, found


def test_scores_of_samples_have_curves_with_what_real_images_score(scored):
    (section, *_) = panels.panels(found(scored, metric="eval/nll"))
    drawn = {figure.name: figure for figure in section}
    names = [name for name in drawn if name.startswith("curves-")]
    assert names == [f"curves-{word}_lenet" for word in ("fd", "precision", "recall", "coverage")]
    for name in names:
        ax, of_figure = lines(drawn[name])
        metric = "eval/" + name.removeprefix("curves-")
        expected = [(colour, "-", {SCORES[metric]}) for colour in COLOURS[:2]]
        floor = FLOORS.get(metric.replace("eval/", "eval/floor/"))
        expected += [(figures.FLOOR, "--", {floor})] if floor else []
        assert of_figure == expected, name
        assert [text.get_text() for text in ax.texts] == ["real images"] * bool(floor)
        assert ax.get_yscale() == ("log" if "fd" in name else "linear")
    assert drawn["curves"].colours.keys() == {"gan", "vae"} and len(lines(drawn["curves"])[1]) == 2


def test_the_curves_of_the_ranked_score_have_its_floor(scored):
    (section, *_) = panels.panels(found(scored, metric="eval/fd_lenet"))
    drawn = {figure.name: figure for figure in section}
    assert "curves-fd_lenet" not in drawn and "curves-recall_lenet" in drawn
    ax, of_figure = lines(drawn["curves"])
    assert of_figure[-1] == (figures.FLOOR, "--", {0.5}) and len(of_figure) == 3 and ax.get_yscale() == "log"


def test_floors_that_differ_are_all_drawn(scored):
    make_run(scored, "gan", 1, data="digits", extra=SCORES | FLOORS | {"eval/floor/precision_lenet": 0.9})
    (section, *_) = panels.panels(found(scored, metric="eval/nll"))
    (figure,) = (figure for figure in section if figure.name == "curves-precision_lenet")
    assert [heights for _, dash, heights in lines(figure)[1] if dash == "--"] == [{0.95}, {0.9}]


def test_the_newest_samples_are_shown_and_beside_them_those_of_the_weights_that_train(scored):
    (path,) = scored.glob("*gan*")
    (grid,) = (path / "samples").glob("grid_*.png")
    for name in ("grid_000000007", "raw_000000007", "raw_000040000"):
        shutil.copy(grid, path / "samples" / f"{name}.png")
    (section, *_) = panels.panels(found(scored))
    shown = {figure.title: figure.picture.name for figure in section if figure.name == "samples"}
    assert shown == {
        "gan: samples, seed 0 at step 50,000": "grid_000050000.png",
        "gan: samples of the weights that train, seed 0 at step 40,000": "raw_000040000.png",
        "vae: samples, seed 0 at step 50,000": "grid_000050000.png",
    }


def test_a_single_score_has_no_figure_of_its_own(runs):
    """Nine figures of one dot each were most of the report of a GAN."""
    make_run(runs, "gan", 0, data="digits", extra=SCORES | FLOORS)
    make_run(runs, "dqn", 0)
    for of_section in names(found(runs)):
        assert not [name for name in of_section if name.startswith("final") or name == "profiles"]
    make_run(runs, "gan", 1, data="digits", extra=SCORES | FLOORS)
    make_run(runs, "dqn", 1)
    every = {name for of_section in names(found(runs)) for name in of_section}
    assert {"final", "final-recall_lenet", "profiles"} <= every


def test_every_figure_of_a_section_has_a_name_of_its_own_but_the_grids(comparison):
    for of_section in names(comparison):
        plots = [name for name in of_section if name != "samples"]
        assert len(plots) == len(set(plots)), plots
