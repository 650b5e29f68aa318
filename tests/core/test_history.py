import math

import numpy as np
import pytest

from rlgen.core.history import PARTS, History


def filled(values, steps=None):
    history = History(["losses/m"], steps or len(values))
    for index, value in enumerate(values, 1):
        history.add({"step": index, "losses/m": value, "losses/other": 1.0})
    return history


def test_means_are_of_equal_parts_of_the_run():
    history = filled(np.arange(1.0, 4 * PARTS + 1))
    means = history.means("losses/m")
    assert len(means) == PARTS + 1 and means[0] == (0.0, 2.0) and means[1] == (1 / PARTS, 5.5)  # 1 2 3, 4 5 6 7
    assert means[-1] == (1.0, 4.0 * PARTS)
    assert history.last("losses/m") == 4 * PARTS and history.latest("losses/m") == 4 * PARTS - 1
    assert history.largest(["losses/m"]) == 4 * PARTS and history.share == 1.0


def test_what_was_not_seen_is_not_there():
    history = History(["losses/m", "losses/n"], 10)
    assert history.add({"step": 1, "losses/n": -3.0, "losses/x": 1.0}) == {"losses/n"}
    assert math.isnan(history.last("losses/m")) and math.isnan(history.latest("losses/n"))
    assert history.means("losses/m") == [] and history.largest(["losses/m", "losses/n"]) == 3.0
    assert history.gain("losses/m", 1) == 0.0


def test_beyond_the_end_is_the_end():
    history = History(["losses/m"], 10)
    history.add({"step": 13, "losses/m": 2.0})
    assert history.share == 1.0 and history.means("losses/m") == [(1.0, 2.0)]


def test_a_shift_is_counted_in_standard_errors():
    first, second = [0.0, 2.0, 1.0, 3.0], [11.0, 10.0, 13.0, 12.0]  # windows of a tenth; both of variance 5 / 3
    values = [100 + value for value in first + second + [1.5] * 32]
    assert filled(values).gain("losses/m", 1) == pytest.approx(10 / math.sqrt(2 * (5 / 3) / 4))


def test_a_trend_is_counted_by_ranks():
    values = [10_000.0 + 2.0**k for k in range(12)]  # every later value is larger, and so is the spread
    expected = (12 * 11 / 2) / math.sqrt(12 * 11 * 29 / 18)
    assert filled(values, 24).gain("losses/m", 1) == pytest.approx(expected)
    assert filled(values, 24).gain("losses/m", -1) == 0
    assert filled(values, 24).gain("losses/m", 0) == pytest.approx(expected)


def test_a_leap_beyond_its_own_size_needs_no_statistics():
    for last, is_leap in (([201.0] * 3, True), ([201.0, 201.0, 200.0], False)):
        values = [100.0, 300.0, 150.0, 90.0, *last]
        assert (filled(values).gain("losses/m", 1) == math.inf) is is_leap
    assert filled([-value for value in values[:4]] + [-201.0] * 3).gain("losses/m", -1) == math.inf
    assert filled([0.0, 300.0, -150.0, 90.0, 1.0, 1.0, 1.0]).gain("losses/m", 1) < math.inf


def test_what_was_learned_once_counts_although_it_was_lost():
    values = [100.0, 101.0] * 5 + [120.0, 121.0] * 5 + [90.0, 91.0] * 40
    assert filled(values).gain("losses/m", 1) > 20


def test_by_chance_there_is_hardly_ever_a_gain():
    """Of 200 runs of noise; `CLEARLY` is 3.5."""
    rng = np.random.default_rng(0)
    gains = [filled(100 + rng.normal(size=num)).gain("losses/m", 1) for num in (50, 100, 200, 400) for _ in range(50)]
    assert np.mean(np.array(gains) >= 3.5) <= 0.06
