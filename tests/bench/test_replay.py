"""The replay buffer alone."""

from contextlib import ExitStack

from rlgen.bench import replay
from rlgen.bench.works import WORKS, configure


def test_a_sample_is_drawn_though_it_is_lazy_on_a_gpu(drawn, monkeypatch):
    monkeypatch.setattr(replay, "CAPACITY", 64)
    monkeypatch.setattr(replay, "NUM_WARM", 32)
    block = replay.ours(configure("replay", batch_size=3), WORKS["replay"], ExitStack())
    assert "us per sample" in block(0.0) and drawn == [3]
