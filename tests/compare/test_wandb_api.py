"""Without an account or a network there is one line, soon. wandb itself is asked here, in a process of its own."""

import subprocess
import sys

import pytest

CODE = """
import time
import wandb
from rlgen.commands import main
begin = time.monotonic()
code = main(["compare", "lab/bench?algo=dqn"])
assert time.monotonic() - begin < 5.5
raise SystemExit(code)
"""


@pytest.mark.parametrize(("key", "words"), [("", "no account"), ("a" * 40, "cannot be reached")])
def test_without_a_key_or_a_network_it_is_one_line_within_five_seconds(key, words, tmp_path):
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "NETRC": str(tmp_path / "none"), "OMP_NUM_THREADS": "1"}
    env |= {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": key}
    command = [sys.executable, "-c", CODE]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env, cwd=tmp_path)
    assert found.returncode == 2 and found.stderr.count("\n") == 1 and words in found.stderr, found.stderr
