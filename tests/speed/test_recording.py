"""What is recorded is the step: as a list of operations."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import assert_equal, tiny

from rlgen import experiment
from rlgen.speed import recorded
from rlgen.speed.recorded import Recorded


@pytest.fixture(autouse=True)
def _record_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "MIN_UPDATES_LEFT", 0)


@pytest.mark.parametrize("name", ["dqn", "ppo", "vae"])
def test_numbers_are_the_same_bit_for_bit_without_torchscript(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should torch drop it, the same list runs as Python."""
    states, traced, trace = [], [], torch.jit.trace

    def tracing(*args: Any, **kwargs: Any) -> Any:
        traced.append(trace(*args, **kwargs))
        return traced[-1]

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("TorchScript is no more")

    for function in (tracing, refuse):
        monkeypatch.setattr(torch.jit, "trace", function)
        learner, source, buffer = experiment.build(tiny(name, tmp_path))
        metrics = []
        while learner.num_updates < 15:
            source.fill(buffer, learner)
            metrics += [learner.learn(batch) for batch in learner.batches(buffer)]
        source.close()
        assert isinstance(learner.executor, Recorded) and learner.executor.recordings and not learner.executor.refused
        assert len(traced) == len(learner.executor.recordings), "recorded twice, by TorchScript once"
        states.append((learner.state_dict(), metrics))
    assert_equal(states[0], states[1])
