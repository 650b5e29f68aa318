"""Each rule on rows made by hand: where it speaks, where it does not, and at its limit."""

import math

import pytest

from rlgen.core.history import History
from rlgen.core.learner import Agent, Generative, Learner
from rlgen.core.vital import GRADIENTS
from rlgen.core.watched import Above, Below, Falls, Forgets, Grows, Lags, Outgrows, Rule, Stays, check_rules, of_floor
from rlgen.errors import UsageError
from rlgen.metrics import OF_SAMPLES
from rlgen.options import algorithms
from rlgen.runs.health import Health

SAID = ("it is wrong", "another number")
TRAIN, EVAL, STD = "charts/episodic_return", "eval/episodic_return", "eval/episodic_return_std"


def history(rule, **columns):
    """Rows at equal steps up to the end of a run; None leaves a value out."""
    names = {"m": "losses/m", "n": "losses/n", "train": TRAIN, "eval": EVAL, "std": STD}
    num = len(next(iter(columns.values())))
    found = History(rule.needs, 1000)
    for index in range(num):
        row = {names[name]: values[index] for name, values in columns.items() if values[index] is not None}
        found.add({"step": 1000 * (index + 1) // num} | row)
    return found


@pytest.mark.parametrize(("value", "beyond"), [(2.0, False), (2.001, True), (-9.0, False)])
def test_above_is_beyond_its_limit_and_not_at_it(value, beyond):
    measured = Above("losses/m", 2.0, *SAID).measure(history(Above("losses/m", 2.0, *SAID), m=[99.0, value]))
    assert (measured.value, measured.limit, measured.is_beyond) == (value, 2.0, beyond)


def test_above_takes_a_difference_once_both_are_known():
    rule = Above("losses/m", 2.0, *SAID, less="losses/n")
    assert rule.measure(history(rule, m=[9.0], n=[None])) is None
    measured = rule.measure(history(rule, m=[5.0, None], n=[1.0, 2.0]))
    assert (measured.value, measured.is_beyond, measured.of) == (3.0, True, "losses/m less losses/n")
    assert not rule.measure(history(rule, m=[4.0], n=[2.0])).is_beyond


@pytest.mark.parametrize(("value", "beyond"), [(2.0, False), (1.999, True)])
def test_below_is_beyond_its_limit_and_not_at_it(value, beyond):
    rule = Below("losses/m", 2.0, *SAID)
    assert rule.measure(history(rule, m=[value])).is_beyond is beyond


def test_below_takes_a_share_of_another_once_both_are_known():
    rule = Below("losses/m", 0.5, *SAID, of="losses/n")
    assert rule.measure(history(rule, m=[0.0], n=[None])) is None
    for value, beyond in ((400.0, False), (399.0, True)):
        measured = rule.measure(history(rule, m=[900.0, value], n=[1.0, 800.0]))
        assert (measured.value, measured.limit, measured.is_beyond) == (value, 400.0, beyond)
    assert not rule.measure(history(rule, m=[0.0], n=[0.0])).is_beyond  # no image is like another


@pytest.mark.parametrize(
    ("real", "fake", "held_out", "beyond"),
    [
        (1.2, 0.2, 0.29, True),
        (1.2, 0.2, 0.31, False),
        (1.2, 0.2, -0.5, True),
        (0.1, -0.1, 0.0, False),  # too little is known of training images
        (-3.0, -4.0, 0.2, True),  # only differences count
        (None, -4.0, 0.2, None),
    ],
)
def test_what_is_known_of_training_images_is_compared_with_what_is_known_of_others(real, fake, held_out, beyond):
    rule = Forgets("losses/m", 0.3, *SAID, minuend="losses/n", subtrahend=TRAIN)
    measured = rule.measure(history(rule, n=[real], train=[fake], m=[held_out]))
    assert beyond is None if measured is None else measured.is_beyond is beyond


def test_scores_of_samples_are_compared_with_those_of_images_by_the_same_features():
    rules = of_floor("modes", 0.5, *SAID)
    assert [rule.needs for rule in rules] == [
        (f"eval/modes_{features}", f"eval/floor/modes_{features}") for features in ("lenet", "random")
    ]
    assert all(OF_SAMPLES.fullmatch(name) for rule in rules for name in rule.needs)


def test_values_are_compared_with_the_largest_return_there_ever_was():
    rule = Outgrows("losses/m")
    assert rule.measure(history(rule, m=[1e9], train=[0.0], eval=[0.0])) is None
    for value, beyond in ((200.0, False), (200.1, True), (-200.1, True)):
        measured = rule.measure(history(rule, m=[0.0, value], train=[-20.0, 1.0], eval=[3.0, None]))
        assert (measured.limit, measured.is_beyond) == (200.0, beyond)


def test_what_a_network_says_before_it_learns_is_not_divergence():
    rule = Outgrows("losses/m")
    for value, beyond in ((0.3, False), (0.7, False), (0.71, True)):
        measured = rule.measure(history(rule, m=[-0.35, value], train=[1e-3, 2e-3], eval=[1e-3, None]))
        assert (measured.limit, measured.is_beyond) == (0.7, beyond)


def test_growth_is_of_the_size_since_the_beginning():
    rule = Grows("losses/m", 10.0, *SAID)
    for value, beyond in ((-30.0, False), (-30.1, True), (30.1, True), (0.0, False)):
        assert rule.measure(history(rule, m=[-3.0, 7.0, value])).is_beyond is beyond


ENTROPY = [0.7] * 5 + [0.01] * 15


@pytest.mark.parametrize(
    ("train", "beyond"),
    [
        ([20.0, 22.0, 21.0, 19.0] * 5, True),  # no better than at first
        ([20.0] * 4 + [100.0 + k % 3 for k in range(16)], False),
        ([20.0] * 4 + [100.0 + k % 3 for k in range(10)] + [30.0] * 6, True),  # most of what it won is lost
        ([20.0] * 4 + [100.0 + k % 3 for k in range(10)] + [50.0] * 6, False),
        ([None] * 20, False),  # nobody knows
    ],
)
def test_entropy_that_falls_is_bad_where_the_return_is(train, beyond):
    rule = Falls("losses/m", 0.05, *SAID)
    assert rule.measure(history(rule, m=ENTROPY, train=train)).is_beyond is beyond
    above = [0.7] * 5 + [0.0351] * 15  # 0.05 * 0.7
    assert not rule.measure(history(rule, m=above, train=train)).is_beyond


def test_a_run_that_learns_nothing_stays_where_it_began():
    noise = [(37 * k) % 11 - 5.0 for k in range(60)]
    for better in (1, -1, 0):
        rule = Stays("losses/m", better=better)
        assert rule.measure(history(rule, m=noise)).is_beyond
        assert rule.measure(history(rule, m=[-200.0] * 60)).is_beyond
    rising = [value + 0.4 * k for k, value in enumerate(noise)]
    assert not Stays("losses/m").measure(history(rule, m=rising)).is_beyond
    assert Stays("losses/m", better=-1).measure(history(rule, m=rising)).is_beyond
    assert not Stays("losses/m", better=0).measure(history(rule, m=[-value for value in rising])).is_beyond
    assert Stays("losses/m").measure(history(rule, m=[1.0, 2.0, 3.0, 4.0, 5.0])) is None  # too few


@pytest.mark.parametrize(
    ("train", "evaluated", "std", "beyond"),
    [
        ([-300.0, -200.0, -118.0, -118.0], [-1398.0] * 4, [10.0] * 4, True),
        ([-300.0, -200.0, -118.0, -118.0], [-299.0] * 4, [10.0] * 4, False),  # within what training went through
        ([-300.0, -200.0, -118.0, -118.0], [-1398.0] * 4, [700.0] * 4, False),  # within its own spread
        ([-300.0, -200.0, -118.0, -118.0], [-1398.0, None, None, -1398.0], [10.0] * 4, None),  # too few
        ([-300.0, -200.0, -118.0, -118.0], [-1398.0, -1398.0, -100.0, -100.0], [10.0] * 4, False),  # once upon a time
        ([20.0, 22.0, 21.0, 22.0], [9.0] * 4, [0.5] * 4, False),  # less than three quarters
        ([20.0, 40.0, 60.0, 60.0], [9.0] * 4, [0.5] * 4, True),
    ],
)
def test_an_evaluation_may_lie_as_far_below_training_as_training_has_gone(train, evaluated, std, beyond):
    rule = Lags(EVAL)
    measured = rule.measure(history(rule, train=train, eval=evaluated, std=std))
    assert beyond is None if measured is None else measured.is_beyond is beyond


def test_the_limit_of_an_evaluation_is_told():
    rule = Lags(EVAL)
    measured = rule.measure(history(rule, train=[20.0, 40.0, 60.0, 80.0], eval=[9.0, 7.0, 8.0, 6.0], std=[0.5] * 4))
    assert measured.value == 7.0  # median of 7, 8, 6
    assert measured.limit == 60.0 - 60.0  # the mean of training since the evaluation of 7, less its range


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("losses/m", "T.watched is a str: write a tuple of rules"),
        (("losses/m",), "T.watched holds 'losses/m': write rules"),
        ((Rule("losses/m", 1.0, *SAID),), "write rules of rlgen.core.watched, as Above"),
        ((Above("entropy", 1.0, *SAID),), "'entropy' is no metric; name it as rows do, 'losses/...'"),
        ((Falls("losses/m", 1.0, *SAID, unless="return"),), "is no metric"),
        ((Above("losses/m", math.nan, *SAID),), "losses/m: a limit is finite"),
        ((Above("losses/m", 1.0, *SAID, after=1.0),), "after is in"),
        ((Above("losses/m", 1.0, "", "x"),), "says and advice are one line each"),
        ((Above("losses/m", 1.0, "x", "a\nb"),), "says and advice are one line each"),
    ],
)
def test_a_wrong_declaration_is_told_in_a_line(rules, said):
    with pytest.raises(UsageError) as caught:
        check_rules(rules, "T")
    assert said in str(caught.value) and "\n" not in str(caught.value).replace("a\nb", "")


def test_every_algorithm_declares_what_can_be_watched():
    for name in algorithms.names():
        kind = algorithms.load(name)
        rules = check_rules(kind.watched, name)
        assert set(rules) > set(Learner.watched)
        assert len({(rule.says, rule.metric) for rule in rules}) == len(rules)


@pytest.mark.parametrize(("last", "says"), [(9.9, ""), (10.1, "the gradients blow up")])
def test_gradients_that_grow_are_spoken_of_in_models_and_not_in_agents(last, says):
    """An agent's grow where a reward is found late."""
    for kind, expected in ((Generative, says), (Agent, "")):
        judge = Health(kind.watched, 100)
        for step in range(10, 101, 10):
            judge.add({"step": step, GRADIENTS: 1.0 if step < 40 else last})
        assert judge.verdict.says == expected
