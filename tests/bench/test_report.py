"""The report as people read it."""

import re

import pytest

from rlgen.bench.report import Report

WALL, CPU = {"us per update": 1.5, "bytes": 2.5}, {"us per update": 3.5}


def test_the_table_says_what_it_was_measured_on(rlgen):
    code, out, _ = rlgen("--only", "vae")
    assert code == 0
    for word in ("vae-mlp", "us per image", "torch", "1 thread(s)", "Warm-up", "2 blocks of 0.002 s", "CPU"):
        assert word in out


@pytest.mark.parametrize(
    ("ratio_of", "ratio", "word"), [("cpu", "3.50", "CPU time"), ("wall", "1.50", "time on the clock")]
)
def test_the_ratio_is_of_the_time_that_the_report_names(ratio_of, ratio, word):
    def spreads(values):
        return {unit: {"min": value, "median": value, "max": value} for unit, value in values.items()}

    row = {"work": "w", "contender": "A", "measures": spreads({"us per update": 70.0, "bytes": 2.0**20})}
    row |= {"cpu": spreads({"us per update": 60.0}), "ratio": spreads(WALL), "cpu_ratio": spreads(CPU)}
    machine = {"cpu": "", "cores": 1, "load": 0.0, "gpu": "none", "device": "cpu", "threads": 1}
    method = {"blocks": 1, "seconds_per_block": 1.0, "ratio_of": ratio_of, "warm_up": ""}
    text = Report(command="", versions={}, machine=machine, method=method, results=[row]).text()
    update, memory = (line for line in text.split("\n") if re.search("us per update|MiB", line))
    assert "70 (70 to 70)" in update and "60 (60 to 60)" in update and f"{ratio} (" in update
    assert "2.50 (" in memory and f"peer / rlgen is made of {word}" in " ".join(text.split())
