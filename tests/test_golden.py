"""The program computes what it computed before: one small run of every algorithm, bit for bit; see helpers/golden.py.

The whole list, ten times as many: `python tests/helpers/golden.py check tests/golden/golden.json`. Where another result
is meant to come out, `record` writes the file again, and the commit says why.
"""

import sys
from typing import Any

import golden
import pytest

QUICK = [case for case in golden.CASES if case.quick]


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    value = golden.read(golden.FILE)
    here = golden.fingerprint(golden.ROOT, sys.executable)
    if here != value["fingerprint"]:
        where = golden.differing(value["fingerprint"], here)
        pytest.skip(f"bits depend on machine and versions, and {golden.FILE.name} is from others: {where}")
    return value["cases"]


@pytest.fixture(scope="module")
def found(recorded: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the runs of every quick case left, by its name."""
    together = -(-len(QUICK) // golden.AT_ONCE)
    return {case.name: runs for case, runs, _ in golden.run_all(QUICK, golden.ROOT, sys.executable, together)}


def test_every_algorithm_has_a_quick_case() -> None:
    assert {case.algo for case in QUICK} == {case.algo for case in golden.CASES}


def test_the_file_holds_the_cases_as_they_are(recorded: dict[str, Any]) -> None:
    assert {name: entry["command"] for name, entry in recorded.items()} == {
        case.name: " ".join(case.words) for case in golden.CASES
    }


@pytest.mark.parametrize("name", [case.name for case in QUICK])
def test_a_run_is_what_it_was(name: str, recorded: dict[str, Any], found: dict[str, dict[str, Any]]) -> None:
    assert golden.compare_runs(recorded[name]["runs"], found[name]) == {}


def test_a_difference_is_told_by_part_and_size() -> None:
    rows = {"step": [10, 20], "losses/td_loss": [0.5, 0.25]}
    scores = {"step": [20], "eval/episodic_return": [9.0]}
    one = {"step": 20, "weights": {"q.weight": ["ab", 1.0]}, "training rows": rows, "evaluation rows": scores}
    other = {
        "step": 20,
        "weights": {"q.weight": ["cd", 1.5]},
        "training rows": rows | {"losses/td_loss": [0.5, 0.375]},
        "evaluation rows": scores,
    }
    assert golden.differences(one, one) == {}
    assert golden.differences(one, other) == {
        "weights": ["1 of 1 tensors differ", "q.weight: norm 1.0 is now 1.5, 5.0e-01 relative"],
        "training rows": ["losses/td_loss: 1 rows, first at step 20: 0.25 is now 0.375, 5.0e-01 relative"],
    }
