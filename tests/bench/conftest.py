"""`rlgen bench` at a tiny size, as a command and as a function."""

from functools import partial

import pytest

from rlgen.bench.bench import bench
from rlgen.commands import main


@pytest.fixture
def rlgen(capsys):
    def run(*argv: str) -> tuple[int, str, str]:
        code = main(["bench", "--blocks", "2", "--seconds", "0.002", "--device", "cpu", *argv])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def tiny_bench():
    return partial(bench, blocks=2, seconds=0.002, device="cpu")
