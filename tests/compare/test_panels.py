"""Which figures a comparison has."""

from rlgen.compare import panels


def test_axes_have_their_units(comparison):
    axes = panels.axis_label("eval/nll", -1), panels.axis_label("eval/episodic_return", 1)
    assert axes == ("eval/nll \N{DOWNWARDS ARROW} [nats per image]", "eval/episodic_return \N{UPWARDS ARROW}")
