"""Plain PyTorch as a contender."""

from contextlib import ExitStack
from dataclasses import replace

import pytest
from torch import nn

from rlgen.bench import replay
from rlgen.bench.peers.find import PEERS
from rlgen.bench.works import WORKS, configure

CLIPPED, UNCLIPPED = "eager PyTorch", "eager, unclipped"
SMALLER = {  # options of works that would take seconds
    "dqn-64env": {"--num-envs": "8"},
    "atari-update": {"--batch-size": "4"},
    "atari-sampled": {"--batch-size": "4"},
    "gan-no-r1": {"--width": "8", "--batch-size": "4"},
}


@pytest.mark.parametrize("name", SMALLER)
def test_plain_pytorch_does_the_other_works(name, tiny_bench, monkeypatch):
    words = WORKS[name].command.split()
    for flag, value in SMALLER[name].items():
        words[words.index(flag) + 1] = value
    monkeypatch.setitem(WORKS, name, replace(WORKS[name], command=" ".join(words)))
    monkeypatch.setattr(replay, "NUM_WARM", 64)
    report = tiny_bench(only=name, peers=True)
    contenders = {row["contender"] for row in report["results"]}
    assert {CLIPPED} | ({UNCLIPPED} if name != "gan-no-r1" else set()) <= contenders
    assert not [skipped for skipped in report["skipped"] if "eager" in skipped]


@pytest.mark.parametrize(("name", "pattern"), [("dqn-1env", "dqn-*"), ("atari-update", "atari-update")])
def test_plain_q_learning_clips_as_ours_does_and_once_more_does_not(name, pattern, monkeypatch):
    clip, norms = nn.utils.clip_grad_norm_, []
    monkeypatch.setattr(nn.utils, "clip_grad_norm_", lambda params, norm: norms.append(norm) or clip(params, norm))
    config = configure(name, batch_size=2)
    with ExitStack() as stack:
        for peer, expected in ((CLIPPED, {config["max_grad_norm"]}), (UNCLIPPED, set())):
            norms.clear()
            block = PEERS[peer].makers[pattern](config, WORKS[name], stack)
            while not block.updates:
                block(0.0)
            assert set(norms) == expected
