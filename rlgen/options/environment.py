"""Options that wandb's own variables set where no flag, file or preset does."""

from __future__ import annotations

import os
import typing
from collections.abc import Mapping
from typing import Any

from rlgen.options.checks import check_value
from rlgen.options.fields import Option

VARIABLES = {
    "wandb_project": "WANDB_PROJECT",
    "wandb_entity": "WANDB_ENTITY",
    "wandb_group": "WANDB_RUN_GROUP",
    "wandb_tags": "WANDB_TAGS",
}


def from_environment(options: Mapping[str, Option]) -> dict[str, Any]:
    """The values that variables give, by option.

    Args:
        options: that there are, by name.

    Raises:
        UsageError: a variable holds what its option cannot be.
    """
    found: dict[str, Any] = {}
    for name, variable in VARIABLES.items():
        if text := os.environ.get(variable):
            many = typing.get_origin(options[name].type) is tuple
            found[name] = check_value(options[name], text.split(",") if many else text, "environment: ")
    return found
