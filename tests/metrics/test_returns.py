"""Statistics against scipy, and against what rliable 1.2.0 (google-research/rliable) returns for the same tables."""

import math

import numpy as np
import pytest
import scipy.stats

from rlgen.metrics import returns

X = [  # scores of an algorithm on three tasks, eight runs each
    np.array([0.397, 1.175, 0.473, 1.692, 0.143, 0.11, 1.525, 0.102]),
    np.array([0.495, 1.099, 1.072, 0.856, 1.398, 1.06, 1.252, 0.289]),
    np.array([0.484, 0.743, 0.541, 0.463, 0.315, 0.091, 0.406, 0.614]),
]
Y = [  # of another, six runs each; two scores tie with X's
    np.array([0.397, 0.104, 0.933, 0.305, 0.14, 0.533]),
    np.array([0.45, 0.6, 0.309, 0.19, 0.453, 0.702]),
    np.array([0.504, 0.463, 0.055, 0.327, 1.075, 0.357]),
]
# rliable's value, low and high: get_interval_estimates, 50,000 resamples
RLIABLE_X = {
    returns.pooled_iqm: (0.63366667, 0.43424792, 0.85041875),
    returns.median: (0.702125, 0.415625, 1.01225),
    returns.mean: (0.69979167, 0.53295833, 0.87270833),
    returns.optimality_gap: (0.39491667, 0.27995833, 0.51229167),
}
RLIABLE_Y = {
    returns.pooled_iqm: (0.4098, 0.3018975, 0.5285),
    returns.median: (0.45066667, 0.30533333, 0.57183333),
    returns.mean: (0.43872222, 0.32483194, 0.56339028),
    returns.optimality_gap: (0.56544444, 0.44605417, 0.67594444),
}


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 10, 33])
def test_iqm_is_the_trimmed_mean_of_scipy(size):
    scores = np.random.default_rng(size).normal(size=size)
    assert returns.iqm(scores) == pytest.approx(scipy.stats.trim_mean(scores, 0.25), abs=1e-12)


def test_iqm_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="not defined"):
        returns.iqm([])


@pytest.mark.parametrize(("tasks", "expected"), [(X, RLIABLE_X), (Y, RLIABLE_Y)], ids=["x", "y"])
def test_aggregates_and_intervals_are_those_of_rliable(tasks, expected):
    for statistic, (value, low, high) in expected.items():
        found = returns.bootstrap(tasks, statistic)
        assert found.value == pytest.approx(value, abs=1e-7), statistic.__name__
        assert (found.low, found.high) == pytest.approx((low, high), abs=0.012), statistic.__name__


def test_probability_of_improvement_is_that_of_rliable_and_of_mann_and_whitney():
    found = returns.probability_of_improvement(X, Y)
    assert found.value == pytest.approx(0.673611111, abs=1e-8)
    assert (found.low, found.high) == pytest.approx((0.50347222, 0.83333333), abs=0.015)
    by_task = [scipy.stats.mannwhitneyu(x, y).statistic / (len(x) * len(y)) for x, y in zip(X, Y, strict=True)]
    assert found.value == pytest.approx(np.mean(by_task), abs=1e-12)
    other = returns.probability_of_improvement(Y, X)
    assert other.value == pytest.approx(1 - found.value, abs=1e-12)
    assert (1 - other.high, 1 - other.low) == pytest.approx((found.low, found.high), abs=0.01)


def test_performance_profile_is_that_of_rliable():
    found = returns.performance_profile(X, np.array([0.25, 0.5, 1.0]), resamples=20_000)
    np.testing.assert_allclose(found.value, [0.83333333, 0.5, 0.33333333], atol=1e-7)
    np.testing.assert_allclose(found.low, [0.70833333, 0.33333333, 0.16666667], atol=0.042)  # a run is 1/24
    np.testing.assert_allclose(found.high, [0.95833333, 0.70833333, 0.5], atol=0.042)


def test_bootstrap_of_one_task_is_the_percentile_bootstrap_of_scipy():
    scores = np.random.default_rng(3).gamma(2.0, size=20)

    def trimmed(sample, axis):
        return scipy.stats.trim_mean(sample, 0.25, axis=axis)

    oracle = scipy.stats.bootstrap((scores,), trimmed, method="percentile", n_resamples=20_000, rng=0)
    found = returns.bootstrap([scores])
    assert (found.low, found.high) == pytest.approx(tuple(oracle.confidence_interval), abs=0.03)


def test_bootstrap_is_seeded_and_blind_to_the_order_of_runs():
    scores = np.arange(10.0)
    assert returns.bootstrap([scores]) == returns.bootstrap([scores[::-1].copy()])
    assert returns.bootstrap([scores]).low != returns.bootstrap([scores + 0.1 * scores**2]).low
    assert returns.probability_of_improvement([scores], [scores + 1]) == returns.probability_of_improvement(
        [scores[::-1].copy()], [scores + 1]
    )


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """Thirty normal scores: a 95 % percentile interval of the mean covers in about 93 %."""
    rng = np.random.default_rng(0)
    intervals = [returns.bootstrap([rng.normal(size=30)], returns.mean, resamples=1_000) for _ in range(300)]
    assert 0.89 < np.mean([each.low < 0 < each.high for each in intervals]) < 0.97


def test_one_run_has_no_interval():
    found = returns.bootstrap([np.array([3.0])])
    assert found.value == 3.0 and math.isnan(found.low) and math.isnan(found.high)
    found = returns.probability_of_improvement([np.array([3.0])], [np.array([1.0, 2.0])])
    assert found.value == 1.0 and math.isnan(found.low)


def test_tasks_may_have_different_numbers_of_runs():
    tasks = [np.array([0.0, 1.0]), np.array([1.0, 1.0, 4.0])]
    assert returns.mean(tasks) == pytest.approx((0.5 + 2.0) / 2)
    assert returns.optimality_gap(tasks) == pytest.approx(1 - (0.5 + 1.0) / 2)
    found = returns.bootstrap(tasks, returns.mean)
    assert found.low < found.value < found.high


def test_the_median_is_over_runs_on_one_task_and_over_task_means_on_several():
    assert returns.median([np.array([1.0, 2.0, 9.0])]) == 2.0
    assert returns.median([np.array([1.0, 2.0, 9.0]), np.array([0.0, 2.0]), np.array([5.0, 7.0])]) == 4.0


def test_a_curve_is_a_leading_axis():
    curves = np.random.default_rng(0).normal(size=(5, 8))  # [points, runs]
    found = returns.bootstrap([curves], resamples=500)
    for point in range(5):
        alone = returns.bootstrap([curves[point]], resamples=500)
        assert (found.value[point], found.low[point], found.high[point]) == pytest.approx(tuple(alone))


def test_area_is_the_mean_height():
    steps, values = np.array([10.0, 20.0, 40.0]), np.array([1.0, 3.0, 3.0])
    assert returns.area_under_curve(steps, values, 40) == pytest.approx((10 * 1 + 10 * 2 + 20 * 3) / 40)
    assert returns.area_under_curve(steps, values, 80) == pytest.approx(
        (10 + 20 + 60 + 120) / 80
    )  # level after the end
    assert returns.area_under_curve(steps, values, 15) == pytest.approx((10 * 1 + 5 * 1.5) / 15)
    assert returns.area_under_curve(np.array([5.0]), np.array([2.0]), 10) == 2.0


def test_first_reaching_knows_both_directions_and_never():
    at, values = np.array([1.0, 2.0, 3.0]), np.array([10.0, 30.0, 20.0])
    assert returns.first_reaching(at, values, 20) == 2.0
    assert returns.first_reaching(at, values, 31) == math.inf
    assert returns.first_reaching(at, -values, -20, direction=-1) == 2.0


def test_normalise_turns_what_is_lower_better_around():
    np.testing.assert_allclose(returns.normalise(np.array([20.0, 60.0, 100.0]), 20, 100), [0, 0.5, 1])
    np.testing.assert_allclose(returns.normalise(np.array([100.0, 90.0]), 100, 80), [0, 0.5])
    np.testing.assert_allclose(returns.normalise(np.array([5.0, 5.0]), 5, 5), [1, 1])
