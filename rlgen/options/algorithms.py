"""Algorithms by name, read without importing them: a file in `agents/` or `generative/` is an algorithm.

Importing one imports torch, seconds before a help page could appear. So the header, the `Config` fields and their
comments are read from the source; only `load` imports. Other people's packages add algorithms by the entry-point group
`rlgen.algorithms`, a name and a module each.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import io
import tokenize
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlgen.errors import UsageError

if TYPE_CHECKING:
    from rlgen.core.learner import Learner

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"agents": "agent", "generative": "generative"}  # folder beside rlgen/, and the kind of algorithm in it
REQUIRED = object()
TYPES = {"bool": bool, "int": int, "float": float, "str": str, "tuple": tuple, "Literal": typing.Literal}


@dataclass(frozen=True)
class Option:
    """A field of a config: its name, type, default, and the comment at the end of its line."""

    name: str
    type: Any
    default: Any  # REQUIRED where the field has none
    help: str


@dataclass(frozen=True)
class Algorithm:
    """What an algorithm's source says about it."""

    name: str
    kind: str  # "agent" or "generative"
    module: str
    path: Path
    summary: str  # first line of the header
    options: tuple[Option, ...]
    extends: tuple[Path, ...]  # files whose Config it extends, nearest first; it inherits their presets


class Source:
    """A parsed module: its classes, the comment of each line, and the dotted name behind each imported name."""

    def __init__(self, module: str, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        try:
            tree = ast.parse(text)
        except SyntaxError as error:
            raise UsageError(f"{path} line {error.lineno} is not Python: {error.msg}") from None
        self.module, self.path, self.header = module, path, ast.get_docstring(tree) or ""
        self.classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        self.comments = {t.start[0]: t.string.lstrip("#").strip() for t in tokens if t.type == tokenize.COMMENT}
        self.imports: dict[str, str] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                self.imports |= {a.asname or a.name.split(".")[0]: a.name if a.asname else "" for a in node.names}
            elif isinstance(node, ast.ImportFrom):
                relative = "." * node.level + (node.module or "")
                parent = importlib.util.resolve_name(relative, module.rpartition(".")[0]) if node.level else relative
                self.imports |= {a.asname or a.name: f"{parent}.{a.name}" for a in node.names}

    def bases(self, name: str) -> list[tuple[str, str]]:
        """The (module, class) of each base of a class."""
        found = []
        for base in self.classes[name].bases:
            head, _, rest = ast.unparse(base).partition(".")
            dotted = f"{self.module}.{head}" if head in self.classes else self.imports.get(head, "") or head
            module, _, cls = f"{dotted}.{rest}".rstrip(".").rpartition(".")
            found.append((module, cls))
        return found


def open_source(module: str) -> Source | None:
    """The source of a module of ours or of an entry point's package; None where there is none to read."""
    folder, _, stem = module.partition(".")
    try:
        spec = None if folder in FOLDERS else importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    path = ROOT / folder / f"{stem}.py" if folder in FOLDERS else Path((spec and spec.origin) or "")
    return Source(module, path) if path.suffix == ".py" and path.is_file() else None


def read_options(source: Source, name: str = "Config") -> tuple[dict[str, Option], tuple[Path, ...]]:
    """The fields of a config class, inherited ones first, and the files they were inherited from.

    Raises:
        UsageError: a field has no literal default or an annotation beyond the built-in types, Literal and tuple.
    """
    options: dict[str, Option] = {}
    extends: list[Path] = []
    bases = source.bases(name) if name in source.classes else []
    if name not in source.classes:  # no Config of its own: that of the learner it extends
        bases = [(module, name) for cls in source.classes for module, _ in source.bases(cls)]
    for module, cls in bases:
        base = source if module == source.module else open_source(module)
        if base and (cls in base.classes or name not in source.classes):
            inherited, further = read_options(base, cls)
            options |= inherited
            if inherited and base is not source:
                extends += [base.path, *further]
    for node in source.classes[name].body if name in source.classes else []:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        field, written = node.target.id, ast.unparse(node.annotation)
        if "ClassVar" in written:
            continue
        try:
            kind = eval(written, {"__builtins__": {}} | TYPES)
            default = eval(ast.unparse(node.value), {"__builtins__": {}} | TYPES) if node.value else REQUIRED
        except Exception:
            where = f"{source.path} line {node.lineno}: {name}.{field}"
            raise UsageError(f"{where} needs a built-in type, Literal or tuple, and a literal default") from None
        inherited_help = options[field].help if field in options else ""
        comment = source.comments.get(node.end_lineno or node.lineno, inherited_help)
        options[field] = Option(field, kind, default, comment)
    return options, tuple(dict.fromkeys(extends))


def _kind(source: Source | None) -> str:
    """The kind of an entry point's algorithm: an agent acts, itself or by what it extends."""
    if source is None:
        return "generative"
    bases = [base for cls in source.classes for base in source.bases(cls)]
    acts = any(getattr(node, "name", "") == "act" for cls in source.classes.values() for node in cls.body)
    parents = {module for module, _ in bases} - {source.module, "rlgen.core.learner"}
    is_agent = acts or any(cls == "Agent" for _, cls in bases) or any(_kind(open_source(p)) == "agent" for p in parents)
    return "agent" if is_agent else "generative"


def names() -> dict[str, str]:
    """Every algorithm's name and module, the lab's own first."""
    own = {
        path.stem: f"{folder}.{path.stem}"
        for folder in FOLDERS
        for path in sorted((ROOT / folder).glob("*.py"))
        if not path.stem.startswith("_")
    }
    return {entry.name: entry.value for entry in entry_points(group="rlgen.algorithms")} | own


def nearest(word: str, words: Iterable[str]) -> str:
    """' Did you mean X?', or nothing where no word is near."""
    match = difflib.get_close_matches(word.lower(), list(words), n=1, cutoff=0.5)
    return f" Did you mean {match[0]}?" if match else ""


def find(name: str) -> Algorithm:
    """Read what an algorithm's source says, without importing it.

    Raises:
        UsageError: no such algorithm.
    """
    known = names()
    if name not in known:
        raise UsageError(f"unknown algorithm {name!r}.{nearest(name, known)} There are: {', '.join(known)}")
    source = open_source(known[name])
    if source is None:
        raise UsageError(f"algorithm {name!r} is registered as module {known[name]}, which cannot be found")
    options, extends = read_options(source)
    kind = FOLDERS.get(known[name].split(".")[0]) or _kind(source)
    summary = " ".join(source.header.partition("\n\n")[0].split())
    return Algorithm(name, kind, known[name], source.path, summary, tuple(options.values()), extends)


def shadowed() -> dict[str, str]:
    """Folders of ours that another installed package hides, and where that package is."""
    hidden = {}
    for folder in FOLDERS:
        spec = importlib.util.find_spec(folder)
        places = list(spec.submodule_search_locations or [str(spec.origin)]) if spec else []
        if str(ROOT / folder) not in [str(Path(place).resolve()) for place in places]:
            hidden[folder] = str(places[0]) if places else "nowhere on the path"
    return hidden


def load(name: str) -> type[Learner]:
    """Import an algorithm: the one Learner its file defines.

    Raises:
        UsageError: no such algorithm, a foreign package in its place, or not exactly one Learner in the file.
    """
    from rlgen.core.learner import Learner

    module_name = find(name).module
    folder = module_name.split(".")[0]
    if folder in FOLDERS and folder in (hidden := shadowed()):
        raise UsageError(f"package {folder!r} is {hidden[folder]}, not rlgen's: give rlgen an environment of its own")
    module = importlib.import_module(module_name)
    own = [v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__]
    learners = [cls for cls in own if issubclass(cls, Learner)]
    if len(learners) != 1:
        raise UsageError(f"{module.__file__} defines {len(learners)} Learner classes; an algorithm is exactly one")
    return learners[0]
