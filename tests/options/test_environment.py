"""wandb's variables as options."""

import pytest

from rlgen.errors import UsageError
from rlgen.options import config

VARIABLES = {"WANDB_PROJECT": "p", "WANDB_ENTITY": "e", "WANDB_RUN_GROUP": "g", "WANDB_TAGS": "one,two"}
NAMES = ("wandb_project", "wandb_entity", "wandb_group", "wandb_tags")


@pytest.fixture
def variables(monkeypatch):
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)


def test_variables_hold_where_nothing_else_does(lab, variables):
    resolved = config.resolve("alpha", {})
    assert [resolved.values[name] for name in NAMES] == ["p", "e", "g", ("one", "two")]
    assert {resolved.origin[name] for name in NAMES} == {"environment"}
    (lab / "my.toml").write_text('wandb_project = "file"\n')
    resolved = config.resolve("alpha", {"config": str(lab / "my.toml"), "wandb_tags": ["three"], "wandb_group": "mine"})
    assert [resolved.values[name] for name in NAMES] == ["file", "e", "mine", ("three",)]
    assert [resolved.origin[name] for name in NAMES] == ["file", "environment", "flag", "flag"]


def test_without_variables_there_are_defaults(lab, monkeypatch):
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
    assert [config.resolve("alpha", {}).values[name] for name in NAMES] == ["rlgen", None, None, ()]


def test_a_variable_that_cannot_be_is_one_line(lab, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "a\nb")
    with pytest.raises(UsageError, match=r"environment: wandb_project 'a\\nb': must be text"):
        config.resolve("alpha", {})
