"""The files of a user's own that an environment and its wrappers are made from, and whether they have changed.

Those are local modules, not installed packages: the ones that define the environment and the wrappers, and the local
ones that these import. What a Python caller passed from a notebook is known by its source.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType
from typing import Any

from rlgen.envs import given
from rlgen.envs.find import check_env_id
from rlgen.envs.named import place
from rlgen.envs.wrap import find_wrappers

_NOT_OWN = {str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
_INSTALLED = {"site-packages", "dist-packages"}  # also those of another Python


def digests(env_id: str, wrappers: Sequence[str]) -> dict[str, str]:
    """SHA-256 of every file of the user's own, by module; of what was passed from Python, by its name.

    Args:
        env_id: as `check_env_id` takes it; it can be made.
        wrappers: as `find_wrappers` takes them.
    """
    spec = check_env_id(env_id)
    made_by = [spec.entry_point, spec.vector_entry_point, *(wrapper.creator for wrapper in find_wrappers(wrappers))]
    left = [env_id.rpartition(":")[0], *(name for creator in made_by for name in _modules_of(creator))]
    found = {name: given.digest(given.HELD[name]) for name in (env_id, *wrappers) if name.startswith(given.PASSED)}
    seen: set[str] = set()
    while left:
        name = left.pop()
        module = sys.modules.get(name)
        if name in seen or module is None or not _is_own(module):
            continue
        seen.add(name)
        data = Path(place(module)).read_bytes()
        found[name] = hashlib.sha256(data).hexdigest()
        left += _imported(data, module)
    return dict(sorted(found.items()))


def changed(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The files, or names of what was passed, whose digests are not what they were."""
    names = [name for name, digest in now.items() if then.get(name, digest) != digest]
    return [place(sys.modules[name]) if name in sys.modules else name for name in names]


def _is_own(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    if not file or module.__name__ == "__main__" or module.__name__.partition(".")[0] == "rlgen":
        return False
    path = Path(file).resolve()
    is_installed = _INSTALLED & {*path.parts} or any(str(parent) in _NOT_OWN for parent in path.parents)
    return path.is_file() and not is_installed


def _modules_of(creator: str | Callable[..., Any] | None) -> Iterator[str]:
    """The modules of an entry point or a wrapper; of a function also those of what it uses."""
    if isinstance(creator, str):
        yield creator.partition(":")[0]
        return
    creator = getattr(creator, "func", creator)  # of a functools.partial
    yield getattr(creator, "__module__", None) or ""
    if inspect.isfunction(creator):
        used = inspect.getclosurevars(creator)
        for value in (*used.globals.values(), *used.nonlocals.values()):
            name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
            yield name if isinstance(name, str) else ""


def _imported(source: bytes, module: ModuleType) -> Iterator[str]:
    """The names of modules that a module may import, anywhere in its source."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # compiled
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            base = resolve_name(relative, module.__package__) if node.level else relative
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
