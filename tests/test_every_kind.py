"""Every agent with its own defaults on each kind of observation: what no option alone breaks, two together may."""

from pathlib import Path

import pytest
from tiny import ALGORITHMS, tiny

from rlgen import experiment, inference
from rlgen.options import algorithms
from rlgen.runs.rows import read_metrics

AGENTS = [name for name in ALGORITHMS if algorithms.find(name).kind == "agent"]
KINDS = {"pictures": ("observed:Room-v0", {"cnn_width": 0.25, "cnn_depth": 1}), "numbers": ("observed:Guess-v0", {})}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("algo", AGENTS)
def test_an_agent_trains_is_evaluated_and_goes_on(algo: str, kind: str, tmp_path: Path) -> None:
    env, small = KINDS[kind]
    options = {"steps": 256, "log_every": 64, "eval_every": 128, "checkpoint_every": 128, "num_envs": 2}
    run = experiment.start(tiny(algo, tmp_path, env=env, name="mine", **options, **small), quiet=True)
    judged = [row for row in read_metrics(run.path) if "eval/episodic_return" in row]
    assert [row["step"] for row in judged] == [128, 256]
    assert all(0 < row["health/weights"] < 100 for row in judged)
    again = experiment.resume("mine", str(tmp_path), steps=384, quiet=True)
    assert (again.step, inference.load(again.path).num_updates > 0) == (384, True)
    assert len(inference.evaluate(again.path, episodes=2)["episodic_return"]["values"]) == 2
