"""Modules parsed without being imported: what their text says, as data.

Importing an algorithm imports torch, and that takes seconds in which a help page could have appeared.
"""

from __future__ import annotations

import ast
import importlib.util
import io
import tokenize
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rlgen.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"agents": "agent", "generative": "generative"}  # folder beside rlgen/, and the kind of algorithm in it


@dataclass(frozen=True)
class Field:
    """An annotated field of a class, as text."""

    name: str
    annotation: str
    default: str | None
    comment: str | None  # at the end of its line
    above: tuple[str, ...]  # comments on lines of their own directly above it
    line: int


@dataclass(frozen=True)
class ParsedClass:
    """A class of a module."""

    docstring: str
    bases: tuple[tuple[str, str], ...]  # module and name of each
    fields: tuple[Field, ...]  # without those of the bases
    methods: frozenset[str]


@dataclass(frozen=True, eq=False)
class ParsedModule:
    """A module's docstring and its classes."""

    module: str  # its dotted name
    path: Path
    header: str
    classes: dict[str, ParsedClass]


def find_module(module: str) -> ParsedModule | None:
    """A module of ours or of another installed package; None where there is none to read."""
    folder, _, stem = module.partition(".")
    try:
        spec = None if folder in FOLDERS else importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    path = ROOT / folder / f"{stem}.py" if folder in FOLDERS else Path((spec and spec.origin) or "")
    return parse(module, path) if path.suffix == ".py" and path.is_file() else None


def parse(module: str, path: Path) -> ParsedModule:
    """The module in a file, parsed once a process, and again where the file has changed.

    Raises:
        UsageError: it is not Python.
    """
    return _parse(module, path, path.stat().st_mtime_ns)


@cache
def _parse(module: str, path: Path, changed: int) -> ParsedModule:
    text = path.read_text(encoding="utf-8")
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise UsageError(f"{path} line {error.lineno} is not Python: {error.msg}") from None
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type == tokenize.COMMENT]
    comments = {token.start[0]: token.string.lstrip("#").strip() for token in tokens}
    alone = {token.start[0] for token in tokens if token.line.lstrip().startswith("#")}
    origins = {node.name: f"{module}.{node.name}" for node in tree.body if isinstance(node, ast.ClassDef)}
    origins = imported_names(tree, module) | origins
    classes = {
        node.name: ParsedClass(
            docstring=ast.get_docstring(node) or "",
            bases=tuple(origin(base, origins) for base in node.bases),
            fields=tuple(fields(node, comments, alone)),
            methods=frozenset(getattr(item, "name", "") for item in node.body),
        )
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }
    return ParsedModule(module, path, ast.get_docstring(tree) or "", classes)


def imported_names(tree: ast.Module, module: str) -> dict[str, str]:
    """The dotted name behind each imported name; a package that stands for itself is not among them."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            parent = importlib.util.resolve_name(relative, module.rpartition(".")[0]) if node.level else relative
            found |= {alias.asname or alias.name: f"{parent}.{alias.name}" for alias in node.names}
    return found


def origin(base: ast.expr, origins: dict[str, str]) -> tuple[str, str]:
    """The module and the name of a base class."""
    head, _, rest = ast.unparse(base).partition(".")
    module, _, cls = f"{origins.get(head, head)}.{rest}".rstrip(".").rpartition(".")
    return module, cls


def fields(node: ast.ClassDef, comments: dict[int, str], alone: set[int]) -> list[Field]:
    """The annotated fields of a class, in order.

    Args:
        node: the class.
        comments: the comment of each line that has one.
        alone: lines that hold nothing else.
    """
    found = []
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            first, lines = item.lineno, range(item.lineno, (item.end_lineno or item.lineno) + 1)
            while first - 1 in alone:
                first -= 1
            found.append(
                Field(
                    name=item.target.id,
                    annotation=ast.unparse(item.annotation),
                    default=ast.unparse(item.value) if item.value else None,
                    comment=next((comments[line] for line in reversed(lines) if line in comments), None),
                    above=tuple(comments[line] for line in range(first, item.lineno)),
                    line=item.lineno,
                )
            )
    return found
