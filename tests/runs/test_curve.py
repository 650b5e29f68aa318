"""Curves drawn with characters."""

import os
import re
import sys

import pytest

from rlgen.runs.curve import Curve
from rlgen.text import page


def test_a_curve_rises_holds_and_survives_what_is_not_finite(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    line, _, numbers = str(Curve([(i, i) for i in range(600)], 600)).partition(" ")
    assert len(line) == 60 and (line[0], line[-1]) == ("▁", "█") and list(line) == sorted(line)
    assert numbers == "4.5 to 594.5, last 599"
    assert str(Curve([(5, 1.0), (10, float("nan"))], 10)).endswith("1 to 1, last nan")
    assert str(Curve([(5, float("inf"))], 10)) == "no finite value, last inf"
    assert str(Curve([(0, 1.0), (100, 2.0)], 200)).split(" ")[0].count("▁") == 30, "held in between"
    assert len(Curve([(i, i) for i in range(2500)], 2500).tolist()) <= 1000
    constant = str(Curve([(i, 106.9) for i in range(100_000)], 100_000)).split(" ")[0]
    assert len(set(constant)) == 1, "the rounding of means is no curve"
    monkeypatch.setenv("COLUMNS", "80")
    assert len(str(Curve([(i, i) for i in range(600)], 600)).split(" ")[0]) == 17
    monkeypatch.setattr(sys, "stdout", open(os.devnull, "w", encoding="ascii"))  # noqa: SIM115
    assert str(Curve([(i, i) for i in range(600)], 600, height=4)).isascii()


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("height", [1, 4])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.0078349, -0.00098451), (-1.2345e-5, 3.4567e-5)])
def test_a_page_with_curves_fits_the_terminal_and_has_the_same_numbers_at_any_width(
    monkeypatch, width, height, low, high
):
    monkeypatch.setenv("COLUMNS", str(width))
    points = [(i, low + (high - low) * i / 1000) for i in range(1001)]
    lines = page({"curves": {"losses/value_loss": Curve(points, 1000, height)}}).split("\n")
    assert max(map(len, lines)) <= width and max(line.count("\N{FULL BLOCK}") for line in lines) > 0
    text = " ".join(lines)
    assert f"last {points[-1][1]:.4g}" in text
    monkeypatch.setenv("COLUMNS", "300")
    wide = str(Curve(points, 1000, height))
    assert set(re.findall(r"-?[\d.]+(?:e-?\d+)?", wide)) == set(re.findall(r"-?[\d.]+(?:e-?\d+)?", text))
