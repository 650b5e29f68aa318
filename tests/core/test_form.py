"""A state that was saved has the form of one that is saved now."""

import pytest
import torch

from rlgen.core.form import check_between, check_form

NOW = {"a": 1, "b": [0.5, 1], "c": torch.zeros(2, 3), "d": {"e": "text", "f": True}, "g": None, "h": []}


@pytest.mark.parametrize(
    "saved",
    [
        NOW,
        NOW | {"g": torch.ones(3), "h": ["x"]},  # of these nothing is known
        NOW | {"b": (2, 3), "c": torch.ones(7, 9), "more": 1},
        {"a": 2},  # who reads it knows what may lack
        NOW | {"b": [0.1, 0.2, 0.3]},
    ],
)
def test_the_same_form_is_taken(saved):
    check_form(saved, NOW)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"a": 1.0}, "it.a is 1.0"),
        ({"a": True}, "it.a is True"),
        ({"a": None}, "it.a is None"),
        ({"b": [float("nan"), 1]}, "it.b.0 is nan"),
        ({"b": "ab"}, "it.b is of type str"),
        ({"b": [0.1, 0.2, "x"]}, "it.b.2 is 'x'"),
        ({"c": torch.zeros(2, 3).double()}, "it.c is of torch.float64, here it is torch.float32"),
        ({"c": torch.zeros(6)}, r"it.c has shape \[6\], here it is \[2, 3\]"),
        ({"c": [1]}, "it.c is of type list"),
        ({"d": [1]}, "it.d is of type list"),
        ({"d": {"e": "text", "f": 1}}, "it.d.f is 1"),
    ],
)
def test_another_form_is_refused_with_the_place(change, reason):
    with pytest.raises(ValueError, match=reason):
        check_form(NOW | change, NOW)


def test_numbers_are_within_bounds():
    check_between(torch.tensor([0, 4]), 0, 5, "x")
    check_between(torch.tensor([], dtype=torch.int64), 0, 5, "x")
    for values in ([-1, 2], [2, 5]):
        with pytest.raises(ValueError, match=r"x has numbers that are not in \[0, 5\)"):
            check_between(torch.tensor(values), 0, 5, "x")
