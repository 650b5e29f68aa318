"""The sequential test of how many seeds are enough, against simulation, against AdaStop's own package, by hand."""

import math

import numpy as np
import pytest

from rlgen.metrics import sequential
from rlgen.metrics.sequential import decide


def verdicts(*groups):
    return [decision.verdict for decision in decide({f"g{i}": group for i, group in enumerate(groups)})]


def false_positives(comparisons, num_groups, seed):
    rng = np.random.default_rng(seed)
    wrong = [set(verdicts(*rng.normal(size=(num_groups, 25)))) & {"larger", "smaller"} for _ in range(comparisons)]
    return sum(map(bool, wrong))


def test_equal_groups_are_rarely_told_apart():
    assert false_positives(200, 2, seed=1) <= 17  # 5 % are 10; more than 17 has a chance of 1 %


@pytest.mark.slow
@pytest.mark.parametrize("num_groups", [2, 3])
def test_equal_groups_are_told_apart_in_one_of_twenty_comparisons_at_most(num_groups):
    assert false_positives(1000, num_groups, seed=2) <= 64


def test_a_large_gap_needs_fewer_seeds_than_a_fixed_ten():
    rng = np.random.default_rng(3)
    looks = [decide({"a": rng.normal(3.0, 1.0, 25), "b": rng.normal(0.0, 1.0, 25)})[0] for _ in range(50)]
    assert all(decision.verdict == "larger" for decision in looks)
    assert np.mean([5 * decision.look for decision in looks]) <= 7.0


def test_the_first_look_decides_what_the_exact_permutation_test_decides():
    """5 and 5 scores split in 252 ways. A look may spend 1 %: the real split and its mirror image, no more."""
    apart, nearly = np.arange(5.0), np.array([6.0, 7.0, 8.0, 9.0, 3.5])
    assert math.comb(10, 5) == 252
    assert verdicts(apart, apart + 5) == ["smaller"] and verdicts(apart + 5, apart) == ["larger"]
    assert verdicts(apart, nearly) == ["open"]  # the two of 252 that are as extreme, and two more


def test_a_pair_waits_until_all_groups_are_known_not_to_be_equal():
    """Pairs were permuted each on its own: of three equal groups, 6 % were told apart at a level of 5 %."""
    low, high, wide = np.arange(5.0), np.arange(5.0, 10), np.array([-20.0, 30.0, -25.0, 28.0, 5.0])
    assert verdicts(low, high) == ["smaller"]
    assert verdicts(low, high, wide) == ["open", "open", "open"]
    assert verdicts(low, high, high + 100) == ["smaller", "smaller", "smaller"]  # not all are equal: each on its own


@pytest.mark.parametrize(("num_groups", "bell_number"), [(1, 1), (2, 2), (3, 5), (4, 15), (5, 52), (6, 203)])
def test_every_way_in_which_groups_may_be_equal_is_tested_once(num_groups, bell_number):
    found = [*sequential._partitions(tuple("abcdef"[:num_groups]))]
    assert len(found) == len({frozenset(map(frozenset, cells)) for cells in found}) == bell_number
    assert all(len(cell) > 1 for cells in found for cell in cells)


@pytest.mark.parametrize("num_groups", [2, 3, 4])
def test_scores_are_dealt_to_groups_of_the_old_size_the_real_way_first(num_groups):
    dealt = sequential._dealt(num_groups, 5, 0, 0)
    assert (dealt.sum(0) == 1).all() and (dealt.sum(2) == 5).all()
    assert (dealt[:, 0] == np.kron(np.eye(num_groups), np.ones(5))).all()
    if num_groups == 2:
        ways, times = np.unique(dealt[0], axis=0, return_counts=True)
        assert len(ways) == 252 and set(times) == {40}
    assert (dealt != sequential._dealt(num_groups, 5, 1, 0)).any()  # another look, other ways


def test_equal_sums_are_equal_in_whatever_order_they_are_added():
    """0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1: what is as extreme as the observed has to count as such."""
    rng = np.random.default_rng(8)
    for _ in range(20):
        x, y = rng.integers(0, 12, 5) / 10, rng.integers(6, 18, 5) / 10
        assert {*verdicts(x, y)} == {verdicts(rng.permutation(x), rng.permutation(y))[0] for _ in range(5)}


def test_more_groups_than_there_is_time_for_are_refused():
    with pytest.raises(ValueError, match="8 groups, at most 7"):
        decide({str(group): [0.0] for group in range(8)})


def test_equal_is_said_after_the_last_look_only():
    same = np.full(25, 500.0)
    assert verdicts(same[:24], same[:24]) == ["open"] and verdicts(same, same) == ["equal"]


def test_a_look_waits_for_a_whole_block_of_every_open_group():
    even, odd, far = np.arange(0.0, 10, 2), np.arange(1.0, 10, 2), np.arange(100.0, 125)
    assert [decision.look for decision in decide({"few": even[:4], "many": far})] == [0]
    decisions = {decision[:2]: decision for decision in decide({"a": even, "b": odd, "far": far})}
    assert decisions["a", "far"].verdict == decisions["b", "far"].verdict == "smaller"
    assert decisions["a", "b"].verdict == "open" and decisions["a", "b"].look == 1


def test_the_scale_and_the_place_of_the_scores_do_not_matter():
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=25), rng.normal(size=25) + 1.2
    assert decide({"x": x, "y": y}) == decide({"x": 1e6 * x - 3e6, "y": 1e6 * y - 3e6})


@pytest.mark.parametrize("gap", [0.0, 0.5, 1.5, 4.0])
def test_agrees_with_the_package_of_the_authors(gap):
    """Its bound is the quantile of the signed differences, ours that of their size: its level is one-sided."""
    adastop = pytest.importorskip("adastop")
    rng = np.random.default_rng(6)
    for _ in range(5):
        x, y = rng.normal(size=10), rng.normal(gap, 1.0, 10)
        theirs = adastop.MultipleAgentsComparator(n=5, K=2, B=4000, alpha=0.05 / 2, seed=0)
        for end in (5, 10):
            if not theirs.is_finished:
                theirs.partial_compare({"x": x[:end], "y": y[:end]}, verbose=False)
        (ours,) = decide({"x": x, "y": y}, looks=2)
        assert [ours.verdict] == list(theirs.decisions.values())
