"""Seeds as they are typed."""

import pytest

from rlgen.errors import UsageError
from rlgen.options.seeds import parse_seeds


@pytest.mark.parametrize(
    ("text", "seeds"), [("2:5", [2, 3, 4]), ("1,2,3", [1, 2, 3]), ("7 4", [7, 4]), ("0:2,9", [0, 1, 9]), ("5:6", [5])]
)
def test_seeds_are_a_to_b_or_a_list(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5", "--seeds 5: type 0:5, which is 5 seeds, or 5:6, which is that one"),
        ("5:5", "A:B with A < B"),
        ("5:2", "A:B with A < B"),
        ("a:b", "A:B with A < B"),
        ("-1:2", "A:B with A < B"),
        ("1,x", "A:B with A < B"),
        ("1,2,1", "each seed once"),
        ("0:3,2", "each seed once"),
        ("", "each seed once"),
        ("1-3", "or 1,2,3"),
        ("0:1000000000000", "are 1,000,000,000,000; give at most 10,000"),
        ("0:6000,6000:12000", "are 12,000; give at most 10,000"),
        (f"0:1{'0' * 5000}", "a seed has at most 18 digits"),
    ],
)
def test_other_seeds_are_refused(text, message):
    with pytest.raises(UsageError, match=message) as caught:
        parse_seeds(text)
    assert "\n" not in str(caught.value)
