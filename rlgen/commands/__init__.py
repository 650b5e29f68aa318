"""The command line: parses, calls, prints. A mistake is one line on stderr and an exit code, never a traceback.

A command is one file of this folder, NAME.py. It holds a frozen dataclass `Options` and `run(options)`, whose result is
printed. The docstring of `Options` is the help line; its fields are the flags, as an algorithm's are those of its
`Config`: the comment at the end of a field's line is the help and holds the bound. A field `json` is the flag that
prints the result as one JSON document. A command whose flags depend on its words has `parse(words)` too, which returns
what `run` takes. A file whose name begins with _ is a command that no help page lists. The files are read for help
pages, not imported; torch is imported by `run`, where it is needed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib
import os
import select
import shlex
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlgen import __version__
from rlgen.errors import (
    DiskError,
    InterruptedRunError,
    MissingExtraError,
    NoMemoryError,
    RlgenError,
    UsageError,
    install,
    is_out_of_memory,
    one_line,
    out_of_memory,
)
from rlgen.options import flags, parsed_module
from rlgen.options.checks import check_layer
from rlgen.options.fields import Option, read_options
from rlgen.options.shares import is_echo, is_first
from rlgen.text import document, nearest, readable, safe, wrapped

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)  # a disk that takes no more
STDOUT, STDERR = 1, 2  # their file descriptors
OURS = ("torch", "gymnasium", "numpy", "wandb", "tqdm", "tyro", "rich", "safetensors", "greenlet", "matplotlib")
PACKAGES = {name: name for name in OURS} | {"PIL": "pillow", "yaml": "pyyaml", "sklearn": "scikit-learn"}  # to install
# In this file `list` and `eval` are the commands of these names once they are imported, not Python's functions.

# Of the help page; a command that is not here comes last.
ORDER = (
    "train",
    "resume",
    "fork",
    "eval",
    "sample",
    "list",
    "show",
    "diff",
    "verify",
    "delete",
    "compare",
    "study",
    "bench",
    "doctor",
    "completion",
)
SYNONYMS = {  # what other programs call a command of ours
    "run": "train",
    "learn": "train",
    "start": "train",
    "continue": "resume",
    "evaluate": "eval",
    "test": "eval",
    "play": "eval",
    "enjoy": "eval",
    "generate": "sample",
    "ls": "list",
    "info": "show",
    "rm": "delete",
    "remove": "delete",
    "plot": "compare",
    "report": "compare",
    "check": "doctor",
    "tune": "study",
    "optimize": "study",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code. `--traceback`, of every command, shows where an error comes from."""
    if argv is None:
        use_utf8()
    words = [*(sys.argv[1:] if argv is None else argv)]
    whole = "--traceback" in words
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal that has no such character gets a question mark
    try:
        dispatch([word for word in words if word != "--traceback"])
        sys.stdout.flush()
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        try:
            code, line = verdict(error)
            line = "" if is_echo(error) else line
            drop_output()
            if line and whole:
                say("".join(traceback.format_exception(error)))
            if line:
                say(line)
        except MemoryError:  # the error holds what filled it
            code = NoMemoryError.exit_code
            os.write(STDERR, b"error: out of memory: smaller batches, networks, buffers or images need less\n")
        if argv is None and (isinstance(error, NoMemoryError) or is_out_of_memory(error)):
            sys.unraisablehook = lambda ignored: None  # what libraries do when Python ends lacks memory too
        return code


def use_utf8() -> None:
    """Begin again in Python's UTF-8 mode where paths are read as ASCII, and one that is not may be among them."""
    if sys.getfilesystemencoding() != "ascii":
        return
    paths = [*sys.argv, *os.environ.values()]
    with contextlib.suppress(FileNotFoundError):  # the working directory was removed
        paths.append(os.getcwd())
    if not all(map(str.isascii, paths)):
        os.execve(sys.executable, sys.orig_argv, os.environ | {"PYTHONUTF8": "1"})


def verdict(error: Exception) -> tuple[int, str]:
    """The exit code of a command that an error ended, and the line that says why; none where nobody reads it."""
    if isinstance(error, RlgenError):
        return error.exit_code, str(error) if isinstance(error, InterruptedRunError) else f"error: {error}"
    if is_out_of_memory(error):
        return NoMemoryError.exit_code, f"error: {out_of_memory(error)}"
    if isinstance(error, BrokenPipeError) and stdout_is_broken():  # `rlgen list envs | head`
        return 0, ""
    if isinstance(error, OSError) and error.errno in FULL:
        where = error.filename or "what it prints, or a file"
        return DiskError.exit_code, f"error: cannot write {where}: {error.strerror}; free space or fix permissions"
    if isinstance(error, ModuleNotFoundError) and (package := PACKAGES.get((error.name or "").partition(".")[0])):
        return MissingExtraError.exit_code, f"error: {package} is not installed: {install(package)}"
    notes = getattr(error, "__notes__", None) or ["--traceback shows where it comes from"]
    return 1, f"error: {one_line(error)}; {notes[-1]}"


def say(line: str) -> None:
    """A line on stderr; where that cannot be written, the exit code has to do."""
    with contextlib.suppress(OSError):
        print(safe(line), file=sys.stderr, flush=True)


def stdout_is_broken() -> bool:
    """Whether nobody reads stdout any more."""
    poll = select.poll()
    poll.register(STDOUT, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def drop_output() -> None:
    """Forget what waits to be written to an stdout that refuses it: Python tries once more when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)


def dispatch(argv: Sequence[str]) -> None:
    """Do what the words say."""
    if not argv:
        raise UsageError(f"which command? {', '.join(listed())}; see `rlgen --help`")
    name, *words = argv
    if name in ("-h", "--help"):
        print(overview())
    elif name == "help":
        dispatch([*words, "--help"])
    elif name in ("--version", "-V", "-v", "version"):
        print(__version__)
    elif name not in files():
        raise UsageError(f"unknown command {name!r}.{meant(name, words)} See `rlgen --help`")
    else:
        execute(name, words)


def execute(name: str, words: Sequence[str]) -> None:
    """Parse the words after a command, run it, and print what it found.

    Raises:
        RlgenError: what it found names problems; they were printed.
    """
    command = importlib.import_module(f"rlgen.commands.{name}")
    options = command.parse(words) if hasattr(command, "parse") else command.Options(**parse(name, words))
    as_json = getattr(options, "json", False)
    with stdout_aside() if as_json else contextlib.nullcontext():
        result = command.run(options)
    if as_json:
        print(document(result), flush=True)
        if sys.stdout is sys.__stdout__:  # also what is printed when Python ends
            os.dup2(STDERR, STDOUT)
    elif result is not None and is_first():
        print(readable(result))
    problems = result.get("problems") if isinstance(result, dict) else getattr(result, "problems", None)
    if problems:
        raise RlgenError("; ".join(problems))


def meant(name: str, words: Sequence[str]) -> str:
    """What may be meant by a command that there is not."""
    from rlgen.options import algorithms

    if name in algorithms.names():
        return f" It is an algorithm: {shlex.join(['rlgen', 'train', name, *words])}."
    if name.startswith("-"):
        return nearest(name, ("--version", "--help"))
    return f" Did you mean {SYNONYMS[name]}?" if name in SYNONYMS else nearest(name, listed())


@contextlib.contextmanager
def stdout_aside() -> Iterator[None]:
    """What is printed meanwhile goes to stderr, native prints of an environment and of its processes too."""
    sys.stdout.flush()
    kept = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).fflush(None)  # what C has not written yet would come after the document
        os.dup2(kept, STDOUT)
        os.close(kept)


def files() -> dict[str, Path]:
    """Every command's file by name."""
    found = {path.stem: path for folder in __path__ for path in sorted(Path(folder).glob("*.py"))}
    return {name: path for name, path in found.items() if name != "__init__"}


def listed() -> Sequence[str]:
    """The commands of the help page, in its order."""
    names = [name for name in files() if not name.startswith("_")]
    return sorted(names, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


def about(name: str) -> str:
    """A command's help line."""
    return parsed_module.parse(f"rlgen.commands.{name}", files()[name]).classes["Options"].docstring


def options_of(name: str) -> dict[str, Option]:
    """A command's options by name."""
    return dict(read_options(parsed_module.parse(f"rlgen.commands.{name}", files()[name]), "Options")[0])


def parse(name: str, words: Sequence[str], absent: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The options that were given after a command, checked; `absent` as of `check_name`."""
    options = options_of(name)
    return check_layer(flags.parse(name, options, words, about(name), absent=absent), options, name)


def overview() -> str:
    """The help page of all commands."""
    title = f"rlgen {__version__}: deep RL agents, GANs and VAEs through one loop"
    lines = [wrapped(f"  {name:10} {about(name)}", " " * 13) for name in listed()]
    end = "rlgen COMMAND --help shows its flags; --traceback, with any of them, where an error comes from."
    return "\n".join([title, "", *lines, "", wrapped(end, "")])
