"""Effects of factors and cells behind the best one: against scipy, by hand, and against chance."""

import itertools

import numpy as np
import pytest
import scipy.stats

from rlgen.metrics.factorial import behind_best, holm, main_effect


def cells_of(effect, levels=(("a", "b"), ("x", "y", "z")), runs=5, seed=0):
    """Normal scores, to whose mean `effect` adds something for a key."""
    rng = np.random.default_rng(seed)
    return {key: rng.normal(effect(key), 1.0, runs) for key in itertools.product(*levels)}


def test_holm_multiplies_by_what_is_left_and_never_falls():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_factor_that_changes_the_mean_is_told_from_the_one_that_does_not():
    cells = cells_of(lambda key: 5.0 * (key[0] == "b"), seed=1)
    first, second = main_effect(cells, 0), main_effect(cells, 1)
    assert (first.best, first.worst, first.strata) == ("b", "a", 3) and first.p < 0.001 and second.p > 0.05
    means = {level: np.mean([scores for key, scores in cells.items() if key[0] == level]) for level in "ab"}
    assert first.levels["b"].value == pytest.approx(means["b"])
    assert first.difference.value == pytest.approx(means["b"] - means["a"])
    assert first.difference.low < 5 < first.difference.high and first.difference.low > 3
    assert second.strata == 2 and [*second.levels] == ["x", "y", "z"]


def test_the_permutation_test_is_that_of_scipy_where_there_is_one_stratum():
    cells = cells_of(lambda key: 1.2 * (key[0] == "b"), (("a", "b"),), runs=6)
    a, b = cells.values()
    exact = scipy.stats.permutation_test(
        (a, b), lambda x, y, axis: np.abs(x.mean(axis) - y.mean(axis)), vectorized=True, n_resamples=10**4,
        alternative="greater",
    )  # fmt: skip
    assert main_effect(cells, 0).p == pytest.approx(exact.pvalue, abs=0.01)


def test_equal_levels_are_told_apart_as_seldom_as_the_level_says():
    p_values = [main_effect(cells_of(lambda key: key[1] == "y", seed=seed), 0, 400).p for seed in range(200)]
    assert 0.01 < np.mean(np.array(p_values) < 0.05) < 0.10


def test_a_level_is_set_only_against_cells_that_are_there():
    cells = cells_of(lambda key: 100.0 * (key[1] == "z"))
    del cells["a", "z"]
    effect = main_effect(cells, 0)
    assert effect.strata == 2 and abs(effect.difference.value) < 3  # not 100 / 3
    assert main_effect({("a", "x"): np.ones(5), ("b", "y"): np.ones(5)}, 0) is None
    assert main_effect({}, 0) is None


def test_cells_behind_the_best_one_have_the_p_of_welch():
    cells = cells_of(lambda key: 3.0 * (key == ("b", "y")))
    best, behind = behind_best(cells)
    assert best == ("b", "y") and len(behind) == 5
    for key, found in behind.items():
        expected = scipy.stats.ttest_ind(cells[best], cells[key], equal_var=False).pvalue
        assert found.p == pytest.approx(expected)
        assert found.difference.value == pytest.approx(cells[best].mean() - cells[key].mean())
        assert found.difference.low < found.difference.value < found.difference.high


def test_scores_without_spread_and_single_seeds_have_a_verdict_too():
    full, low = np.full(5, 500.0), np.full(5, 9.0)
    assert behind_best({("a",): full, ("b",): low})[1]["b",].p == 0.0
    assert behind_best({("a",): full, ("b",): full.copy()})[1]["b",].p == 1.0
    assert behind_best({("a",): full[:1], ("b",): low[:1]})[1]["b",].p == 1.0
