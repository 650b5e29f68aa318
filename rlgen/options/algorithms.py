"""Algorithms by name: a file in `agents/` or `generative/` is an algorithm.

The header, the `Config` fields and their comments are read from the file; only `load` imports it. Other packages add
algorithms by the entry-point group `rlgen.algorithms`, a name and a module each.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from rlgen.errors import UsageError
from rlgen.options import old_names, parsed_module
from rlgen.options.fields import Option, read_options
from rlgen.options.parsed_module import FOLDERS, ParsedModule, find_module
from rlgen.text import nearest

if TYPE_CHECKING:
    from rlgen.core.learner import Learner


@dataclass(frozen=True)
class Algorithm:
    """What an algorithm's file says about it."""

    name: str
    kind: str  # "agent" or "generative"
    module: str
    path: Path
    summary: str  # first line of the header
    options: tuple[Option, ...]
    extends: tuple[Path, ...]  # files whose Config it extends, nearest first; it inherits their presets


def own_modules() -> dict[str, str]:
    """The lab's own algorithms: name and module."""
    return {
        path.stem: f"{folder}.{path.stem}"
        for folder in FOLDERS
        for path in sorted((parsed_module.ROOT / folder).glob("[!_]*.py"))
    }


def plug_ins() -> dict[str, str]:
    """The algorithms of other installed packages: name and module."""
    return {entry.name: entry.value for entry in entry_points(group="rlgen.algorithms")}


def names() -> dict[str, str]:
    """Every algorithm's name and module; the lab's own win over others of the same name."""
    return plug_ins() | own_modules()


def parse(name: str) -> ParsedModule:
    """The parsed module of an algorithm.

    Raises:
        UsageError: no such algorithm, or no file that can be read.
    """
    if (module := own_modules().get(name)) is None:
        known = names()
        if name not in known:
            raise UsageError(f"unknown algorithm {name!r}.{nearest(name, known)} There are: {', '.join(known)}")
        module = known[name]
        old_names.keep()  # a plug-in may have been written for the version before this one
    parsed = find_module(module)
    if parsed is None:
        raise UsageError(f"algorithm {name!r} is registered as module {module}, which cannot be found")
    return parsed


def find(name: str) -> Algorithm:
    """Read what an algorithm's file says, without importing it.

    Raises:
        UsageError: no such algorithm, or a file or an option that cannot be read.
    """
    parsed = parse(name)
    options, extends = read_options(parsed)
    kind = FOLDERS.get(parsed.module.split(".")[0]) or kind_of(parsed)
    summary = " ".join(parsed.header.partition("\n\n")[0].split())
    return Algorithm(name, kind, parsed.module, parsed.path, summary, tuple(options.values()), extends)


def kind_of(parsed: ParsedModule | None) -> str:
    """The kind of a plug-in's algorithm: an agent acts, itself or by what it extends."""
    if parsed is None:
        return "generative"
    bases = [base for cls in parsed.classes.values() for base in cls.bases]
    acts = any("act" in cls.methods for cls in parsed.classes.values())
    parents = {module for module, _ in bases} - {parsed.module, "rlgen.core.learner"}
    if acts or any(cls == "Agent" for _, cls in bases):
        return "agent"
    return "agent" if any(kind_of(find_module(parent)) == "agent" for parent in parents) else "generative"


def shadowed() -> dict[str, str]:
    """Folders of ours that another installed package hides, and where that package is."""
    hidden = {}
    for folder in FOLDERS:
        spec = importlib.util.find_spec(folder)
        places = list(spec.submodule_search_locations or [str(spec.origin)]) if spec else []
        if str(parsed_module.ROOT / folder) not in [str(Path(place).resolve()) for place in places]:
            hidden[folder] = str(places[0]) if places else "nowhere on the path"
    return hidden


def load(name: str) -> type[Learner]:
    """Import an algorithm: the one Learner its file defines.

    Raises:
        UsageError: no such algorithm, a foreign package in its place, or not exactly one Learner in the file.
    """
    from rlgen.core.learner import Learner

    module_name = parse(name).module
    folder = module_name.split(".")[0]
    if folder in FOLDERS and folder in (hidden := shadowed()):
        raise UsageError(f"package {folder!r} is {hidden[folder]}, not rlgen's: give rlgen an environment of its own")
    module = importlib.import_module(module_name)
    own = [v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__]
    learners = [cls for cls in own if issubclass(cls, Learner)]
    if len(learners) != 1:
        raise UsageError(f"{module.__file__} defines {len(learners)} Learner classes; an algorithm is exactly one")
    if folder not in FOLDERS:
        old_names.adapt(learners[0])
    return learners[0]
