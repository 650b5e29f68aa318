"""An exception of an environment's own, said in one line: its last line, and the place in the environment's code."""

from __future__ import annotations

import re
import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path

import gymnasium
import numpy

FRAME = re.compile(r'^ *File "(.+)", line (\d+)', re.MULTILINE)  # of a traceback's text
LONGEST = 400  # characters of a message
_NOT_ITS_OWN = [str(Path(file).parent) for file in (gymnasium.__file__, numpy.__file__)]
_RLGEN = str(Path(__file__).parents[1])
_NOT_ITS_OWN.append(_RLGEN)
_STDLIB, _PACKAGES = sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")


def said(error: BaseException, trace: str | None = None) -> str:
    """As `RuntimeError: no connection (my_env.py:12)`.

    Args:
        error: what was raised.
        trace: its traceback as text, where it was raised in another process.
    """
    message = " ".join(str(error).split())[:LONGEST]
    if trace is None:
        frames = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]
    else:
        frames = [(file, int(line)) for file, line in FRAME.findall(trace)]
    where = f" ({place(frames)})" if frames and not place(frames).startswith(_RLGEN) else ""  # ours tells nothing
    return f"{type(error).__name__}{': ' if message else ''}{message}{where}"


def without_context(error: BaseException) -> BaseException:
    """The error of a constructor where `gym.make` raised it again with more words, from a place of its own."""
    cause = error.__cause__
    return cause if type(cause) is type(error) and str(cause) and str(error).startswith(str(cause)) else error


def place(frames: Sequence[tuple[str, int]]) -> str:
    """The innermost place in the environment's own code, as `file:line`; in a library's where it has none.

    Args:
        frames: file and line, the innermost last.
    """
    own = [(file, line) for file, line in frames if _is_own(file)]
    file, line = (own or list(frames))[-1]
    return f"{file}:{line}"


def _is_own(file: str) -> bool:
    if file.startswith("<") or file.startswith(tuple(_NOT_ITS_OWN)):
        return False
    return file.startswith(_PACKAGES) or not file.startswith(_STDLIB)
