"""Another version of rlgen beside this one."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from rlgen.bench.measure import Cost
from rlgen.bench.peers import checkout
from rlgen.bench.works import WORKS, configure
from rlgen.errors import UsageError

OURS = """
import os

def train(config, work, stack):
    stack.callback(lambda: print("closed"))
    def block(seconds):
        if seconds > 9:
            raise ValueError("a version that fails")
        return {"us per env step": (config["lr"], seconds)}
    return block

OURS = {"env": train}
"""
WORKS_THERE = """
class Work:
    kind = "env"

WORKS = {"dqn-1env": Work()}

def configure(name, **options):
    assert options == {"device": "cpu", "threads": 1, "compile": "never"}, options
    return options | {"lr": 123.0}
"""
DEVICE = """
from contextlib import nullcontext as few_collections
"""


@pytest.fixture
def other(tmp_path):
    files = {"bench/ours": OURS, "bench/works": WORKS_THERE, "speed/device": DEVICE, "__init__": ""}
    for name, text in files.items():
        path = tmp_path / "rlgen" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_the_other_version_runs_its_own_code_and_a_failure_says_why(other):
    config = configure("dqn-1env", device="cpu", compile="never")
    with ExitStack() as stack:
        block = checkout.makers(str(other))["dqn-1env"](config, WORKS["dqn-1env"], stack)
        assert block(0.5) == {"us per env step": Cost(123.0, 0.5)}
        assert block(0.25) == {"us per env step": Cost(123.0, 0.25)}
        with pytest.raises(RuntimeError, match="ended: ValueError: a version that fails"):
            block(10.0)


def test_a_version_before_there_was_a_choice_of_compiled_steps_is_timed_too(other):
    there = other / "rlgen/bench/works.py"
    there.write_text(there.read_text().replace(', "compile": "never"', ""))
    config = configure("dqn-1env", device="cpu", compile="never")
    with ExitStack() as stack:
        block = checkout.makers(str(other))["dqn-1env"](config, WORKS["dqn-1env"], stack)
        assert block(0.5) == {"us per env step": Cost(123.0, 0.5)}


def test_this_version_can_be_the_other_one(tiny_bench):
    report = tiny_bench(only="dqn-1env", against=str(Path(checkout.__file__).parents[3]))
    assert not report["skipped"]
    ours, other = report["results"]
    assert other["contender"] == "rlgen, other version" and other["measures"].keys() == ours["measures"].keys()
    assert other["cpu_ratio"]["us per env step"]["median"] > 0 and report["versions"]["other version"]


def test_a_folder_that_is_no_checkout_of_rlgen_is_refused(tmp_path, tiny_bench):
    with pytest.raises(UsageError, match="a checkout of rlgen, as git worktree add"):
        tiny_bench(only="dqn-1env", against=str(tmp_path))
    with pytest.raises(UsageError, match="--against: not with --profile or --scale"):
        tiny_bench(profile=True, against=str(tmp_path))
