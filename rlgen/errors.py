"""Errors a user can act on: one line each, with the exit code the command line ends with."""

import errno
import importlib.util
import math
import re
import shlex
import sys
import traceback

NO_MEMORY = re.compile(  # the room for a library's own variables (static TLS) does not grow with memory
    r"out of memory|can't allocate memory|not enough memory|bad[_ ]alloc|ALLOC_FAILED"
    r"|cannot allocate memory(?! in static TLS)|failed to map segment",
    re.IGNORECASE,
)


class RlgenError(Exception):
    """A message of one line: what was given, what is valid, what to do; printed without a traceback."""

    exit_code = 1


class UsageError(RlgenError):
    """A value, name or combination that cannot be run."""

    exit_code = 2


class DamagedError(UsageError):
    """A file of a run does not hold what it should.

    Args:
        path: the file.
        reason: what is wrong with it.
    """

    def __init__(self, path: object, reason: str):
        super().__init__(f"{path} is damaged: {reason}; mend or remove it")
        self.reason = reason


class MissingExtraError(RlgenError):
    """A package is not installed; the message ends with the command that installs it.

    Args:
        reason: what needs what.
        packages: as the index names them; none where they are not known.
    """

    exit_code = 3

    def __init__(self, reason: str, *packages: str):
        super().__init__(f"{reason}: {install(*packages)}" if packages else reason)
        self.packages = packages


class CheckpointError(RlgenError):
    """No checkpoint of the run can be used."""

    exit_code = 4


class DivergedError(RlgenError):
    """A metric is not finite any more."""

    exit_code = 5


class NonFiniteEnvError(DivergedError):
    """An environment returned a number that is not finite: `what` it is of, and its `value`."""

    def __init__(self, message: str, what: str = "a number", value: float = math.nan) -> None:
        super().__init__(message)
        self.what, self.value = what, value


class DiskError(RlgenError):
    """A file could not be written."""

    exit_code = 6


class NoMemoryError(RlgenError):
    """Memory ran out."""

    exit_code = 2


class MovedRunError(RlgenError):
    """The directory of a run was moved or removed while it trained."""

    exit_code = 6


class RankLostError(RlgenError):
    """Another process of those that train this run has ended; the run stands at its last checkpoint."""

    exit_code = 17


class LostEnvError(RlgenError):
    """The process of an environment ended; the run stands at its last checkpoint."""


class BrokenEnvError(LostEnvError):
    """An environment raised an error of its own; the run stands at its last checkpoint."""


class StuckEnvError(LostEnvError):
    """An environment does not come back from a call."""

    exit_code = 16


def install(*packages: str) -> str:
    """The exact command that installs packages for this Python, which may not be the one that `pip` belongs to."""
    python, words = shlex.quote(sys.executable), shlex.join(packages)
    if importlib.util.find_spec("pip") is None:  # a virtual environment of uv
        return f"uv pip install --python {python} {words}".rstrip()
    return f"{python} -m pip install {words}".rstrip()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: torch's allocators and the loader of libraries say so in words of their own."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    has_words = isinstance(error, (RuntimeError, ImportError)) or (isinstance(error, OSError) and error.errno is None)
    return has_words and bool(NO_MEMORY.search(str(error)))


def out_of_memory(error: BaseException) -> str:
    """What to say where memory ran out."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return f"out of memory ({reason}): smaller batches, networks, buffers or images need less"


class InterruptedRunError(RlgenError):
    """A signal stopped the run, after its state was saved.

    Args:
        signum: the signal's number; the exit code is 128 + signum (130 for SIGINT, 143 for SIGTERM).
    """

    def __init__(self, message: str, signum: int):
        super().__init__(message)
        self.exit_code = 128 + signum


def one_line(error: BaseException) -> str:
    """What an error says in one line: of one that nobody foresaw its type and where it was raised, too."""
    if isinstance(error, RlgenError):
        return str(error)
    if is_out_of_memory(error):
        return out_of_memory(error)
    said = str(error).strip().split("\n")[0]
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{': ' if said else ''}{said}{where}"
