"""How numbers are written in a table."""

import math

import pytest

from rlgen.compare import cells

DASH = "\N{EN DASH}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.05, "0.05000"),
        (1.0, "1.000"),
        (22.953, "22.95"),
        (-98.76543, "-98.77"),
        (499.76, "499.8"),
        (12345.6, "12,346"),
    ],
)
def test_a_number_has_four_digits_or_all_of_those_before_the_point(value, expected):
    assert cells.number(value) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"), [(6.04, "6.0 s"), (99.9, "99.9 s"), (156.4, "0:02:36"), (3723, "1:02:03")]
)
def test_a_duration_is_in_seconds_or_in_hours_minutes_and_seconds(seconds, expected):
    assert cells.duration(seconds) == expected


def test_a_cell_sorts_by_its_number_and_what_is_missing_comes_last():
    assert cells.number_cell(22.953) == ("22.95", 22.953) and cells.count_cell(3) == ("3", 3)
    assert cells.number_cell(None) == cells.number_cell(math.nan) == (DASH, math.inf)
    assert cells.number_cell(math.inf) == ("not reached", math.inf)
    assert cells.range_cell(1.0, 0.5, 2.0) == ("1.000 [0.5000, 2.000]", 1.0)
    assert cells.range_cell(1.0, None, None) == ("1.000", 1.0)


@pytest.mark.parametrize(("value", "text"), [(1e308, "1.000e+308"), (-2e12, "-2.000e+12"), (9.9e11, "990,000,000,000")])
def test_a_number_that_is_too_long_to_be_read_is_a_power_of_ten(value, text):
    """1e308 was three hundred digits."""
    assert cells.number(value) == cells.whole(value) == text
