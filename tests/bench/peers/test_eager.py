"""Plain PyTorch as a contender."""

from dataclasses import replace

import pytest

from rlgen.bench.works import WORKS

SMALLER = {  # options of works that would take seconds
    "dqn-64env": {"--num-envs": "8"},
    "atari-update": {"--batch-size": "4"},
    "gan-no-r1": {"--width": "8", "--batch-size": "4"},
}


@pytest.mark.parametrize("name", SMALLER)
def test_plain_pytorch_does_the_other_works(name, tiny_bench, monkeypatch):
    words = WORKS[name].command.split()
    for flag, value in SMALLER[name].items():
        words[words.index(flag) + 1] = value
    monkeypatch.setitem(WORKS, name, replace(WORKS[name], command=" ".join(words)))
    report = tiny_bench(only=name, peers=True)
    assert "eager PyTorch" in [row["contender"] for row in report["results"]]
    assert f"{name}: eager PyTorch" not in report["skipped"]
