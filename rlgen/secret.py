"""Secrets stay out of the files of a run: what is named like a key, a token, a secret or a password is written as ***.

That holds for options and other entries of such a name, for their flags in a command, for the values of such variables
of the environment and of such options wherever they stand in a text, and for the account in an address. A run that goes
on asks for them in the environment.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from typing import Any

from rlgen.errors import UsageError

HIDDEN = "***"
ASKED = "RLGEN_SECRET_"  # how the variable begins that a secret option is read from
NAME = re.compile(
    r"(?:^|[^a-z])(?:(?:api|access|private|secret)?key|pwd|passphrase)(?![a-z])|(?:token|secrets?|passwords?|passwd)(?![a-z])"
)
NO_SECRETS = {"PWD", "OLDPWD"}  # the shell's working directories
SHORTEST = 6  # of a secret that is looked for in a text: a shorter one is a part of ordinary words
ACCOUNT = re.compile(r"(?<=://)[^/\s@'\"]+(?=@)")
PAIR = re.compile(r"""(["']?)([\w-]+)(\1\s*[=:]\s*["']?)([^"',\s}]+)""")  # name=value, or "name": "value"

_options: set[str] = set()  # values of secret options that were hidden in this process


def is_secret(name: str) -> bool:
    """Whether what has this name is a secret: `api_key`, `HF_TOKEN` and `dbPassword` are, `num_keys` is not."""
    return name not in NO_SECRETS and NAME.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()) is not None


def scrubbed(value: Any) -> Any:
    """A value with *** in the place of secrets: text, and what JSON holds, all the way down; it is not changed."""
    secrets = _options | {text for name, text in os.environ.items() if is_secret(name)}
    long = (text for text in secrets if len(text) >= SHORTEST)
    return _scrubbed(value, sorted(long, key=len, reverse=True))  # one may be a part of another


def _scrubbed(value: Any, secrets: Sequence[str]) -> Any:
    if isinstance(value, str):
        for text in secrets:
            value = value.replace(text, HIDDEN)
        return ACCOUNT.sub(HIDDEN, value)
    if isinstance(value, dict):
        return {
            name: hidden(item) if is_secret(str(name)) else _scrubbed(item, secrets) for name, item in value.items()
        }
    return [_scrubbed(item, secrets) for item in value] if isinstance(value, list | tuple) else value


def hidden(value: Any) -> Any:
    """A secret as it is written: text as ***, and what is no text as it is. From now on no text has it."""
    if isinstance(value, dict):
        return {name: hidden(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [hidden(item) for item in value]
    if isinstance(value, str) and value not in ("", HIDDEN):
        _options.add(value)
        return HIDDEN
    return value


def command_line(words: Sequence[str]) -> str:
    """A command that can be pasted but for its secrets: `--api-key VALUE`, `--api-key=VALUE` and `api_key=VALUE`."""

    def without(pair: re.Match[str]) -> str:
        quote, name, between, value = pair.groups()
        is_pair = bool(quote) or "=" in between  # and not the colon of module:Class
        return f"{quote}{name}{between}{hidden(value)}" if is_pair and is_secret(name) else pair[0]

    shown, follows = [], False
    for word in words:
        shown.append(hidden(word) if follows and not word.startswith("-") else PAIR.sub(without, word))
        follows = word.startswith("--") and "=" not in word and is_secret(word)
    return shlex.join(scrubbed(shown))


def restored(config: dict[str, Any]) -> dict[str, Any]:
    """A stored configuration with its secrets, read from the environment: `api_key` from RLGEN_SECRET_API_KEY.

    Raises:
        UsageError: one is not there.
    """
    return {name: _restored(name, value) for name, value in config.items()}


def _restored(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _restored(f"{name}_{key}", item) for key, item in value.items()}
    if isinstance(value, list | tuple) and any(isinstance(item, str) and HIDDEN in item for item in value):
        return _restored(name, HIDDEN).split(",")
    if not isinstance(value, str) or HIDDEN not in value:
        return value
    variable = ASKED + re.sub(r"\W", "_", name).upper()
    if not os.environ.get(variable):
        raise UsageError(f"{name} is a secret, which no run keeps: set the environment variable {variable} to it")
    return os.environ[variable]
