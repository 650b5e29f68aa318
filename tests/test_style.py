"""The rules of the house that a script can check."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = sorted((ROOT / "rlgen").rglob("*.py"))
ALGORITHMS = sorted(path for folder in ("agents", "generative") for path in (ROOT / folder).glob("[!_]*.py"))
NAMES = [path.stem for path in ALGORITHMS]


def imports(path: Path) -> set[str]:
    """Top-level packages a file imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").split(".")[0])
    return names


def strings_and_names(path: Path) -> list[str]:
    """Identifiers and string literals of the code itself, without docstrings and comments."""
    tree = ast.parse(path.read_text())
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            found.append(node.value)
        elif isinstance(node, ast.Name):
            found.append(node.id)
        elif isinstance(node, ast.Attribute):
            found.append(node.attr)
    return found


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_core_imports_no_algorithm(path: Path) -> None:
    assert not imports(path) & {"agents", "generative"}


@pytest.mark.parametrize("path", ALGORITHMS, ids=lambda path: path.stem)
def test_algorithm_folders_do_not_import_each_other(path: Path) -> None:
    other = {"agents": "generative", "generative": "agents"}[path.parent.name]
    assert other not in imports(path)


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_core_has_no_branch_for_an_algorithm(path: Path) -> None:
    """One engine: the core names no algorithm in its code, so it cannot treat one differently."""
    classes = {"DQN", "DoubleDQN", "REINFORCE", "Reinforce", "PPO", "VAE", "GAN"}
    assert not (set(NAMES) | classes) & set(strings_and_names(path))


def test_train_is_one_short_function_with_nothing_to_override() -> None:
    tree = ast.parse((ROOT / "rlgen/core/loop.py").read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert [node.name for node in functions] == ["train"]
    assert functions[0].end_lineno - functions[0].lineno < 100


@pytest.mark.parametrize("path", ALGORITHMS, ids=lambda path: path.stem)
def test_algorithm_file_reads_in_one_sitting(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 200
    header = ast.get_docstring(ast.parse(text))
    assert header and re.search(r"(19|20)\d\d", header), "the header names its paper and year"
    assert ".item()" not in text and ".cpu()" not in text, "no host sync in an algorithm"


@pytest.mark.parametrize("path", CORE + ALGORITHMS, ids=lambda path: path.name)
def test_the_word_done_does_not_occur(path: Path) -> None:
    assert not re.search(r"\bdones?\b", path.read_text()), "say terminated or truncated"


def test_top_level_holds_nothing_else() -> None:
    allowed = {"pyproject.toml", "README.md", "LICENSE", "rlgen", "agents", "generative", "tests", "runs"}
    ignored = {"build", "dist"}
    found = {path.name for path in ROOT.iterdir() if path.name[0] != "." and not path.name.endswith(".egg-info")}
    assert found - ignored <= allowed
