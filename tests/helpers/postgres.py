"""A PostgreSQL of its own for a test, on a socket in a folder; skipped where there is none."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

USER = "postgres"  # what it runs as where the tests are root's, whom it refuses


def program(name: str) -> str:
    """Where one of PostgreSQL's programs is; Debian has them off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name) or ""


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """The address of an empty database."""
    pytest.importorskip("psycopg")
    if not program("initdb") or not program("postgres"):
        pytest.skip("no PostgreSQL")
    who: dict[str, Any] = {}
    if os.getuid() == 0:
        try:
            pwd.getpwnam(USER)
        except KeyError:
            pytest.skip(f"PostgreSQL does not run as root, and there is no user {USER}")
        who = {"user": USER, "group": USER, "extra_groups": []}
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # a socket's path is at most 107 characters
    if who:
        shutil.chown(folder, USER)
    quiet: Any = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | who
    server = None
    try:
        words = [program("initdb"), "-D", folder / "data", "-U", "me", "--auth", "trust", "--no-sync"]
        subprocess.run(words, check=True, timeout=120, **quiet)
        words = [program("postgres"), "-D", folder / "data", "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"]
        server = subprocess.Popen(words, **quiet)
        address = f"postgresql://me@/postgres?host={folder}"
        _wait(address)
        yield address
    finally:
        if server is not None:
            server.terminate()
            server.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(address: str) -> None:
    import psycopg

    end = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(address).close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
