"""`rlgen bench` at a tiny size: what it reports, never how fast anything was."""

import json
import re
import shlex
from pathlib import Path

import pytest

import rlgen.bench
from rlgen.bench.bench import select
from rlgen.bench.scaling import SCALES
from rlgen.bench.works import WORKS
from rlgen.commands.bench import Options
from rlgen.errors import UsageError


def test_json_has_what_it_promises_and_nothing_else_is_on_stdout(rlgen):
    code, out, _ = rlgen("--only", "dqn-1env", "--json")
    report = json.loads(out)
    assert code == 0
    assert {"command", "versions", "machine", "method", "results", "not_installed", "skipped"} == set(report)
    assert report["machine"]["threads"] == 1 and report["machine"]["device"] == "cpu" and report["versions"]["torch"]
    (row,) = report["results"]
    assert (row["work"], row["contender"], row["ratio"]) == ("dqn-1env", "rlgen", {})
    assert row["command"].startswith("rlgen train dqn --env CartPole-v1")
    assert set(row["measures"]) == set(row["cpu"]) == {"us per env step", "us per update"} and row["cpu_ratio"] == {}
    for cost in (*row["measures"].values(), *row["cpu"].values()):
        assert len(cost["blocks"]) == 2 and 0 < cost["min"] <= cost["median"] <= cost["max"]


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (["--only", "nonsense"], list(WORKS)),
        (["--only", "dqn,nonsense"], list(WORKS)),
        (["--scale", "--only", "dqn-1env"], list(SCALES)),
        (["--profile", "--only", "replay"], ["dqn-1env", "vae-mlp"]),
    ],
)
def test_an_unknown_name_is_a_usage_error_that_names_the_valid_ones(rlgen, flags, names):
    code, out, err = rlgen(*flags)
    assert code == 2 and not out and "Traceback" not in err
    assert all(name in err for name in names)


@pytest.mark.parametrize(
    "flags",
    [
        ["--profile", "--scale"],
        ["--out", "x.png"],
        ["--scale", "--out", "x.pdf"],
        ["--threads", "0"],
        ["--scale", "--cleanrl", "x"],
    ],
)
def test_flags_that_cannot_go_together_are_usage_errors(rlgen, flags):
    assert rlgen(*flags)[0] == 2


def test_names_are_exact_or_parts_or_globs():
    names = ["gan", "gan-r1", "memory"]
    assert select("gan", names) == ["gan"]
    assert select("ga", names) == ["gan", "gan-r1"]
    assert select("mem*,r1", names) == ["gan-r1", "memory"]
    assert select("", names) == names
    with pytest.raises(UsageError, match="matches none of gan, gan-r1, memory"):
        select("x", names)


def test_commands_of_the_readme_are_understood():
    text = (Path(rlgen.bench.__file__).parent / "README.md").read_text(encoding="utf-8")
    commands = [shlex.split(found, comments=True) for found in re.findall(r"rlgen bench( [^`\n]*)?", text)]
    assert len(commands) > 5
    flags = {f"--{name}" for name in vars(Options())}
    for words in commands:
        assert {word for word in words if word.startswith("--")} <= flags
        if "--only" in words:
            select(words[words.index("--only") + 1], list(SCALES) if "--scale" in words else list(WORKS))
