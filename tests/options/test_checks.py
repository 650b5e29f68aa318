"""Text and values mean the same, and fail with the same line."""

from pathlib import Path

import pytest

from rlgen.options.checks import check_value
from rlgen.options.fields import Option


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("1e6", int, 1_000_000),
        ("50_000", int, 50_000),
        (1e3, int, 1_000),
        ("1e-3", float, 1e-3),
        (1, float, 1.0),
        (2**60 + 1, int, 2**60 + 1),
        (str(2**60 + 1), int, 2**60 + 1),
        ("None", int | None, None),
        ("7", int | None, 7),
        (["1", 2], tuple[int, ...], (1, 2)),
        (Path("runs"), str, "runs"),
    ],
)
def test_text_and_values_mean_the_same(value, kind, expected):
    converted = check_value(Option("x", kind, None, ""), value)
    assert converted == expected and type(converted) is type(expected)
