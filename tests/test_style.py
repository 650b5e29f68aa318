"""The laws of the house: the tree keeps them, and each finds what breaks it, planted in a small house of its own."""

from __future__ import annotations

from pathlib import Path

import house
import pytest
from house import Law

ROOT = Path(__file__).parent.parent

# By law what does not keep it: how a violation begins, and why. What has been mended must go from here.
WHOLE = "a test of several files together"
EXCUSED: dict[str, dict[str, str]] = {
    "option_reads": {
        "rlgen/options/checks.py: ": "SYNONYMS: words of other libraries, for a hint to an option that exists",
        "rlgen/runs/old_states.py: 'n_step'": "a name in the states of older checkpoints",
        "rlgen/options/old_names.py: self.cfg.batch_size": "what plug-ins of before are used to",
    },
    "misleading_names": {"rlgen/speed/graph.py: the name replay": "a CUDA graph is replayed: the word is torch's"},
    "mirror": {
        "tests/core/test_agents.py": WHOLE,
        "tests/core/test_algorithms.py": WHOLE,
        "tests/core/test_generative.py": WHOLE,
        "tests/core/test_learning.py": WHOLE,
        "tests/core/test_memory.py": WHOLE,
        "tests/core/test_parts.py": WHOLE,
        "tests/core/test_resume.py": WHOLE,
        "tests/core/test_sets.py": WHOLE,
        "tests/runs/test_wandb_online.py": WHOLE,
        "tests/speed/test_fake_graph.py": "a test of the tests' own fake",
    },
}


@pytest.mark.parametrize("law", house.LAWS, ids=lambda law: law.__name__)
def test_the_house_keeps_the_law(law: Law) -> None:
    found = [f"{violation.path}: {violation.what} (line {violation.line})" for violation in law(ROOT)]
    excused = EXCUSED.get(law.__name__, {})
    assert not [line for line in found if not line.startswith(tuple(excused))]
    assert not [start for start in excused if not any(line.startswith(start) for line in found)], "mended: remove it"


def test_the_laws_read_this_house() -> None:
    """A law that reads nothing is always kept."""
    graph = house.import_graph(ROOT)
    assert len(graph) > 40 and sum(map(len, graph.values())) > 100
    assert {"gamma", "lr", "batch_size", "hidden", "nll_samples"} <= house.option_names(ROOT)
    assert not {"env", "steps", "device", "name"} & house.option_names(ROOT)


# A small house that keeps every law

TOY = '''"""A toy (Author 2001)."""
class Config:
    gamma: float = 1.0
    n_step: int = 1
    batch_size: int = 1
    train_every: int = 1
    nll_samples: int = 1
    double: bool = False
    lr: float = 1.0
    steps: int = 1
'''
LOOP = """from typing import Protocol

class Run(Protocol):
    step: int

def turn():
    pass

def train():
    turn()
"""
SMALL_HOUSE = {
    "README.md": "short\n| a | table |" + " may be wide |" * 20 + "\n",
    "agents/toy.py": TOY,
    "generative/doll.py": '"""A doll (Author 2002)."""\n',
    "rlgen/__init__.py": "def __getattr__(name):\n    from rlgen import experiment\n    return experiment\n",
    "rlgen/errors.py": "class RlgenError(Exception): pass\n",
    "rlgen/envs/spec.py": "",
    "rlgen/core/__init__.py": "",
    "rlgen/core/loop.py": LOOP,
    "rlgen/core/buffer.py": "from rlgen.envs import spec\nfrom rlgen.errors import RlgenError\n",
    "rlgen/options/__init__.py": "",
    "rlgen/options/config.py": "class RunConfig:\n    steps: int = 1\n",
    "rlgen/runs/run.py": "from rlgen.core.loop import Run\nfrom rlgen.options.config import RunConfig\n",
    "rlgen/experiment.py": "from rlgen.core.loop import train\nfrom rlgen.runs.run import Run\n",
    "rlgen/compare/judge.py": "",
    "rlgen/bench/cases.py": "config['n_step'], cfg.gamma  # it times named works\n",
    "rlgen/commands/bench.py": "def run():\n    from rlgen.bench import cases\n",
    "tests/core/test_buffer.py": "from rlgen.core.buffer import Buffer\nimport counting\n",
    "tests/agents/test_toy.py": "",
    "tests/test_style.py": "",
}


def found_in(root: Path, law: Law, *plants: tuple[str, str]) -> list[str]:
    """What a law finds in the small house with other files planted: lines of `path: what`."""
    for path, text in (*SMALL_HOUSE.items(), *plants):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return [f"{violation.path}: {violation.what}" for violation in law(root)]


@pytest.mark.parametrize("law", house.LAWS, ids=lambda law: law.__name__)
def test_the_small_house_keeps_the_law(tmp_path: Path, law: Law) -> None:
    assert found_in(tmp_path, law) == []


# Imports

NEVER_AT_RUN_TIME = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "


@pytest.mark.parametrize(
    "text",
    [
        "import rlgen.runs.run",
        "from rlgen.runs import run",
        "from rlgen.runs.run import Run",
        "from ..runs.run import Run",
        "def late():\n    from rlgen.runs.run import Run",
        NEVER_AT_RUN_TIME + "from rlgen.runs.run import Run",
        "import importlib\nimportlib.import_module('rlgen.runs.run')",
    ],
)
def test_an_import_against_the_direction_is_found(tmp_path: Path, text: str) -> None:
    assert found_in(tmp_path, house.districts, ("rlgen/core/ring.py", text)) == [
        "rlgen/core/ring.py: core imports runs"
    ]


@pytest.mark.parametrize(
    ("path", "text", "what"),
    [
        ("rlgen/compare/page.py", "import rlgen.bench.cases", "compare imports bench"),
        ("rlgen/compare/page.py", "import rlgen.commands.bench", "compare imports commands"),
        ("rlgen/options/flags.py", "import rlgen.runs.run", "options imports runs"),
        ("rlgen/envs/make.py", "import rlgen.core.buffer", "envs imports core"),
        ("rlgen/runs/show.py", "from rlgen import __version__", "runs imports __init__"),
        ("rlgen/cellar/wine.py", "", "cellar is no district"),
    ],
)
def test_districts_on_one_floor_or_above_are_not_imported(tmp_path: Path, path: str, text: str, what: str) -> None:
    assert found_in(tmp_path, house.districts, (path, text)) == [f"{path}: {what}"]


@pytest.mark.parametrize(
    "back",
    [
        "from rlgen.core import ring",
        "from . import ring",
        "def late():\n    import rlgen.core.ring",
        NEVER_AT_RUN_TIME + "from rlgen.core.ring import Ring",
    ],
)
def test_an_import_circle_is_found(tmp_path: Path, back: str) -> None:
    ring, frames, index = (f"rlgen/core/{name}.py" for name in ("ring", "frames", "index"))
    plants = [(ring, "import rlgen.core.index\n"), (index, "import rlgen.core.frames\n"), (frames, back)]
    assert found_in(tmp_path, house.circles, *plants) == [f"{frames}: {frames} -> {ring} -> {index} -> {frames}"]


def test_a_circle_through_a_package_is_found(tmp_path: Path) -> None:
    door, case = "rlgen/bench/__init__.py", "rlgen/bench/eager.py"
    plants = [(door, "def run():\n    from rlgen.bench import eager\n"), (case, "from rlgen.bench import run\n")]
    assert found_in(tmp_path, house.circles, *plants) == [f"{door}: {door} -> {case} -> {door}"]


@pytest.mark.parametrize(
    ("path", "text", "what"),
    [
        ("rlgen/core/ring.py", "from agents.toy import Config", "rlgen imports agents"),
        ("rlgen/core/ring.py", NEVER_AT_RUN_TIME + "import generative.doll", "rlgen imports generative"),
        ("rlgen/core/ring.py", "import importlib\nimportlib.import_module(f'agents.{name}')", "rlgen imports agents"),
        ("agents/other.py", "import generative.doll", "agents imports generative"),
        ("generative/other.py", "def late():\n    from agents import toy", "generative imports agents"),
    ],
)
def test_an_import_of_an_algorithm_is_found(tmp_path: Path, path: str, text: str, what: str) -> None:
    assert found_in(tmp_path, house.no_algorithm_imported, (path, text)) == [f"{path}: {what}"]


# Algorithms and their options


@pytest.mark.parametrize("text", ["if algo == 'toy': pass", "if learner is DQN: pass", "x = {'doll': 1}"])
def test_a_branch_for_an_algorithm_is_found(tmp_path: Path, text: str) -> None:
    [found] = found_in(tmp_path, house.no_algorithm_named, ("rlgen/core/ring.py", text))
    assert found.startswith("rlgen/core/ring.py: names ")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("cfg.gamma", "cfg.gamma"),
        ("learner.cfg.gamma", "learner.cfg.gamma"),
        ("self.config.batch_size", "self.config.batch_size"),
        ("c = learner.cfg\nc.gamma", "c.gamma"),
        ("a, c = 1, learner.cfg\nc.gamma", "c.gamma"),
        ("c = d = learner.cfg\ne = d\ne.gamma", "e.gamma"),
        ("if (c := learner.cfg).gamma or c.n_step: pass", "c.n_step"),
        ("def f(c: Config):\n    return c.gamma", "c.gamma"),
        ("learner.Config.gamma", "learner.Config.gamma"),
        ("vars(learner.cfg)['gamma']", "'gamma'"),
        ("getattr(learner.cfg, 'gamma')", "'gamma'"),
        ("learner.train_every", "learner.train_every"),  # no class of rlgen has it
        ('config["n_step"]', "'n_step'"),
        ("config.get('n_step', 1)", "'n_step'"),
        ("FIXED = {'seed': 'why', 'n_step': 'why'}", "'n_step'"),
        ("for name in ('steps', 'lr'): pass", "'lr'"),
        ("'gamma lr n_step'.split()", "'gamma lr n_step'"),
        ("argv += ['--batch-size', '3']", "'--batch-size'"),
        ("match name:\n    case 'gamma': pass", "'gamma'"),
        ("class Page:\n    def rows(self): return self.cfg.gamma", "self.cfg.gamma"),
        ("class Page:\n    def rows(self): return ['nll_samples']", "'nll_samples'"),
        ("class Page:\n    def __init__(self, config): self.gamma = config['gamma']", "'gamma'"),
        ("class Page:\n    def __init__(self, config): self.gamma = config.get('gamma')", "'gamma'"),
        ("class Page:\n    def __init__(self, cfg): self.gamma = getattr(cfg, 'gamma')", "'gamma'"),
        ("class Page:\n    def __init__(self, learner): self.gamma = learner.cfg.gamma", "learner.cfg.gamma"),
        ("row['lr']", "'lr'"),
        ("group['lr']", "'lr'"),  # of runs
    ],
)
def test_an_option_read_by_name_is_found(tmp_path: Path, text: str, what: str) -> None:
    own = (
        "rlgen/core/step.py",
        "class Step:\n    gamma: float\n    batch_size: int\n    def __init__(self): self.n_step = 1\n",
    )
    found = found_in(tmp_path, house.option_reads, own, ("rlgen/compare/page.py", text))
    assert f"rlgen/compare/page.py: {what}" in found


@pytest.mark.parametrize(
    "text",
    [
        '"""Says gamma."""\n# gamma and n_step',
        "def f():\n    'gamma'",  # a docstring
        "def sample(batch_size, gamma=1.0):\n    return batch_size * gamma",
        "sample(batch_size=3, gamma=0.9)",
        "class Buffer:\n    def __init__(self, gamma): self.gamma = gamma\n    def f(self): return self.gamma",
        "class Buffer:\n    gamma: float\n\ndef f(buffer): return buffer.gamma",
        "class Buffer:\n    n_step: int\n    def load(self, state):\n        return state['n_step'], ['n_step']",
        "value.double()",
        "for group in optimizer.param_groups:\n    group['lr'] = 1.0",
        "optimizer.param_groups[0]['lr']",
        "raise ValueError('a batch_size of 0')",
        "config['steps'], cfg.steps, cfg.device",  # of every run
        "losses['charts/gamma']",
    ],
)
def test_ordinary_words_are_left_alone(tmp_path: Path, text: str) -> None:
    assert found_in(tmp_path, house.option_reads, ("rlgen/core/ring.py", text)) == []


def test_rlgens_own_options_are_left_alone(tmp_path: Path) -> None:
    """An algorithm may have another default of what all of them extend; its own options stay its own."""
    layers = ("rlgen/nets/layers.py", "class LayerOptions:\n    norm: str\n\ndef f(options): return options.norm")
    agent = ("agents/new.py", '"""New (Author 2003)."""\nclass Config:\n    norm: str = "layer"\n    tilt: int = 1')
    found = found_in(tmp_path, house.option_reads, layers, agent, ("rlgen/core/ring.py", "cfg.norm, cfg.tilt"))
    assert found == ["rlgen/core/ring.py: cfg.tilt"]


def test_an_algorithm_without_a_paper_is_found(tmp_path: Path) -> None:
    found = found_in(tmp_path, house.algorithm_files, ("agents/new.py", '"""Mine."""\nloss.item()\n'))
    assert found == ["agents/new.py: the header names no paper and year", "agents/new.py: waits for the GPU"]


# Files and the loop


@pytest.mark.parametrize(
    ("path", "most"), [("rlgen/core/ring.py", 320), ("agents/new.py", 200), ("generative/new.py", 200)]
)
def test_a_long_file_is_found(tmp_path: Path, path: str, most: int) -> None:
    assert found_in(tmp_path, house.long_files, (path, "x\n" * most)) == []
    assert found_in(tmp_path, house.long_files, (path, "x\n" * (most + 1))) == [f"{path}: more than {most} lines"]


def test_a_file_for_everything_is_found(tmp_path: Path) -> None:
    [found] = found_in(tmp_path, house.long_files, ("rlgen/core/utils.py", ""))
    assert found == "rlgen/core/utils.py: a name that says no concern"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (LOOP.replace("def turn", "def step"), "functions are step, train, not turn and train"),
        (LOOP + "def more(): pass\n", "functions are turn, train, more, not turn and train"),
        (LOOP + "    x\n" * 57, "more than 60 lines"),
        (LOOP.replace("def turn", "@decorated\ndef turn") + "    x\n" * 56, "more than 60 lines"),
        (LOOP + "class Trainer:\n    def train(self): pass\n", "class Trainer is no Protocol"),
        (LOOP + "class Trainer(Base):\n    pass\n", "class Trainer is no Protocol"),
    ],
)
def test_a_loop_that_grows_is_found(tmp_path: Path, text: str, what: str) -> None:
    assert found_in(tmp_path, house.loop, ("rlgen/core/loop.py", text)) == [f"rlgen/core/loop.py: {what}"]


def test_a_loop_of_sixty_lines_is_long_enough(tmp_path: Path) -> None:
    assert found_in(tmp_path, house.loop, ("rlgen/core/loop.py", LOOP + "    x\n" * 56 + "\n# a comment\n")) == []


# Words


@pytest.mark.parametrize("text", ["done = True", "# not done yet", "next_done", "dones", "'Done'", '"""All done."""'])
@pytest.mark.parametrize("path", ["rlgen/core/ring.py", "agents/new.py", "generative/new.py"])
def test_the_word_done_is_found(tmp_path: Path, path: str, text: str) -> None:
    assert found_in(tmp_path, house.word_done, (path, text)) == [f"{path}: say terminated or truncated"]


def test_words_that_contain_it_are_left_alone(tmp_path: Path) -> None:
    assert found_in(tmp_path, house.word_done, ("rlgen/core/ring.py", "abandoned, condoned, donex")) == []


@pytest.mark.parametrize(
    ("path", "text", "name"),
    [
        ("rlgen/speed/graph.py", "replay = 1", "the name replay"),
        ("rlgen/speed/graph.py", "class Replay: pass", "the name Replay"),
        ("rlgen/speed/graph.py", "learner.replay", "the name replay"),
        ("rlgen/speed/graph.py", "def f(num_replays): pass", "the name num_replays"),
        ("rlgen/speed/replay.py", "", "the name replay"),
        ("rlgen/runs/log.py", "def f(figure=None): pass", "the name figure"),
        ("rlgen/runs/log.py", "f(figure=1)", "the name figure"),
        ("rlgen/runs/remote.py", "", "the name remote"),
        ("rlgen/runs/log.py", "tracking = 1", "the name tracking"),
        ("rlgen/runs/log.py", "def reading(): pass", "the name reading"),
        ("rlgen/runs/log.py", "registry = 1", "the name registry"),
        ("rlgen/options/files.py", "class Source: pass", "the name Source"),
        ("rlgen/core/ring.py", "def _go(): pass", "the name _go"),
        ("rlgen/core/ring.py", "self._view", "the name _view"),
        ("rlgen/core/ring.py", "self._flat", "the name _flat"),
        ("rlgen/core/ring.py", "_row = 1", "the name _row"),
        ("rlgen/runs/log.py", "from rlgen.core import buffer as ring", "the alias rlgen.core.buffer as ring"),
        ("rlgen/runs/log.py", "import rlgen.core.buffer as ring", "the alias rlgen.core.buffer as ring"),
        ("rlgen/runs/log.py", "def late():\n    from rlgen import core as c", "the alias rlgen.core as c"),
        ("rlgen/runs/log.py", "x = dict([*(('a', 1), ('b', 2))])", "pairs in a tuple: write a dict"),
    ],
)
def test_a_misleading_name_is_found(tmp_path: Path, path: str, text: str, name: str) -> None:
    assert found_in(tmp_path, house.misleading_names, (path, text)) == [f"{path}: {name}"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("rlgen/core/ring.py", "ReplayBuffer, replay_buffer"),
        ("rlgen/speed/graph.py", "self.graph.replay()"),  # of torch
        ("rlgen/envs/find.py", "gym.registry"),
        ("rlgen/compare/plots.py", "figure = figures[0]"),
        ("rlgen/core/ring.py", "class Source: pass"),
        ("rlgen/core/ring.py", "import numpy as np\nfrom rlgen.core.buffer import Buffer as Ring"),
        ("rlgen/core/ring.py", "f(*(1, 2)), [*rows, *(('a', 1, 2),)]"),
    ],
)
def test_good_names_are_left_alone(tmp_path: Path, path: str, text: str) -> None:
    assert found_in(tmp_path, house.misleading_names, (path, text)) == []


# The repository


@pytest.mark.parametrize("name", ["notes.md", "setup.py", "scripts/run.py"])
def test_something_else_at_the_top_is_found(tmp_path: Path, name: str) -> None:
    assert found_in(tmp_path, house.top_level, (name, "")) == [f"{name.split('/')[0]}: is not expected at the top"]


def test_a_long_readme_is_found(tmp_path: Path) -> None:
    assert found_in(tmp_path, house.readme, ("README.md", "x" * 120 + "\n" * 240)) == []
    assert found_in(tmp_path, house.readme, ("README.md", "\n" * 241)) == ["README.md: more than 240 lines"]
    wide = [("README.md", "x" * 121), ("rlgen/bench/README.md", "x\n" * 300 + "x" * 121)]
    assert found_in(tmp_path, house.readme, *wide) == [f"{path}: more than 120 characters" for path, _ in wide]


@pytest.mark.parametrize(
    ("path", "text", "what"),
    [
        ("tests/core/test_wine.py", "", "mirrors no rlgen/core/wine.py"),
        ("tests/test_more.py", "from test_style import ROOT", "imports test_style.ROOT"),
        (
            "tests/core/test_loop.py",
            "def test(): import tests.core.test_buffer as other",
            "imports tests.core.test_buffer",
        ),
    ],
)
def test_a_test_that_mirrors_nothing_or_reads_another_is_found(tmp_path: Path, path: str, text: str, what: str) -> None:
    assert found_in(tmp_path, house.mirror, (path, text)) == [f"{path}: {what}"]
