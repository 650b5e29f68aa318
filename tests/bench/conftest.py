"""`rlgen bench` at a tiny size, as a command and as a function."""

from functools import partial

import pytest

from rlgen.bench.bench import bench
from rlgen.commands import main
from rlgen.core import buffer
from rlgen.core.ring import Tensors


@pytest.fixture
def rlgen(capsys):
    def run(*argv: str) -> tuple[int, str, str]:
        code = main(["bench", "--blocks", "2", "--seconds", "0.002", "--device", "cpu", *argv])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def tiny_bench():
    return partial(bench, blocks=2, seconds=0.002, device="cpu")


@pytest.fixture
def drawn(monkeypatch):
    """Buffers on the CPU handle their data as on a GPU; here are the sizes of the batches that are really drawn."""
    sizes: list[int] = []

    class Drawing(Tensors):
        def draw(self, read, first, num, size, ring):
            return super().draw(lambda index: sizes.append(size) or read(index), first, num, size, ring)

    monkeypatch.setattr(buffer, "Arrays", Drawing)
    return sizes
