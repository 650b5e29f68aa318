"""What people type: taken as it is meant, or answered with what to type."""

import pytest

from rlgen.errors import UsageError
from rlgen.options import config, flags
from rlgen.options.checks import check_layer
from rlgen.options.words import as_parsed, gathered


def parsed(*words):
    """What the words after `train alpha` give, checked."""
    options = config.options(config.find("alpha"))
    given = flags.parse("train alpha", options, words, "about", {name: o.default for name, o in options.items()})
    return check_layer(given, options, "train alpha")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("--steps 50k", {"steps": 50_000}),
        ("--steps 1.5M", {"steps": 1_500_000}),
        ("--steps=2m", {"steps": 2_000_000}),
        ("--steps 0.1k", {"steps": 100}),
        ("--steps 50,000", {"steps": 50_000}),
        ("--steps 1_000", {"steps": 1_000}),
        ("--hidden 64,32", {"hidden": (64, 32)}),
        ("--hidden=64,32", {"hidden": (64, 32)}),
        ("--hidden 64, 32", {"hidden": (64, 32)}),
        ("--hidden [64,32]", {"hidden": (64, 32)}),
        ("--hidden (64, 32)", {"hidden": (64, 32)}),
        ("--hidden 1k", {"hidden": (1_000,)}),
        ("--no-wandb", {"wandb": "disabled"}),
        ("--no-wandb --steps 5", {"wandb": "disabled", "steps": 5}),
        ("--flag true", {"flag": True}),
        ("--flag=no", {"flag": False}),
        ("--graph False --flag", {"graph": False, "flag": True}),
        ("--graph=0", {"graph": False}),
        ("\u2014steps 5", {"steps": 5}),
        ("\u2013-steps 5", {"steps": 5}),
    ],
)
def test_what_is_meant_is_taken(lab, words, meant):
    assert parsed(*words.split()) == meant


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("CartPole-v1", "'CartPole-v1' belongs to no flag. Type: rlgen train alpha --env CartPole-v1"),
        ("lr=0.1", "'lr=0.1' belongs to no flag. Type: rlgen train alpha --lr 0.1"),
        ("--env X-v0 Y-v0", "'Y-v0' belongs to no flag. --env takes one value."),
        ("--lr 0.1 0.2", "'0.2' belongs to no flag. --lr takes one value."),
        ("--lr=0.1 0.2 --env X-v0", "'0.2' belongs to no flag. See `rlgen train alpha --help`"),
        ("--steps 5x", "--steps '5x': must be a whole number"),
        ("--steps k", "--steps 'k': must be a whole number"),
        ("--steps 0.0001k", "--steps '0.0001k': must be a whole number"),
        ("--steps 50,00", "--steps '50,00': must be a whole number"),
        ("--lr 5k", "--lr '5k': must be a number"),
        ("--lr 0,001", "--lr '0,001': must be a number, with a point: 0.001"),
        ("--mode fst", r"--mode 'fst': must be one of fast, slow\. Did you mean fast\?"),
        ("--mode other", "--mode 'other': must be one of fast, slow$"),
        ("--device gpu", r"--device 'gpu': must be one of auto, cpu, cuda\. Did you mean cuda\?"),
        ("--wandb false", r"--wandb 'false': must be one of .*\. Did you mean disabled\?"),
        ("-s 1", "-s: a flag has two dashes and a whole name: --seed, --steps|-s: .*: --steps, --seed"),
        ("-q", r"-q: a flag has two dashes and a whole name\. See"),
        ("--video yes", r"'yes' belongs to no flag\. --video takes no value\."),
        ("--hidden", "--hidden: give it a value, or leave it out"),
        ("--wandb-tags --steps 5", "--wandb-tags: give it a value, or leave it out"),
        ("--hidden 64;32", r"--hidden \('64;32',\): must be a list, each a whole number"),
        ("--hidden 64,-1", r"--hidden -1: must be in \[1, 4096\]"),
        ("--no-seed", "--no-seed: there is no such option"),
        ("--no-wandb=1", "--no-wandb: there is no such option"),
        ("--cuda", "Did you mean --device cuda"),
        ("--track", "Did you mean --wandb online"),
        ("--total-timesteps 5", r"Did you mean --steps\?"),
    ],
)
def test_what_cannot_be_meant_gets_a_line_that_says_what_to_type(lab, words, message):
    with pytest.raises(UsageError, match=message) as caught:
        parsed(*words.split())
    assert "\n" not in str(caught.value)


def test_a_word_after_a_switch_is_left_alone():
    options = config.run_options()
    for words in (["--video", "last"], ["--video", "1"], ["--lr", "true"], ["true"], ["--no-video", "true"]):
        assert as_parsed(words, options, ()) == words
    assert as_parsed(["--video", "false", "last"], options, ()) == ["last"], "it has no --no-video"


def test_python_and_files_mean_the_same(lab):
    (lab / "my.yaml").write_text("steps: 50k\nhidden: 64,32\n")
    assert config.resolve("alpha", {"config": str(lab / "my.yaml")}).values["hidden"] == (64, 32)
    assert config.resolve("alpha", {"steps": "50k"}).values["steps"] == 50_000


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("--wandb-tags a --wandb-tags b", "--wandb-tags a b"),
        ("--wandb-tags=a --steps 5 --wandb-tags=b", "--wandb-tags a b --steps 5"),
        ("x --wandb-tags a b --seed -1 --wandb-tags c", "x --wandb-tags a b c --seed -1"),
        ("--hidden 64 --hidden 32", "--hidden 64 --hidden 32"),
        ("--lr 1 --lr 2", "--lr 1 --lr 2"),
        ("", ""),
    ],
)
def test_a_list_of_texts_may_be_given_in_pieces(lab, words, meant):
    options = config.options(config.find("alpha"))
    assert gathered(words.split(), options) == meant.split()
