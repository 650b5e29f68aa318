"""The laws of the house, each a function from the top of a repository to what breaks it.

Everything is read, nothing imported, so a law can be tried on a few planted files.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

RANKS = (  # a district imports only districts of earlier ranks
    {"_cores"},  # what torch changes as it is imported
    {"errors"},
    {"files", "secret"},
    {"metrics", "pictures", "text"},
    {"memory", "video"},
    {"envs", "data"},
    {"nets", "features"},
    {"core"},
    {"speed", "options"},
    {"runs"},
    {"assemble"},
    {"experiment", "inference"},
    {"__init__"},  # of rlgen itself
    {"compare", "bench", "verify", "jobs"},
    {"study", "ranked"},
    {"commands"},
    {"__main__"},
)
ALGORITHMS = ("agents", "generative")
MAX_LINES = {"rlgen": 320, "agents": 200, "generative": 200}
MAX_LOOP = 60  # lines of `turn` and `train` together
MAX_README, MAX_WIDTH = 240, 120  # lines, characters outside tables
TOP_LEVEL = {"pyproject.toml", "README.md", "LICENSE", "rlgen", "agents", "generative", "tests", "runs"}
EXTENDED = (
    "LayerOptions",
    "NetworkOptions",
    "OptimizerOptions",
    "AdamOptions",
    "AdversarialOptions",
)  # by an algorithm's Config
IGNORED = {"build", "dist"}  # by git
CONFIGURATIONS = {"cfg", "config", "configuration", "conf", "options", "opts", "settings", "hparams"}
SAYS_NOTHING = {"_go", "_view", "_flat", "_row"}
OLD_WORDS = {"tracking": "wandb", "remote": "wandb", "reading": "collect", "registry": "algorithms"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, order=True)
class Violation:
    """What breaks a law, and where."""

    path: str  # from the top of the repository
    what: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


Law = Callable[[Path], list[Violation]]


# Reading files


def files(root: Path, *parts: str) -> list[Path]:
    """Python files under the parts of a repository."""
    return sorted(path for part in parts for path in (root / part).rglob("*.py"))


@cache
def parse(text: str) -> ast.Module:
    """The tree of a file's text."""
    return ast.parse(text)


def tree(path: Path) -> ast.Module:
    """The tree of a file."""
    return parse(path.read_text(encoding="utf-8"))


def relative(root: Path, path: Path) -> str:
    """Path from the top of the repository."""
    return path.relative_to(root).as_posix()


def nodes(path: Path) -> list[Any]:
    """Everything in a file's code; no docstrings, nor other strings that stand alone."""
    return walked(path.read_text(encoding="utf-8"))


@cache
def walked(text: str) -> list[Any]:
    """The same, of a file's text."""
    found = [*ast.walk(parse(text))]
    alone = {id(node.value) for node in found if isinstance(node, ast.Expr) and is_string(node.value)}
    return [node for node in found if id(node) not in alone]


def is_string(node: ast.AST | None) -> bool:
    """Whether a node is a string literal."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def last_name(node: ast.AST) -> str:
    """`c` of `a.b.c`, of `c` and of `c()`."""
    if isinstance(node, ast.Call):
        node = node.func
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def imported_modules(path: Path) -> Iterator[tuple[str, int]]:
    """Names of what a file imports, wherever in the file: `a.b.c` also for `from a.b import c`."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:  # relative
                inside = package(path)
                module = ".".join([*inside[: len(inside) - node.level + 1], *([module] if module else [])])
            yield from ((f"{module}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and last_name(node) in ("import_module", "__import__") and node.args:
            name = node.args[0]
            if isinstance(name, ast.JoinedStr) and name.values:
                name = name.values[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield name.value.rstrip("."), node.lineno


def package(path: Path) -> list[str]:
    """The packages a file lies in: `["rlgen", "core"]` of `.../rlgen/core/loop.py`."""
    folders = path.parent.parts
    tops = [i for i, folder in enumerate(folders) if folder in ("rlgen", *ALGORITHMS)]
    return list(folders[tops[-1] :]) if tops else []


def import_graph(root: Path) -> dict[str, dict[str, int]]:
    """By file of rlgen the files of rlgen it imports, each with a line; type-only and late imports included."""
    graph: dict[str, dict[str, int]] = {}
    for path in files(root, "rlgen"):
        found = graph.setdefault(relative(root, path), {})
        for module, line in imported_modules(path):
            words = module.split(".")
            while words and words[0] == "rlgen":
                place = root.joinpath(*words)
                target = place.with_suffix(".py") if place.with_suffix(".py").is_file() else place / "__init__.py"
                if target == path:
                    break
                if target.is_file():
                    found.setdefault(relative(root, target), line)
                    break
                words.pop()  # a name in the module
    return graph


# The laws


def districts(root: Path) -> list[Violation]:
    """Districts depend one way only."""
    rank = {district: i for i, names in enumerate(RANKS) for district in names}
    found = []
    for path, targets in import_graph(root).items():
        own = district(path)
        if own not in rank:
            found.append(Violation(path, f"{own} is no district"))
            continue
        for target, line in targets.items():
            other = district(target)
            if other != own and rank.get(other, len(RANKS)) >= rank[own]:
                found.append(Violation(path, f"{own} imports {other}", line))
    return found


def district(path: str) -> str:
    """`core` of `rlgen/core/loop.py`, `errors` of `rlgen/errors.py`."""
    return Path(path).with_suffix("").parts[1]


def circles(root: Path) -> list[Violation]:
    """No file of rlgen imports itself by way of others; a file is named in one circle at most, its shortest."""
    graph = import_graph(root)
    found, named = [], set[str]()
    for start in sorted(graph):
        circle = [] if start in named else shortest_circle(graph, start)
        if circle:
            named.update(circle)
            found.append(Violation(start, " -> ".join(circle), graph[start][circle[1]]))
    return found


def shortest_circle(graph: dict[str, dict[str, int]], start: str) -> list[str]:
    """The shortest way from a file back to itself, both ends included; nothing if there is none."""
    ways, visited = [[start]], {start}
    while ways:
        longer = [[*way, target] for way in ways for target in graph.get(way[-1], {})]
        for way in longer:
            if way[-1] == start:
                return way
        ways = []
        for way in longer:
            if way[-1] not in visited:
                visited.add(way[-1])
                ways.append(way)
    return []


def no_algorithm_imported(root: Path) -> list[Violation]:
    """rlgen imports no algorithm, and agents and generative not each other."""
    found = []
    for part in ("rlgen", *ALGORITHMS):
        for path in files(root, part):
            for module, line in imported_modules(path):
                top = module.split(".")[0]
                if top in ALGORITHMS and top != part:
                    found.append(Violation(relative(root, path), f"{part} imports {top}", line))
    return found


def fields(path: Path, name: str) -> set[str]:
    """Fields of the dataclass `name` in a file."""
    classes = (node for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef) and node.name == name)
    return {
        node.target.id
        for cls in classes
        for node in cls.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def option_names(root: Path) -> set[str]:
    """Options that algorithms have, and neither runs nor rlgen's own classes of options for algorithms to extend."""
    own = set().union(*(fields(path, "Config") for path in files(root, *ALGORITHMS)))
    given = set().union(*(fields(path, name) for path in files(root, "rlgen") for name in EXTENDED))
    return own - given - set().union(*(fields(path, "RunConfig") for path in files(root, "rlgen/options")))


def option_reads(root: Path) -> list[Violation]:
    """rlgen reads no option of an algorithm by name; bench, which times named works, may.

    Found are `cfg.gamma` and `learner.cfg.gamma`, also by another name (`c = learner.cfg; c.gamma`); an attribute that
    no class of rlgen has (`learner.train_every`); and the name as a string, wherever: `config["n_step"]`,
    `.get("n_step")`, an element of a list, `--n-step`. Left alone are arguments, a class's own attributes, their names
    inside it, and an optimizer's parameter groups.
    """
    names = option_names(root)
    checked = [path for path in files(root, "rlgen") if district(relative(root, path)) != "bench"]
    classes = [node for path in checked for node in nodes(path) if isinstance(node, ast.ClassDef)]
    owned = set().union(*map(attributes, classes))
    found = []
    for path in checked:
        configurations = configuration_names(path)
        allowed = own_strings(path) - configuration_keys(path, configurations)
        for node in nodes(path):
            what = ""
            if isinstance(node, ast.Attribute) and node.attr in names:
                base = last_name(node.value)
                is_own = node.attr in owned or base == "self" or node.attr in TENSOR_METHODS
                if base.lower() in configurations or not is_own:
                    what = ast.unparse(node)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in allowed:
                words = [word.removeprefix("--").replace("-", "_") for word in re.split(r"[\s,]+", node.value.strip())]
                what = repr(node.value) if set(words) <= names else ""
            if what:
                found.append(Violation(relative(root, path), what, node.lineno))
    return sorted(set(found))


TENSOR_METHODS = {"double"}  # an option's name, and a method of every tensor
GROUP_KEYS = {"lr", "betas", "eps", "weight_decay", "momentum"}  # of torch.optim's parameter groups


def attributes(cls: ast.ClassDef) -> set[str]:
    """What a class has: fields, methods, and what is assigned on `self`."""
    found = set()
    for node in ast.walk(cls):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and last_name(node.value) == "self":
            found.add(node.attr)
    for node in cls.body:
        if isinstance(node, FUNCTIONS):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign | ast.Assign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found.update(target.id for target in targets if isinstance(target, ast.Name))
    return found


def configuration_names(path: Path) -> set[str]:
    """Names that stand for a configuration in a file: the usual ones, and what one of them is assigned to."""
    found = set(CONFIGURATIONS)
    size = 0
    while size != len(found):
        size = len(found)
        for node in nodes(path):
            if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr) and node.value is not None:
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    pairs = [(target, node.value)]
                    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                        pairs = list(zip(target.elts, node.value.elts, strict=False))
                    found |= {last_name(one).lower() for one, value in pairs if last_name(value).lower() in found}
            elif isinstance(node, ast.arg) and node.annotation is not None and last_name(node.annotation) == "Config":
                found.add(node.arg.lower())
    return found - {"", "self"}


def configuration_keys(path: Path, configurations: set[str]) -> set[int]:
    """Strings, by id, that are keys of a configuration: `cfg["gamma"]`, `cfg.get("gamma")`, `getattr(cfg, "gamma")`."""
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Subscript) and last_name(node.value).lower() in configurations:
            found.add(id(node.slice))
        elif isinstance(node, ast.Call):
            owner = (
                node.func.value if isinstance(node.func, ast.Attribute) else node.args[0] if node.args else node.func
            )
            if last_name(owner).lower() in configurations:
                found |= {id(argument) for argument in node.args}
    return found


def own_strings(path: Path) -> set[int]:
    """Strings, by id, that name a class's own attribute inside it, or a key of an optimizer's parameter group."""
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.ClassDef):
            own = attributes(node)
            inside = (one for one in ast.walk(node) if isinstance(one, ast.Constant))
            found |= {id(one) for one in inside if one.value in own}
        elif isinstance(node, ast.Subscript) and getattr(node.slice, "value", None) in GROUP_KEYS:
            base = node.value.value if isinstance(node.value, ast.Subscript) else node.value
            if last_name(base) == "param_groups" or (last_name(base) == "group" and "param_group" in path.read_text()):
                found.add(id(node.slice))
    return found


def long_files(root: Path) -> list[Violation]:
    """A file has one concern, and is short."""
    found = []
    for part, limit in MAX_LINES.items():
        for path in files(root, part):
            num = path.read_text(encoding="utf-8").count("\n")
            if num > limit:
                found.append(Violation(relative(root, path), f"more than {limit} lines", num))
            if path.stem in ("util", "utils", "misc", "common"):
                found.append(Violation(relative(root, path), "a name that says no concern"))
    return found


def loop(root: Path) -> list[Violation]:
    """core/loop.py holds `turn` and `train`, short, with nothing to override."""
    path = root / "rlgen/core/loop.py"
    functions = [node for node in tree(path).body if isinstance(node, FUNCTIONS)]
    names = [node.name for node in functions]
    found = []
    if sorted(names) != ["train", "turn"]:
        found.append(Violation(relative(root, path), f"functions are {', '.join(names)}, not turn and train"))
    num = sum((node.end_lineno or 0) - begin(node) + 1 for node in functions)
    if num > MAX_LOOP:
        found.append(Violation(relative(root, path), f"more than {MAX_LOOP} lines", num))
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ClassDef) and "Protocol" not in {last_name(base) for base in node.bases}:
            found.append(Violation(relative(root, path), f"class {node.name} is no Protocol", node.lineno))
    return found


def begin(node: Any) -> int:
    """First line of a function, its decorators included."""
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def word_done(root: Path) -> list[Violation]:
    """The word does not occur, not even in a comment."""
    found = []
    for path in files(root, "rlgen", *ALGORITHMS):
        for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if re.search(r"(?<![a-z])dones?(?![a-z])", text, re.IGNORECASE):
                found.append(Violation(relative(root, path), "say terminated or truncated", line))
    return found


def identifiers(path: Path) -> Iterator[tuple[str, Any]]:
    """Every name in a file's code, with the node it is of."""
    yield path.stem, ast.Module([], [])
    for node in nodes(path):
        if isinstance(node, ast.Name):
            yield node.id, node
        elif isinstance(node, ast.Attribute):
            yield node.attr, node
        elif isinstance(node, ast.arg | ast.keyword):
            yield node.arg or "", node
        elif isinstance(node, (ast.ClassDef, *FUNCTIONS)):
            yield node.name, node
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname, node


def misleading_names(root: Path) -> list[Violation]:
    """Names that misled readers: `replay` of a recorded step, `figure` of a metric, names that say nothing, aliases."""
    found = set()
    for path in files(root, "rlgen", *ALGORITHMS):
        place = relative(root, path)
        part = district(place) if place.startswith("rlgen") else ""
        for name, node in identifiers(path):
            words = set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()))
            bad = name in SAYS_NOTHING or (name in OLD_WORDS and not isinstance(node, ast.Attribute))
            if words & {"replay", "replays", "replayed", "replaying"} and "buffer" not in words and part != "bench":
                is_graph = isinstance(node, ast.Attribute) and "graph" in ast.unparse(node.value).lower()
                bad |= not is_graph  # torch.cuda.CUDAGraph.replay
            if words & {"figure", "figures"}:
                bad |= part not in ("compare", "bench", "commands")  # there they are plots
            if isinstance(node, ast.ClassDef) and name == "Source":
                bad |= part == "options"
            if bad:
                found.add(Violation(place, f"the name {name}", getattr(node, "lineno", 0)))
        for node in nodes(path):
            if isinstance(node, ast.Import | ast.ImportFrom):
                found |= {Violation(place, f"the alias {alias}", node.lineno) for alias in hiding_aliases(root, node)}
            elif isinstance(node, ast.Starred) and isinstance(node.value, ast.Tuple | ast.List):
                pairs = [len(one.elts) == 2 if isinstance(one, ast.Tuple) else False for one in node.value.elts]
                if pairs and all(pairs):
                    found.add(Violation(place, "pairs in a tuple: write a dict", node.lineno))
    return sorted(found)


def hiding_aliases(root: Path, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Modules of this repository that are imported under a name that is not theirs."""
    for alias in node.names:
        module = alias.name if isinstance(node, ast.Import) else f"{node.module}.{alias.name}"
        place = root.joinpath(*module.split("."))
        is_module = place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()
        if is_module and alias.asname not in (None, module.split(".")[-1]):
            yield f"{module} as {alias.asname}"


def top_level(root: Path) -> list[Violation]:
    """The top of the repository holds nothing else."""
    found = {path.name for path in root.iterdir() if path.name[0] != "." and not path.name.endswith(".egg-info")}
    return [Violation(name, "is not expected at the top") for name in sorted(found - TOP_LEVEL - IGNORED)]


def readme(root: Path) -> list[Violation]:
    """README is short, and so are its lines, and those of the districts' README files."""
    found = []
    for path in [root / "README.md", *sorted((root / "rlgen").rglob("README.md"))]:
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            if len(line) > MAX_WIDTH and not line.lstrip().startswith("|"):
                found.append(Violation(relative(root, path), f"more than {MAX_WIDTH} characters", number))
        if len(lines) > MAX_README and path.parent == root:
            found.append(Violation(relative(root, path), f"more than {MAX_README} lines", len(lines)))
    return found


def mirror(root: Path) -> list[Violation]:
    """Tests mirror the house: tests/DISTRICT/test_FILE.py; no test module imports another."""
    names = {path.stem for path in files(root, "tests") if path.name.startswith("test_")}
    found = []
    for path in files(root, "tests"):
        place, folders = relative(root, path), path.relative_to(root / "tests").parts[:-1]
        if not path.name.startswith("test_"):
            continue
        file = path.name.removeprefix("test_")
        mirrored = [root.joinpath("rlgen", *folders, file), root.joinpath(*folders, file)]  # the second for algorithms
        if folders and file != f"{folders[-1]}.py" and not any(each.is_file() for each in mirrored):
            found.append(Violation(place, f"mirrors no {relative(root, mirrored[0])}"))
        for module, line in imported_modules(path):
            if names & set(module.split(".")):
                found.append(Violation(place, f"imports {module}", line))
    return found


def no_algorithm_named(root: Path) -> list[Violation]:
    """One engine: rlgen names no algorithm in its code, so it cannot treat one differently."""
    algorithms = {path.stem for path in files(root, *ALGORITHMS) if not path.name.startswith("_")}
    names = algorithms | {"DQN", "DoubleDQN", "REINFORCE", "Reinforce", "PPO", "VAE", "GAN"}
    found = []
    for path in files(root, "rlgen"):
        strings = ((one.value, one) for one in nodes(path) if isinstance(one, ast.Constant) and one.value in names)
        used = ((name, node) for name, node in identifiers(path) if isinstance(node, ast.Name | ast.Attribute))
        for name, node in (*strings, *used):
            if name in names:
                found.append(Violation(relative(root, path), f"names {name}", node.lineno))
    return found


def algorithm_files(root: Path) -> list[Violation]:
    """An algorithm's header names its paper and year, and it never waits for the GPU."""
    found = []
    for path in files(root, *ALGORITHMS):
        if path.name.startswith("_"):
            continue
        if not re.search(r"(19|20)\d\d", ast.get_docstring(tree(path)) or ""):
            found.append(Violation(relative(root, path), "the header names no paper and year"))
        for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if ".item()" in text or ".cpu()" in text:
                found.append(Violation(relative(root, path), "waits for the GPU", line))
    return found


LAWS: tuple[Law, ...] = (
    districts,
    circles,
    no_algorithm_imported,
    no_algorithm_named,
    option_reads,
    long_files,
    loop,
    word_done,
    misleading_names,
    algorithm_files,
    top_level,
    readme,
    mirror,
)
