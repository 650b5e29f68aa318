"""Which figures a comparison has."""

from comparing import found
from synthetic import make_run

from rlgen.compare import panels


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


def test_every_figure_of_a_section_has_a_name_of_its_own_but_the_grids(comparison):
    for of_section in names(comparison):
        plots = [name for name in of_section if name != "samples"]
        assert len(plots) == len(set(plots)), plots
