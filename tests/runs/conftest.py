"""What the tests of wandb begin with: a library that only records."""

import sys

import pytest
from fake_wandb import FakeWandb


@pytest.fixture
def fake(monkeypatch, tmp_path):
    def install(breaks=""):
        module = FakeWandb(tmp_path / "fake", breaks)
        monkeypatch.setitem(sys.modules, "wandb", module)
        return module

    return install
