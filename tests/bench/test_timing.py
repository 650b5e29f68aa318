"""Contenders in turn."""

import pytest

from rlgen.bench import timing
from rlgen.bench.peers import find
from rlgen.bench.peers.find import Peer


def test_a_peer_that_fails_is_left_out_with_its_reason(tiny_bench, monkeypatch):
    def broken(*args):
        raise TypeError("another\nversion")

    def stops(*args):
        return lambda seconds: 1 / 0

    peers = {"A": Peer("torch", "a", {"dqn-*": broken}), "B": Peer("torch", "b", {"dqn-*": stops})}
    monkeypatch.setattr(find, "PEERS", peers)
    report = tiny_bench(only="dqn-1env", peers=True)
    assert report["skipped"]["dqn-1env: A"] == "TypeError: another version"
    assert report["skipped"]["dqn-1env: B"].startswith("ZeroDivisionError")
    assert [row["contender"] for row in report["results"]] == ["rlgen"]


def test_contenders_take_turns_and_their_first_blocks_do_not_count():
    calls = []

    def contender(name):
        return lambda seconds: calls.append(name) or {"bytes": len(calls)}

    costs, failed = timing.take_turns("memory", {"rlgen": contender("rlgen"), "A": contender("A")}, 1, 2, 0.0)
    assert calls == ["rlgen", "A"] * 3 and not failed
    assert costs == {"rlgen": [{"bytes": 3}, {"bytes": 5}], "A": [{"bytes": 4}, {"bytes": 6}]}


def test_a_failure_of_ours_is_raised():
    with pytest.raises(ZeroDivisionError):
        timing.take_turns("memory", {"rlgen": lambda seconds: 1 / 0}, 1, 2, 0.0)
