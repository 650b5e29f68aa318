"""Algorithms are found by listing folders and read without being imported."""

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from rlgen.errors import UsageError
from rlgen.options import algorithms

ALPHA = '''"""Alpha, from a paper
of two lines.

More.
"""
import nothing_of_this_name  # reading never imports

class Config:
    """Numbers."""

    lr: float = 1e-3  # step size; in (0, inf)
    hidden: tuple[int, ...] = (64, 64)  # widths
    mode: Literal["a", "b"] = "a"  # how
    limit: int | None = None
    size: int = 2**10  # a power
'''
BETA = '''"""Beta."""
from agents import alpha

class Config(alpha.Config):
    lr: float = 1.0
    extra: bool = True  # more
'''


def test_a_file_is_an_algorithm_and_underscores_are_not(write):
    write("alpha", ALPHA)
    write("__init__", "")
    write("_helper", "")
    write("omega", '"""Omega."""\nclass Config: pass\n', "generative")
    assert algorithms.names() == {"alpha": "agents.alpha", "omega": "generative.omega"}
    assert algorithms.find("alpha").kind == "agent"
    assert algorithms.find("omega").kind == "generative"


def test_fields_types_defaults_and_comments_are_read_without_importing(write):
    write("alpha", ALPHA)
    alpha = algorithms.find("alpha")
    assert alpha.summary == "Alpha, from a paper of two lines."
    found = {option.name: option for option in alpha.options}
    assert list(found) == ["lr", "hidden", "mode", "limit", "size"]
    assert (found["lr"].type, found["lr"].default, found["lr"].help) == (float, 1e-3, "step size; in (0, inf)")
    assert found["hidden"].type == tuple[int, ...]
    assert found["limit"].type == int | None
    assert found["size"].default == 1024


@pytest.mark.parametrize(
    "text",
    [
        BETA,
        BETA.replace("from agents import alpha", "import agents.alpha as alpha"),
        BETA.replace("from agents import alpha", "import agents.alpha").replace("(alpha.", "(agents.alpha."),
        BETA.replace("from agents import alpha", "from . import alpha"),
        BETA.replace("import alpha", "import alpha as a").replace("(alpha.", "(a."),
        BETA.replace("from agents import alpha", "from agents.alpha import Config as Base").replace(
            "alpha.Config", "Base"
        ),
    ],
)
def test_config_is_inherited_across_files(write, text):
    path = write("alpha", ALPHA)
    write("beta", text)
    beta = algorithms.find("beta")
    found = {option.name: option for option in beta.options}
    assert list(found) == ["lr", "hidden", "mode", "limit", "size", "extra"]
    assert found["lr"].default == 1.0
    assert found["lr"].help == "step size; in (0, inf)", "a field without a comment keeps the inherited one"
    assert beta.extends == (path,)


def test_a_learner_without_a_config_has_its_parents(write):
    path = write("alpha", ALPHA + "\nclass Alpha: pass\n")
    write("gamma", '"""G."""\nfrom agents import alpha\nclass Gamma(alpha.Alpha): pass\n')
    assert [option.name for option in algorithms.find("gamma").options][:2] == ["lr", "hidden"]
    assert algorithms.find("gamma").extends == (path,)


def test_what_cannot_be_read_is_named_in_one_line(write):
    write("bad", '"""B."""\nclass Config:\n    lr: float = compute()\n')
    with pytest.raises(UsageError, match=r"bad\.py line 3: Config\.lr needs .* literal default"):
        algorithms.find("bad")
    write("broken", "def f(:\n")
    with pytest.raises(UsageError, match=r"broken\.py line 1 is not Python"):
        algorithms.find("broken")


def test_an_unknown_name_gets_the_nearest(write):
    write("alpha", ALPHA)
    with pytest.raises(UsageError, match=r"unknown algorithm 'alhpa'\. Did you mean alpha\?"):
        algorithms.find("alhpa")


def test_entry_points_add_algorithms_of_other_packages(write, tmp_path, monkeypatch):
    write("alpha", ALPHA)
    (tmp_path / "outside_algo.py").write_text(
        '"""Outside."""\nfrom dataclasses import dataclass\nfrom rlgen.core.learner import Agent\n\n'
        "@dataclass(frozen=True)\nclass Config:\n    lr: float = 0.5  # in (0, 1)\n\n"
        "class Outside(Agent):\n    Config = Config\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("outside", "outside_algo", "rlgen.algorithms")
    monkeypatch.setattr(algorithms, "entry_points", lambda group: [entry])
    assert algorithms.names() == {"outside": "outside_algo", "alpha": "agents.alpha"}
    outside = algorithms.find("outside")
    assert (outside.kind, outside.summary) == ("agent", "Outside.")
    assert algorithms.load("outside").__name__ == "Outside"
    monkeypatch.setattr(algorithms, "entry_points", lambda group: [EntryPoint("gone", "gone_algo", "rlgen.algorithms")])
    with pytest.raises(UsageError, match="gone_algo, which cannot be found"):
        algorithms.find("gone")


def test_a_foreign_package_of_the_same_name_is_told_apart(tmp_path):
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "__init__.py").write_text("")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from rlgen.options import algorithms\nprint(algorithms.shadowed())\n"
        "try: algorithms.load('dqn')\nexcept Exception as error: print(type(error).__name__, error)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path / "agents") in out.splitlines()[0]
    assert out.splitlines()[1].startswith("UsageError package 'agents' is")


def test_what_is_read_is_what_is_imported():
    """The source's reading and Python's own agree on every algorithm: fields, order, defaults."""
    import dataclasses

    for name in algorithms.names():
        fields = dataclasses.fields(algorithms.load(name).Config)
        read = algorithms.find(name).options
        assert [(f.name, f.default) for f in fields] == [(o.name, o.default) for o in read], name
        for option in read:
            assert option.help, f"{name}.{option.name} has no comment to be its help"
