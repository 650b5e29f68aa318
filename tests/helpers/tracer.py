"""What a reader of one turn of the loop walks through: the functions entered, their lines, the moves between files.

A small DQN trains on CartPole-v1: default options, one environment, one thread, every gradient step eager. By default a
turn takes `train_every` = 4 environment steps and one update. Counted is the turn that occurs most often: no row is
written, nothing is evaluated or saved, no episode ends, the target network stays.

- Functions: every function or lambda of `rlgen/`, `agents/` and `generative/` that is entered in that turn, and the
  loop that takes it. A comprehension is part of its function. Each counts once, however often it is entered.
- Code: their lines that hold code. Signatures and decorators count, and so do functions defined inside. Docstrings,
  comments and blank lines do not; `span` is with those.
- Moves: how often a function is entered whose file is not that of the function entered before. A generator that goes on
  is entered anew. Returning is no move.

`python tests/helpers/tracer.py [walk] [OPTION=VALUE ...]` prints the table, with `walk` also every entry, in order;
other options of `dqn` may be given.
"""

from __future__ import annotations

import ast
import io
import itertools
import sys
import tempfile
import tokenize
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).parents[2]
PARTS = ("rlgen", "agents", "generative")
BESIDE = ("agents", "nets", "runs")  # districts that are reported beside the sum
NEVER = 10**9  # steps
OPTIONS = {
    "env": "CartPole-v1",
    "steps": 1_200,
    "learning_starts": 200,
    "hidden": (16,),
    "target_every": NEVER,
    "log_every": NEVER,
    "eval_every": NEVER,
    "checkpoint_every": NEVER,
    "eval_episodes": 1,  # of the last step
    "graph": False,
    "device": "cpu",
    "threads": 1,
    "wandb": "disabled",
    "no_preset": True,
}
COMPREHENSIONS = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"}  # from Python 3.12 on most are no functions
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class EnteredFile:
    """A file, and what one turn enters in it."""

    path: str  # from the top of the repository
    functions: tuple[str, ...]
    code: int  # lines
    span: int  # lines

    @property
    def district(self) -> str:
        """`core` of `rlgen/core/loop.py`, `errors` of `rlgen/errors.py`, `agents` of `agents/dqn.py`."""
        parts = Path(self.path).with_suffix("").parts
        return parts[1] if parts[0] == "rlgen" else parts[0]


@dataclass(frozen=True)
class Reading:
    """One turn."""

    files: tuple[EnteredFile, ...]
    entries: tuple[tuple[str, str], ...]  # (path, function) in the order they are entered

    @property
    def lines(self) -> int:
        """Lines of code, without the districts that are reported beside."""
        return sum(file.code for file in self.files if file.district not in BESIDE)

    @property
    def lines_beside(self) -> int:
        """Lines of code in those districts."""
        return sum(file.code for file in self.files if file.district in BESIDE)

    @property
    def moves(self) -> int:
        """Entries whose file is not that of the entry before."""
        paths = [path for path, _ in self.entries]
        return sum(path != last for last, path in itertools.pairwise(paths))

    def table(self) -> str:
        """By district and file, the largest first."""
        lines = [f"{'file':34} {'functions':>9} {'code':>5} {'span':>5}"]
        districts = Counter[str]()
        for file in self.files:
            districts[file.district] += file.code
        for district, code in sorted(districts.items(), key=lambda item: (item[0] in BESIDE, -item[1])):
            lines.append(f"{district + ' (beside the sum)' * (district in BESIDE):34} {'':>9} {code:5}")
            for file in sorted(self.files, key=lambda file: -file.code):
                if file.district == district:
                    lines.append(f"  {file.path:32} {len(file.functions):9} {file.code:5} {file.span:5}")
        agent = [function.rpartition(".")[2] for path, function in self.entries if path.startswith("agents/")]
        functions, span = sum(len(file.functions) for file in self.files), sum(file.span for file in self.files)
        lines.append(
            f"{self.lines} lines of code, {self.lines_beside} beside ({', '.join(BESIDE)}); the whole span {span}"
        )
        lines.append(f"{functions} functions in {len(self.files)} files, {self.moves} moves from file to file")
        lines.append(f"in a turn of {agent.count('act')} environment steps and {agent.count('update')} update")
        return "\n".join(lines)


def read_turn(**options: Any) -> Reading:
    """Train, and count the turn that occurs most often; `options` go before `OPTIONS`."""
    turns, loop = record_turns(OPTIONS | options)
    turn = Counter(turns).most_common(1)[0][0]
    entered = {code for code in (*loop, *turn) if code.co_name not in COMPREHENSIONS}
    paths = sorted({code.co_filename for code in entered})
    return Reading(
        tuple(count_lines(path, [code for code in entered if code.co_filename == path]) for path in paths),
        tuple((relative(code), name(code)) for code in turn if code.co_name not in COMPREHENSIONS),
    )


def record_turns(options: dict[str, Any]) -> tuple[list[tuple[CodeType, ...]], set[CodeType]]:
    """The functions entered in every turn, from one `fill` of the source to the next; and the loop that called it."""
    import rlgen

    parts = tuple(str(ROOT / part) + "/" for part in PARTS)
    turns: list[list[CodeType]] = []
    loop: set[CodeType] = set()

    def profile(frame: FrameType, event: str, arg: Any) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(parts):
            return
        if code.co_name == "fill":
            turns.append([])
            caller = frame.f_back
            while caller is not None:
                if Path(caller.f_code.co_filename).name == "loop.py" and caller.f_code.co_filename.startswith(parts):
                    loop.add(caller.f_code)
                caller = caller.f_back
        if turns:
            turns[-1].append(code)

    with tempfile.TemporaryDirectory() as folder:
        sys.setprofile(profile)
        try:
            rlgen.train("dqn", quiet=True, runs_dir=folder, **options)
        finally:
            sys.setprofile(None)
    return [tuple(turn) for turn in turns], loop


def count_lines(path: str, entered: Sequence[CodeType]) -> EnteredFile:
    """Count the lines of the functions of a file that were entered."""
    source = Path(path).read_text(encoding="utf-8")
    tree = ast.parse(source)
    holds_code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            holds_code.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, WITH_DOCSTRING) and ast.get_docstring(node, clean=False) is not None:
            holds_code.difference_update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))

    lines: set[int] = set()
    begins = {(code.co_name, code.co_firstlineno) for code in entered}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
            if (getattr(node, "name", "<lambda>"), first) in begins:
                lines.update(range(first, (node.end_lineno or 0) + 1))
    functions = tuple(sorted({name(code) for code in entered}))
    return EnteredFile(relative(entered[0]), functions, len(lines & holds_code), len(lines))


def relative(code: CodeType) -> str:
    """Path from the top of the repository."""
    return Path(code.co_filename).relative_to(ROOT).as_posix()


def name(code: CodeType) -> str:
    """`Class.method`; a lambda with its line, since a file may have several."""
    return f"{code.co_qualname}:{code.co_firstlineno}" if code.co_name == "<lambda>" else code.co_qualname


if __name__ == "__main__":
    given = dict(word.split("=", 1) for word in sys.argv[1:] if word != "walk")
    found = read_turn(**{option: ast.literal_eval(value) for option, value in given.items()})
    if "walk" in sys.argv:
        print(*(f"{path:32} {function}" for path, function in found.entries), sep="\n")
    print(found.table())
