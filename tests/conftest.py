"""What several test files begin with: a run, and a clock that stands still; how long tests of properties search."""

import math
import os
import signal
import time
from types import SimpleNamespace

import pytest

from rlgen.runs.run import Run

try:
    from hypothesis import settings
except ImportError:  # the tests of a GPU do without it
    pass
else:
    settings.register_profile("short", max_examples=60, deadline=None, database=None, derandomize=True)
    settings.register_profile("long", max_examples=5000, deadline=None, database=None)  # --hypothesis-profile long
    settings.load_profile("short")
CONFIG = {"algo": "dqn", "exp_name": "dqn", "env_id": "CartPole-v1", "seed": 3, "steps": 1000, "lr": 0.001}


def pytest_configure():
    """Signals are as in a terminal: a background job ignores SIGINT and SIGQUIT, nohup SIGHUP; children inherit it."""
    os.environ["RLGEN_COMPILED"] = ""  # no test compiles unless it asks for it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for signum in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(signum, signal.SIG_DFL)


def pytest_collection_modifyitems(items):
    """A slow test may take as long as it takes."""
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(0))


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """A disk of the test's machine that is busy makes no checkpoint wait."""
    monkeypatch.setattr("rlgen.runs.pace.SHORT", math.inf)


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "runs", "mine", CONFIG)


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(time, "monotonic", lambda: now.seconds)
    return now
