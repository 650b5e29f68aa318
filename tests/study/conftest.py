"""Runs that are toys, for tests of what trains them."""

import pytest
from toy_study import TOY

from rlgen.study import seeds, worker


@pytest.fixture
def toys(monkeypatch):
    monkeypatch.setattr(seeds, "FOLLOWING", TOY)
    monkeypatch.setattr(seeds, "LOOK", 0.02)
    monkeypatch.setattr(worker, "NAP", 0.05)
