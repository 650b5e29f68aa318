"""Which direction of a metric is better."""

import pytest

from rlgen.compare.rules import direction


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
        ("eval/first_2000/fd_random", -1),
        ("eval/recall_lenet", 1),
        ("eval/class_kl_lenet", -1),
        ("eval/swd", -1),
        ("eval/floor/fd_lenet", 0),
    ],
)
def test_directions(metric, expected):
    assert direction(metric) == expected
