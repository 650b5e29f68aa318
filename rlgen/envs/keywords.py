"""The arguments that an environment's or a wrapper's constructor takes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

from rlgen.envs.named import listed
from rlgen.errors import UsageError
from rlgen.text import nearest

MISSING = re.compile(r"missing \d+ required [\w-]+ arguments?: ('.*')")
UNEXPECTED = re.compile(r"unexpected keyword argument '(\w+)'")
SET_ELSEWHERE = {"max_episode_steps": "--max-episode-steps cuts episodes", "num_envs": "--num-envs sets it"}


def check_keywords(creator: Callable[..., Any], given: Iterable[str], what: str, given_by_us: int = 0) -> None:
    """Refuse arguments that a constructor does not take. One that takes any, as `**kwargs`, may refuse them itself.

    Args:
        creator: a class or a function.
        given: the names of the arguments.
        what: it makes, which the message begins with.
        given_by_us: how many come before those that a user gives.

    Raises:
        UsageError: which one, and which it takes.
    """
    try:
        parameters = list(inspect.signature(creator).parameters.values())[given_by_us:]
    except (TypeError, ValueError):  # of C
        return
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return
    names = [parameter.name for parameter in parameters]
    for name in given:
        if name not in names:
            raise UsageError(unknown_keyword(name, names, what))


def unknown_keyword(name: str, names: Iterable[str], what: str) -> str:
    """The line that names an argument which a constructor does not take, and those that it takes."""
    names = [each for each in names if each not in ("self", "render_mode")]
    hint = f" {SET_ELSEWHERE[name]}." if name in SET_ELSEWHERE else nearest(name, names)
    return f"{what}: its constructor takes no argument {name!r}.{hint} It takes: {listed(names)}"


def refused(error: BaseException, creator: Callable[..., Any], given: Iterable[str], what: str) -> str:
    """As `unknown_keyword`, of what a constructor with `**kwargs` refused by an exception; empty for another one."""
    match = UNEXPECTED.search(str(error)) if isinstance(error, TypeError) else None
    if match is None or match[1] not in given:
        return ""
    return unknown_keyword(match[1], _all_keywords(creator), what)


def missing(error: BaseException, creator: Callable[..., Any]) -> list[str]:
    """The arguments without which a constructor raised; none where what it calls lacks some, or of another error."""
    match = MISSING.search(str(error)) if isinstance(error, TypeError) else None
    names = re.findall(r"'(\w+)'", match[1]) if match else []
    return names if set(names) <= set(_all_keywords(creator)) else []


def _all_keywords(creator: Callable[..., Any]) -> list[str]:
    """The arguments that a class and its bases name, or a function."""
    found: dict[str, None] = {}
    if creator is None:  # a vector class's, or it was not found
        return []
    for cls in creator.__mro__ if isinstance(creator, type) else (creator,):
        if cls is creator or "__init__" in vars(cls):
            for parameter in inspect.signature(cls).parameters.values():
                if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                    found[parameter.name] = None
    return [*found]
