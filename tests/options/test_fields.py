"""What the comments of a field say: help, bound, and the rules above it."""

import re
from pathlib import Path

import pytest

from rlgen.errors import UsageError
from rlgen.options import algorithms, config, parsed_module
from rlgen.options.checks import BOUND
from rlgen.options.fields import RULES as KINDS
from rlgen.options.fields import Limit, OtherScores, read_options

README = (Path(config.__file__).parent / "README.md").read_text(encoding="utf-8")

RULES = '''"""R."""
class Config:
    # a remark that is no rule
    # fixed: the checkpoint holds windows of it
    # at most size: it would not fit
    window: int = 1  # rows; in [1, 1000]

    # below size: one row more is needed

    size: int = 10
'''
CHILD = (
    '"""C."""\nfrom agents import rules\nclass Config(rules.Config):\n    window: int = 2\n'
    "    # fixed: for another reason\n    size: int = 3  # own\n"
)


def test_rules_stand_directly_above_a_field(write):
    window, size = algorithms.find(write("rules", RULES).stem).options
    assert (window.help, window.fixed) == ("rows; in [1, 1000]", "the checkpoint holds windows of it")
    assert window.limits == (Limit("size", False, "it would not fit"),)
    assert (size.help, size.fixed, size.limits) == ("", "", ())


def test_what_an_option_means_to_a_comparison_stands_in_its_comments(write):
    text = (
        '"""S."""\nclass Config:\n    # learns the same\n    loud: bool = False  # whether it talks\n'
        "    quiet: bool = False  # whether not; learns the same\n"
        "    # other scores in eval/nll: samples\n    rounds: int = 1  # of an evaluation; in [1, 9]\n"
        "    skip: int = 4  # frames; other scores: frame skip\n"
    )
    child = (
        '"""C."""\nfrom agents import seen\nclass Config(seen.Config):\n    loud: bool = True\n    rounds: int = 2\n'
    )
    loud, quiet, rounds, skip = algorithms.find(write("seen", text).stem).options
    assert loud.learns_the_same and quiet.learns_the_same and not rounds.learns_the_same
    assert (quiet.help, rounds.help, skip.help) == ("whether not", "of an evaluation; in [1, 9]", "frames")
    assert rounds.other_scores == OtherScores("eval/nll", "samples") and skip.other_scores == OtherScores(
        "", "frame skip"
    )
    assert loud.other_scores is None
    loud, _, rounds, _ = algorithms.find(write("seen_child", child).stem).options
    assert loud.learns_the_same and rounds.other_scores == OtherScores("eval/nll", "samples")


def test_rules_are_inherited_and_replaced_one_by_one(write):
    write("rules", RULES)
    window, size = algorithms.find(write("child", CHILD).stem).options
    assert (window.default, window.help, window.fixed) == (
        2,
        "rows; in [1, 1000]",
        "the checkpoint holds windows of it",
    )
    assert window.limits == (Limit("size", False, "it would not fit"),)
    assert (size.help, size.fixed) == ("own", "for another reason")


def test_two_options_have_to_fit_together(lab):
    with pytest.raises(UsageError) as caught:
        config.resolve("alpha", {"batch_size": 2_000})
    assert str(caught.value) == (
        "--batch-size 2000 with --buffer-size 1000: a batch cannot be larger than the buffer; "
        "lower the first or raise the second"
    )
    config.resolve("alpha", {"batch_size": 1_000})
    with pytest.raises(UsageError, match="--learning-starts 100 with --steps 100: nothing would be learned"):
        config.resolve("alpha", {"steps": 100})
    config.resolve("alpha", {"steps": 101})


def test_a_sum_of_options_has_to_fit_another(lab):
    with pytest.raises(UsageError) as caught:
        config.resolve("alpha", {"steps": 149, "every": 50})
    assert str(caught.value) == (
        "--learning-starts 100 + --every 50 with --steps 149: nothing would be learned; "
        "lower one of those or raise the last"
    )
    config.resolve("alpha", {"steps": 150, "every": 50})
    with pytest.raises(UsageError, match=r"--num-envs 8 \* --every 120 \+ --window 41 with --buffer-size 1000: no"):
        config.resolve("alpha", {"num_envs": 8, "every": 120, "window": 41})
    config.resolve("alpha", {"num_envs": 8, "every": 120, "window": 40})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"buffer_size": "7"}, "buffer_size cannot change: the checkpoint holds a buffer of another size; train a new"),
        ({"seed": 7}, "seed cannot change: the checkpoint holds its random numbers; train a new run instead"),
        ({"env": "x"}, "env cannot change: the checkpoint holds its episodes; train a new run instead"),
        ({"batch_size": 7_000}, "--batch-size 7000 with --buffer-size 1000: a batch cannot be larger"),
        ({"lr": "fast"}, "--lr 'fast': must be a number"),
        ({"speed": 1}, "--speed: there is no such option"),
        ({"data": "digits"}, "--data: alpha is an agent"),
    ],
)
def test_a_fork_refuses_what_the_checkpoint_holds(lab, changes, message):
    parent = config.resolve("alpha", {}).config
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        config.changed(parent, changes)
    assert config.changed(parent, {"lr": "0.5"}) == parent | {"lr": 0.5}


def test_a_fork_keeps_a_0_that_is_fixed_and_changes_another_number():
    """What has no novelty has no networks for it; how much it weighs is no part of them."""
    parent = config.resolve("dqn", {"no_preset": True, "rnd": 0.1}).config
    assert config.changed(parent, {"rnd": "0.2"}) == parent | {"rnd": 0.2}
    for before, after in ((parent, 0), (parent | {"rnd": 0.0}, 0.1)):
        with pytest.raises(UsageError, match="rnd cannot change from 0 or to 0: the checkpoint holds other networks"):
            config.changed(before, {"rnd": after})


@pytest.mark.parametrize(("text", "value"), [("true", True), ("True", True), ("false", False)])
def test_a_fork_switches_an_option_on_and_off(lab, text, value):
    """`--set` gives text alone, and a flag without a value is none of it."""
    parent = config.resolve("alpha", {"flag": not value}).config
    assert config.changed(parent, {"flag": text}) == parent | {"flag": value}


@pytest.mark.parametrize("algo", ["pqn", "ppo", "reinforce"])
def test_a_fork_cannot_have_longer_rollouts_than_the_buffer_of_the_checkpoint(algo):
    parent = config.resolve(algo, {"no_preset": True}).config
    with pytest.raises(UsageError, match="rollout_steps cannot change: the checkpoint holds a buffer of another size"):
        config.changed(parent, {"rollout_steps": "8192"})


@pytest.mark.parametrize("name", algorithms.names())
def test_every_rule_names_an_option(name):
    options = config.options(algorithms.find(name))
    for option in options.values():
        assert all(limit.other in options for limit in option.limits), option.name


def test_a_file_that_has_changed_is_read_again(write):
    path = write("alpha", '"""A."""\nclass Config:\n    lr: float = 1.0\n')
    (lr,) = algorithms.find("alpha").options
    path.write_text('"""A."""\nclass Config:\n    lr: float = 2.0  # more\n')
    (changed,) = algorithms.find("alpha").options
    assert (lr.default, changed.default, changed.help) == (1.0, 2.0, "more")


def test_a_file_is_read_once(write):
    write("alpha", '"""A."""\nclass Config:\n    lr: float = 1.0\n')
    parsed = parsed_module.find_module("agents.alpha")
    assert parsed is parsed_module.find_module("agents.alpha")
    assert read_options(parsed) is read_options(parsed)


def test_the_example_of_the_readme_says_what_the_text_beside_it_says(write):
    [code] = re.findall("```python\n(.*?)```", README, re.DOTALL)
    batch, buffer, head = algorithms.find(write("shown", code).stem).options
    assert (batch.help, buffer.help) == ("transitions in an update; in [1, 10**6]", "transitions kept; in [1, inf)")
    assert (batch.limits, batch.divided) == (
        (Limit("buffer_size", False, "a batch cannot be larger than the buffer"),),
        True,
    )
    assert (buffer.fixed, head.fixed) == ("a buffer of another size", "networks of other layers")


def test_the_table_of_the_readme_has_every_rule_and_no_other():
    spans = [
        span
        for line in README.splitlines()
        if line.startswith("| `")
        for span in re.findall("`(.+?)`", line.split("|")[1])
    ]
    bounds = [span for span in spans if BOUND.fullmatch(span)]
    rules = [[rule for rule in KINDS if rule.fullmatch(span)] for span in spans if span not in bounds]
    assert len(bounds) == 3 and all(len(found) == 1 for found in rules)
    assert {found[0] for found in rules} == {*KINDS}
