"""What is tried: ranges and choices, checked as flags are, before anything starts."""

import optuna
import pytest

from rlgen.errors import UsageError
from rlgen.options import algorithms, config
from rlgen.study.space import grid, parse_space

KNOWN = config.options(algorithms.find("dqn"))


def parsed(*words):
    return parse_space(words, KNOWN, "study create")


def test_ranges_and_choices_reach_optuna_in_the_options_own_types():
    space = parsed("lr=1e-4:1e-2:log", "n_step=1:9:4", "--hidden=64,64/128", "anneal-lr=true/off", "gamma=0.9:0.99")
    trial = optuna.create_study().ask()
    suggested = {each.name: each.suggest(trial) for each in space}
    kinds = {name: type(value).__name__ for name, value in trial.distributions.items()}
    assert kinds == {
        "lr": "FloatDistribution",
        "n_step": "IntDistribution",
        "hidden": "CategoricalDistribution",
        "anneal_lr": "CategoricalDistribution",
        "gamma": "FloatDistribution",
    }
    assert trial.distributions["lr"].log and not trial.distributions["gamma"].log
    assert trial.distributions["n_step"].step == 4 and trial.distributions["n_step"].high == 9
    values = {each.name: each.value(suggested[each.name]) for each in space}
    assert values["hidden"] in ((64, 64), (128,)) and values["anneal_lr"] in (True, False)
    assert isinstance(values["n_step"], int) and 1e-4 <= values["lr"] <= 1e-2
    assert [each.ends for each in space[:3]] == [(1e-4, 1e-2), (1, 9), ((64, 64), (128,))]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("lr", "--over lr: type name=A:B"),
        ("lr=", "--over lr=: type name=A:B"),
        ("lrr=1:2", "--over lrr: there is no such option. Did you mean lr?"),
        ("lr=-1:1", "--over lr -1.0: must be in (0, inf)"),
        ("lr=1e-2:1e-4", "--over lr=1e-2:1e-4: the first number must be smaller"),
        ("lr=1e-2:inf", "--over lr inf: must be in (0, inf)"),
        ("lr=1e-2:1:ln", "--over lr=1e-2:1:ln: behind the second colon is log, or a step"),
        ("n_step=1:10:4", "--over n_step=1:10:4: behind the second colon is log, or a step that leads from 1 to 10"),
        ("n_step=1:10:-3", "behind the second colon"),
        ("n_step=1:2:3:4", "a range is A:B"),
        ("n_step=1:2.5", "--over n_step '2.5': must be a whole number"),
        ("gamma=0:1:log", "a logarithmic range begins above 0"),
        ("lr=1e-3", "one value is no choice"),
        ("lr=1e-3/0.001", "a value stands there twice"),
        ("hidden=64:128", "--over hidden '64:128': must be a list, each a whole number"),
        ("anneal_lr=on:off", "--over anneal_lr 'on:off': must be true or false"),
        ("network=mlp/mpl", "--over network 'mpl': must be one of"),
        ("seed=1:5", "--over seed: is not tried, as its seeds are --seeds"),
        ("steps=1000/2000", "--over steps: is not tried, as all trials have the same length"),
        ("threads=1/2", "--over threads: is not tried, as no weight depends on it"),
        ("eval_episodes=1/2", "--over eval_episodes: is not tried, as scores of its values cannot be compared"),
    ],
)
def test_what_cannot_be_tried_is_one_line(word, said):
    with pytest.raises(UsageError) as raised:
        parsed(word)
    assert said in str(raised.value) and "\n" not in str(raised.value)


def test_an_option_is_tried_once_and_something_is():
    with pytest.raises(UsageError, match="lr is given twice"):
        parsed("lr=1:2", "lr=3:4")
    with pytest.raises(UsageError, match="say what is tried"):
        parsed()


def test_a_grid_has_every_combination_and_no_range_without_steps():
    points = grid(parsed("lr=1e-3/1e-2", "n_step=1:3", "gamma=0.9:0.99:0.03"))
    assert len(points) == 2 * 3 * 4 and len({tuple(point.items()) for point in points}) == 24
    assert points[0] == {"lr": "1e-3", "n_step": 1, "gamma": 0.9}
    with pytest.raises(UsageError, match=r"--sampler grid with lr=1e-3:1: list its values, as 0.001/1.0"):
        grid(parsed("lr=1e-3:1"))
    with pytest.raises(UsageError, match=r"it has 18,981,037,981,019 combinations, at most 10,000 can be"):
        grid(parsed("n_step=1:19", "buffer_size=1000:1000000", "gamma=0.1:0.9:0.0000008"))
