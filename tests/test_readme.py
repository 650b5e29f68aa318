"""README.md is true: its commands run, at a tiny size, and what it says of the house is so.

The commands are read from README itself. A rule for each command makes it tiny; a line that no rule covers fails.
"""

from __future__ import annotations

import contextlib
import glob
import io
import os
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import house
import image_files
import numpy as np
import pytest
from PIL import Image

import rlgen
from rlgen import commands, errors, experiment
from rlgen.options import algorithms, config

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
OUTSIDE = FENCE.sub("", README)  # without its blocks

NOT_RUN = {"rlgen compare entity/project": "reads wandb.ai"}  # how a line begins, and why it is not run here
PLACEHOLDERS = {"ALGO": "dqn", "RUN": "first"}
TINY = {  # options that an algorithm has get these values
    "steps": "150",
    "log_every": "50",
    "eval_every": "100",
    "checkpoint_every": "100",
    "wandb": "disabled",
    "threads": "1",
    "eval_episodes": "1",
    "hidden": "8",
    "batch_size": "8",
    "learning_starts": "50",
    "rollout_steps": "64",
    "num_epochs": "1",
    "latent": "4",
    "nll_samples": "2",
    "width": "4",
    "num_hidden": "8",
}
ENVIRONMENT = """
import gymnasium as gym
import numpy as np

class Mine(gym.Env):
    observation_space, action_space = gym.spaces.Box(0, 1, (2,), np.float32), gym.spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.ones(2, np.float32), 1.0, False, False, {}

class Sized(Mine):
    def __init__(self, size):
        self.size = size

class Halved(gym.RewardWrapper):
    def reward(self, reward):
        return reward / 2

gym.register("Mine-v0", Mine, max_episode_steps=5)
gym.register("Sized-v0", Sized, max_episode_steps=5)
"""


# What README holds


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language; "" is none."""
    return [text for found, text in FENCE.findall(README) if found == language]


def commands_in(line: str) -> Iterator[str]:
    """The rlgen commands of a line of shell: between `&&`, in `<(...)`, also by the path of a virtual environment."""
    for inner in re.findall(r"<\(([^)]*)\)", line):
        yield from commands_in(inner)
    for part in re.sub(r"<\([^)]*\)", "", line).split("&&"):
        words = shlex.split(part, comments=True)
        if words and words[0].removeprefix(".venv/bin/") == "rlgen":
            yield shlex.join(["rlgen", *words[1:]])


def lines() -> list[str]:
    """Every rlgen command of README, once: those of the blocks in order, then those in the text."""
    shell = [line for block in blocks("bash") for line in block.splitlines()]
    session = [line[2:] for block in blocks("") for line in block.splitlines() if line.startswith("$ ")]
    text = [span for span in INLINE.findall(OUTSIDE) if span.startswith("rlgen ")]
    found = [command for line in (*session, *shell, *text) for command in commands_in(line)]
    return list(dict.fromkeys(found))


def is_run(line: str) -> bool:
    """Whether the line is run here."""
    return not any(line.replace("'", "").startswith(each) for each in NOT_RUN)


# Rules that make a line tiny


def with_flag(words: list[str], name: str, *values: str) -> list[str]:
    """The words with these values of a flag, in place of those it had."""
    flag, kept, skipping = f"--{name.replace('_', '-')}", [], False
    for word in words:
        skipping = word == flag or (skipping and not word.startswith("--"))
        kept += [] if skipping else [word]
    return [*kept, flag, *values]


def value_of(words: list[str], flag: str) -> str | None:
    """The value of a flag, if it is there."""
    return words[words.index(flag) + 1] if flag in words else None


def tiny_train(words: list[str]) -> list[str]:
    """A short run of small networks, and no more than two seeds."""
    if "--help" in words:
        return words
    seeds = value_of(words, "--seeds")
    if seeds:
        first = int(seeds.partition(":")[0])
        words = with_flag(words, "seeds", f"{first}:{first + 2}")
    for name in TINY.keys() & config.options(algorithms.find(words[1])).keys():
        words = with_flag(words, name, TINY[name])
    return [*words, "--no-preset"]


def tiny_longer(words: list[str]) -> list[str]:
    """Some steps more than the run has, in the proportions of README's."""
    steps = value_of(words, "--steps")
    if steps is None and words[0] == "resume":
        return words
    return with_flag(words, "steps", str(int(steps or 300_000) // 500))


def tiny_bench(words: list[str]) -> list[str]:
    """One work and a moment of it."""
    for name, value in {"only": "dqn-1env", "blocks": "1", "seconds": "0.01"}.items():
        words = with_flag(words, name, value)
    return words


def unchanged(words: list[str]) -> list[str]:
    """It takes a moment anyway."""
    return words


RULES: dict[str, Callable[[list[str]], list[str]]] = {
    "train": tiny_train,
    "resume": tiny_longer,
    "fork": tiny_longer,
    "bench": tiny_bench,
    "eval": lambda words: with_flag(words, "episodes", "2"),
    "sample": lambda words: with_flag(words, "num", "4"),
    "compare": unchanged,
    "show": unchanged,
    "diff": unchanged,
    "list": unchanged,
    "doctor": unchanged,
    "delete": unchanged,
    "verify": unchanged,
    "preview": unchanged,
    "completion": unchanged,
}


def tiny(line: str) -> list[str]:
    """What is run in place of a line, without `rlgen`.

    Raises:
        LookupError: no rule covers the line.
    """
    words = [PLACEHOLDERS.get(word, word) for word in shlex.split(line)[1:]]
    left = [word for word in words if re.fullmatch("[A-Z]{3,}", word)]
    if left or words[0] not in RULES:
        raise LookupError(f"README: no rule covers {line!r}{f' ({left[0]})' if left else ''}")
    return RULES[words[0]](words)


def as_the_shell_gives_it(words: list[str]) -> list[str]:
    """Words with their globs expanded, where they fit a file."""
    return [path for word in words for path in ((sorted(glob.glob(word)) if "*" in word else []) or [word])]


# Running them


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory with what README's reader has: reference runs, an environment and images of his own."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "runs").mkdir()
    for recorded in ("reference", "gan"):
        (folder / "runs" / recorded).symlink_to(ROOT / "runs" / recorded)
    (folder / "my_env.py").write_text(ENVIRONMENT)
    image_files.write(folder / "idx-files", image_files.idx_files())
    image_files.write(folder / "sets/fashion-mnist", image_files.idx_files())  # small, under a known name
    images = np.random.default_rng(0).integers(0, 256, (20, 6, 6, 3), np.uint8)
    np.savez(folder / "images.npz", images=images)
    for number, image in enumerate(images):
        path = folder / f"photos/{'ab'[number % 2]}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)  # as `export PYTHONPATH=.`, which README says
        patch.setenv("RLGEN_DATA", str(folder / "sets"))
        yield folder
    gym.registry.pop("Mine-v0", None)


Ran = dict[str, tuple[int, str]]  # by line: exit code, and what was printed


@pytest.fixture(scope="module")
def ran(place: Path) -> Ran:
    """Every line, run in order in this process."""
    found: Ran = {}
    for line in filter(is_run, lines()):
        with contextlib.suppress(LookupError):  # that is a test of its own
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                try:
                    code = commands.main(as_the_shell_gives_it(tiny(line)))
                except SystemExit as stop:  # a help page
                    code = int(stop.code or 0)
            found[line] = code, printed.getvalue()
    return found


@pytest.mark.parametrize("line", [line for line in lines() if is_run(line)])
def test_a_command_of_readme_runs(line: str, ran: Ran) -> None:
    tiny(line)
    code, printed = ran[line]
    assert code == 0, printed[-2000:]


def test_lines_that_are_not_run_are_there() -> None:
    left = [line.replace("'", "") for line in lines() if not is_run(line)]
    assert all(any(line.startswith(each) for line in left) for each in NOT_RUN)


@pytest.mark.parametrize("line", ["rlgen study dqn", "rlgen eval NAME", "rlgen list WHAT"])
def test_a_line_that_no_rule_covers_is_found(line: str) -> None:
    with pytest.raises(LookupError, match="no rule covers"):
        tiny(line)


def test_commands_are_found_in_a_line() -> None:
    assert [*commands_in("pip install . && .venv/bin/rlgen train dqn  # and wait")] == ["rlgen train dqn"]
    assert [*commands_in("source <(rlgen completion bash)")] == ["rlgen completion bash"]
    assert [*commands_in("pip install rlgen")] == []
    assert {"rlgen train dqn --name first", "rlgen train dqn", "rlgen doctor"} <= {*lines()}


def test_the_notebook_of_readme_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, Any]] = []

    def train(algo: str, **options: Any) -> Any:
        given.append(options)
        small = {name: TINY[name] for name in TINY.keys() & config.options(algorithms.find(algo)).keys()}
        return experiment.train(algo, quiet=True, **options | small | {"hidden": (8,), "no_preset": True})

    monkeypatch.setattr(rlgen, "train", train, raising=False)
    (notebook,) = (block for block in blocks("python") if "import rlgen" in block or ", rlgen" in block)
    names: dict[str, Any] = {}
    exec(notebook, names)
    assert given == [{"env": "CartPole-v1", "steps": 20_000}]
    assert names["action"].shape == (1,) and names["action"].item() in (0, 1)


# What it says of the house


def test_the_algorithm_that_is_shown_is_the_file() -> None:
    assert (ROOT / "agents/double_dqn.py").read_text(encoding="utf-8") in blocks("python")


def test_the_districts_that_are_drawn_are_those_of_the_law() -> None:
    (drawing,) = (block for block in blocks("") if block.startswith("errors "))
    drawn = [set(re.split(r"  +", line[:28].strip())) for line in drawing.splitlines()]
    assert drawn == [ranks for ranks in house.RANKS if not any(name.startswith("_") for name in ranks)]


def test_figures_of_the_tables_are_what_compare_prints(ran: Ran) -> None:
    commands = ("runs/reference", "'runs/reference/*dqn-*'", "'runs/gan/best-*' 'runs/gan/dig-*'")
    printed = "".join(ran[f"rlgen compare {runs}"][1] for runs in commands)
    results = OUTSIDE.partition("## Results")[2].partition("\n## ")[0]
    intervals = re.findall(r"-?[\d.]+ \[-?[\d.]+, -?[\d.]+\]", results)
    assert len(intervals) >= 5
    assert [each for each in intervals if each not in printed] == []


def test_every_extra_is_named() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    bullet = OUTSIDE.partition("- Extras")[2].partition("\n\n")[0]
    assert {name for name in extras if f"`{name}`" not in bullet} == set()


def test_every_algorithm_and_exit_code_is_named() -> None:
    assert [name for name in algorithms.own_modules() if f"- `{name}`: " not in OUTSIDE] == []
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and kind.exit_code > 1]
    assert [
        kind.exit_code for kind in kinds if not re.search(rf"^- (Exit code )?{kind.exit_code}: ", OUTSIDE, re.M)
    ] == []


def test_flags_that_are_named_are_there() -> None:
    words = [
        word for span in INLINE.findall(OUTSIDE) for word in span.split() if not span.startswith(("pip ", "torchrun "))
    ]
    named = {word for word in words if word.startswith("--")}
    known = {"help", *(name for command in commands.listed() for name in commands.options_of(command))}
    known |= {name for algo in algorithms.own_modules() for name in config.options(algorithms.find(algo))}
    known |= {f"no_{name}" for name in known}
    assert {flag for flag in named if flag[2:].replace("-", "_") not in known} == set()


def test_files_that_are_named_are_there() -> None:
    links = re.findall(r"\]\(([^):]+)\)", OUTSIDE)
    spans = [word for span in INLINE.findall(OUTSIDE) for word in span.split()]
    paths = [word for word in spans if re.match(r"(\.ci|rlgen|agents|generative|tests|runs)/", word)]
    planned = {"rlgen/metrics/images.py"}  # where something would go
    named = {path for path in (*links, *paths) if "NAME" not in path and "*" not in path} - planned
    assert len(links) >= 4 and {path for path in named if not os.path.exists(ROOT / path)} == set()
