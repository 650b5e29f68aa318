"""Contenders in turn."""

import pytest

from rlgen.bench import ours, timing
from rlgen.bench.measure import Cost
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


def test_with_compiled_steps_the_recorded_ones_are_a_contender_of_what_is_trained(tiny_bench, monkeypatch):
    made = []
    monkeypatch.setattr(ours.experiment, "choose_executor", lambda config, *_: made.append(config["compile"]))
    report = tiny_bench(only="dqn-1env,atari-update", compiled=True)
    assert [(row["work"], row["contender"]) for row in report["results"]] == [
        ("dqn-1env", "rlgen"),
        ("dqn-1env", "rlgen, recorded"),
        ("atari-update", "rlgen"),
        ("atari-update", "rlgen, recorded"),
    ]
    assert made == ["always", "always"]  # the others are recorded, whatever the cache holds


def test_contenders_take_turns_and_their_first_blocks_do_not_count():
    calls = []

    def contender(name):
        return lambda seconds: calls.append(name) or {"bytes": Cost(len(calls))}

    costs, failed = timing.take_turns("memory", {"rlgen": contender("rlgen"), "A": contender("A")}, 1, 2, 0.0)
    assert calls == ["rlgen", "A"] * 3 and not failed
    counted = {name: [block["bytes"].value for block in taken] for name, taken in costs.items()}
    assert counted == {"rlgen": [3, 5], "A": [4, 6]}


def test_a_row_has_wall_time_and_cpu_time_and_a_ratio_of_each():
    own = [{"us per update": Cost(wall, 1.0), "bytes": Cost(10.0)} for wall in (2.0, 4.0)]
    taken = [{"us per update": Cost(8.0, cpu), "bytes": Cost(5.0)} for cpu in (2.0, 3.0)]
    found = timing.row("memory", "A", taken, own)
    assert {unit: cost["blocks"] for unit, cost in found["measures"].items()} == {
        "us per update": [8.0, 8.0], "bytes": [5.0, 5.0],
    }  # fmt: skip
    assert {unit: cost["blocks"] for unit, cost in found["cpu"].items()} == {"us per update": [2.0, 3.0]}
    assert found["ratio"]["us per update"]["blocks"] == [4.0, 2.0] and found["ratio"]["bytes"]["median"] == 0.5
    assert found["cpu_ratio"]["us per update"]["blocks"] == [2.0, 3.0] and "bytes" not in found["cpu_ratio"]


def test_a_failure_of_ours_is_raised():
    with pytest.raises(ZeroDivisionError):
        timing.take_turns("memory", {"rlgen": lambda seconds: 1 / 0}, 1, 2, 0.0)
