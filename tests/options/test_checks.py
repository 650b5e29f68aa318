"""Text and values mean the same, and fail with the same line."""

from pathlib import Path
from typing import Literal

import pytest

from rlgen.errors import UsageError
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


def test_a_value_that_is_huge_when_written_out_is_refused_at_once():
    bomb = ["x"] * 10
    for _ in range(30):
        bomb = [bomb] * 10  # 10**31 words in a few bytes, as YAML's aliases make it
    for kind in (int, float, str, bool, int | None, tuple[int, ...], Literal["a", "b"]):
        with pytest.raises(UsageError) as caught:
            check_value(Option("lr", kind, None, "a step; in [0, 1)"), bomb)
        assert len(str(caught.value)) < 500
