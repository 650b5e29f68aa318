"""Which direction of a metric is better, and which options change what it means."""

import pytest

from rlgen.compare.rules import direction, protocol


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("eval/episodic_return", 1),
        ("eval/kl", 0),
        ("eval/kid_inception", -1),
        ("eval/precision", 1),
        ("eval/x", 0),
        ("eval/d_gap", 0),
        ("eval/first_1000/nll", -1),
        ("eval/first_1000/d_gap", 0),
    ],
)
def test_directions(metric, expected):
    assert direction(metric) == expected


def test_options_that_change_what_a_score_means_are_those_of_runs_and_what_algorithms_say():
    found = protocol()
    assert found["nll_samples"] == ("eval/nll", "importance samples behind the NLL")  # says a comment of the VAE
    assert found["eval_episodes"] == ("eval/", "evaluation episodes") and not {"lr", "gamma", "latent"} & set(found)
