"""A run's configuration out of its file, checked."""

from __future__ import annotations

from typing import Any

from rlgen.errors import UsageError
from rlgen.options.algorithms import find
from rlgen.options.checks import check_value
from rlgen.options.config import TARGET, check_run_name, options, run_options
from rlgen.options.derived import periods
from rlgen.options.fields import REQUIRED


def stored(config: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A run's flat configuration out of its file, every value as a flag would give it and as JSON holds it.

    Of an algorithm that is not installed here, only the options of every run are checked. Two options that do not fit
    together are no damage: one of them may be today's default, which the run did not have.

    Args:
        config: `algo`, `seed`, `steps`, and the options.

    Returns:
        The configuration, and the names of options that there are not.

    Raises:
        UsageError: one is missing, of another type or out of range.
    """
    try:
        algorithm = find(config["algo"])
        known, target = options(algorithm), TARGET[algorithm.kind]
    except UsageError:
        known, target = dict(run_options()), None
    keys = {name: "env_id" if name == "env" else name for name in known}  # the option's name in a file
    missing = [key for name, key in keys.items() if key not in config and known[name].default is REQUIRED]
    if target and config.get(keys[target]) is None:
        missing.append(keys[target])
    if missing:
        raise UsageError(f"{missing[0]} is missing")
    values = {name: check_value(known[name], config[key], "") for name, key in keys.items() if key in config}
    values |= periods(values)
    check_run_name(values.get("name"))
    as_json = {keys[name]: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    unknown = [key for key in config if key not in (*as_json, "algo", "exp_name", "parent")] if target else []
    return config | as_json, unknown
