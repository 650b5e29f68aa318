"""`rlgen bench` at a tiny size: what it reports, never how fast anything was."""

import importlib.util
import json
import math
import time
from types import SimpleNamespace

import pytest

from rlgen import bench
from rlgen.bench import profiling
from rlgen.commands import main
from rlgen.errors import UsageError

TINY = {"blocks": 2, "seconds": 0.002, "device": "cpu"}
CHEAP = "dqn-1env,ppo-4env,vae-mlp"


@pytest.fixture
def rlgen(capsys):
    def run(*argv: str) -> tuple[int, str, str]:
        code = main(["bench", "--blocks", "2", "--seconds", "0.002", "--device", "cpu", *argv])
        return code, *capsys.readouterr()

    return run


def test_json_has_what_it_promises_and_nothing_else_is_on_stdout(rlgen):
    code, out, _ = rlgen("--only", "dqn-1env", "--json")
    report = json.loads(out)
    assert code == 0
    assert {"command", "versions", "machine", "method", "results", "not_installed", "skipped"} == set(report)
    assert report["machine"]["threads"] == 1 and report["machine"]["device"] == "cpu" and report["versions"]["torch"]
    (row,) = report["results"]
    assert (row["work"], row["contender"], row["ratio"]) == ("dqn-1env", "rlgen", {})
    assert row["command"].startswith("rlgen train dqn --env CartPole-v1")
    assert set(row["measures"]) == {"us per env step", "us per update"}
    for cost in row["measures"].values():
        assert len(cost["blocks"]) == 2 and 0 < cost["min"] <= cost["median"] <= cost["max"]


def test_the_table_says_what_it_was_measured_on(rlgen):
    code, out, _ = rlgen("--only", "vae")
    assert code == 0
    for word in ("vae-mlp", "us per image", "torch", "1 thread(s)", "Warm-up", "2 blocks of 0.002 s"):
        assert word in out


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (["--only", "nonsense"], list(bench.WORKS)),
        (["--only", "dqn,nonsense"], list(bench.WORKS)),
        (["--scale", "--only", "dqn-1env"], list(bench.AXES)),
        (["--profile", "--only", "replay"], ["dqn-1env", "vae-mlp"]),
    ],
)
def test_an_unknown_name_is_a_usage_error_that_names_the_valid_ones(rlgen, flags, names):
    code, out, err = rlgen(*flags)
    assert code == 2 and not out and "Traceback" not in err
    assert all(name in err for name in names)


@pytest.mark.parametrize(
    "flags", [["--profile", "--scale"], ["--out", "x.png"], ["--scale", "--out", "x.pdf"], ["--threads", "0"]]
)
def test_flags_that_cannot_go_together_are_usage_errors(rlgen, flags):
    assert rlgen(*flags)[0] == 2


def test_names_are_exact_or_parts_or_globs():
    names = ["gan", "gan-r1", "memory"]
    assert bench.select("gan", names) == ["gan"]
    assert bench.select("ga", names) == ["gan", "gan-r1"]
    assert bench.select("mem*,r1", names) == ["gan-r1", "memory"]
    assert bench.select("", names) == names
    with pytest.raises(UsageError, match="matches none of gan, gan-r1, memory"):
        bench.select("x", names)


def test_every_work_is_a_command_that_train_takes():
    for name in bench.WORKS:
        assert bench.configure(name)["threads"] == 1


@pytest.mark.parametrize("name", ["atari-update", "replay", "start", "memory"])
def test_works_that_are_no_training(name, monkeypatch):
    monkeypatch.setattr(bench, "REPLAY_SIZE", 100)
    monkeypatch.setattr(bench, "REPLAY_WARM", 16)
    monkeypatch.setattr(bench, "child", lambda config, steps: 123)
    (row,) = bench.bench(only=name, **TINY)["results"]
    expected = {
        "atari-update": {"us per update"},
        "replay": {"us per insert", "us per sample", "bytes"},
        "start": {"s per help page", "s per first step"},
        "memory": {"bytes"},
    }
    assert set(row["measures"]) == expected[name]


def test_a_process_of_its_own_reports_its_peak_memory():
    assert bench.child(bench.configure("memory"), 10) > 2**20


def test_peers_have_ratios_and_missing_ones_are_listed(monkeypatch):
    there, absent = importlib.util.find_spec, ("stable_baselines3", "tianshou", "torchrl", "pythae")
    monkeypatch.setattr(importlib.util, "find_spec", lambda *args: None if args[0] in absent else there(*args))
    report = bench.bench(only=CHEAP, peers=True, **TINY)
    assert report["not_installed"]["SB3"] == "pip install stable-baselines3"
    assert set(report["not_installed"]) == {"SB3", "Tianshou", "TorchRL", "pythae"}
    rows = {row["work"]: row for row in report["results"] if row["contender"] == "eager PyTorch"}
    assert set(rows) == set(CHEAP.split(",")) and not report["skipped"]
    for row in rows.values():
        ratio = row["ratio"]["us per image" if row["work"] == "vae-mlp" else "us per env step"]
        assert len(ratio["blocks"]) == 2 and 0 < ratio["min"] <= ratio["median"] <= ratio["max"]
    assert "SB3: not installed: pip install stable-baselines3" in report.text()


@pytest.mark.parametrize("name", ["dqn-64env", "atari-update", "gan-no-r1"])
def test_plain_pytorch_does_the_other_works(name):
    report = bench.bench(only=name, peers=True, **TINY)
    assert (
        "eager PyTorch" in [row["contender"] for row in report["results"]] and f"{name}: eager" not in report["skipped"]
    )


def test_a_peer_that_fails_is_left_out_with_its_reason(monkeypatch):
    from rlgen.bench import peers

    def broken(*args):
        raise TypeError("another\nversion")

    def stops(*args):
        return lambda seconds: 1 / 0

    makers = {"A": ("torch", "a", {"dqn-*": broken}), "B": ("torch", "b", {"dqn-*": stops})}
    monkeypatch.setattr(peers, "PEERS", makers)
    report = bench.bench(only="dqn-1env", peers=True, **TINY)
    assert report["skipped"]["dqn-1env: A"] == "TypeError: another version"
    assert report["skipped"]["dqn-1env: B"].startswith("ZeroDivisionError")
    assert [row["contender"] for row in report["results"]] == ["rlgen"]


@pytest.mark.parametrize("name", ["dqn-1env", "ppo-4env", "vae-mlp"])
def test_the_parts_of_a_profile_sum_to_the_total(name):
    found = bench.bench(only=name, profile=True, **TINY)["profile"][name]
    acting = set() if name == "vae-mlp" else {"env", "act", "insert"}
    assert set(found["parts"]) == {"sample", "update", "log", "other"} | acting
    assert math.isclose(sum(part["us"] for part in found["parts"].values()), found["total_us"])
    assert math.isclose(sum(part["share"] for part in found["parts"].values()), 1)
    assert all(part["us"] > 0 for part in found["parts"].values()) and found["timer_us"] > 0


def test_time_inside_a_nested_method_is_the_inner_ones(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    def outer():
        wait(1)
        owner.inner()
        yield "item"
        wait(2)

    owner = SimpleNamespace(inner=lambda: wait(10), outer=outer)
    timer = profiling.Timer()
    timer.wrap(owner, "inner", "inner")
    timer.wrap(owner, "outer", "outer")
    for _ in owner.outer():
        wait(100)  # the consumer's time is nobody's
    assert timer.seconds == {"inner": 10, "outer": 3} and timer.calls == 3


def test_scaling_is_a_table_a_document_and_a_picture(rlgen, tmp_path, monkeypatch):
    monkeypatch.setitem(profiling.SCALES, "envs", lambda where, seconds: profiling.envs(where, seconds, (1, 2)))
    monkeypatch.setitem(profiling.SCALES, "fill", lambda where, seconds: profiling.fill(where, seconds, (100,)))
    monkeypatch.setitem(profiling.SCALES, "batch", lambda *args: profiling.batch(*args, (4, 8)))
    monkeypatch.setitem(profiling.SCALES, "seeds", lambda *args: profiling.seeds(*args, (2,)))
    monkeypatch.setattr(profiling, "SEED_STEPS", 20)
    path = tmp_path / "scale.png"
    code, out, _ = rlgen("--scale", "--only", "envs,fill,batch", "--out", str(path), "--json")
    points = json.loads(out)["scale"]
    (seeds,) = (point for point in profiling.SCALES["seeds"]({"device": "cpu", "threads": 1}, 0.0))
    assert (seeds["axis"], seeds["value"], set(seeds["costs"])) == ("seeds", 2, {"us per env step"})
    assert code == 0 and path.read_bytes().startswith(b"\x89PNG")
    assert [(point["axis"], point["value"]) for point in points] == [
        ("envs", 1), ("envs", 2), ("batch", 4), ("batch", 8), ("fill", 100),
    ]  # fmt: skip
    assert all(point["bytes"] > 0 and min(point["costs"].values()) > 0 for point in points)
    code, out, _ = rlgen("--scale", "--only", "fill")
    assert code == 0 and "us per insert" in out
