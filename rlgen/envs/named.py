"""What `module:Name` names, of an installed package or of a file in the working directory.

Of these two the file comes first, as with `python -m`, for the module that is named and what it imports.
"""

from __future__ import annotations

import contextlib
import importlib
import operator
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from rlgen.envs.raised import said
from rlgen.errors import UsageError, is_out_of_memory
from rlgen.text import nearest

MANY = 500  # files of the working directory that are looked at for a hint
FEW = 8  # names in a message


def load_module(module: str, what: str) -> ModuleType:
    """Import a module.

    Args:
        module: its dotted name.
        what: it is of, which the message begins with.

    Raises:
        UsageError: there is none, or it raises.
    """
    if "/" in module or module.endswith(".py"):
        dotted = ".".join(Path(module).with_suffix("").parts).lstrip("./")
        raise UsageError(f"{what}: {module!r} is a file's path; a module is named without .py: {dotted}:NAME")
    failed = f"{what}: importing the module {module!r} failed"
    try:
        with working_directory_first():
            return importlib.import_module(module)
    except SystemExit as error:
        mend = "put what it does when it is run behind `if __name__ == '__main__':`"
        raise UsageError(f"{failed} ({said(error)}): it asks Python to exit; {mend}") from error
    except Exception as error:
        if is_out_of_memory(error):
            raise
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            hint = nearest(module, _modules_here())
            raise UsageError(
                f"{failed} ({type(error).__name__}: {error}): it is not in {_here() or 'a directory'}.{hint} "
                "Go where it is, put its folder on PYTHONPATH, or install it"
            ) from error
        raise UsageError(f"{failed} ({said(error)}): mend it, or install what it needs") from error


def attribute(module: ModuleType, name: str) -> Any:
    """What a module calls `name`, which may have dots; None where there is nothing."""
    try:
        return operator.attrgetter(name)(module) if name else None
    except AttributeError:
        return None


def place(module: ModuleType) -> str:
    """The file of a module."""
    return getattr(module, "__file__", None) or f"module {module.__name__}"


def listed(names: list[str]) -> str:
    """Names, the first ones of many."""
    return ", ".join(names[:FEW]) + (", ..." if len(names) > FEW else "") if names else "nothing of that kind"


def defined_here(name: str) -> str:
    """`did you mean my_env:MyEnv?`, where a file of the working directory is, or defines, what has that name."""
    path = Path(name.removesuffix(".py") + ".py")
    if not path.is_absolute() and Path(_here(), path).is_file():
        with contextlib.suppress(OSError, UnicodeDecodeError):
            found = re.search(r"^class (\w+)", Path(_here(), path).read_text(encoding="utf-8"), re.MULTILINE)
            module = ".".join(path.with_suffix("").parts)
            return f"it is a file; name what is in it, as {module}:{found[1] if found else 'NAME'}"
    name = name.rpartition(".")[2]
    if name.isidentifier():
        pattern = re.compile(rf"^(?:class|def) {name}\b", re.MULTILINE)
        for module in _modules_here():
            with contextlib.suppress(OSError, UnicodeDecodeError):
                if pattern.search(Path(_here(), f"{module}.py").read_text(encoding="utf-8")):
                    return f"did you mean {module}:{name}?"
    return ""


@contextlib.contextmanager
def working_directory_first() -> Iterator[None]:
    """Modules are looked for in the working directory first; afterwards it is the last place that is looked at."""
    here = _here()
    importlib.invalidate_caches()  # of files that were written a moment ago
    if not here or "" in sys.path:
        yield
        return
    before = here in sys.path
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
        if not before:
            sys.path.append(here)


def _here() -> str:
    """The working directory; empty where it was removed."""
    with contextlib.suppress(OSError):
        return os.getcwd()
    return ""


def _modules_here() -> list[str]:
    found = sorted(Path(_here()).glob("*.py"))[:MANY] if _here() else []
    return [path.stem for path in found if path.stem.isidentifier()]
