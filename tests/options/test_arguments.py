"""Arguments of a constructor as people type them."""

import numpy as np
import pytest

from rlgen.options import config, flags
from rlgen.options.arguments import MANY, arguments
from rlgen.options.checks import check_layer


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["size=5", "gap=0.5", "deep=1e-3"], {"size": 5, "gap": 0.5, "deep": 1e-3}),
        (["a=true", "b=False", "c=null", "d=None"], {"a": True, "b": False, "c": None, "d": None}),
        (["goal=[1, 2]", "shape=(3, 4)", "deep={'x': [1]}"], {"goal": [1, 2], "shape": [3, 4], "deep": {"x": [1]}}),
        (["map_name=8x8", "text=a b=c", "quoted='5'", 'json="5"'], None),
        (["is_slippery:False", "url=a:b"], {"is_slippery": False, "url": "a:b"}),
        (['{"size": 5, "goal": [1]}', "gap=2"], {"size": 5, "goal": [1], "gap": 2}),
        ("size=5 text=a b goal=[1, 2]", {"size": 5, "text": "a b", "goal": [1, 2]}),
        ({"size": np.int64(5), "goal": np.array([1.5, 2])}, {"size": 5, "goal": [1.5, 2.0]}),
        (["far=inf", "no="], {"far": "inf", "no": ""}),
        ([], None),
    ],
)
def test_values_are_literals_or_text(given, found):
    if given and "map_name=8x8" in given:
        found = {"map_name": "8x8", "text": "a b=c", "quoted": "5", "json": "5"}
    assert arguments(given) == found
    assert found is None or list(arguments(given)) == sorted(found), "the same in every order"


@pytest.mark.parametrize(
    "given",
    [
        ["size"],
        ["=5"],
        ["2x=5"],
        ["a=1", "a=2"],
        ["a={1, 2}"],
        ["a={1: 2}"],
        {"a": object()},
        5,
        [5],
        {"a": float("nan")},
    ],
)
def test_anything_else_is_refused(given):
    with pytest.raises((ValueError, TypeError)):
        arguments(given)


def test_what_is_huge_when_written_out_is_refused_at_once():
    bomb = ["x"] * 10
    for _ in range(30):
        bomb = [bomb] * 10
    with pytest.raises(ValueError):
        arguments({"a": bomb})
    assert len(arguments({"a": [1] * (MANY - 2)})["a"]) == MANY - 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--env-kwargs size=5 gap=2", {"env_kwargs": {"gap": 2, "size": 5}}),
        ("--env-kwargs size=5 --lr 0.1 --env-kwargs=gap=2", {"env_kwargs": {"gap": 2, "size": 5}, "lr": 0.1}),
        ("--wrapper a:B --lr 0.1 --wrapper c:D(x=1)", {"wrapper": ("a:B", "c:D(x=1)"), "lr": 0.1}),
        ("--wrapper a:B c:D", {"wrapper": ("a:B", "c:D")}),
        ("--eval-env-kwargs size=-5", {"eval_env_kwargs": {"size": -5}}),
    ],
)
def test_flags_may_be_there_several_times(lab, words, expected):
    options = config.options(config.find("alpha"))
    given = flags.parse("train alpha", options, words.split(), "about")
    assert check_layer(given, options, "train alpha") == expected


def test_a_file_may_have_a_table(lab, tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text("env_kwargs: {size: 5, goal: [1, 2]}\neval_env_kwargs: size=7 text=a b\nwrapper: ['a:B']\n")
    values = config.resolve("alpha", {"config": str(file)}).values
    assert values["env_kwargs"] == {"goal": [1, 2], "size": 5} and values["wrapper"] == ("a:B",)
    assert values["eval_env_kwargs"] == {"size": 7, "text": "a b"}
