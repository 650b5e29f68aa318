"""Every test here: no data set is found or downloaded unless the test says where."""

import socket

import pytest
from image_files import publish

from rlgen.data.known import KNOWN


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """No cache, no RLGEN_DATA, no proxy, and nothing to download from."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("RLGEN_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as free:  # a port that nobody listens on once this is closed
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name in ("mnist", "fashion-mnist", "cifar10", "cifar100"):
        publish(monkeypatch, name, KNOWN[name].sha256, f"http://127.0.0.1:{port}/{{file}}.gz")
