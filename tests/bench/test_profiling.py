"""`rlgen bench --profile` at a tiny size."""

import math
import time
from types import SimpleNamespace

import pytest

from rlgen.bench.profiling import Timer
from rlgen.runs.run import Run


@pytest.mark.parametrize("name", ["dqn-1env", "ppo-4env", "vae-mlp"])
def test_the_parts_of_a_profile_sum_to_the_total(name, tiny_bench):
    found = tiny_bench(only=name, profile=True)["profile"][name]
    acting = set() if name == "vae-mlp" else {"env", "act", "insert"}
    assert set(found["parts"]) == {"sample", "update", "log", "other"} | acting
    assert math.isclose(sum(part["us"] for part in found["parts"].values()), found["total_us"])
    assert math.isclose(sum(part["share"] for part in found["parts"].values()), 1)
    assert all(part["us"] > 0 for part in found["parts"].values()) and found["timer_us"] > 0
    assert found["total_cpu_us"] > 0


def test_what_a_checkpoint_takes_is_no_part_of_a_step(tiny_bench, monkeypatch):
    def save(*args):
        begin = time.process_time()
        while time.process_time() - begin < 0.5:
            pass

    monkeypatch.setattr(Run, "save", save)
    found = tiny_bench(only="vae-mlp", profile=True)["profile"]["vae-mlp"]
    assert 0 < found["total_cpu_us"] * found["steps"] < 0.5e6


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
    timer = Timer()
    timer.wrap(owner, "inner", "inner")
    timer.wrap(owner, "outer", "outer")
    for _ in owner.outer():
        wait(100)  # the consumer's time is nobody's
    assert timer.seconds == {"inner": 10, "outer": 3} and timer.calls == 3


def test_a_timer_may_look_at_another_clock(monkeypatch):
    cpu, owner = [0.0], SimpleNamespace()
    owner.work = lambda: cpu.__setitem__(0, cpu[0] + 3.0)
    timer = Timer(lambda: cpu[0])
    timer.wrap(owner, "work", "work")
    owner.work()
    assert timer.seconds == {"work": 3.0}
